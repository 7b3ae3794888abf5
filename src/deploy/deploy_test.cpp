// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/subprocess.h"
#include "deploy/artifact.h"
#include "deploy/size_text.h"
#include "task/parse.h"

namespace quern {
namespace {

using ir::IntExpr;

TEST(SizeText, WritesTheSameValueInBothLanguages) {
  const IntExpr half = ir::int_binary(IntExpr::Kind::kDiv, ir::int_size("h") + ir::int_constant(1),
                                      ir::int_constant(2));
  EXPECT_EQ(size_text(half, SizeLanguage::kPython), "((h + 1) // 2)");
  EXPECT_EQ(size_text(half, SizeLanguage::kCpp),
            "quern_floor_div((h + std::int64_t{1}), std::int64_t{2})");
}

TEST(SizeText, WritesTuplesOfOneAndOfNone) {
  EXPECT_EQ(shape_text({}, SizeLanguage::kPython), "()");
  EXPECT_EQ(shape_text({ir::int_size("n")}, SizeLanguage::kPython), "(n,)");
  EXPECT_EQ(shape_text({ir::int_size("n"), ir::int_size("m")}, SizeLanguage::kCpp), "n, m");
}

TEST(SizeText, LeavesReservedWordsToTheLanguages) {
  EXPECT_EQ(safe_name("lambda"), "lambda_");
  EXPECT_EQ(safe_name("lambdas"), "lambdas");
}

Winner winner(const std::string& text, const std::string& source) {
  const auto program = parse_task(text, "test.task");
  EXPECT_TRUE(program.has_value());
  Winner made;
  made.program = *program;
  made.sizes = *ir::bind_sizes(made.program, "full");
  made.task_text = text;
  made.source = source;
  made.binary = "ELF…";
  made.oracle = "ELF too";
  return made;
}

constexpr const char* kTask = R"(# Twice "as" much */
task twice(in = 4)
input x : f32[in]
output y[i] = 2 * x[i]
)";

const ArtifactFile* find(const std::vector<ArtifactFile>& files, const std::string& path) {
  const auto found = std::ranges::find(files, path, &ArtifactFile::path);
  return found == files.end() ? nullptr : &*found;
}

TEST(Artifact, HoldsTheMeasuredLibraryForEveryWrapper) {
  const auto files = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  ASSERT_TRUE(files.has_value());
  for (const char* path : {"lib/libtwice.so", "python/quern_twice/libtwice.so"}) {
    ASSERT_NE(find(*files, path), nullptr) << path;
    EXPECT_EQ(find(*files, path)->bytes, "ELF…");
  }
  EXPECT_NE(find(*files, "include/quern/twice.h"), nullptr);
  EXPECT_NE(find(*files, "test/test_twice.py"), nullptr);
}

TEST(Artifact, NoTextOfATaskEndsACommentOrBecomesAKeyword) {
  const auto files = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  ASSERT_TRUE(files.has_value());
  const std::string header = find(*files, "include/quern/twice.h")->bytes;
  EXPECT_NE(header.find("/* Twice as much / Generated"), std::string::npos) << header;
  const std::string package = find(*files, "python/quern_twice/__init__.py")->bytes;
  EXPECT_NE(package.find("in_ = x.shape[0]"), std::string::npos) << package;
}

TEST(Artifact, OnlyALibraryBuiltForItsSizesRefusesOthers) {
  const auto any = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  const auto fixed =
      make_artifact(winner(kTask, "// quern: entry = twice\n// quern: specialize = sizes\n"));
  ASSERT_TRUE(any.has_value() && fixed.has_value());
  const char* path = "include/quern/twice.hpp";
  EXPECT_EQ(find(*any, path)->bytes.find("built for in_"), std::string::npos);
  EXPECT_NE(find(*fixed, path)->bytes.find("built for in_ = 4"), std::string::npos);
}

TEST(Artifact, RefusesAKernelThatIsACallOfALibrary) {
  const auto files = make_artifact(winner(kTask, "// quern: libraries = openblas\n"));
  ASSERT_FALSE(files.has_value());
  EXPECT_NE(files.error().message.find("openblas"), std::string::npos);
}

/// A plan with everything that a plan may have: two kernels, scratch that is set first, a tensor
/// map, clusters, dynamic shared memory, and a launch that may begin early.
CudaCode cuda_code() {
  const auto buffer = [](BufferRef::Kind kind) {
    BoundArgument argument;
    argument.buffer = {kind, 0};
    return argument;
  };
  BoundArgument map;
  map.kind = LaunchArgument::Kind::kTensorMap;
  BoundArgument whole;
  whole.kind = LaunchArgument::Kind::kWhole;
  whole.whole = -4;
  BoundArgument half;
  half.kind = LaunchArgument::Kind::kScalar;
  half.type = PlanType::kF32;
  half.real = 0.5;
  BoundLaunch first;
  first.kernel = "copy";
  first.grid = {8, 2, 1};
  first.block = {32, 1, 1};
  first.cluster = {4, 4, 1};
  first.shared_bytes = 100'000;
  first.programmatic = true;
  first.arguments = {map, buffer(BufferRef::Kind::kScratch)};
  BoundLaunch second;
  second.kernel = "twice";
  second.programmatic = true;
  second.arguments = {buffer(BufferRef::Kind::kInput), buffer(BufferRef::Kind::kOutput), whole,
                      half};
  CudaCode code;
  code.cubin =
      "\x7f"
      "ELF machine code";
  code.architecture = "sm_90a";
  code.plan.scratch = {{"room", PlanType::kF32, 1000}};
  code.plan.maps = {{"tiles", {BufferRef::Kind::kInput, 0}, PlanType::kF32, {4}, {}, {4}, {1}}};
  code.plan.steps = {BoundFill{{BufferRef::Kind::kScratch, 0}, 7, 1000}, first, second};
  code.parameters = {{"copy", {128, 8}}, {"twice", {8, 8, 4, 4}}};
  return code;
}

/// A driver that says what it is asked for. Its GPU is of the capability of the environment.
constexpr const char* kDriver = R"(
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct config { unsigned grid[3], block[3], shared; void* stream; struct { int id, pad; unsigned v[16]; }* attributes; unsigned count; };
static char* names[8];
int cuInit(unsigned f) { return getenv("NO_GPU") ? 100 : (int)f; }
int cuGetErrorName(int s, const char** t) { *t = s == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_X"; return 0; }
int cuCtxGetCurrent(void** c) { *c = getenv("NO_CONTEXT") ? 0 : (void*)1; return 0; }
int cuCtxGetDevice(int* d) { *d = 0; return 0; }
int cuCtxGetId(void* c, unsigned long long* id) { *id = (uintptr_t)c; return 0; }
int cuDeviceGetName(char* n, int l, int d) { (void)d; strncpy(n, "a GPU", (size_t)l); return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { (void)d; *v = a == 75 ? atoi(getenv("MAJOR")) : 0; return 0; }
int cuModuleLoadData(void** m, const void* i) { printf("load %s\n", (const char*)i + 1); *m = (void*)2; return 0; }
int cuModuleGetFunction(void** f, void* m, const char* n) { static int next; (void)m; *f = names[next++] = strdup(n); return 0; }
int cuFuncSetAttribute(void* f, int a, int v) { printf("attribute %s %d = %d\n", (char*)f, a, v); return 0; }
int cuMemsetD8Async(uint64_t at, unsigned char v, size_t n, void* s) { printf("memset %p %d %zu %p\n", (void*)at, v, n, s); return 0; }
int cuMemAllocAsync(uint64_t* at, size_t n, void* s) { printf("allocate %zu %p\n", n, s); *at = 0x4000; return 0; }
int cuMemFreeAsync(uint64_t at, void* s) { printf("free %p %p\n", (void*)at, s); return 0; }
int cuTensorMapEncodeTiled(uint64_t* m, int t, uint32_t r, uint64_t at, const uint64_t* e, const uint64_t* st,
    const uint32_t* b, const uint32_t* es, int i, int sw, int l2, int fill) {
  (void)st; (void)i; (void)sw; (void)l2; (void)fill; (void)es;
  printf("map type %d rank %u at %p of %d box %u aligned %d\n", t, r, (void*)at, (int)e[0], b[0], (int)((uintptr_t)m % 64)); m[0] = 99; return 0; }
int cuLaunchKernelEx(const struct config* c, void* f, void** a, void** x) {
  (void)x;
  printf("launch %s (%u, %u, %u) x %u shared %u on %p:", (char*)f, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->shared, c->stream);
  for (unsigned i = 0; i < c->count; ++i) printf(" [%d: %u %u %u]", c->attributes[i].id, c->attributes[i].v[0], c->attributes[i].v[1], c->attributes[i].v[2]);
  for (; *a; ++a) printf(" %llx", (unsigned long long)**(uint64_t**)a);
  printf("\n");
  return 0;
}
)";

constexpr const char* kCaller = R"(
#include <stdio.h>
#include "quern/twice.h"
int main(void) {
  int status = quern_twice_run(4, (const float*)0x1000, (float*)0x2000, NULL, (void*)0x30);
  if (status != 0) { printf("%d %s\n", status, quern_twice_error()); return 1; }
  status = quern_twice_run(4, (const float*)0x1000, (float*)0x2000, (void*)0x100, NULL);
  printf("%d; scratch %d\n", status, QUERN_twice_SCRATCH_BYTES);
  printf("%d %s\n", quern_twice_run(5, NULL, NULL, NULL, NULL), quern_twice_error());
  printf("%d %s\n", quern_twice_run(4, (const float*)0x1004, (float*)0x2000, NULL, NULL), quern_twice_error());
  printf("%d %s\n", quern_twice_run(4, (const float*)0x1000, NULL, NULL, NULL), quern_twice_error());
  return 0;
}
)";

/// The exported launcher, built, with a driver of the test's in place of NVIDIA's.
class CudaLauncher : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "quern_cuda_launcher_" + std::to_string(getpid());
    Winner made = winner(kTask, "// quern: target = cuda\n");
    made.cuda = cuda_code();
    const auto files = make_artifact(made);
    ASSERT_TRUE(files.has_value()) << files.error().message;
    for (const ArtifactFile& file : *files) write(file.path, file.bytes);
    write("driver.c", kDriver);
    write("caller.c", kCaller);
    build({"-shared", "-fPIC", "driver.c", "-o", "libcuda.so.1"});
    // As its users may build it: strictly.
    build({"-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Iinclude", "source/twice.c",
           "caller.c", "-o", "caller", "-ldl", "-lpthread"});
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& path, const std::string& bytes) const {
    const std::string at = folder_ + "/" + path;
    std::filesystem::create_directories(std::filesystem::path(at).parent_path());
    ASSERT_TRUE(write_file_atomic(at, bytes));
  }
  void build(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "cc");
    const auto end = run_in(arguments, {});
    ASSERT_TRUE(end.status.ok()) << end.err;
  }
  ProcessEnd run_in(std::vector<std::string> argv, std::vector<std::string> environment) const {
    Command command;
    command.argv = std::move(argv);
    command.env = std::move(environment);
    command.env.push_back("PATH=/usr/bin:/bin");
    command.env.push_back("LD_LIBRARY_PATH=" + folder_);
    command.cwd = folder_;
    const auto end = run_process(command);
    EXPECT_TRUE(end.has_value());
    return end ? *end : ProcessEnd{};
  }
  std::string call(std::vector<std::string> environment) const {
    return run_in({folder_ + "/caller"}, std::move(environment)).out;
  }

  std::string folder_;
};

TEST_F(CudaLauncher, RunsThePlanOnTheCallersStreamAndMemory) {
  const std::string said = call({"MAJOR=9"});
  // Loaded once, with what the kernels need beyond the usual.
  EXPECT_EQ(said.substr(0, said.find("allocate")),
            "load ELF machine code\nattribute copy 8 = 100000\nattribute copy 14 = 1\n");
  EXPECT_EQ(said.substr(said.find("allocate"), said.find("free") - said.find("allocate")),
            "allocate 1024 0x30\n"
            "map type 7 rank 1 at 0x1000 of 4 box 4 aligned 0\n"
            "memset 0x4000 7 1000 0x30\n"
            "launch copy (8, 2, 1) x 32 shared 100000 on 0x30: [4: 4 4 1] [6: 1 0 0] 63 4000\n"
            "launch twice (1, 1, 1) x 1 shared 0 on 0x30: [6: 1 0 0] 1000 2000 "
            "fffffffffffffffc 3f000000\n");
  // With the caller's scratch nothing is allocated.
  const std::string second = said.substr(said.find("free"));
  EXPECT_EQ(second.find("allocate"), std::string::npos);
  EXPECT_NE(second.find("memset 0x100 7 1000 (nil)"), std::string::npos) << second;
  EXPECT_NE(second.find("0; scratch 1024"), std::string::npos) << second;
}

TEST_F(CudaLauncher, SaysWhatIsWrongWithACall) {
  const std::string said = call({"MAJOR=9"});
  for (const char* text : {"-1 twice: built for in_ = 4, not 5", "-1 twice: x is not aligned to 16",
                           "-1 twice: y is null"}) {
    EXPECT_NE(said.find(text), std::string::npos) << text << "\n" << said;
  }
}

TEST_F(CudaLauncher, RefusesAGpuThatItsMachineCodeIsNotFor) {
  EXPECT_EQ(
      call({"MAJOR=8"}),
      "-1 twice: the kernel is machine code for compute capability 9.0 (sm_90a), and a GPU has "
      "8.0: optimise the task on that GPU (quern optimize source/twice.task --target cuda)\n");
  EXPECT_EQ(call({"MAJOR=9", "NO_CONTEXT=1"}).substr(0, 40),
            "-1 twice: no CUDA context is current on ");
  EXPECT_EQ(call({"MAJOR=9", "NO_GPU=1"}), "100 twice: cuInit: CUDA_ERROR_NO_DEVICE (100)\n");
}

TEST(CudaArtifact, RefusesAPlanThatItsMachineCodeDoesNotFit) {
  Winner made = winner(kTask, "");
  made.cuda = cuda_code();
  made.cuda->parameters["twice"].pop_back();
  const auto files = make_artifact(made);
  ASSERT_FALSE(files.has_value());
  EXPECT_NE(files.error().message.find("no kernel twice of 4"), std::string::npos);
}

TEST(CudaArtifact, CodeWithoutALetterRunsOnLaterMinorVersions) {
  CudaCode code = cuda_code();
  EXPECT_EQ((*launcher_json(code, 1, 1))["minor_test"], "==");
  code.architecture = "sm_86";
  const Json json = *launcher_json(code, 1, 1);
  EXPECT_EQ(json["minor_test"], ">=");
  EXPECT_EQ(json["major"].get<int>() * 10 + json["minor"].get<int>(), 86);
}

}  // namespace
}  // namespace quern
