// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/sandbox.h"

namespace quern {

/// Ceilings the kernel enforces on a child; 0 leaves what we have ourselves. Core files are
/// always off.
struct ProcessLimits {
  uint64_t address_space_bytes = 0;
  uint64_t cpu_s = 0;
  uint64_t file_size_bytes = 0;
  uint64_t open_files = 0;
};

/// A program to run. Nothing is inherited but what is named here: `env` is the whole environment,
/// and of our file descriptors only `fds` are open in the child (0, 1 and 2 are always there).
struct Command {
  std::vector<std::string> argv;  ///< argv[0] is a path, or a name looked up in /usr/bin and /bin
  std::vector<std::string> env;   ///< "NAME=value"
  std::string cwd;                ///< "": ours
  std::vector<std::pair<int, int>> fds;  ///< ours, theirs (3 or more)
  std::string stdin_text;
  size_t output_cap_bytes = 64 * 1024;  ///< of stdout and of stderr; the rest is dropped
  bool drop_output_when_full = false;   ///< for long-running children: a full pipe never blocks
  double deadline_s = 60;               ///< wall clock, for `run_process` only
  ProcessLimits limits;
  Sandbox sandbox;
};

/// How a process ended.
struct ExitStatus {
  int exit_code = 0;  ///< meaningful when `signal` is 0
  int signal = 0;
  bool ok() const { return exit_code == 0 && signal == 0; }
};

/// A running child in a process group of its own. The destructor kills the group and reaps the
/// child; the kernel kills the child when the thread that spawned it ends. Not thread-safe.
class ChildProcess {
 public:
  /// Errors: kEnvironment when the program is missing or a resource is short.
  static Result<ChildProcess> spawn(const Command& command);
  /// The same without hearing what the child says of its start: `confirm` before anything else.
  static Result<ChildProcess> launch(const Command& command);
  Result<void> confirm();

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  const SandboxReport& sandbox() const { return sandbox_; }

  /// The end, if it has come. Stragglers of the group are killed with it.
  std::optional<ExitStatus> poll();
  /// Waits until the end or the deadline (nothing), reading what the child writes meanwhile.
  std::optional<ExitStatus> wait(double deadline_s);
  /// SIGKILL to the whole group; `kill` or the destructor reaps.
  void doom();
  /// SIGKILL to the whole group, then reaps.
  ExitStatus kill();

  /// Stops every thread of the child and waits until it is stopped; false if it has ended.
  bool freeze();
  void thaw();

  /// Takes in what the child wrote so far, without waiting, up to the cap.
  void drain();
  const std::string& out() const { return out_text_; }
  const std::string& err() const { return err_text_; }

 private:
  ChildProcess() = default;
  void reap(bool block);

  pid_t pid_ = -1;
  FileDescriptor pidfd_, out_, err_, report_;
  std::string path_;
  std::string out_text_, err_text_;
  size_t cap_ = 0;
  SandboxReport sandbox_;
  std::optional<ExitStatus> status_;
};

/// A finished process.
struct ProcessEnd {
  ExitStatus status;
  bool timed_out = false;
  std::string out, err;
  double wall_ms = 0;
  SandboxReport sandbox;
};

/// Runs a program to its end, or to its deadline, when its whole process group is killed. A
/// program that fails is a value; only one that cannot be started is an error.
Result<ProcessEnd> run_process(const Command& command);

/// The path of a program as `run_process` would find it, or "".
std::string find_program(const std::string& name);

/// The folder of the running executable, without a slash at its end.
std::string executable_folder();

}  // namespace quern
