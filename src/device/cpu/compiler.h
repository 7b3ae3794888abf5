// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/sandbox.h"
#include "device/cpu/toolchain.h"
#include "record/evaluation.h"
#include "record/verdict.h"

namespace quern {

struct CompilerOptions {
  std::string cache_dir;         ///< ours alone; made if missing; may be shared by processes
  std::string compiler = "g++";  ///< or "clang++", or a path
  /// Text of the house header `quern_cpu.h`, precompiled once; "": none. A source uses it by having
  /// its #include as the first directive.
  std::string prelude;
  /// Further house headers, name and text, that stand beside the prelude.
  std::vector<std::pair<std::string, std::string>> headers;
  int threads = 2;         ///< how many compilations `compile_all` runs at once
  double deadline_s = 60;  ///< wall clock of one compilation
};

/// A native candidate to build.
struct CompileJob {
  std::string source;
  std::vector<std::pair<std::string, int64_t>> macros;  ///< specialised sizes: name, value
  bool trusted = false;                                 ///< ours: may link `libraries`
  std::vector<std::string> libraries;  ///< "openblas" for -lopenblas; trusted jobs only
  double deadline_s = 0;               ///< if below the compiler's own; 0: that one
};

/// A shared library made from a candidate.
struct Binary {
  std::string path;
  Build build;
};

/// Compiles candidates to shared libraries, each in a sandbox that reads the toolchain and writes
/// its own scratch folder, and keeps results by content: source, macros, flags, compiler, prelude
/// and processor. Thread-safe; processes may share the cache.
class CpuCompiler {
 public:
  /// Errors: kEnvironment without a working compiler, or when the cache cannot be written.
  static Result<std::unique_ptr<CpuCompiler>> make(CompilerOptions options);

  /// Verdict `CompileFailed` when the source is at fault: its diagnostics (names of our folders
  /// taken out), a deadline passed, or a limit reached. Failures by diagnostics are cached too.
  Outcome<Binary> compile(const CompileJob& job) const;

  /// Same, several at once; answers in the order of the jobs.
  std::vector<Outcome<Binary>> compile_all(const std::vector<CompileJob>& jobs) const;

  const std::string& version() const { return toolchain_.version; }
  const Toolchain& toolchain() const { return toolchain_; }
  /// What compilations are confined by, as found when the compiler was probed.
  const SandboxReport& sandbox() const { return sandbox_; }

  CpuCompiler(const CpuCompiler&) = delete;
  CpuCompiler& operator=(const CpuCompiler&) = delete;

 private:
  CpuCompiler() = default;
  Result<void> install_prelude();
  Result<void> precompile(const std::string& folder);
  std::string key_of(const CompileJob& job) const;
  Outcome<Binary> build(const CompileJob& job, const std::string& key,
                        const std::string& work) const;

  CompilerOptions options_;
  Toolchain toolchain_;
  std::string prelude_folder_;  ///< holds quern_cpu.h and its precompiled form; "": none
  std::string identity_;        ///< everything in a cache key but the job
  SandboxReport sandbox_;
};

}  // namespace quern
