// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "device/cpu/kernel_process.h"
#include "device/cpu/testing.h"

namespace quern {

constexpr int kCount = 1000;  ///< elements of the input and of the output

/// Sources here define `k(n, x, y)`: one input and one output of `n` floats.
class KernelProcessTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new std::string(testing::TempDir() + "quern_kernel_test_" + std::to_string(getpid()));
    CompilerOptions options;
    options.cache_dir = *folder_;
    auto made = CpuCompiler::make(options);
    ASSERT_TRUE(made) << made.error().message;
    compiler_ = made->release();
  }
  static void TearDownTestSuite() {
    std::filesystem::remove_all(*folder_);
    delete compiler_;
    delete folder_;
  }
  void TearDown() override {
    process_.reset();
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left over";
    EXPECT_EQ(errno, ECHILD);
  }

  static Binary build(const std::string& body, bool trusted = false) {
    CompileJob job{"#include <stdint.h>\n" + body};
    job.trusted = trusted;
    auto binary = compiler_->compile(job);
    EXPECT_TRUE(binary) << trouble(binary);
    return binary ? *binary : Binary{};
  }
  static std::string kernel(const std::string& body, const std::string& head = "") {
    return head + "\nextern \"C\" void k(int64_t n, const float* x, float* y) {\n" + body + "\n}\n";
  }
  static KernelLayout layout() {
    KernelLayout layout;
    layout.sizes = {kCount};
    layout.inputs = {kCount * sizeof(float)};
    layout.outputs = {kCount * sizeof(float)};
    layout.input_names = {"x"};
    layout.output_names = {"y"};
    return layout;
  }

  Outcome<std::unique_ptr<KernelProcess>> launch(const std::string& source, KernelLayout layout,
                                                 KernelLimits limits = {}) {
    return KernelProcess::start(build(source), "k", layout, limits);
  }
  /// Starts `source` and remembers it; null (and a failure) when it does not start.
  KernelProcess* start(const std::string& source, KernelLayout layout, KernelLimits limits = {}) {
    auto started = launch(source, std::move(layout), limits);
    EXPECT_TRUE(started) << trouble(started);
    if (!started) return nullptr;
    process_ = std::move(*started);
    return process_.get();
  }
  /// The verdict of running `source` once.
  Verdict verdict_of(const std::string& source, KernelLayout layout = KernelProcessTest::layout(),
                     KernelLimits limits = {}, double limit_s = 10) {
    auto started = launch(source, std::move(layout), limits);
    if (started.has_verdict()) return started.verdict();
    EXPECT_TRUE(started) << trouble(started);
    if (!started) return Passed{};
    auto time = (*started)->run(1, limit_s);
    if (time.has_verdict()) return time.verdict();
    ADD_FAILURE() << "it ran";
    return Passed{};
  }
  template <class V>
  V expect(const Verdict& verdict) {
    if (std::holds_alternative<V>(verdict)) return std::get<V>(verdict);
    ADD_FAILURE() << "verdict " << verdict.index() << ": " << trouble(Outcome<Done>(verdict));
    return {};
  }
  std::string breach(const std::string& source, KernelLayout layout = KernelProcessTest::layout()) {
    return expect<Rejected>(verdict_of(source, std::move(layout))).breach;
  }
  static std::span<float> floats(std::span<std::byte> bytes) {
    return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
  }

  inline static std::string* folder_;
  inline static CpuCompiler* compiler_;
  std::unique_ptr<KernelProcess> process_;
};

}  // namespace quern
