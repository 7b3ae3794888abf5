// SPDX-License-Identifier: Apache-2.0
#include "evaluate/time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace quern {
namespace {

using testing::DoubleNear;
using testing::SizeIs;

constexpr double kCallNs = 35e3;

/// A kernel of one slot whose batches take what a script says, relative to its usual time.
class ScriptedKernel : public RunnableKernel {
 public:
  ScriptedKernel(const ir::Program& program, const Workload& workload, std::vector<double> script)
      : RunnableKernel(program, workload, 1), script_(std::move(script)) {
    assigned_ = {0};
  }

  using RunnableKernel::poison;
  void load(int slot, int dataset) override { assigned_[static_cast<size_t>(slot)] = dataset; }
  void poison(int) override {}
  Outcome<double> run(int calls) override {
    // The first batch settles how long batches are.
    const double factor = ran_ == 0 || ran_ > script_.size() ? 1 : script_[ran_ - 1];
    ++ran_;
    return factor * kCallNs * calls;
  }
  Outcome<std::vector<std::byte>> outputs(int) override { return std::vector<std::byte>(); }
  std::vector<std::string> notes() const override { return {}; }

 protected:
  Outcome<Done> hold(int) override { return Done{}; }
  Outcome<CompareReport> compare_output(int, size_t) override { return CompareReport(); }

 private:
  std::vector<double> script_;
  size_t ran_ = 0;
};

TimingPolicy policy(double inner_spread) {
  TimingPolicy made;
  made.batch_ns = 2e5;
  made.min_samples = 6;
  made.max_samples = 20;
  made.spread = 0.01;
  made.inner_spread = inner_spread;
  made.limit_ns = 1.2e7;
  return made;
}

Timing time_script(std::vector<double> script, double inner_spread) {
  const ir::Program program;
  Workload workload;
  workload.datasets.resize(2);
  workload.policies.resize(2);
  workload.twin = 1;
  ScriptedKernel kernel(program, workload, std::move(script));
  auto timing = time_kernel(kernel, kCallNs, 0, policy(inner_spread), 7);
  EXPECT_TRUE(timing);
  return timing ? std::move(*timing) : Timing{};
}

TEST(TimeKernel, TakesNoMoreSamplesForOneThatIsFarOff) {
  const std::vector<double> one_low = {1, 1.001, 0.98, 0.999, 1, 1.001, 1, 1, 1, 1};
  const Timing timing = time_script(one_low, 0.006);
  EXPECT_THAT(timing.samples_ns, SizeIs(7));  // six, and one with poisoned outputs
  EXPECT_THAT(timing.median_ns, DoubleNear(kCallNs, 0.001 * kCallNs));
  EXPECT_LE(timing.low_ns, 0.98 * kCallNs) << "the interval still tells of it";
}

TEST(TimeKernel, TakesMoreSamplesForOneThatIsFarOffUnlessItIsToldNotTo) {
  const std::vector<double> one_low = {1, 1.001, 0.98, 0.999, 1, 1.001, 1, 1, 1, 1};
  EXPECT_GT(time_script(one_low, 0).samples_ns.size(), 7U);
}

TEST(TimeKernel, TakesMoreSamplesWhereSeveralDiffer) {
  const std::vector<double> two_low = {1, 0.985, 0.98, 0.999, 1, 1.001, 1, 1, 1, 1};
  EXPECT_GT(time_script(two_low, 0.006).samples_ns.size(), 7U);
}

}  // namespace
}  // namespace quern
