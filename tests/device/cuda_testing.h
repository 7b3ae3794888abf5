// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/file.h"
#include "device/cpu/testing.h"
#include "device/cuda/compile_pool.h"
#include "device/cuda/cuda_compiler.h"
#include "device/cuda/gpu.h"
#include "device/device_worker.h"
#include "record/bound_plan.h"
#include "record/launch_plan.h"

namespace quern::cuda {

/// A compile pool for the first GPU of this machine; skips, with the reason, where there is no GPU
/// or no NVRTC.
class CudaTest : public testing::Test {
 protected:
  static std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  }

  void SetUp() override {
    auto driver = Driver::open();
    if (!driver) GTEST_SKIP() << driver.error().message;
    auto gpus = list_gpus(**driver);
    ASSERT_TRUE(gpus) << gpus.error().message;
    auto library = find_nvrtc(setting("QUERN_NVRTC"), {setting("VIRTUAL_ENV")});
    if (!library) GTEST_SKIP() << library.error().message;
    options_.library = *library;
    options_.architecture = gpus->at(0).architecture();
    options_.cache_dir = folder_ = testing::TempDir() + "quern_cuda_test";
    auto pool = CompilePool::make(options_);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    auto referee = compile_referee(*pool_);
    ASSERT_TRUE(referee) << referee.error().message;
    referee_ = *referee;
  }

  std::unique_ptr<DeviceWorker> start_worker(WorkerOptions options = {}) {
    options.kind = "cuda";
    options.scratch_dir = folder_ + "/workers";
    options.kernels = folder_ + "/kernels.cubin";
    EXPECT_TRUE(make_directories(options.scratch_dir));
    EXPECT_TRUE(write_file_atomic(options.kernels, referee_));
    auto worker = DeviceWorker::start(options);
    EXPECT_TRUE(worker) << (worker ? "" : worker.error().message);
    return worker ? std::move(*worker) : nullptr;
  }

  std::string cubin(const std::string& source) {
    auto binary = pool_->compile({source});
    EXPECT_TRUE(binary) << trouble(binary);
    return binary ? binary->image : "";
  }

  /// The plan of a source for a task of one input x and one output y of n floats.
  static BoundPlan plan(const std::string& source, int64_t n) {
    PlanWorkload workload{{{"n", n}}, {{"x", DType::kF32, {n}}}, {{"y", DType::kF32, {n}}}};
    auto parsed = parse_launch_plan(source, workload, PlanTarget::kCuda);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message + parsed.error().hint);
    if (!parsed) return {};
    auto bound = bind_plan(*parsed, workload, PlanTarget::kCuda);
    EXPECT_TRUE(bound) << (bound ? "" : bound.error().message);
    return bound ? *bound : BoundPlan{};
  }

  template <class T>
  static std::string verdict_of(const Outcome<T>& outcome) {
    if (outcome.has_error()) return "error: " + outcome.error().message;
    return outcome
               ? "ran"
               : std::string(verdict_name(outcome.verdict())) + ": " +
                     verdict_reason(outcome.verdict()) + "; " + verdict_evidence(outcome.verdict());
  }

  CompilePoolOptions options_;
  std::string folder_, referee_;
  std::unique_ptr<CompilePool> pool_;
};

}  // namespace quern::cuda
