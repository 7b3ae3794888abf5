// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <signal.h>

#include "device/device_peaks.h"
#include "device/opencl/opencl_testing.h"
#include "device/worker_compiler.h"

namespace quern {
namespace {

using testing::HasSubstr;

constexpr const char* kRelu =
    R"(// quern: launch relu grid (ceil_div(n, 64)) block 64 args (x, y, n)
__kernel void relu(__global const float* x, __global float* y, int n) {
  int i = get_global_id(0);
  if (i < n) y[i] = fmax(x[i], 0.0f);
}
)";

std::string kernel(const std::string& body) {
  return "// quern: launch k grid (ceil_div(n, 64)) block 64 args (x, y, n)\n"
         "__kernel void k(__global float* x, __global float* y, int n) {\n"
         "  int i = get_global_id(0);\n" +
         body + "\n}\n";
}

TEST_F(OpenClWorkerTest, RunsAKernelAndGivesItsResults) {
  auto loaded = load(kRelu);
  ASSERT_TRUE(loaded);
  for (int round = 0; round < 3; ++round) {
    worker->fill(kY, 0xff);
    auto ran = worker->run(kProgram, 3, 0, 20);
    ASSERT_TRUE(ran);
    EXPECT_GT(*ran, 0);
    const std::vector<float> y = output();
    EXPECT_EQ(y[0], 0);
    EXPECT_EQ(y[999], 499);
    EXPECT_TRUE(worker->inspect({{kY}}).value().intact);
  }
}

TEST_F(OpenClWorkerTest, PassesScratchSharedMemoryAndScalarsOfEveryWidth) {
  auto loaded = load(R"(// quern: scratch sums : f32[ceil_div(n, 64)]
// quern: scratch zeros : i32[4]
// quern: memset zeros 0
// quern: launch part grid (ceil_div(n, 64)) block 64 shared (64 * 4) args (x, sums, shared, n)
// quern: launch whole grid (1) block (1) args (sums, zeros, y, ceil_div(n, 64), f32(1 / n), i16(n))
__kernel void part(__global const float* x, __global float* sums, __local float* tile, long n) {
  int t = get_local_id(0), i = get_global_id(0);
  tile[t] = i < n ? x[i] : 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_of = 32; half_of > 0; half_of /= 2) {
    if (t < half_of) tile[t] += tile[t + half_of];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (t == 0) sums[get_group_id(0)] = tile[0];
}
__kernel void whole(__global const float* sums, __global const int* zeros, __global float* y,
                    uint parts, float scale, short n) {
  float all = zeros[3];
  for (uint i = 0; i < parts; ++i) all += sums[i];
  y[0] = all * scale;
  y[1] = n;
}
)");
  ASSERT_TRUE(loaded) << (loaded.has_verdict() ? verdict_reason(loaded.verdict())
                                               : loaded.error().message);
  worker->poison_scratch(kProgram, 0xff);
  ASSERT_TRUE(worker->run(kProgram, 1, 0, 20));
  const std::vector<float> y = output();
  EXPECT_NEAR(y[0], -0.5, 1e-5);
  EXPECT_EQ(y[1], 1000);
  EXPECT_TRUE(worker->inspect({{}, kProgram}).value().intact);
}

TEST_F(OpenClWorkerTest, ASpareMayWaitLongerThanAStartMayTake) {
  WorkerOptions options;
  options.scratch_dir = scratch_dir();
  options.start_s = 20;
  const auto spare = DeviceWorker::start(options);
  ASSERT_TRUE(spare);
  options.start_s = 0;
  const auto impatient = DeviceWorker::start(options);
  ASSERT_TRUE(impatient);
  EXPECT_FALSE((*impatient)->await_open()) << "nothing starts in no time";
  ASSERT_TRUE((*spare)->await_open());
  const auto late = DeviceWorker::start(options);
  ASSERT_TRUE(late);
  pollfd file = {(*late)->reply_fd(), POLLIN, 0};
  ASSERT_EQ(poll(&file, 1, 20000), 1);
  EXPECT_TRUE((*late)->await_open()) << "its answer was there, long after its time";
}

TEST_F(OpenClWorkerTest, CallsAWriteBesideAnOutputByName) {
  const Verdict verdict = verdict_of(kernel("if (i == 0) y[n + 100] = 1;"));
  const auto* rejected = std::get_if<Rejected>(&verdict);
  ASSERT_NE(rejected, nullptr) << verdict_name(verdict);
  EXPECT_EQ(rejected->breach, "out_of_bounds_write");
  EXPECT_THAT(rejected->reason, HasSubstr("past the end of output y"));
}

TEST_F(OpenClWorkerTest, CallsAWriteToAnInputByName) {
  const Verdict verdict = verdict_of(kernel("if (i == 3) x[i] = 1;"));
  const auto* rejected = std::get_if<Rejected>(&verdict);
  ASSERT_NE(rejected, nullptr) << verdict_name(verdict);
  EXPECT_EQ(rejected->breach, "modified_input");
  EXPECT_THAT(rejected->reason, HasSubstr("input x at byte 12"));
}

TEST_F(OpenClWorkerTest, EndsAKernelThatNeverEnds) {
  const Verdict verdict = verdict_of(kernel("volatile int go = 1; while (go) {} y[i] = 1;"), 0.5);
  EXPECT_EQ(verdict_name(verdict), "timed_out") << verdict_reason(verdict);
  EXPECT_FALSE(worker->usable());
  const pid_t pid = worker->pid();
  worker.reset();
  EXPECT_EQ(::kill(pid, 0), -1) << "the worker is still there";
}

TEST_F(OpenClWorkerTest, ReportsAWildPointerAsACrash) {
  const Verdict verdict =
      verdict_of(kernel("if (i == 5) *(volatile __global int*)(ulong)(n * 8) = 1;"));
  EXPECT_EQ(verdict_name(verdict), "crashed") << verdict_reason(verdict);
  EXPECT_THAT(verdict_reason(verdict), HasSubstr("writing to address 0x1f40"));
}

TEST_F(OpenClWorkerTest, RefusesWhatDoesNotFitItsKernels) {
  const auto reason = [&](const std::string& source) {
    const Verdict verdict = verdict_of(source);
    return std::string(verdict_name(verdict)) + ": " + verdict_reason(verdict) + " " +
           verdict_evidence(verdict);
  };
  const std::string body =
      "__kernel void relu(__global const float* x, __global float* y, float n) "
      "{ y[get_global_id(0)] = x[0] + n; }\n";
  EXPECT_THAT(reason("// quern: launch rel grid 1 block 1 args (x, y, f32(n))\n" + body),
              HasSubstr("no kernel rel"));
  EXPECT_THAT(reason("// quern: launch relu grid 1 block 1 args (x, y)\n" + body),
              HasSubstr("takes 3 arguments, its launch gives 2"));
  EXPECT_THAT(reason("// quern: launch relu grid 1 block 1 args (x, y, n)\n" + body),
              HasSubstr("launch_failed: argument 3 of kernel relu ('n', of type float) is given a "
                        "whole number"));
  EXPECT_THAT(reason("// quern: scratch s : f32[1000000000, 100]\n"
                     "// quern: launch relu grid 1 block 1 args (s, y, f32(n))\n" +
                     body),
              HasSubstr("launch_failed: scratch takes 400000000000 bytes"));
}

TEST_F(OpenClWorkerTest, GivesCompilerMessagesWithoutNamesOfOurFolders) {
  const auto outcome = compile("__kernel void k(__global float* y) { y[0] = undeclared; }");
  ASSERT_TRUE(outcome.has_verdict());
  EXPECT_EQ(verdict_name(outcome.verdict()), "compile_failed");
  EXPECT_THAT(verdict_evidence(outcome.verdict()), HasSubstr("undeclared"));
  EXPECT_THAT(verdict_evidence(outcome.verdict()), testing::Not(HasSubstr(scratch_dir())));
}

TEST_F(OpenClWorkerTest, EndsACompilationThatTakesTooLong) {
  std::string source = "#define A0 x = x * 1.5f + y;\n";
  for (int i = 1; i < 10; ++i) {
    source += "#define A" + std::to_string(i);
    for (int copy = 0; copy < 8; ++copy) source += " A" + std::to_string(i - 1);
    source += "\n";
  }
  source += "__kernel void k(__global float* z) { float x = z[0], y = z[1]; A9 z[0] = x; }\n";
  const auto outcome = compile(source, 1.0);
  ASSERT_TRUE(outcome.has_verdict()) << (outcome.has_error() ? outcome.error().message : "");
  EXPECT_THAT(verdict_reason(outcome.verdict()), HasSubstr("compiler"));
}

TEST_F(OpenClWorkerTest, MeasuresWhatTheDeviceCanDo) {
  WorkerCompilerOptions options;
  options.worker.scratch_dir = scratch_dir();
  options.cache_dir = scratch_dir() + "-cache";
  const auto compiler = WorkerCompiler::make(options);
  ASSERT_TRUE(compiler) << compiler.error().message;
  const auto peaks = measure_device_peaks(**compiler, options.worker);
  ASSERT_TRUE(peaks) << peaks.error().message << peaks.error().hint;
  EXPECT_GT(peaks->fma_gflops, 0);
  ASSERT_GE(peaks->curve.size(), 3U);
  for (const BandwidthPoint& point : peaks->curve) EXPECT_GT(point.copy_gbs, 0);
  EXPECT_GT(peaks->bandwidth_gbs(1 << 20), 0);
}

TEST_F(OpenClWorkerTest, SaysWhichDeviceIsMissing) {
  WorkerOptions options;
  options.device = 77;
  options.scratch_dir = scratch_dir();
  const auto other = DeviceWorker::start(options);
  ASSERT_TRUE(other);
  const auto opened = (*other)->await_open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("there is no OpenCL device 77"));
}

}  // namespace
}  // namespace quern
