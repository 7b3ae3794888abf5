// SPDX-License-Identifier: Apache-2.0
#include "base/subprocess.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/clock.h"
#include "base/landlock.h"
#include "base/pipe.h"

namespace quern {
namespace {

/// What the child reports, through a pipe that exec closes, before the program takes over.
enum Step : int { kFailed, kFilesRestricted, kFilesOpen, kNetworkRemoved, kNetworkOpen };
struct Message {
  Step step;
  int error_number;
};

/// Everything the child needs, laid out before it exists: until exec it runs in our memory, where
/// it may take no lock and must leave no trace.
struct Launch {
  std::vector<char*> argv, env;
  const char* path;
  const char* cwd;
  const Command* command;
  PreparedSandbox sandbox;
  std::vector<std::pair<int, int>> fds;  ///< with 0, 1 and 2
  std::vector<int> moved;                ///< room for the child's copies
  int report;
  pid_t parent;
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

void tell(int report, Step step, int error_number) {
  Message message{step, error_number};
  if (write(report, &message, sizeof message) < 0) _exit(126);
}

[[noreturn]] void give_up(int report) {
  tell(report, kFailed, errno);
  _exit(127);
}

void set_limit(int resource, uint64_t value) {
  if (value == 0) return;
  rlimit limit{value, value};
  setrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
}

void set_limits(const ProcessLimits& limits) {
  rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  set_limit(RLIMIT_AS, limits.address_space_bytes);
  set_limit(RLIMIT_CPU, limits.cpu_s);
  set_limit(RLIMIT_FSIZE, limits.file_size_bytes);
  set_limit(RLIMIT_NOFILE, limits.open_files);
}

/// Puts the descriptors in place. All are first moved above every target, so that none is
/// overwritten before it is copied.
void place_descriptors(Launch& launch) {
  int above = 64;
  for (auto [ours, theirs] : launch.fds) above = std::max(above, theirs + 1);
  for (size_t i = 0; i < launch.fds.size(); ++i) {
    launch.moved[i] = fcntl(launch.fds[i].first, F_DUPFD_CLOEXEC, above);
    if (launch.moved[i] < 0) give_up(launch.report);
  }
  int report = fcntl(launch.report, F_DUPFD_CLOEXEC, above);
  if (report < 0) give_up(launch.report);
  launch.report = report;
  syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  for (size_t i = 0; i < launch.fds.size(); ++i) {
    if (dup2(launch.moved[i], launch.fds[i].second) < 0) give_up(launch.report);
  }
}

void leave_network(const Launch& launch) {
  if (!launch.command->sandbox.no_network) return;
  int failed = launch.sandbox.remove_network();
  tell(launch.report, failed == 0 ? kNetworkRemoved : kNetworkOpen, failed);
}

void enter_sandbox(const Launch& launch) {
  const Sandbox& sandbox = launch.command->sandbox;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (sandbox.restrict_files) {
    int failed = launch.sandbox.restrict_files();
    tell(launch.report, failed == 0 ? kFilesRestricted : kFilesOpen, failed);
  }
}

/// No handler of ours may run in the child, where it would act on our memory.
void forget_handlers() {
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < _NSIG; ++number) sigaction(number, &plain, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become(Launch& launch) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launch.parent) _exit(127);
  leave_network(launch);
  place_descriptors(launch);
  if (launch.cwd != nullptr && chdir(launch.cwd) != 0) give_up(launch.report);
  forget_handlers();
  enter_sandbox(launch);
  // A change of credentials (the user namespace) clears the parent-death signal.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launch.parent && !launch.command->sandbox.no_network) _exit(127);
  set_limits(launch.command->limits);
  execve(launch.path, launch.argv.data(), launch.env.data());
  give_up(launch.report);
}

/// Makes the child. It borrows our memory, and this thread waits until it has become the program:
/// copying the page tables of a process with large tensors takes milliseconds. -1 and errno.
pid_t make_child(Launch& launch) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int dumpable = prctl(PR_GET_DUMPABLE);
  const pid_t pid = vfork();
  if (pid == 0) become(launch);
  const int failed = errno;
  // A child that enters a user namespace marks its memory, still ours then, as private.
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = failed;
  return pid;
}

/// Standard input as a file in memory: no pipe to fill, no writer to wait for.
Result<FileDescriptor> input_file(const std::string& text) {
  if (text.empty()) {
    FileDescriptor null(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) return system_error("open", "/dev/null", errno);
    return null;
  }
  FileDescriptor file(memfd_create("stdin", MFD_CLOEXEC));
  if (!file) return system_error("make", "a file in memory", errno);
  if (pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return system_error("write", "a file in memory", errno);
  }
  return file;
}

/// Reads what the child says about its start. The pipe ends at exec, or at the child's death.
int hear_start(int fd, SandboxReport& report) {
  Message message{};
  int failed = 0;
  report.landlock_abi = landlock_abi();
  for (;;) {
    ssize_t got = read(fd, &message, sizeof message);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof message)) return failed;
    std::string why = std::strerror(message.error_number);
    if (message.step == kFailed) failed = message.error_number;
    if (message.step == kFilesRestricted) report.files_restricted = true;
    if (message.step == kNetworkRemoved) report.network_removed = true;
    if (message.step == kFilesOpen) {
      report.notes.push_back("file access is not restricted: this kernel's Landlock said: " + why);
    }
    if (message.step == kNetworkOpen) {
      report.notes.push_back("the network is not removed: this kernel's namespaces said: " + why);
    }
  }
}

/// Reads until the pipe is empty for now; keeps at most `cap` bytes. False at its end.
bool take_in(FileDescriptor& fd, std::string& text, size_t cap) {
  char block[16384];
  for (;;) {
    ssize_t got = read(fd.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    size_t room = cap - std::min(cap, text.size());
    text.append(block, std::min(room, static_cast<size_t>(got)));
  }
}

ExitStatus from_wait_status(int status) {
  if (WIFSIGNALED(status)) return ExitStatus{0, WTERMSIG(status)};
  return ExitStatus{WEXITSTATUS(status), 0};
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return access(name.c_str(), X_OK) == 0 ? name : "";
  }
  for (const char* folder : {"/usr/local/bin/", "/usr/bin/", "/bin/"}) {
    std::string path = folder + name;
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

std::string executable_folder() {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string text(path, static_cast<size_t>(std::max<ssize_t>(length, 0)));
  return text.substr(0, text.rfind('/'));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept { *this = std::move(other); }

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  std::swap(report_, other.report_);
  std::swap(path_, other.path_);
  std::swap(out_text_, other.out_text_);
  std::swap(err_text_, other.err_text_);
  std::swap(cap_, other.cap_);
  std::swap(sandbox_, other.sandbox_);
  std::swap(status_, other.status_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) kill();
}

Result<ChildProcess> ChildProcess::spawn(const Command& command) {
  QUERN_ASSIGN(ChildProcess child, launch(command));
  QUERN_TRY(child.confirm());
  return child;
}

Result<void> ChildProcess::confirm() {
  const int failed = hear_start(report_.get(), sandbox_);
  report_.close();
  if (failed != 0) return system_error("start", path_, failed);
  return {};
}

Result<ChildProcess> ChildProcess::launch(const Command& command) {
  QUERN_CHECK(!command.argv.empty(), "a command needs a program");
  std::string path = find_program(command.argv[0]);
  if (path.empty()) {
    return Error{ErrorKind::kEnvironment, "there is no program " + command.argv[0], ""};
  }
  QUERN_ASSIGN(FileDescriptor input, input_file(command.stdin_text));
  QUERN_ASSIGN(Pipe out, make_pipe());
  QUERN_ASSIGN(Pipe err, make_pipe());
  QUERN_ASSIGN(Pipe report, make_pipe());
  if (command.drop_output_when_full) {
    make_non_blocking(out.write_end);
    make_non_blocking(err.write_end);
  }
  Launch launch{pointers(command.argv),
                pointers(command.env),
                path.c_str(),
                command.cwd.empty() ? nullptr : command.cwd.c_str(),
                &command,
                PreparedSandbox(command.sandbox),
                command.fds,
                {},
                report.write_end.get(),
                getpid()};
  launch.fds.emplace_back(input.get(), 0);
  launch.fds.emplace_back(out.write_end.get(), 1);
  launch.fds.emplace_back(err.write_end.get(), 2);
  launch.moved.resize(launch.fds.size());
  const pid_t pid = make_child(launch);
  if (pid < 0) return system_error("start", path, errno);
  setpgid(pid, pid);
  report.write_end.close();
  ChildProcess child;
  child.pid_ = pid;
  child.pidfd_ = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  child.cap_ = command.output_cap_bytes;
  child.out_ = std::move(out.read_end);
  child.err_ = std::move(err.read_end);
  make_non_blocking(child.out_);
  make_non_blocking(child.err_);
  child.report_ = std::move(report.read_end);
  child.path_ = std::move(path);
  return child;
}

void ChildProcess::reap(bool block) {
  if (status_ || pid_ <= 0) return;
  siginfo_t info{};
  int failed;
  do {
    failed =
        waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | (block ? 0 : WNOHANG));
  } while (failed != 0 && errno == EINTR);
  if (failed == 0 && info.si_pid == 0) return;
  // While the dead leader is unreaped its group number cannot be taken by another process.
  ::kill(-pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = from_wait_status(status);
  drain();
}

std::optional<ExitStatus> ChildProcess::poll() {
  reap(false);
  return status_;
}

std::optional<ExitStatus> ChildProcess::wait(double deadline_s) {
  int64_t end = steady_now_ns() + static_cast<int64_t>(deadline_s * 1e9);
  while (!poll()) {
    int64_t left = end - steady_now_ns();
    if (left <= 0) return std::nullopt;
    pollfd fds[3] = {{pidfd_.get(), POLLIN, 0}, {out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
    // Without a pidfd the end is only seen by looking.
    int64_t limit_ms = pidfd_ ? left / 1'000'000 + 1 : 2;
    ::poll(fds, 3, static_cast<int>(std::min<int64_t>(limit_ms, 1'000'000)));
    drain();
  }
  return status_;
}

void ChildProcess::doom() {
  if (status_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
}

ExitStatus ChildProcess::kill() {
  if (!status_) {
    doom();
    reap(true);
  }
  return *status_;
}

bool ChildProcess::freeze() {
  if (poll()) return false;
  ::kill(-pid_, SIGSTOP);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
  return !poll();
}

void ChildProcess::thaw() {
  if (status_) return;
  siginfo_t info{};
  // Takes the stop off the queue, so that the next freeze waits for its own.
  waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOHANG);
  ::kill(-pid_, SIGCONT);
}

void ChildProcess::drain() {
  if (out_ && !take_in(out_, out_text_, cap_)) out_.close();
  if (err_ && !take_in(err_, err_text_, cap_)) err_.close();
}

Result<ProcessEnd> run_process(const Command& command) {
  int64_t start = steady_now_ns();
  QUERN_ASSIGN(ChildProcess child, ChildProcess::spawn(command));
  std::optional<ExitStatus> status = child.wait(command.deadline_s);
  ProcessEnd end;
  end.timed_out = !status;
  end.status = status ? *status : child.kill();
  end.out = child.out();
  end.err = child.err();
  end.sandbox = child.sandbox();
  end.wall_ms = seconds_between(start, steady_now_ns()) * 1e3;
  return end;
}

}  // namespace quern
