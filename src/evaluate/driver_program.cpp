// SPDX-License-Identifier: Apache-2.0
#include "evaluate/driver_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "evaluate/statistics.h"

namespace quern {
namespace {

constexpr const char* kMark = "quern-driver";
constexpr double kConfidence = 0.95;
constexpr uint64_t kCompilerMemory = uint64_t{4} << 30;

/// Each pair begins with the other side, on inputs of its own. Prompts and drivers count on
/// <algorithm> to bring <functional> and <array>, as GCC's library did up to version 11.
constexpr const char* kMain = R"cpp(
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include "cpu.cc"
  namespace {
  double nanoseconds(void (*call)(Context*), Context* context) {
    reset(context);
    const auto start = std::chrono::steady_clock::now();
    call(context);
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  }
  void check(Context* context) {
    std::printf("\nquern-driver valid %d\n", validate(context) ? 1 : 0);
    std::fflush(stdout);
  }
  }  // namespace
  int main(int, char** argv) {
    Context* context = init();
    check(context);
    const auto start = std::chrono::steady_clock::now();
    for (int pair = 0; pair < std::atoi(argv[1]); ++pair) {
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      if (pair >= std::atoi(argv[2]) && spent.count() > std::atof(argv[3])) break;
      double baseline = pair % 2 ? nanoseconds(best, context) : 0;
      const double candidate = nanoseconds(compute, context);
      if (pair % 2 == 0) baseline = nanoseconds(best, context);
      std::printf("\nquern-driver pair %.1f %.1f\n", baseline, candidate);
    }
    check(context);
    destroy(context);
  }
)cpp";

/// A folder of its own, removed with all that is in it.
class Scratch {
 public:
  static Result<Scratch> make(const std::string& base) {
    Scratch made(fmt::format("{}/driver-{}", base, steady_now_ns()));
    QUERN_TRY(make_directories(made.path_));
    return made;
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (!path_.empty()) (void)remove_all(path_);
  }
  const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// A program that may read the machine's libraries and what it is given, and write its folder.
quern::Command confined(std::vector<std::string> argv, const std::string& folder) {
  quern::Command command;
  command.argv = std::move(argv);
  command.cwd = folder;
  command.env = {"PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + folder};
  command.sandbox.restrict_files = true;
  command.sandbox.no_network = true;
  command.sandbox.read_exec = {"/usr", "/bin", "/lib", "/lib64", "/opt", folder};
  command.sandbox.read_only = {"/etc/ld.so.cache", "/proc", "/sys/devices/system"};
  command.sandbox.read_write = {"/dev/null"};
  return command;
}

Result<ProcessEnd> compile(const DriverTask& task, const DriverOptions& options,
                           const std::string& folder) {
  std::vector<std::string> argv = {options.compiler,
                                   "-std=c++17",
                                   "-O3",
                                   "-march=native",
                                   "-fopenmp",
                                   options.openmp ? "-DUSE_OMP" : "-DUSE_SERIAL",
                                   "-DDRIVER_PROBLEM_SIZE=" + task.problem_size};
  for (const std::string& include : {folder, task.folder, task.includes}) {
    argv.insert(argv.end(), {"-I", include});
  }
  argv.insert(argv.end(), {"main.cpp", "-o", "driver"});
  quern::Command command = confined(argv, folder);
  command.sandbox.read_only.insert(command.sandbox.read_only.end(), {task.folder, task.includes});
  command.sandbox.read_write.push_back(folder);
  command.limits.address_space_bytes = kCompilerMemory;
  command.deadline_s = options.compile_s;
  return run_process(command);
}

Result<ProcessEnd> run(const DriverOptions& options, const std::string& folder) {
  quern::Command command =
      confined({folder + "/driver", fmt::format("{}", options.pairs),
                fmt::format("{}", options.least_pairs), fmt::format("{}", options.pairs_s)},
               folder);
  command.env.push_back(fmt::format("OMP_NUM_THREADS={}", options.openmp ? options.threads : 1));
  command.limits.address_space_bytes = options.memory_bytes;
  command.deadline_s = options.deadline_s;
  command.output_cap_bytes = size_t{1} << 20;
  return run_process(command);
}

/// What the program said, in order.
struct Said {
  int valid = 0, invalid = 0;
  std::vector<double> baseline_ns, candidate_ns;
};

Said heard(const std::string& text) {
  Said said;
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (words.size() < 3 || words[0] != kMark) continue;
    if (words[1] == "valid") ++(words[2] == "1" ? said.valid : said.invalid);
    if (words[1] != "pair" || words.size() != 4) continue;
    said.baseline_ns.push_back(std::strtod(words[2].c_str(), nullptr));
    said.candidate_ns.push_back(std::strtod(words[3].c_str(), nullptr));
  }
  return said;
}

Verdict failure(const ProcessEnd& end, const Said& said, const DriverOptions& options) {
  if (end.timed_out) {
    return TimedOut{fmt::format("the driver ran for more than {:g} s", options.deadline_s), "",
                    options.deadline_s};
  }
  if (said.invalid > 0) {
    return WrongResult{said.valid > 0 ? "the driver's validation fails after timed calls"
                                      : "the driver's validation fails",
                       ""};
  }
  return Crashed{
      fmt::format("the driver ended by {} {}", end.status.signal ? "signal" : "exit code",
                  end.status.signal ? end.status.signal : end.status.exit_code),
      shorten(end.err, 4000), end.status.signal};
}

DriverJudgement passed(Said said) {
  std::vector<double> ratios;
  for (size_t i = 0; i < said.baseline_ns.size(); ++i) {
    ratios.push_back(said.baseline_ns[i] / std::max(1.0, said.candidate_ns[i]));
  }
  const Interval interval = median_interval(ratios, kConfidence);
  Passed passed{"provisional", "the driver's own validation, in the candidate's process", {}};
  passed.timing.samples_ns = said.candidate_ns;
  passed.timing.median_ns = median(said.candidate_ns);
  const Interval times = median_interval(said.candidate_ns, kConfidence);
  passed.timing.low_ns = times.low;
  passed.timing.high_ns = times.high;
  DriverJudgement judgement{passed, {}};
  judgement.duel.baseline = "best";
  judgement.duel.speedup = median(ratios);
  judgement.duel.low = interval.low;
  judgement.duel.high = interval.high;
  judgement.duel.rounds = judgement.duel.pairs = static_cast<int>(ratios.size());
  judgement.duel.different = interval.low > 1 || interval.high < 1;
  judgement.duel.baseline_ns = std::move(said.baseline_ns);
  judgement.duel.candidate_ns = std::move(said.candidate_ns);
  return judgement;
}

std::string first_error(const std::string& log) {
  const size_t at = log.find("error: ");
  if (at == std::string::npos) return "the compiler failed";
  return "the compiler said: " + log.substr(at + 7, log.find('\n', at) - at - 7);
}

}  // namespace

Result<DriverJudgement> judge_driver(const DriverTask& given, const std::string& source,
                                     const DriverOptions& options) {
  DriverTask task = given;
  task.folder = std::filesystem::absolute(given.folder);  // programs run in a folder of their own
  task.includes = std::filesystem::absolute(given.includes);
  if (!file_exists(task.folder + "/cpu.cc")) {
    return Error{ErrorKind::kInput,
                 fmt::format("{} holds no driver: there is no cpu.cc", task.folder),
                 "a driver is cpu.cc and baseline.hpp (docs/benchmarking.md)"};
  }
  QUERN_ASSIGN(const Scratch scratch, Scratch::make(std::filesystem::absolute(options.scratch)));
  QUERN_TRY(write_file_atomic(scratch.path() + "/generated-code.hpp", source));
  QUERN_TRY(write_file_atomic(scratch.path() + "/main.cpp", kMain));
  QUERN_ASSIGN(const ProcessEnd built, compile(task, options, scratch.path()));
  if (built.timed_out) {
    return DriverJudgement{
        CompileFailed{fmt::format("the compiler exceeded {:g} s", options.compile_s), ""}, {}};
  }
  if (!built.status.ok()) {
    return DriverJudgement{CompileFailed{first_error(built.err), shorten(built.err, 16'000)}, {}};
  }
  QUERN_ASSIGN(const ProcessEnd end, run(options, scratch.path()));
  Said said = heard(end.out);
  const bool whole =
      end.status.ok() && !end.timed_out && said.valid == 2 && said.invalid == 0 &&
      static_cast<int>(said.candidate_ns.size()) >= std::min(options.pairs, options.least_pairs);
  if (!whole) return DriverJudgement{failure(end, said, options), {}};
  return passed(std::move(said));
}

}  // namespace quern
