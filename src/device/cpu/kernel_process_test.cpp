// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/kernel_process.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <thread>

#include "device/cpu/kernel_process_testing.h"

namespace quern {
namespace {

using testing::HasSubstr;

constexpr const char* kTwice = R"(
#pragma omp parallel for
for (int64_t i = 0; i < n; ++i) y[i] = 2 * x[i];
)";

TEST_F(KernelProcessTest, ComputesOnBothAlignmentsAndAllSlots) {
  for (Align align : {Align::kLeft, Align::kRight}) {
    KernelLayout shape = layout();
    shape.align = align;
    shape.slots = 3;
    KernelProcess* process = start(kernel(kTwice), shape, {.threads = 2});
    ASSERT_NE(process, nullptr);
    for (int slot = 0; slot < 3; ++slot) floats(process->input(slot, 0))[7] = 10.0f + slot;
    process->poison_outputs();
    auto time = process->run(2, 10);
    ASSERT_TRUE(time) << trouble(time);
    EXPECT_GT(*time, 0);
    EXPECT_EQ(floats(process->output(0, 0))[7], 20);
    EXPECT_EQ(floats(process->output(1, 0))[7], 22);
    EXPECT_TRUE(std::isnan(floats(process->output(2, 0))[7])) << "two calls take two slots";
    ASSERT_TRUE(process->run(2, 10, 2));
    EXPECT_EQ(floats(process->output(2, 0))[7], 24);
    EXPECT_TRUE(process->canaries_ok());
    bool right = reinterpret_cast<uintptr_t>(process->output(0, 0).data()) % 4096 != 0;
    EXPECT_EQ(right, align == Align::kRight);
  }
}

TEST_F(KernelProcessTest, CallsAKernelWithHundredsOfTensors) {
  constexpr int kInputs = 300;
  KernelLayout many = layout();
  many.inputs.assign(kInputs, sizeof(float));
  many.outputs = {sizeof(float)};
  many.input_names.clear();
  std::string head = "int64_t n", sum = "0";
  for (int i = 0; i < kInputs; ++i) {
    head += ", const float* x" + std::to_string(i);
    sum += " + x" + std::to_string(i) + "[0] * " + std::to_string(i + 1);
  }
  KernelProcess* process =
      start("extern \"C\" void k(" + head + ", float* y) { y[0] = n + " + sum + "; }\n", many);
  ASSERT_NE(process, nullptr);
  for (int i = 0; i < kInputs; ++i) floats(process->input(0, i))[0] = 1;
  ASSERT_TRUE(process->run(1, 10));
  EXPECT_EQ(floats(process->output(0, 0))[0], kCount + kInputs * (kInputs + 1) / 2);
}

TEST_F(KernelProcessTest, SeesInputsChangedBetweenRuns) {
  KernelProcess* process = start(kernel(kTwice), layout());
  ASSERT_NE(process, nullptr);
  for (float value : {1.0f, 2.0f, 3.0f}) {
    floats(process->input(0, 0))[999] = value;
    ASSERT_TRUE(process->run(1, 10));
    EXPECT_EQ(floats(process->output(0, 0))[999], 2 * value);
  }
}

TEST_F(KernelProcessTest, BuffersServeTheNextProcessWithoutTheResultsInThem) {
  auto first = launch(kernel(kTwice), layout());
  ASSERT_TRUE(first) << trouble(first);
  floats((*first)->input(0, 0))[7] = 10;
  ASSERT_TRUE((*first)->run(1, 10));
  ASSERT_EQ(floats((*first)->output(0, 0))[7], 20);
  std::vector<SharedBuffer> buffers = (*first)->take_buffers();
  ASSERT_FALSE(buffers.empty());
  auto second = KernelProcess::prepare(layout(), {}, false, std::move(buffers));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(std::isnan(floats((*second)->output(0, 0))[7])) << "before it could look";
  ASSERT_TRUE((*second)->give(build(kernel("")), "k"));
  ASSERT_TRUE((*second)->await_start());
  ASSERT_TRUE((*second)->run(1, 10));
  EXPECT_EQ(floats((*second)->input(0, 0))[7], 10) << "inputs stay";
  EXPECT_TRUE(std::isnan(floats((*second)->output(0, 0))[7]));
  EXPECT_TRUE((*second)->canaries_ok());
}

TEST_F(KernelProcessTest, AProcessThatWaitsTakesACandidateBuiltLater) {
  auto process = KernelProcess::prepare(layout(), {}, false);
  ASSERT_TRUE(process) << process.error().message;
  floats((*process)->input(0, 0))[7] = 10;
  EXPECT_TRUE((*process)->waiting());
  ASSERT_TRUE((*process)->give(build(kernel(kTwice)), "k"));
  EXPECT_FALSE((*process)->waiting());
  ASSERT_TRUE((*process)->await_start());
  ASSERT_TRUE((*process)->run(1, 10));
  EXPECT_EQ(floats((*process)->output(0, 0))[7], 20);
}

TEST_F(KernelProcessTest, AProcessThatDiedWaitingLeavesItsBuffersToTheNext) {
  auto process = KernelProcess::prepare(layout(), {}, false);
  ASSERT_TRUE(process) << process.error().message;
  (*process)->doom();
  while ((*process)->waiting()) usleep(100);
  EXPECT_EQ((*process)->take_buffers().size(), 2);
}

TEST_F(KernelProcessTest, AProcessWaitsForTheThreadThatMadeIt) {
  auto process = KernelProcess::prepare(layout(), {}, false);
  ASSERT_TRUE(process) << process.error().message;
  bool elsewhere = true;
  std::thread([&] { elsewhere = (*process)->waiting(); }).join();
  EXPECT_FALSE(elsewhere) << "it may end with its thread at any moment";
  EXPECT_TRUE((*process)->waiting());
}

TEST_F(KernelProcessTest, ABinaryThatIsGoneIsNotTheCandidatesFault) {
  auto started = KernelProcess::start({*folder_ + "/gone.so", {}}, "k", layout(), {});
  ASSERT_TRUE(started.has_error());
  EXPECT_THAT(started.error().message, HasSubstr("gone.so"));
}

TEST_F(KernelProcessTest, TwoLiveAtOnce) {
  auto first = launch(kernel("y[0] = 1;"), layout());
  auto second = launch(kernel("y[0] = 2;"), layout());
  ASSERT_TRUE(first && second);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE((*first)->run(3, 10));
    ASSERT_TRUE((*second)->run(3, 10));
  }
  EXPECT_EQ(floats((*first)->output(0, 0))[0], 1);
  EXPECT_EQ(floats((*second)->output(0, 0))[0], 2);
}

TEST_F(KernelProcessTest, ManyArgumentsArriveInOrder) {
  KernelLayout shape;
  for (int i = 0; i < 10; ++i) shape.sizes.push_back(100 + i);
  shape.inputs.assign(10, 64);
  shape.outputs.assign(2, 64);
  std::string source = "extern \"C\" void k(";
  for (int i = 0; i < 10; ++i) source += "int64_t s" + std::to_string(i) + ", ";
  for (int i = 0; i < 10; ++i) source += "const float* x" + std::to_string(i) + ", ";
  source += "float* y, float* z) { y[0] = s0; y[1] = s9; y[2] = x0[0]; z[0] = x9[0]; }";
  KernelProcess* process = start(source, shape);
  ASSERT_NE(process, nullptr);
  floats(process->input(0, 0))[0] = 5;
  floats(process->input(0, 9))[0] = 6;
  ASSERT_TRUE(process->run(1, 10));
  auto y = floats(process->output(0, 0));
  EXPECT_EQ(y[0], 100);
  EXPECT_EQ(y[1], 109);
  EXPECT_EQ(y[2], 5);
  EXPECT_EQ(floats(process->output(0, 1))[0], 6);
}

TEST_F(KernelProcessTest, LargeBuffersWork) {
  KernelLayout shape = layout();
  constexpr int64_t kLarge = 3'000'001;
  shape.sizes = {kLarge};
  shape.inputs = shape.outputs = {kLarge * 4};
  shape.align = Align::kRight;
  shape.slots = 2;
  KernelProcess* process = start(kernel(kTwice), shape, {.threads = 2});
  ASSERT_NE(process, nullptr);
  floats(process->input(1, 0))[kLarge - 1] = 4;
  ASSERT_TRUE(process->run(2, 10));
  EXPECT_EQ(floats(process->output(1, 0))[kLarge - 1], 8);
}

TEST_F(KernelProcessTest, AThreadOfItsOwnIsAllowedAfterTheFilters) {
  std::string head = "#include <thread>";
  std::string body =
      "std::thread t([&] { y[0] = 3; }); t.join();\n"
      "_Pragma(\"omp parallel num_threads(5)\") { y[1 + 0 * n] = 4; }";
  KernelProcess* process = start(kernel(body, head), layout(), {.threads = 2});
  ASSERT_NE(process, nullptr);
  auto time = process->run(1, 10);
  ASSERT_TRUE(time) << trouble(time);
  EXPECT_EQ(floats(process->output(0, 0))[0], 3);
  EXPECT_EQ(floats(process->output(0, 0))[1], 4);
}

TEST_F(KernelProcessTest, PrintingIsHarmlessAndAFloodDoesNotBlock) {
  std::string head = "#include <stdio.h>";
  KernelProcess* process =
      start(kernel("for (int i = 0; i < 100000; ++i) printf(\"hello %d\\n\", i); y[0] = 1;"
                   "fflush(stdout);",
                   head),
            layout());
  ASSERT_NE(process, nullptr);
  auto time = process->run(1, 10);
  ASSERT_TRUE(time) << trouble(time);
  EXPECT_THAT(process->printed(), HasSubstr("hello 0\nhello 1\n"));
  EXPECT_LE(process->printed().size(), 128u * 1024);
}

TEST_F(KernelProcessTest, TheRoundingModeDoesNotLeakToTheNextRun) {
  std::string body = R"(
unsigned state; asm volatile("stmxcsr %0" : "=m"(state));
y[0] = state == 0x1f80;
state = 0xffc0; asm volatile("ldmxcsr %0" : : "m"(state));)";
  KernelProcess* process = start(kernel(body), layout());
  ASSERT_NE(process, nullptr);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(process->run(1, 10));
    EXPECT_EQ(floats(process->output(0, 0))[0], 1) << i;
  }
}

TEST_F(KernelProcessTest, FrozenCandidatesDoNotMove) {
  std::string head = "#include <thread>";
  std::string body =
      "volatile float* p = y; std::thread([p] { for (;;) p[0] = p[0] + 1; }).detach();";
  KernelProcess* process = start(kernel(body, head), layout());
  ASSERT_NE(process, nullptr);
  floats(process->output(0, 0))[0] = 0;
  ASSERT_TRUE(process->run(1, 10));
  ASSERT_TRUE(process->freeze());
  float before = floats(process->output(0, 0))[0];
  int64_t worked = process->cpu_time_ns();
  usleep(30'000);
  EXPECT_EQ(floats(process->output(0, 0))[0], before);
  EXPECT_EQ(process->cpu_time_ns(), worked);
  process->thaw();
  usleep(30'000);
  EXPECT_GT(process->cpu_time_ns(), worked) << "work after the answer is visible";
  ASSERT_TRUE(process->run(1, 10)) << "run thaws";
}

TEST_F(KernelProcessTest, AHangIsTimedOut) {
  TimedOut verdict = expect<TimedOut>(
      verdict_of(kernel("for (volatile int i = 0;; ) { i = i + 1; }"), layout(), {}, 0.3));
  EXPECT_EQ(verdict.limit_s, 0.3);
  EXPECT_EQ(verdict.reason, "did not finish within 0.3 s");
}

TEST_F(KernelProcessTest, AHangWhileLoadingIsTimedOut) {
  KernelLimits limits{.start_s = 0.3};
  expect<TimedOut>(verdict_of(
      kernel("", "__attribute__((constructor)) void f() { for (volatile int i = 0;;) i = 1; }"),
      layout(), limits));
}

TEST_F(KernelProcessTest, EveryLaterCallReturnsTheSameVerdict) {
  KernelProcess* process = start(kernel("__builtin_trap();"), layout());
  ASSERT_NE(process, nullptr);
  expect<Crashed>(process->run(1, 10).verdict());
  expect<Crashed>(process->run(1, 10).verdict());
  expect<Crashed>(process->freeze().verdict());
  EXPECT_EQ(process->cpu_time_ns(), 0);
}

TEST_F(KernelProcessTest, MemoryBeyondTheLimitIsSaid) {
  KernelLimits limits{.memory_bytes = 100 << 20};
  std::string hog = "for (;;) { float* p = new float[1 << 20]; p[0] = n; y[0] += p[0]; }";
  Crashed verdict = expect<Crashed>(verdict_of(kernel(hog), layout(), limits));
  EXPECT_EQ(verdict.reason, "ran out of its memory limit of 100 MiB");
  std::string null = "volatile float* p = (float*)malloc(1ul << 40); p[0] = n; y[0] = p[0];";
  verdict = expect<Crashed>(verdict_of(kernel(null, "#include <stdlib.h>"), layout(), limits));
  EXPECT_EQ(verdict.reason, "ran out of its memory limit of 100 MiB");
  EXPECT_THAT(verdict.evidence, HasSubstr("1099511627"));
}

TEST_F(KernelProcessTest, MemoryWithinTheLimitIsFine) {
  KernelLimits limits{.memory_bytes = 400 << 20, .threads = 2};
  std::string body = "volatile char* p = new char[300 << 20]; p[n] = 1; y[0] = p[n]; delete[] p;";
  KernelProcess* process = start(kernel(body), layout(), limits);
  ASSERT_NE(process, nullptr);
  auto time = process->run(3, 10);
  EXPECT_TRUE(time) << trouble(time);
}

TEST_F(KernelProcessTest, EndingTheProcessIsACrash) {
  std::string head = "#include <stdlib.h>\n#include <unistd.h>";
  EXPECT_EQ(expect<Crashed>(verdict_of(kernel("exit(0);", head))).reason,
            "ended the process with exit code 0");
  EXPECT_EQ(expect<Crashed>(verdict_of(kernel("_exit(7);", head))).reason,
            "ended the process with exit code 7");
  Crashed verdict = expect<Crashed>(verdict_of(kernel("abort();", head)));
  EXPECT_EQ(verdict.reason, "aborted");
  EXPECT_EQ(verdict.signal, SIGABRT);
}

TEST_F(KernelProcessTest, CrashesSayWhatHappened) {
  EXPECT_THAT(expect<Crashed>(verdict_of(kernel("*(volatile float*)8 = 1;"))).reason,
              HasSubstr("writing to address 0x8: a null pointer"));
  EXPECT_THAT(
      expect<Crashed>(verdict_of(kernel("y[0] = *(volatile float*)0x123456789000;"))).reason,
      HasSubstr("reading address 0x123456789000, which is not its memory"));
  EXPECT_THAT(expect<Crashed>(verdict_of(kernel("volatile int zero = 0; y[0] = 7 / zero;"))).reason,
              HasSubstr("divided an integer by zero"));
}

TEST_F(KernelProcessTest, InfiniteRecursionOverflowsTheStack) {
  std::string head =
      "__attribute__((noinline)) int deep(volatile int* p) { volatile int a[64]; a[1] = *p; "
      "return deep(a + 1) + a[1]; }";
  std::string body = "int i = 1; y[0] = deep(&i);";
  EXPECT_EQ(expect<Crashed>(verdict_of(kernel(body, head))).reason, "overflowed its stack");
  std::string threads = "_Pragma(\"omp parallel num_threads(2)\") { " + body + " }";
  EXPECT_EQ(expect<Crashed>(verdict_of(kernel(threads, head), layout(), {.threads = 2})).reason,
            "overflowed its stack");
}

TEST_F(KernelProcessTest, AMissingEntryListsWhatThereIs) {
  auto started = KernelProcess::start(
      build("void k(int64_t, const float*, float*) {}\nextern \"C\" void other() {}"), "k",
      layout(), {});
  ASSERT_TRUE(started.has_verdict()) << trouble(started);
  LaunchFailed verdict = expect<LaunchFailed>(started.verdict());
  EXPECT_EQ(verdict.reason, "there is no function k in the candidate");
  EXPECT_THAT(verdict.evidence, HasSubstr("other"));
  EXPECT_THAT(verdict.evidence,
              HasSubstr("expected extern \"C\" void k(1 sizes, 1 inputs, 1 outputs)"));
  EXPECT_THAT(verdict.evidence, HasSubstr("looks like it without extern \"C\""));
}

TEST_F(KernelProcessTest, AFileThatIsNoLibraryIsALaunchFailure) {
  Binary binary{*folder_ + "/no.so", {}};
  ASSERT_TRUE(write_file_atomic(binary.path, "not a library"));
  auto started = KernelProcess::start(binary, "k", layout(), {});
  ASSERT_TRUE(started.has_verdict()) << trouble(started);
  EXPECT_THAT(expect<LaunchFailed>(started.verdict()).evidence, HasSubstr("candidate.so"));
}

TEST_F(KernelProcessTest, RefusesLayoutsThatCannotBe) {
  Binary binary = build(kernel(""));
  KernelLayout shape = layout();
  shape.slots = 0;
  EXPECT_TRUE(KernelProcess::start(binary, "k", shape, {}).has_error());
  shape = layout();
  shape.inputs.assign(600, 4);
  EXPECT_TRUE(KernelProcess::start(binary, "k", shape, {}).has_error());
}

}  // namespace
}  // namespace quern
