// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/compile_pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/clock.h"
#include "base/hash.h"
#include "base/pipe.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "device/cuda/compile_result.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/nvrtc_protocol.h"

namespace quern::cuda {
namespace {

constexpr double kStartLimitS = 90;
constexpr double kGraceS = 0.5;  ///< between the compiler's own deadline and the kill

std::string folder_of(const std::string& path) {
  std::error_code code;
  const auto real = std::filesystem::canonical(path, code);
  return (code ? std::filesystem::path(path) : real).parent_path().string();
}

}  // namespace

/// One process, what it is busy with, and what is on its way there and back.
class CompilePool::Worker {
 public:
  static Result<std::unique_ptr<Worker>> start(Command command, std::string folder) {
    QUERN_ASSIGN(Pipe requests, make_pipe());
    QUERN_ASSIGN(Pipe replies, make_pipe());
    command.fds = {{requests.read_end.get(), kNvrtcRequestFd},
                   {replies.write_end.get(), kNvrtcReplyFd}};
    QUERN_ASSIGN(ChildProcess child, ChildProcess::spawn(command));
    auto worker = std::make_unique<Worker>(std::move(child), std::move(folder));
    make_non_blocking(requests.write_end);
    make_non_blocking(replies.read_end);
    worker->requests_ = std::move(requests.write_end);
    // While we hold a reading end, writing to a dead worker is no signal.
    worker->kept_ = std::move(requests.read_end);
    worker->replies_ = std::move(replies.read_end);
    worker->deadline_ns = steady_now_ns() + static_cast<int64_t>(kStartLimitS * 1e9);
    return worker;
  }

  Worker(ChildProcess child, std::string folder)
      : child_(std::move(child)), folder_(std::move(folder)) {}
  ~Worker() {
    child_.kill();
    (void)remove_all(folder_);
  }

  void send(const Frame& frame) {
    outgoing_ += encode_frame(frame);
    flush();
  }
  void flush() {
    while (!outgoing_.empty()) {
      const ssize_t wrote = write(requests_.get(), outgoing_.data(), outgoing_.size());
      if (wrote <= 0) return;
      outgoing_.erase(0, static_cast<size_t>(wrote));
    }
  }
  /// Takes in what has come; false when the worker has closed its end.
  bool take_in() { return reader_.take_in(replies_.get()); }
  Result<std::optional<Frame>> next() { return reader_.next(); }

  pollfd reply_poll() const { return {replies_.get(), POLLIN, 0}; }
  pollfd request_poll() const { return {outgoing_.empty() ? -1 : requests_.get(), POLLOUT, 0}; }
  ExitStatus kill() { return child_.kill(); }
  ChildProcess& child() { return child_; }
  const std::string& folder() const { return folder_; }
  pid_t pid() const { return child_.pid(); }

  bool ready = false;
  bool retired = false;  ///< to be replaced once idle
  bool dead = false;
  int compiled = 0;
  int64_t deadline_ns = 0;
  std::optional<Pending> job;

 private:
  ChildProcess child_;
  std::string folder_;
  FileDescriptor requests_, kept_, replies_;
  std::string outgoing_;
  FrameReader reader_;
};

Result<std::string> find_nvrtc_worker() {
  const std::string folder = executable_folder();
  for (const char* place :
       {"/quern-nvrtc", "/../apps/quern-nvrtc", "/../../apps/quern-nvrtc", "/../quern-nvrtc",
        "/../libexec/quern/quern-nvrtc", "/../lib/quern/quern-nvrtc"}) {
    if (std::string path = find_program(folder + place); !path.empty()) return path;
  }
  return Error{ErrorKind::kEnvironment, "there is no quern-nvrtc beside " + folder,
               "build the target quern-nvrtc, or install the whole package"};
}

CompilePool::CompilePool(CompilePoolOptions options) : options_(std::move(options)) {}
CompilePool::~CompilePool() = default;

Result<std::unique_ptr<CompilePool>> CompilePool::make(CompilePoolOptions options) {
  std::unique_ptr<CompilePool> pool(new CompilePool(std::move(options)));
  CompilePoolOptions& made = pool->options_;
  QUERN_ASSIGN(pool->program_, find_nvrtc_worker());
  pool->cubin_dir_ = made.cache_dir + "/cubin";
  QUERN_TRY(make_directories(pool->cubin_dir_));
  std::error_code code;
  made.cache_dir = std::filesystem::canonical(made.cache_dir, code).string();
  pool->cubin_dir_ = made.cache_dir + "/cubin";
  QUERN_TRY(pool->await_first_worker());
  return pool;
}

Result<void> CompilePool::await_first_worker() {
  QUERN_ASSIGN(std::unique_ptr<Worker> worker, start_worker());
  sandbox_ = worker->child().sandbox();
  for (;;) {
    QUERN_ASSIGN(std::optional<Frame> frame, worker->next());
    if (frame) {
      const auto ready = ready_from(*frame);
      if (!ready || !ready->trouble.empty()) {
        return Error{ErrorKind::kEnvironment,
                     ready ? ready->trouble : "quern-nvrtc is of another version", ""};
      }
      version_ = fmt::format("NVRTC {}.{}", ready->major, ready->minor);
      precompiled_ = ready->precompiled;
      quick_known_ = ready->major >= 13;
      break;
    }
    const int64_t left_ms = (worker->deadline_ns - steady_now_ns()) / 1'000'000;
    pollfd fd = worker->reply_poll();
    const bool came = left_ms > 0 && poll(&fd, 1, static_cast<int>(left_ms)) > 0;
    if (!came || !worker->take_in()) {
      worker->kill();
      return Error{ErrorKind::kEnvironment,
                   "quern-nvrtc does not start: " + shorten(trim(worker->child().err()), 400), ""};
    }
  }
  identity_ = Hasher()
                  .add("cubin 2")
                  .add(version_)
                  .add(options_.library.path)
                  .add(options_.architecture)
                  .add(options_.prelude)
                  .add(join(options_.library.include_paths, ":"))
                  .hex();
  worker->ready = true;
  workers_.push_back(std::move(worker));
  return {};
}

std::vector<std::string> CompilePool::base_options() const {
  std::vector<std::string> options = {"--gpu-architecture=" + options_.architecture, "--std=c++20",
                                      "--ptxas-options=-v", "-I."};
  for (const std::string& path : options_.library.include_paths) options.push_back("-I" + path);
  return options;
}

std::vector<std::string> CompilePool::job_options(const CudaJob& job) const {
  std::vector<std::string> options;
  if (job.fast_math) options.emplace_back("--use_fast_math");
  if (job.separate) options.emplace_back("--fmad=false");
  if (job.ours) options.emplace_back("--device-as-default-execution-space");
  if (job.max_registers > 0) {
    options.push_back(fmt::format("--maxrregcount={}", job.max_registers));
  }
  if (job.quick && quick_known_) options.emplace_back("--Ofast-compile=mid");
  return options;
}

Result<std::unique_ptr<CompilePool::Worker>> CompilePool::start_worker() {
  const std::string folder =
      fmt::format("{}/nvrtc-{}-{}", options_.cache_dir, getpid(), steady_now_ns());
  QUERN_TRY(make_directories(folder));
  if (!options_.prelude.empty()) {
    QUERN_TRY(write_file_atomic(folder + "/" + kPreludeName, options_.prelude));
  }
  Command command;
  command.argv = {program_, options_.library.path, options_.prelude.empty() ? "-" : folder,
                  std::to_string(options_.memory_bytes)};
  for (std::string& option : base_options()) command.argv.push_back(std::move(option));
  // The compiler's own cache opens the driver, which has no business here.
  command.env = {"CUDA_CACHE_DISABLE=1", "LC_ALL=C", "TMPDIR=" + folder};
  command.cwd = folder;
  command.drop_output_when_full = true;
  command.limits.file_size_bytes = uint64_t{1} << 30;
  command.sandbox.restrict_files = true;
  command.sandbox.read_exec = {"/usr", "/lib", "/lib64", folder_of(options_.library.path),
                               folder_of(program_)};
  // The shared libraries of a self-contained folder lie beside its programs.
  command.sandbox.read_exec.push_back(folder_of(program_) + "/../lib");
  if (!options_.linker.empty()) command.sandbox.read_exec.push_back(folder_of(options_.linker));
  command.sandbox.read_only = {"/etc/ld.so.cache"};
  for (const std::string& path : options_.library.include_paths) {
    command.sandbox.read_only.push_back(path);
  }
  command.sandbox.read_write = {folder, "/dev/null"};
  command.sandbox.no_network = landlock_abi() < 4;
  ++started_;
  auto worker = Worker::start(std::move(command), folder);
  if (!worker) (void)remove_all(folder);
  return worker;
}

CompilePool::Ticket CompilePool::submit(CudaJob job) {
  Pending pending;
  pending.ticket = next_ticket_++;
  if (job.guards) {
    pending.text = std::move(job.source);
  } else {
    PreparedSource prepared = prepare_source(job.source, job.macros);
    pending.text = std::move(prepared.text);
    pending.prelude = prepared.starts_with_prelude && !options_.prelude.empty();
  }
  Hasher hasher;
  hasher.add(identity_).add(join(job_options(job), " ")).add(pending.text);
  if (job.guards) hasher.add("guards 2").add(options_.linker);
  for (const auto& [name, text] : job.headers) hasher.add(name).add(text);
  pending.key = hasher.hex();
  pending.job = std::move(job);
  const Ticket ticket = pending.ticket;
  if (auto kept = find_result(cubin_dir_, pending.key)) {
    finish(pending, outcome_of(*kept, version_, true));
  } else if (pending.job.guards && options_.linker.empty()) {
    finish(pending, Verdict(CompileFailed{"there is no nvJitLink, which guards need", ""}));
  } else {
    queue(std::move(pending));
    pump(0);
  }
  return ticket;
}

/// Guards are wanted for candidates whose turn it is.
void CompilePool::queue(Pending pending) {
  const auto later = [&](const Pending& one) {
    if (pending.job.guards || one.job.guards) return pending.job.guards && !one.job.guards;
    return one.job.turn > pending.job.turn;
  };
  queue_.insert(std::ranges::find_if(queue_, later), std::move(pending));
}

void CompilePool::finish(const Pending& pending, Outcome<CudaBinary> outcome) {
  if (outcome) {
    std::vector<std::string> flags = base_options();
    for (std::string& option : job_options(pending.job)) flags.push_back(std::move(option));
    std::erase_if(flags, [](const std::string& flag) { return flag.starts_with("-I"); });
    outcome->build.flags = join(flags, " ");
  }
  finished_.push_back({pending.ticket, std::move(outcome)});
}

std::vector<pid_t> CompilePool::processes() const {
  std::vector<pid_t> list;
  for (const auto& worker : workers_) list.push_back(worker->pid());
  return list;
}

size_t CompilePool::unfinished() const {
  return queue_.size() + static_cast<size_t>(std::ranges::count_if(
                             workers_, [](const auto& worker) { return worker->job.has_value(); }));
}

std::optional<CompilePool::Finished> CompilePool::next(double wait_s) {
  const int64_t end = steady_now_ns() + static_cast<int64_t>(wait_s * 1e9);
  do {
    pump(finished_.empty() ? std::max(0.0, seconds_between(steady_now_ns(), end)) : 0);
  } while (finished_.empty() && unfinished() > 0 && steady_now_ns() < end);
  if (finished_.empty()) return std::nullopt;
  Finished first = std::move(finished_.front());
  finished_.pop_front();
  return first;
}

void CompilePool::pump(double wait_s) {
  staff();
  hand_out();
  if (unfinished() > 0) wait_for_workers(wait_s);
  for (auto& worker : workers_) tend(*worker);
  std::erase_if(workers_, [](const auto& worker) { return worker->dead; });
  hand_out();
}

/// As many workers as there is work for, and no more than allowed.
void CompilePool::staff() {
  const auto wanted = std::min(unfinished(), static_cast<size_t>(std::max(1, options_.workers)));
  while (!queue_.empty() && workers_.size() < wanted) {
    auto worker = start_worker();
    if (!worker) return fail_queue(worker.error());
    workers_.push_back(std::move(*worker));
  }
}

void CompilePool::warm() {
  while (workers_.size() < static_cast<size_t>(std::max(1, options_.workers))) {
    auto worker = start_worker();
    if (!worker) return;  // the first job will say why
    workers_.push_back(std::move(*worker));
  }
}

void CompilePool::fail_queue(const Error& error) {
  while (!queue_.empty()) {
    finish(queue_.front(), error);
    queue_.pop_front();
  }
}

void CompilePool::hand_out() {
  for (auto& worker : workers_) {
    if (queue_.empty()) return;
    if (!worker->ready || worker->job || worker->retired || worker->dead) continue;
    worker->job = std::move(queue_.front());
    queue_.pop_front();
    worker->deadline_ns =
        steady_now_ns() + static_cast<int64_t>((options_.deadline_s + kGraceS) * 1e9);
    worker->send(request_of(*worker->job));
  }
}

Frame CompilePool::request_of(const Pending& pending) const {
  if (pending.job.guards) return to_frame(GuardRequest{pending.text, options_.linker});
  NvrtcRequest request;
  request.source = pending.text;
  request.prelude = pending.prelude;
  request.headers = pending.job.headers;
  request.deadline_ms = static_cast<int64_t>(options_.deadline_s * 1e3);
  request.options = job_options(pending.job);
  return to_frame(request);
}

void CompilePool::wait_for_workers(double wait_s) {
  std::vector<pollfd> fds;
  int64_t end = steady_now_ns() + static_cast<int64_t>(wait_s * 1e9);
  for (const auto& worker : workers_) {
    fds.push_back(worker->reply_poll());
    fds.push_back(worker->request_poll());
    if (!worker->ready || worker->job) end = std::min(end, worker->deadline_ns);
  }
  const double left_ms = std::max(0.0, seconds_between(steady_now_ns(), end) * 1e3);
  poll(fds.data(), fds.size(), static_cast<int>(std::ceil(left_ms)));
}

/// Looks after one worker: what it wants to read, what it said, whether it overran or is gone.
void CompilePool::tend(Worker& worker) {
  worker.flush();
  const bool open = worker.take_in();
  auto frame = worker.next();
  if (!frame) return bury(worker, false);
  if (*frame && !worker.ready) {
    const auto ready = ready_from(**frame);
    if (!ready || !ready->trouble.empty()) return bury(worker, false);
    worker.ready = true;
    failed_starts_ = 0;
  } else if (*frame && worker.job) {
    auto reply = reply_from(**frame);
    if (!reply) return bury(worker, false);
    Pending pending = std::move(*worker.job);
    worker.job.reset();
    reply->log = replace_all(reply->log, worker.folder() + "/", "");
    keep_result(cubin_dir_, pending.key, *reply);
    finish(pending, outcome_of(*reply, version_, false));
    worker.retired =
        ++worker.compiled >= options_.recycle_after || reply->peak_kib > options_.recycle_kib;
    if (worker.retired) worker.dead = true;
  } else if (!open) {
    bury(worker, false);
  } else if ((worker.job || !worker.ready) && steady_now_ns() > worker.deadline_ns) {
    bury(worker, true);
  }
}

void CompilePool::bury(Worker& worker, bool overran) {
  const ExitStatus status = worker.kill();
  worker.dead = true;
  if (!worker.job) {
    if (++failed_starts_ >= 3) {
      fail_queue(Error{
          ErrorKind::kEnvironment,
          "quern-nvrtc does not start any more: " + shorten(trim(worker.child().err()), 400), ""});
      failed_starts_ = 0;
    }
    return;
  }
  Pending pending = std::move(*worker.job);
  worker.job.reset();
  if (overran) {
    return finish(
        pending,
        Verdict(CompileFailed{fmt::format("the compiler exceeded {} s", options_.deadline_s)}));
  }
  // A worker may die of what earlier sources did to it; a second one of this source alone.
  if (++pending.deaths < 2) return queue_.push_front(std::move(pending));
  const std::string how = status.signal != 0 ? fmt::format("died of signal {}", status.signal)
                                             : fmt::format("left with code {}", status.exit_code);
  finish(pending, Verdict(CompileFailed{fmt::format("the compiler {} twice; it may use {} MiB", how,
                                                    options_.memory_bytes >> 20),
                                        shorten(trim(worker.child().err()), 4000)}));
}

std::vector<Outcome<CudaBinary>> CompilePool::compile_all(std::vector<CudaJob> jobs) {
  std::vector<Ticket> tickets;
  for (CudaJob& job : jobs) tickets.push_back(submit(std::move(job)));
  std::vector<std::optional<Outcome<CudaBinary>>> slots(tickets.size());
  for (size_t done = 0; done < slots.size();) {
    auto finished = next(1);
    if (!finished) continue;
    const auto at = std::ranges::find(tickets, finished->ticket);
    if (at == tickets.end()) continue;
    slots[static_cast<size_t>(at - tickets.begin())] = std::move(finished->outcome);
    ++done;
  }
  std::vector<Outcome<CudaBinary>> outcomes;
  for (auto& slot : slots) outcomes.push_back(std::move(*slot));
  return outcomes;
}

Outcome<CudaBinary> CompilePool::compile(CudaJob job) {
  return std::move(compile_all({std::move(job)}).front());
}

}  // namespace quern::cuda
