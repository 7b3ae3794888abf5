// SPDX-License-Identifier: Apache-2.0
//
// Device workers on a real GPU: confined, and gone with the candidate that ends them.
#include <gmock/gmock.h>

#include "base/file.h"
#include "cuda_testing.h"
#include "device/device_worker.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;

constexpr int64_t kCount = 4096;
constexpr const char* kTwice = R"(// quern: launch f grid (n / 128) block 128 args (x, y)
extern "C" __global__ void f(const float* x, float* y) {
  int i = blockIdx.x * 128 + threadIdx.x;
  y[i] = 2 * x[i];
})";
constexpr const char* kHang = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(const float* x, volatile float* y) { while (y[0] != 3e38f) { } })";
constexpr const char* kTrap = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(const float* x, float* y) { __trap(); })";

class CudaWorker : public CudaTest {
 protected:
  std::unique_ptr<DeviceWorker> start() {
    WorkerOptions options;
    options.kind = "cuda";
    options.scratch_dir = folder_ + "/workers";
    options.kernels = folder_ + "/kernels.cubin";
    EXPECT_TRUE(make_directories(options.scratch_dir));
    EXPECT_TRUE(write_file_atomic(options.kernels, referee_));
    auto worker = DeviceWorker::start(options);
    EXPECT_TRUE(worker) << (worker ? "" : worker.error().message);
    return worker ? std::move(*worker) : nullptr;
  }

  Outcome<double> run(DeviceWorker& worker, const char* source, double limit_s) {
    worker.allocate(1, 4 * kCount, Placement::kLeft, "x");
    worker.allocate(2, 4 * kCount, Placement::kLeft, "y");
    worker.draw(1, {DType::kF32, {FillKind::kNormal, 0, 1}, 5});
    worker.fill(2, 0xff);
    worker.allow(1, DeviceAccess::kRead);
    auto loaded = worker.load(1, cubin(source), plan(source, kCount), {{{1}, {2}}}, 30);
    if (!loaded) return pass_on(loaded);
    return worker.run(1, 1, 0, limit_s);
  }
};

TEST_F(CudaWorker, RunsACandidateInASandbox) {
  auto worker = start();
  ASSERT_TRUE(worker);
  auto opened = worker->await_open();
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(worker->properties().draws && worker->properties().compares);
  EXPECT_THAT(worker->sandbox_text(), HasSubstr("landlock and seccomp once"));
  auto ran = run(*worker, kTwice, 10);
  ASSERT_TRUE(ran) << verdict_of(ran);
  std::vector<float> x(kCount), y(kCount);
  ASSERT_TRUE(worker->download(1, std::as_writable_bytes(std::span(x))));
  ASSERT_TRUE(worker->download(2, std::as_writable_bytes(std::span(y))));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], 2 * x[i]);
}

TEST_F(CudaWorker, IsEndedWhenACandidateHangs) {
  auto worker = start(), spare = start();
  ASSERT_TRUE(worker && spare);
  ASSERT_TRUE(worker->await_open());
  EXPECT_THAT(verdict_of(run(*worker, kHang, 1)), HasSubstr("timed_out"));
  EXPECT_FALSE(worker->usable());
  ASSERT_TRUE(spare->await_open());
  auto ran = run(*spare, kTwice, 10);
  EXPECT_TRUE(ran) << verdict_of(ran);
}

TEST_F(CudaWorker, IsOfNoMoreUseAfterAFault) {
  auto worker = start(), spare = start();
  ASSERT_TRUE(worker && spare);
  ASSERT_TRUE(worker->await_open() && spare->await_open());
  EXPECT_THAT(verdict_of(run(*worker, kTrap, 10)), HasSubstr("crashed"));
  auto again = worker->run(1, 1, 0, 10);
  EXPECT_THAT(verdict_of(again), HasSubstr("crashed"));
  auto ran = run(*spare, kTwice, 10);
  EXPECT_TRUE(ran) << verdict_of(ran);
}

}  // namespace
}  // namespace quern::cuda
