// SPDX-License-Identifier: Apache-2.0
#include "evaluate/time.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "task/parse.h"
#include "verify/oracle.h"

namespace quern {
namespace {

/// A call takes 1000 ns, and the calls of a batch 900 each where inputs were exchanged just before.
class FakeKernel : public RunnableKernel {
 public:
  FakeKernel(const ir::Program& program, const Workload& workload)
      : RunnableKernel(program, workload, 1) {
    assigned_ = {0};
  }
  void load(int slot, int dataset) override {
    exchanged_ = exchanged_ || assigned_[static_cast<size_t>(slot)] != dataset;
    assigned_[static_cast<size_t>(slot)] = dataset;
  }
  using RunnableKernel::poison;
  void poison(int) override {}
  Outcome<double> run(int calls) override {
    ++runs;
    return calls * (std::exchange(exchanged_, false) ? 900.0 : 1000.0);
  }
  Outcome<std::vector<std::byte>> outputs(int) override { return std::vector<std::byte>(); }
  std::vector<std::string> notes() const override { return {}; }

  int runs = 0;

 private:
  Outcome<Done> hold(int) override { return Done{}; }
  Outcome<CompareReport> compare_output(int, size_t) override {
    CompareReport report;
    report.ok = true;
    return report;
  }
  bool exchanged_ = false;
};

class TimeKernelTest : public testing::Test {
 protected:
  TimeKernelTest() {
    workload.sizes = *ir::bind_sizes(program, "full");
    Dataset data;
    data.outputs = describe_outputs(program, workload.sizes);
    workload.datasets = {data, data};
    workload.policies.resize(2);
    workload.twin = 1;
  }

  /// What was counted of a kernel, and how many batches were run for it.
  std::pair<Timing, int> timed(bool counts_exchanged) {
    FakeKernel kernel(program, workload);
    TimingPolicy policy;
    policy.batch_ns = 1e4;
    policy.counts_exchanged = counts_exchanged;
    auto timing = time_kernel(kernel, 1000, 0, policy, 0);
    EXPECT_TRUE(timing);
    return {timing ? *timing : Timing{}, kernel.runs};
  }

  const ir::Program program = std::move(parse_task("task scale(n = 64)\ninput x : f32[n]\n"
                                                   "output y[i] = 2 * x[i]\n",
                                                   "test.task"))
                                  .value();
  Workload workload;
};

TEST_F(TimeKernelTest, LeavesOutTheBatchWhoseInputsWereExchangedUnlessToldOtherwise) {
  const auto [all, runs] = timed(true);
  const auto [some, runs_too] = timed(false);
  // One batch of each is a trial.
  EXPECT_EQ(all.samples_ns.size(), static_cast<size_t>(runs - 1));
  EXPECT_EQ(some.samples_ns.size(), static_cast<size_t>(runs_too - 2));
  EXPECT_EQ(std::ranges::count(all.samples_ns, 900), std::ranges::count(some.samples_ns, 900) + 1);
}

}  // namespace
}  // namespace quern
