// SPDX-License-Identifier: Apache-2.0
//
// Guarded candidates on a real GPU: what would have been a fault or a hang is a verdict that names
// the place, and the worker goes on.
#include <gmock/gmock.h>

#include "cuda_testing.h"
#include "device/cuda/ptx_assembler.h"

namespace quern::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int64_t kCount = 4000;

class CudaGuard : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (pool_ == nullptr) return;
    options_.linker = find_nvjitlink(options_.library.path, {setting("VIRTUAL_ENV")});
    if (options_.linker.empty()) GTEST_SKIP() << "there is no nvJitLink here";
    auto pool = CompilePool::make(options_);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    worker_ = start_worker();
    ASSERT_TRUE(worker_);
    auto opened = worker_->await_open();
    ASSERT_TRUE(opened) << opened.error().message;
    worker_->allocate(1, 4 * kCount, Placement::kRight, "input x");
    worker_->allocate(2, 4 * kCount, Placement::kRight, "output y");
    worker_->draw(1, {DType::kF32, {FillKind::kNormal, 0, 1}, 5});
    worker_->allow(1, DeviceAccess::kRead);
  }

  /// The verdict of one guarded call, in words: "ran", or what was caught.
  std::string guarded(const std::string& source) {
    auto plain = pool_->compile({source});
    if (!plain) return trouble(plain);
    CudaJob job;
    job.source = plain->ptx;
    job.guards = true;
    auto binary = pool_->compile(std::move(job));
    if (!binary) return trouble(binary);
    worker_->fill(2, 0xff);
    auto loaded = worker_->load(1, binary->image, plan(source, kCount), {{{1}, {2}}}, 30);
    if (!loaded) return verdict_of(loaded);
    auto ran = worker_->run(1, 1, 0, 10);
    const std::string found = verdict_of(ran);
    if (worker_->usable()) worker_->unload(1);
    return found;
  }

  /// The same for the body of one kernel f(x, y, n) of 32 blocks of 128 threads.
  std::string body(const std::string& text) {
    return guarded(
        "// quern: launch f grid 32 block 128 args (x, y, n)\n"
        "extern \"C\" __global__ void f(const float* x, float* y, long n) {\n"
        "  long i = blockIdx.x * 128 + threadIdx.x;\n" +
        text + "\n}\n");
  }

  std::unique_ptr<DeviceWorker> worker_;
};

TEST_F(CudaGuard, LetsAnHonestKernelRun) {
  EXPECT_EQ(body("if (i < n) y[i] = 2 * x[i];"), "ran");
  std::vector<float> x(kCount), y(kCount);
  ASSERT_TRUE(worker_->download(1, std::as_writable_bytes(std::span(x))));
  ASSERT_TRUE(worker_->download(2, std::as_writable_bytes(std::span(y))));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], 2 * x[i]);
}

TEST_F(CudaGuard, NamesAccessesOutsideOfTheBuffers) {
  EXPECT_THAT(body("if (i == 200) y[n + 64] = 1;"),
              AllOf(StartsWith("rejected: f wrote 4 bytes past the end of output y, 256 bytes"),
                    HasSubstr("st.global"), HasSubstr("block (1, 0, 0), thread (72, 0, 0)")));
  EXPECT_THAT(body("y[i < n ? i : 0] = x[i + (1l << 40)];"),
              StartsWith("rejected: f read 4 bytes"));
  EXPECT_THAT(body("float* p = nullptr; asm(\"\" : \"+l\"(p)); if (i < n) y[i] = p[i];"),
              StartsWith("rejected: f read"));
  EXPECT_THAT(body("if (i == 0) atomicAdd(y + n + 1024, 1.f);"),
              AllOf(StartsWith("rejected: f wrote"), HasSubstr("output y")));
  EXPECT_THAT(body("if (i == 0) ((float*)x)[7] = 1;"),
              AllOf(StartsWith("rejected: f wrote 4 bytes in input x, at byte 28"),
                    HasSubstr("read-only")));
  EXPECT_THAT(body("if (i == 0) ((float4*)y)[n / 4] = float4{};"), StartsWith("rejected: f wrote"));
  ASSERT_TRUE(worker_->usable());
  EXPECT_EQ(body("if (i < n) y[i] = 2 * x[i];"), "ran");
}

TEST_F(CudaGuard, CatchesTrapsAndMisalignedAddresses) {
  EXPECT_THAT(
      body("if (i == 130) __trap(); if (i < n) y[i] = 1;"),
      AllOf(StartsWith("crashed: f trapped"), HasSubstr("block (1, 0, 0), thread (2, 0, 0)")));
  EXPECT_THAT(body("if (i == 1) *(float2*)(y + 1) = float2{};"), StartsWith("crashed: f wrote 8"));
  EXPECT_EQ(body("if (i < n) y[i] = 2 * x[i];"), "ran");
}

TEST_F(CudaGuard, EndsLoopsThatDoNotEnd) {
  EXPECT_THAT(body("volatile float* z = y; while (z[0] != 3e38f) { }"),
              StartsWith("timed_out: a loop of f"));
  EXPECT_THAT(body("volatile float* z = y; while (z[0] != 3e38f) { __syncthreads(); }"),
              StartsWith("timed_out: a loop of f"));
  EXPECT_THAT(body("__shared__ int s; volatile int* z = &s; *z = 0; __syncthreads();\n"
                   "if (threadIdx.x % 2) while (*z == 0) { } __syncthreads(); y[0] = *z;"),
              StartsWith("timed_out: a loop of f"));
  EXPECT_THAT(body("volatile float* z = y;\n"
                   "while (z[0] != 3e38f) { __shfl_sync(~0u, i, 0); __syncwarp(); }"),
              StartsWith("timed_out: a loop of f"));
  EXPECT_EQ(body("if (i < n) y[i] = 2 * x[i];"), "ran");
}

TEST_F(CudaGuard, EndsThreadsThatWaitForOneThatWasCaught) {
  EXPECT_THAT(body("if (threadIdx.x == 5) y[1l << 36] = 1; __syncthreads();\n"
                   "for (int k = 0; k < 100; ++k) { __syncthreads(); if (i < n) y[i] = k; }"),
              StartsWith("rejected: f wrote"));
  EXPECT_THAT(body("float v = i < n ? x[i] : 0; if (threadIdx.x == 7) v = x[-(1l << 36)];\n"
                   "for (int k = 16; k > 0; k /= 2) v += __shfl_xor_sync(~0u, v, k);\n"
                   "if (i < n) y[i] = v;"),
              StartsWith("rejected: f read"));
  EXPECT_EQ(body("if (i < n) y[i] = 2 * x[i];"), "ran");
}

TEST_F(CudaGuard, KnowsScratchAndTheVariablesOfTheModule) {
  const std::string head =
      "// quern: scratch half : f32[n]\n"
      "// quern: launch f grid 32 block 128 args (x, half, n)\n"
      "// quern: launch g grid 32 block 128 args (half, y, n)\n"
      "__device__ float table[64];\n"
      "extern \"C\" __global__ void f(const float* x, float* half, long n) {\n"
      "  long i = blockIdx.x * 128 + threadIdx.x;\n"
      "  if (i < 64) table[i] = 2;\n"
      "  if (i < n) half[i] = x[i];\n"
      "}\n"
      "extern \"C\" __global__ void g(const float* half, float* y, long n) {\n"
      "  long i = blockIdx.x * 128 + threadIdx.x;\n";
  EXPECT_EQ(guarded(head + "if (i < n) y[i] = table[i % 64] * half[i];\n}\n"), "ran");
  EXPECT_THAT(guarded(head + "if (i < n) y[i] = half[i + (1 << 20)];\n}\n"),
              AllOf(StartsWith("rejected: g read 4 bytes past the end of"), HasSubstr("half")));
}

TEST_F(CudaGuard, ChecksAddressesThatMayBeOfAnyKind) {
  const std::string source =
      "// quern: launch f grid 32 block 128 args (x, y, n)\n"
      "extern \"C\" __device__ __noinline__ void store(float* at, float v) { *at = v; }\n"
      "extern \"C\" __global__ void f(const float* x, float* y, long n) {\n"
      "  long i = blockIdx.x * 128 + threadIdx.x;\n"
      "  __shared__ float s[128];\n"
      "  store(s + threadIdx.x, i < n ? x[i] : 0); __syncthreads();\n";
  EXPECT_EQ(guarded(source + "if (i < n) store(y + i, s[threadIdx.x]);\n}\n"), "ran");
  EXPECT_THAT(guarded(source + "if (i == 3) store(y + (1l << 38), s[threadIdx.x]);\n}\n"),
              AllOf(StartsWith("rejected: store wrote"), HasSubstr("thread (3, 0, 0)")));
}

}  // namespace
}  // namespace quern::cuda
