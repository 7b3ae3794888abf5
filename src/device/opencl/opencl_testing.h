// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device_worker.h"
#include "record/launch_plan.h"

namespace quern {

/// Tests on the first OpenCL device, with one input `x` and one output `y` of `n` f32 elements.
class OpenClWorkerTest : public testing::Test {
 protected:
  static constexpr int64_t kElements = 1000;
  static constexpr BufferId kX = 1, kY = 2;
  static constexpr ProgramId kProgram = 1;

  static std::string scratch_dir() {
    return (std::filesystem::temp_directory_path() / "quern-opencl-test").string();
  }

  static std::unique_ptr<DeviceWorker> start(bool compiles) {
    WorkerOptions options;
    options.compiles = compiles;
    options.scratch_dir = scratch_dir();
    auto worker = DeviceWorker::start(options);
    if (!worker) return nullptr;
    return std::move(*worker);
  }

  void SetUp() override {
    worker = start(false);
    ASSERT_NE(worker, nullptr);
    if (const auto opened = worker->await_open(); !opened) {
      GTEST_SKIP() << opened.error().message << "; " << opened.error().hint;
    }
  }

  static Outcome<DeviceBinary> compile(const std::string& source, double limit_s = 60) {
    static std::unique_ptr<DeviceWorker> compiler;
    if (compiler == nullptr || !compiler->usable()) compiler = start(true);
    if (const auto opened = compiler->await_open(); !opened) return opened.error();
    DeviceCompileJob job;
    job.source = source;
    compiler->post_compile(job);
    while (true) {
      if (auto done = compiler->collect(limit_s)) return std::move(*done);
      pollfd file = {compiler->reply_fd(), POLLIN, 0};
      poll(&file, 1, 50);
    }
  }

  static BoundPlan bind(const std::string& source) {
    const PlanWorkload task{
        {{"n", kElements}}, {{"x", DType::kF32, {kElements}}}, {{"y", DType::kF32, {kElements}}}};
    const auto plan = parse_launch_plan(source, task, PlanTarget::kOpenCl);
    EXPECT_TRUE(plan) << plan.error().message;
    const auto bound = bind_plan(*plan, task, PlanTarget::kOpenCl);
    EXPECT_TRUE(bound) << bound.error().message;
    return bound ? *bound : BoundPlan{};
  }

  /// Compiles and loads a source with x = 0, 1, 2, … and y poisoned.
  Outcome<Done> load(const std::string& source) {
    auto binary = compile(source);
    if (!binary) return pass_on(binary);
    std::vector<float> x(kElements);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 500;
    const uint64_t bytes = x.size() * sizeof(float);
    worker->allocate(kX, bytes, Placement::kRight, "input x");
    worker->allocate(kY, bytes, Placement::kRight, "output y");
    worker->fill(kY, 0xff);
    if (auto done = worker->upload(kX, std::as_bytes(std::span(x))); !done) return done;
    worker->allow(kX, DeviceAccess::kRead);
    auto loaded = worker->load(kProgram, binary->image, bind(source), {{{kX}, {kY}}}, 30);
    if (!loaded) return pass_on(loaded);
    return Done{};
  }

  Verdict verdict_of(const std::string& source, double limit_s = 20) {
    auto loaded = load(source);
    if (loaded.has_verdict()) return loaded.verdict();
    EXPECT_TRUE(loaded) << loaded.error().message;
    auto ran = worker->run(kProgram, 1, 0, limit_s);
    EXPECT_FALSE(ran.has_error()) << ran.error().message;
    if (ran.has_verdict()) return ran.verdict();
    return Passed{};
  }

  std::vector<float> output() {
    std::vector<float> y(kElements);
    EXPECT_TRUE(worker->download(kY, std::as_writable_bytes(std::span(y))));
    return y;
  }

  std::unique_ptr<DeviceWorker> worker;
};

}  // namespace quern
