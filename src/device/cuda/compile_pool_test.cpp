// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/compile_pool.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "device/cpu/testing.h"
#include "device/cuda/guard_image.h"
#include "device/cuda/ptx_assembler.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kRelu = R"(// quern: target = cuda
#include "quern_cuda.h"
extern "C" __global__ void relu(const float* x, float* y, long n) {
  long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = keep_positive(x[i]);
}
)";
constexpr const char* kPrelude =
    "#pragma once\n__device__ inline float keep_positive(float x) { return x > 0 ? x : 0; }\n";

/// Takes for ever, or a long time and all memory.
constexpr const char* kEndless = R"(
template <int n> struct Tree { static constexpr long value =
    Tree<2 * n>::value + Tree<2 * n + 1>::value; };
template <long depth, long path> __device__ long grow() {
  if constexpr (depth == 0) return path;
  else return grow<depth - 1, 2 * path>() + grow<depth - 1, 2 * path + 1>();
}
extern "C" __global__ void f(long* x) { *x = grow<19, 1>(); }
)";

/// Needs NVRTC, which needs no GPU; skips with the reason where there is none.
class CompilePoolTest : public testing::Test {
 protected:
  void SetUp() override {
    auto library = find_nvrtc("", {});
    if (!library) GTEST_SKIP() << library.error().message;
    options_.library = *library;
    folder_ = testing::TempDir() + "quern_compile_pool_test_" + std::to_string(getpid());
    ASSERT_TRUE(remove_all(folder_));
    options_.cache_dir = folder_;
    options_.prelude = kPrelude;
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<CompilePool> make() {
    auto pool = CompilePool::make(options_);
    EXPECT_TRUE(pool) << (pool ? "" : pool.error().message);
    return pool ? std::move(*pool) : nullptr;
  }
  static CompileFailed failure(const Outcome<CudaBinary>& outcome) {
    if (!outcome.has_verdict()) {
      ADD_FAILURE() << (outcome ? "it compiled" : outcome.error().message);
      return {};
    }
    return std::get<CompileFailed>(outcome.verdict());
  }

  CompilePoolOptions options_;
  std::string folder_;
};

TEST_F(CompilePoolTest, BuildsGuardsFromWhatAKernelWasMadeOf) {
  options_.linker = find_nvjitlink(options_.library.path, {});
  if (options_.linker.empty()) GTEST_SKIP() << "there is no nvJitLink here";
  auto pool = make();
  ASSERT_TRUE(pool);
  auto plain = pool->compile({kRelu});
  ASSERT_TRUE(plain) << trouble(plain);
  EXPECT_THAT(plain->ptx, HasSubstr(".entry relu"));
  CudaJob job;
  job.source = plain->ptx;
  job.guards = true;
  auto guarded = pool->compile(job);
  ASSERT_TRUE(guarded) << trouble(guarded);
  ASSERT_EQ(guarded->kernels.size(), 1u);
  EXPECT_EQ(guarded->kernels[0].parameters, plain->kernels[0].parameters);
  EXPECT_GT(guarded->kernels[0].code_bytes, plain->kernels[0].code_bytes);
  const auto notes = read_guard_notes(guarded->image);
  ASSERT_TRUE(notes);
  EXPECT_EQ(notes->sites.front().function, "relu");
  auto again = pool->compile(job);
  EXPECT_TRUE(again && again->build.cached);
  job.source = replace_all(plain->ptx, "ret;", "discard.global.L2 [%rd1], 128; ret;");
  EXPECT_THAT(trouble(pool->compile(job)), HasSubstr("guards do not know: discard"));
}

TEST_F(CompilePoolTest, SaysThatThereAreNoGuardsWithoutALinker) {
  auto pool = make();
  ASSERT_TRUE(pool);
  CudaJob job;
  job.source = "anything";
  job.guards = true;
  EXPECT_THAT(trouble(pool->compile(job)), HasSubstr("nvJitLink"));
}

TEST_F(CompilePoolTest, MakesACubinAndSaysWhatItsKernelsTake) {
  auto pool = make();
  ASSERT_TRUE(pool);
  EXPECT_THAT(pool->version(), HasSubstr("NVRTC 1"));
  auto binary = pool->compile({kRelu});
  ASSERT_TRUE(binary) << trouble(binary);
  EXPECT_EQ(binary->image.substr(1, 3), "ELF");
  ASSERT_EQ(binary->kernels.size(), 1u);
  const CubinKernel& kernel = binary->kernels[0];
  EXPECT_EQ(kernel.name, "relu");
  EXPECT_GT(kernel.registers, 4);
  EXPECT_GT(kernel.code_bytes, 0);
  using Parameter = CubinKernel::Parameter;
  EXPECT_EQ(kernel.parameters, (std::vector<Parameter>{{0, 8}, {8, 8}, {16, 8}}));
  EXPECT_THAT(binary->build.log, Not(HasSubstr("ptxas info")));
  EXPECT_THAT(binary->build.flags, HasSubstr("sm_90a"));
  EXPECT_FALSE(binary->build.cached);
}

TEST_F(CompilePoolTest, FindsABinaryAgainWithoutAWorkersHelp) {
  auto first = make()->compile({kRelu});
  ASSERT_TRUE(first);
  auto pool = make();
  auto second = pool->compile({kRelu});
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->build.cached);
  EXPECT_EQ(second->image, first->image);
  EXPECT_EQ(pool->started(), 1);
}

TEST_F(CompilePoolTest, UsesThePrecompiledPreludeAndWorksWithoutOne) {
  auto pool = make();
  const bool known = pool->version() != "NVRTC 12.0" && pool->version() < "NVRTC 12.8";
  EXPECT_TRUE(pool->precompiled() || known);
  // The header is there, wherever it is included.
  EXPECT_TRUE(pool->compile({"typedef int first;\n" + std::string(kRelu)}));
  EXPECT_TRUE(pool->compile({"extern \"C\" __global__ void plain(int* x) { *x = 1; }\n"}));
}

TEST_F(CompilePoolTest, DefinesSizesWithoutMovingLines) {
  auto pool = make();
  CudaJob job{std::string(kRelu) + "static_assert(QUERN_SIZE_dim == 77);\nint broken = ;\n",
              {{"QUERN_SIZE_dim", 77}}};
  auto failed = failure(pool->compile(job));
  EXPECT_THAT(failed.evidence, HasSubstr("candidate.cu(8): error"));
  EXPECT_THAT(failed.evidence, Not(HasSubstr("static assertion")));
}

TEST_F(CompilePoolTest, GivesASourceTheHeadersThatCameWithIt) {
  CudaJob job{"#include \"more.h\"\nextern \"C\" __global__ void f(int* x) { *x = kMore; }\n"};
  auto pool = make();
  EXPECT_THAT(failure(pool->compile(job)).reason, HasSubstr("more.h"));
  job.headers = {{"more.h", "constexpr int kMore = 5;\n"}};
  EXPECT_TRUE(pool->compile(job));
  job.headers[0].second = "constexpr int kMore = 6;\n";
  auto other = pool->compile(job);
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->build.cached);
}

TEST_F(CompilePoolTest, QuotesTheFirstDiagnosticAndNoFolderOfOurs) {
  auto failed =
      failure(make()->compile({"#include \"quern_cuda.h\"\n__device__ void f() { g(); }\n"}));
  EXPECT_THAT(failed.reason, HasSubstr("candidate.cu(2): error: identifier \"g\" is undefined"));
  EXPECT_THAT(failed.evidence, Not(HasSubstr(folder_)));
}

TEST_F(CompilePoolTest, TakesJobsOfALowerTurnFirst) {
  options_.workers = 1;
  auto pool = make();
  std::vector<CompilePool::Ticket> tickets;
  for (const uint64_t turn : {1, 2, 3, 1, 2}) {
    CudaJob job;
    job.source = fmt::format("__global__ void k() {{ __trap(); }} // {}", tickets.size());
    job.turn = turn;
    tickets.push_back(pool->submit(std::move(job)));
  }
  std::vector<CompilePool::Ticket> made;
  while (auto finished = pool->next(60)) made.push_back(finished->ticket);
  // The first is under way when the others come.
  EXPECT_THAT(made,
              testing::ElementsAre(tickets[0], tickets[3], tickets[1], tickets[4], tickets[2]));
}

TEST_F(CompilePoolTest, TellsTwinsByTheirMachineCode) {
  auto pool = make();
  const auto source = [](const char* name, const char* more) {
    return std::string("extern \"C\" __global__ void ") + name +
           "(float* x, int n) { __shared__ float s[64]; s[threadIdx.x] = x[n]; __syncthreads(); "
           "x[threadIdx.x] = s[63 - threadIdx.x]" +
           more + "; }  // " + name;
  };
  auto binaries = pool->compile_all(
      {{source("first", "")}, {source("another_name", "")}, {source("first", " + 1")}});
  for (const auto& binary : binaries) ASSERT_TRUE(binary) << trouble(binary);
  EXPECT_EQ(binaries[0]->build.binary_hash, binaries[1]->build.binary_hash);
  EXPECT_NE(binaries[0]->build.binary_hash, binaries[2]->build.binary_hash);
  EXPECT_EQ(binaries[0]->kernels[0].shared_bytes, 256);
}

TEST_F(CompilePoolTest, CountsSpillsAndLocalMemory) {
  CudaJob job{R"(extern "C" __global__ void spill(const float* x, float* y) {
    float a[96];
    for (int i = 0; i < 96; ++i) a[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < 96; ++i) sum = sum * a[95 - i] + a[i];
    y[threadIdx.x] = sum;
  })"};
  job.max_registers = 32;
  auto binary = make()->compile(job);
  ASSERT_TRUE(binary) << trouble(binary);
  EXPECT_LE(binary->kernels[0].registers, 32);
  EXPECT_GT(binary->kernels[0].spill_store_bytes, 0);
  EXPECT_GT(binary->kernels[0].stack_bytes, 0);
}

TEST_F(CompilePoolTest, MayNotReadFilesOfTheMachine) {
  auto pool = make();
  if (!pool->sandbox().files_restricted) GTEST_SKIP() << "this kernel has no Landlock";
  ASSERT_TRUE(write_file_atomic(folder_ + "/secret.h", "int secret;\n"));
  auto failed = failure(pool->compile({"#include \"" + folder_ + "/secret.h\"\n"}));
  EXPECT_THAT(failed.reason, HasSubstr("cannot open source file"));
  EXPECT_THAT(failure(pool->compile({"#include \"/etc/passwd\"\n"})).reason,
              HasSubstr("cannot open source file"));
}

TEST_F(CompilePoolTest, StopsACompilationThatDoesNotEnd) {
  options_.deadline_s = 1;
  auto pool = make();
  EXPECT_THAT(failure(pool->compile({kEndless})).reason, HasSubstr("the compiler"));
  // The next one is none the worse for it.
  EXPECT_TRUE(pool->compile({kRelu}));
}

TEST_F(CompilePoolTest, GivesASourceAnotherChanceWhenItsWorkerDies) {
  auto pool = make();
  pool->submit({kRelu});
  ASSERT_EQ(pool->processes().size(), 1u);
  ASSERT_EQ(kill(pool->processes()[0], SIGKILL), 0);
  auto finished = pool->next(60);
  ASSERT_TRUE(finished);
  EXPECT_TRUE(finished->outcome) << trouble(finished->outcome);
  EXPECT_EQ(pool->started(), 2);
}

TEST_F(CompilePoolTest, BlamesASourceThatKillsTwoWorkers) {
  auto pool = make();
  pool->submit({kEndless});
  ASSERT_EQ(kill(pool->processes().at(0), SIGKILL), 0);
  // Long enough for a new worker to start and be at it.
  EXPECT_FALSE(pool->next(1));
  ASSERT_EQ(kill(pool->processes().at(0), SIGKILL), 0);
  auto finished = pool->next(60);
  ASSERT_TRUE(finished);
  EXPECT_THAT(failure(finished->outcome).reason, HasSubstr("died of signal 9 twice"));
  EXPECT_TRUE(pool->compile({kRelu}));
}

TEST_F(CompilePoolTest, ReplacesWorkersAfterAWhile) {
  options_.workers = 1;
  options_.recycle_after = 2;
  auto pool = make();
  std::vector<CudaJob> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.push_back({"extern \"C\" __global__ void f(int* x) { *x = " + std::to_string(i) + "; }"});
  }
  for (const auto& outcome : pool->compile_all(jobs)) EXPECT_TRUE(outcome);
  EXPECT_EQ(pool->started(), 3);
}

TEST_F(CompilePoolTest, LeavesNoFolderBehind) {
  EXPECT_TRUE(make()->compile({kRelu}));
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_EQ(entry.path().filename(), "cubin");
  }
}

TEST(Nvrtc, SaysEveryPlaceItLookedIn) {
  auto none = find_nvrtc("/no/such/libnvrtc.so", {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("/no/such/libnvrtc.so"));
  EXPECT_THAT(none.error().hint, HasSubstr("CUDA 12"));
}

}  // namespace
}  // namespace quern::cuda
