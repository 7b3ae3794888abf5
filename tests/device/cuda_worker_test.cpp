// SPDX-License-Identifier: Apache-2.0
//
// Device workers on a real GPU: confined, and gone with the candidate that ends them.
#include <gmock/gmock.h>

#include <cmath>

#include "cuda_testing.h"
#include "device/cuda/blas.h"
#include "device/cuda/counters.h"
#include "device/matrix_product.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

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
  auto worker = start_worker();
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
  auto worker = start_worker(), spare = start_worker();
  ASSERT_TRUE(worker && spare);
  ASSERT_TRUE(worker->await_open());
  EXPECT_THAT(verdict_of(run(*worker, kHang, 1)), HasSubstr("timed_out"));
  EXPECT_FALSE(worker->usable());
  ASSERT_TRUE(spare->await_open());
  auto ran = run(*spare, kTwice, 10);
  EXPECT_TRUE(ran) << verdict_of(ran);
}

TEST_F(CudaWorker, IsOfNoMoreUseAfterAFault) {
  auto worker = start_worker(), spare = start_worker();
  ASSERT_TRUE(worker && spare);
  ASSERT_TRUE(worker->await_open() && spare->await_open());
  EXPECT_THAT(verdict_of(run(*worker, kTrap, 10)), HasSubstr("crashed"));
  auto again = worker->run(1, 1, 0, 10);
  EXPECT_THAT(verdict_of(again), HasSubstr("crashed"));
  auto ran = run(*spare, kTwice, 10);
  EXPECT_TRUE(ran) << verdict_of(ran);
}

TEST_F(CudaWorker, CountsWhatTheHardwareDoesOrSaysWhyNot) {
  WorkerOptions options;
  options.counters = find_cupti(options_.library.path, {setting("VIRTUAL_ENV")});
  if (options.counters.empty()) GTEST_SKIP() << "there is no CUPTI here";
  auto worker = start_worker(options);
  ASSERT_TRUE(worker);
  ASSERT_TRUE(worker->await_open());
  ASSERT_TRUE(run(*worker, kTwice, 10));
  auto profile = worker->profile(1, 60);
  if (!profile) {
    ASSERT_TRUE(profile.has_error()) << verdict_of(profile);
    EXPECT_THAT(profile.error().message, HasSubstr("hardware counters"));
    GTEST_SKIP() << profile.error().message;
  }
  ASSERT_EQ(profile->launches.size(), 1U);
  const LaunchProfile& launch = profile->launches.front();
  EXPECT_EQ(launch.kernel, "f");
  EXPECT_THAT(launch.meaning, Not(IsEmpty()));
  for (const Counter& counter : launch.counters) {
    EXPECT_FALSE(std::isnan(counter.value)) << counter.name;
    if (counter.label == "bytes used of a sector of 32 loaded") {
      EXPECT_EQ(counter.value, 32);
    }
  }
  // The candidate did what it does elsewhere.
  std::vector<float> x(kCount), y(kCount);
  ASSERT_TRUE(worker->download(1, std::as_writable_bytes(std::span(x))));
  ASSERT_TRUE(worker->download(2, std::as_writable_bytes(std::span(y))));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], 2 * x[i]);
}

TEST_F(CudaWorker, CountsNothingUnlessItWasStartedForThat) {
  auto worker = start_worker();
  ASSERT_TRUE(worker);
  ASSERT_TRUE(worker->await_open());
  ASSERT_TRUE(run(*worker, kTwice, 10));
  const auto profile = worker->profile(1, 60);
  ASSERT_TRUE(profile.has_error());
  EXPECT_THAT(profile.error().message, HasSubstr("reads no hardware counters"));
}

TEST_F(CudaWorker, CallsTheVendorsLibraryWhereItWasGivenOne) {
  MatrixProduct product;
  product.m = product.n = product.k = product.a_row = product.b_row = product.c_row = 64;
  product.b = 0;
  WorkerOptions options;
  options.library = find_cublas(options_.library.path, {setting("VIRTUAL_ENV")});
  if (options.library.empty()) GTEST_SKIP() << "there is no cuBLAS here";
  auto worker = start_worker(options), without = start_worker();
  ASSERT_TRUE(worker && without);
  for (DeviceWorker* each : {worker.get(), without.get()}) {
    ASSERT_TRUE(each->await_open());
    each->allocate(1, 4 * kCount, Placement::kLeft, "x");
    each->allocate(2, 4 * kCount, Placement::kLeft, "y");
    each->draw(1, {DType::kF32, {FillKind::kNormal, 0, 1}, 5});
    each->allow(1, DeviceAccess::kRead);
  }
  EXPECT_THAT(verdict_of(without->load(1, library_image(product), {}, {{{1}, {2}}}, 30)),
              HasSubstr("has no library"));
  auto loaded = worker->load(1, library_image(product), {}, {{{1}, {2}}}, 30);
  ASSERT_TRUE(loaded) << verdict_of(loaded);
  for (int round = 0; round < 3; ++round) {  // one by one at first, then as a graph
    auto ran = worker->run(1, 40, 0, 10);
    ASSERT_TRUE(ran) << verdict_of(ran);
  }
  std::vector<float> x(kCount), y(kCount);
  ASSERT_TRUE(worker->download(1, std::as_writable_bytes(std::span(x))));
  ASSERT_TRUE(worker->download(2, std::as_writable_bytes(std::span(y))));
  for (size_t i = 0; i < 64; ++i) {
    for (size_t j = 0; j < 64; ++j) {
      double sum = 0;
      for (size_t k = 0; k < 64; ++k) sum += double{x[64 * i + k]} * x[64 * k + j];
      ASSERT_NEAR(y[64 * i + j], sum, 1e-3) << i << ", " << j;
    }
  }
}

}  // namespace
}  // namespace quern::cuda
