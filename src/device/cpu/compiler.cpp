// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/compiler.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "device/cpu/build_cache.h"
#include "device/cpu/symbols.h"

namespace quern {
namespace {

constexpr const char* kPreludeName = "quern_cpu.h";
constexpr size_t kLogLimit = 64 * 1024;
constexpr uint64_t kCompilerMemory = uint64_t{2} << 30;
constexpr uint64_t kCompilerFile = uint64_t{256} << 20;

/// A scratch folder that is gone when its job is.
class WorkFolder {
 public:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  ~WorkFolder() { (void)remove_all(path_); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A number that no other compilation of this process has: several compilers may share a folder.
uint64_t next_work() {
  static std::atomic<uint64_t> next{0};
  return next.fetch_add(1);
}

/// A command of the toolchain, confined: it reads the toolchain and `readable`, and writes `work`.
Command confined(std::vector<std::string> argv, const std::string& work,
                 const std::string& readable, double deadline_s) {
  Command command;
  command.argv = std::move(argv);
  command.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + work};
  command.cwd = work;
  command.deadline_s = deadline_s;
  command.output_cap_bytes = 4 * kLogLimit;
  command.limits.address_space_bytes = kCompilerMemory;
  command.limits.file_size_bytes = kCompilerFile;
  command.limits.cpu_s = static_cast<uint64_t>(std::ceil(deadline_s)) + 1;
  command.sandbox.restrict_files = true;
  command.sandbox.read_exec = {"/usr", "/bin", "/lib", "/lib64", "/opt"};
  command.sandbox.read_only = {"/etc/ld.so.cache"};
  if (!readable.empty()) command.sandbox.read_only.push_back(readable);
  command.sandbox.read_write = {work, "/dev/null"};
  // Nothing of the candidate runs here; a kernel whose Landlock covers TCP needs no namespace.
  command.sandbox.no_network = landlock_abi() < 4;
  return command;
}

/// The first line that says what is wrong, without its place: "'x' was not declared".
std::string first_error(const std::string& log) {
  for (const std::string& line : split(log, '\n')) {
    for (std::string_view mark : {"error: ", "undefined reference", "Error: "}) {
      size_t at = line.find(mark);
      if (at == std::string::npos) continue;
      bool keep = mark[0] == 'u';
      return "the compiler said: " + line.substr(keep ? at : at + mark.size());
    }
  }
  return "the compiler failed";
}

CompileFailed explain(const ProcessEnd& end, const std::string& log, double deadline_s) {
  if (end.timed_out || end.status.signal == SIGXCPU) {
    return {fmt::format("the compiler exceeded {} s", deadline_s), log};
  }
  if (log.find("out of memory") != std::string::npos ||
      log.find("cannot allocate") != std::string::npos) {
    return {fmt::format("the compiler exceeded {} MiB of memory", kCompilerMemory >> 20), log};
  }
  if (end.status.signal == SIGXFSZ) {
    return {fmt::format("the binary exceeds {} MiB", kCompilerFile >> 20), log};
  }
  if (end.status.signal != 0) {
    return {fmt::format("the compiler died of signal {}", end.status.signal), log};
  }
  return {first_error(log), log};
}

}  // namespace

Result<std::unique_ptr<CpuCompiler>> CpuCompiler::make(CompilerOptions options) {
  std::unique_ptr<CpuCompiler> compiler(new CpuCompiler);
  compiler->options_ = std::move(options);
  std::string& cache = compiler->options_.cache_dir;
  QUERN_TRY(make_directories(cache));
  std::error_code code;
  cache = std::filesystem::absolute(cache, code).lexically_normal().string();
  WorkFolder work(fmt::format("{}/work-{}-probe-{}", cache, getpid(), steady_now_ns()));
  QUERN_TRY(make_directories(work.path()));
  QUERN_ASSIGN(compiler->toolchain_, probe_toolchain(compiler->options_.compiler, work.path()));
  Processor processor = this_processor();
  std::string headers;
  for (const auto& [name, text] : compiler->options_.headers) headers += name + "\n" + text;
  compiler->identity_ = Hasher()
                            .add(compiler->toolchain_.version)
                            .add(compiler->toolchain_.driver)
                            .add(join(compiler->toolchain_.flags, " "))
                            .add(processor.model)
                            .add(processor.features)
                            .add(compiler->options_.prelude)
                            .add(headers)
                            .hex();
  QUERN_ASSIGN(ProcessEnd trial, run_process(confined({"true"}, work.path(), "", 10)));
  compiler->sandbox_ = trial.sandbox;
  QUERN_TRY(compiler->install_prelude());
  return compiler;
}

Result<void> CpuCompiler::install_prelude() {
  if (options_.prelude.empty()) return {};
  std::string folder = options_.cache_dir + "/prelude-" + identity_.substr(0, 16);
  prelude_folder_ = folder;
  if (file_exists(folder)) return {};
  // Made beside and renamed: another process then finds all of it or nothing.
  WorkFolder made(fmt::format("{}.{}-{}", folder, getpid(), steady_now_ns()));
  QUERN_TRY(make_directories(made.path()));
  QUERN_TRY(write_file_atomic(made.path() + "/" + kPreludeName, options_.prelude));
  for (const auto& [name, text] : options_.headers) {
    QUERN_TRY(write_file_atomic(made.path() + "/" + name, text));
  }
  QUERN_TRY(precompile(made.path()));
  if (rename(made.path().c_str(), folder.c_str()) != 0 && !file_exists(folder)) {
    return system_error("write", folder, errno);
  }
  return {};
}

Result<void> CpuCompiler::precompile(const std::string& folder) {
  std::vector<std::string> argv = {toolchain_.driver};
  argv.insert(argv.end(), toolchain_.flags.begin(), toolchain_.flags.end());
  if (toolchain_.gcc) {
    argv.insert(argv.end(), {"-x", "c++-header", kPreludeName, "-o", "quern_cpu.h.gch"});
  } else {
    // clang uses a precompiled header only when told on the command line: check it, no more.
    argv.insert(argv.end(), {"-fsyntax-only", "-x", "c++", kPreludeName});
  }
  QUERN_ASSIGN(ProcessEnd end, run_process(confined(argv, folder, "", options_.deadline_s)));
  if (end.status.ok()) return {};
  return Error{ErrorKind::kInternal,
               fmt::format("{} does not compile with {}: {}", kPreludeName, toolchain_.version,
                           shorten(trim(end.err), 2000)),
               ""};
}

std::string CpuCompiler::key_of(const CompileJob& job) const {
  Hasher hasher;
  hasher.add(identity_).add(job.source);
  for (const auto& [name, value] : job.macros) hasher.add(name).add(std::to_string(value));
  hasher.add(job.trusted ? "trusted" : "").add(join(job.libraries, " "));
  return hasher.hex();
}

Outcome<Binary> CpuCompiler::compile(const CompileJob& job) const {
  if (!job.trusted && !job.libraries.empty()) {
    return Verdict(CompileFailed{"a candidate may not link libraries",
                                 "libraries: " + join(job.libraries, ", ")});
  }
  for (const auto& [name, value] : job.macros) {
    if (!is_identifier(name)) return Error{ErrorKind::kInternal, "bad macro name " + name, ""};
  }
  std::string key = key_of(job);
  if (auto found = BuildCache(options_.cache_dir + "/bin").find(key)) return std::move(*found);
  WorkFolder work(fmt::format("{}/work-{}-{}", options_.cache_dir, getpid(), next_work()));
  if (auto made = make_directories(work.path()); !made) return made.error();
  return build(job, key, work.path());
}

Outcome<Binary> CpuCompiler::build(const CompileJob& job, const std::string& key,
                                   const std::string& work) const {
  auto written = write_file_atomic(work + "/candidate.cpp", job.source);
  if (!written) return written.error();
  BuildCache cache(options_.cache_dir + "/bin");
  const double deadline_s =
      job.deadline_s > 0 ? std::min(job.deadline_s, options_.deadline_s) : options_.deadline_s;
  int64_t start = steady_now_ns();
  Build build{toolchain_.version, join(toolchain_.flags, " "), "", "", 0, false};
  for (auto& step : steps_for(toolchain_, job.macros, prelude_folder_, job.libraries)) {
    if (step[0] == "ld" && toolchain_.gcc && job.libraries.empty()) {
      auto undefined = undefined_symbols(work + "/candidate.o");
      if (undefined) step = lighter_link(step, *undefined);
    }
    double left = deadline_s - seconds_between(start, steady_now_ns());
    auto end = run_process(confined(step, work, prelude_folder_, std::max(left, 0.01)));
    if (!end) return end.error();
    std::string log = replace_all(end->err + end->out, work + "/", "");
    if (!prelude_folder_.empty()) log = replace_all(log, prelude_folder_ + "/", "");
    build.log = shorten(build.log + log, kLogLimit);
    if (end->status.ok()) continue;
    CompileFailed failure = explain(*end, build.log, deadline_s);
    // A deadline or a limit may be this machine's load; diagnostics are the source's alone.
    if (!end->timed_out && end->status.signal == 0) {
      if (auto put = cache.put_failure(key, failure); !put) return put.error();
    }
    return Verdict(std::move(failure));
  }
  build.compile_ms = seconds_between(start, steady_now_ns()) * 1e3;
  auto binary = cache.put(key, work + "/candidate.so", std::move(build));
  if (!binary) return binary.error();
  return std::move(*binary);
}

std::vector<Outcome<Binary>> CpuCompiler::compile_all(const std::vector<CompileJob>& jobs) const {
  std::vector<std::optional<Outcome<Binary>>> slots(jobs.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next++; i < jobs.size(); i = next++) slots[i] = compile(jobs[i]);
  };
  std::vector<std::thread> threads;
  size_t wanted = std::min(jobs.size(), static_cast<size_t>(std::max(1, options_.threads)));
  for (size_t i = 1; i < wanted; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  std::vector<Outcome<Binary>> outcomes;
  for (auto& slot : slots) outcomes.push_back(std::move(*slot));
  return outcomes;
}

}  // namespace quern
