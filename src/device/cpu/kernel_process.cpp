// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/kernel_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/check.h"
#include "base/clock.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "device/cpu/death.h"
#include "device/cpu/runner_protocol.h"
#include "device/cpu/symbols.h"

namespace quern {
namespace {

void wake(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, 1, 0, 0, 0); }

void sleep_while(std::atomic<uint32_t>& word, uint32_t value, int64_t limit_ns) {
  timespec limit{limit_ns / 1'000'000'000, limit_ns % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &limit, 0, 0);
}

enum class Wait { kAnswered, kDead, kOverrun };

/// Sleeps until `answered(word)`. Nothing wakes us when the child dies silently, so we look, the
/// less often the longer it takes.
template <class Answered>
Wait wait_for(std::atomic<uint32_t>& word, Answered answered, ChildProcess& child,
              const uint32_t& dying, double limit_s) {
  int64_t start = steady_now_ns();
  int64_t limit = static_cast<int64_t>(limit_s * 1e9);
  for (;;) {
    uint32_t seen = word.load(std::memory_order_acquire);
    if (answered(seen)) return Wait::kAnswered;
    int64_t elapsed = steady_now_ns() - start;
    if (elapsed > 0 && child.poll()) return Wait::kDead;
    if (elapsed >= limit) return Wait::kOverrun;
    int64_t look = std::clamp<int64_t>(elapsed / 4, 1'000'000, 50'000'000);
    if (*const_cast<volatile const uint32_t*>(&dying) != 0) look = 100'000;
    sleep_while(word, seen, std::min(look, limit - elapsed));
  }
}

/// As the loader of the runner names the candidate.
const std::string& library_path() {
  static const auto& path = *new std::string(fmt::format("/proc/self/fd/{}", kRunnerLibraryFd));
  return path;
}

/// Copies a file to the start of another, within the kernel.
Result<void> copy_file(const std::string& path, int to) {
  const FileDescriptor from(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from) return system_error("open", path, errno);
  constexpr size_t kBlock = size_t{1} << 30;
  for (;;) {
    const ssize_t copied = sendfile(to, from.get(), nullptr, kBlock);
    if (copied < 0) return system_error("copy", path, errno);
    if (copied == 0) return {};
  }
}

Error bad_layout(const std::string& why) { return Error{ErrorKind::kInput, why, ""}; }

Result<void> check_layout(const KernelLayout& layout, const KernelLimits& limits) {
  size_t buffers = layout.inputs.size() + layout.outputs.size();
  if (layout.sizes.size() + buffers > kRunnerMaxArguments) {
    return bad_layout(fmt::format("a kernel takes at most {} arguments", kRunnerMaxArguments));
  }
  if (layout.slots < 1 || layout.slots > kRunnerMaxSlots) {
    return bad_layout(fmt::format("a kernel has 1 to {} copies of its buffers", kRunnerMaxSlots));
  }
  if (limits.threads < 1 || limits.threads > kRunnerMaxThreads) {
    return bad_layout(fmt::format("a kernel has 1 to {} threads", kRunnerMaxThreads));
  }
  return {};
}

std::string signature(const std::string& entry, const KernelLayout& layout) {
  return fmt::format("extern \"C\" void {}({} sizes, {} inputs, {} outputs)", entry,
                     layout.sizes.size(), layout.inputs.size(), layout.outputs.size());
}

Verdict missing_entry(const Binary& binary, const std::string& entry, const KernelLayout& layout) {
  auto names = exported_functions(binary.path);
  std::vector<std::string> known = names ? *names : std::vector<std::string>{};
  std::string evidence = "expected " + signature(entry, layout) + "\nthe library exports: " +
                         (known.empty() ? "nothing" : shorten(join(known, ", "), 2000));
  // A mangled name has the plain one inside.
  for (const std::string& name : known) {
    if (name.rfind("_Z", 0) == 0 && name.find(entry) != std::string::npos) {
      evidence += "\n" + name + " looks like it without extern \"C\"";
    }
  }
  return LaunchFailed{"there is no function " + entry + " in the candidate", evidence};
}

}  // namespace

Result<std::string> find_runner() {
  std::string folder = executable_folder();
  for (const char* place : {"/quern-runner", "/../apps/quern-runner", "/../quern-runner",
                            "/../libexec/quern/quern-runner", "/../lib/quern/quern-runner"}) {
    if (std::string path = find_program(folder + place); !path.empty()) return path;
  }
  return Error{ErrorKind::kEnvironment, "there is no quern-runner beside " + folder,
               "build the target quern-runner, or install the whole package"};
}

KernelProcess::KernelProcess(KernelLayout layout, KernelLimits limits, bool trusted)
    : layout_(std::move(layout)), limits_(limits), trusted_(trusted) {}

KernelProcess::~KernelProcess() = default;

bool KernelProcess::waiting() { return !given_ && maker_ == gettid() && !child_->poll(); }

std::vector<SharedBuffer> KernelProcess::take_buffers() {
  child_.reset();
  if (given_ && !seccomp_) return {};
  return std::move(buffers_);
}

Result<void> KernelProcess::make_buffers() {
  bool right = layout_.align == Align::kRight;
  for (uint64_t bytes : layout_.inputs) {
    QUERN_ASSIGN(SharedBuffer buffer, SharedBuffer::make(bytes, layout_.slots, right, false));
    buffers_.push_back(std::move(buffer));
  }
  for (uint64_t bytes : layout_.outputs) {
    QUERN_ASSIGN(SharedBuffer buffer, SharedBuffer::make(bytes, layout_.slots, right, true));
    for (int slot = 0; slot < layout_.slots; ++slot) buffer.set_canaries(slot);
    buffers_.push_back(std::move(buffer));
  }
  return {};
}

Result<void> KernelProcess::make_control() {
  QUERN_ASSIGN(control_memory_, SharedBuffer::make(sizeof(RunnerControl), 1, false, true));
  control_ = new (control_memory_.data(0).data()) RunnerControl();
  control_->sizes = static_cast<uint32_t>(layout_.sizes.size());
  control_->buffers = static_cast<uint32_t>(buffers_.size());
  control_->slots = static_cast<uint32_t>(layout_.slots);
  control_->threads = static_cast<uint32_t>(limits_.threads);
  control_->trusted = trusted_ ? 1 : 0;
  control_->memory_bytes = limits_.memory_bytes;
  std::copy(layout_.sizes.begin(), layout_.sizes.end(), control_->size);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const SharedBuffer::Shape& shape = buffers_[i].shape();
    bool writable = i >= layout_.inputs.size();
    control_->buffer[i] = {shape.bytes, shape.stride, shape.offset, writable ? 1u : 0u};
  }
  return {};
}

Result<void> KernelProcess::spawn() {
  QUERN_ASSIGN(std::string runner, find_runner());
  int setup[2];
  if (pipe2(setup, O_CLOEXEC | O_NONBLOCK) != 0) return system_error("make", "a pipe", errno);
  setup_ = FileDescriptor(setup[0]);
  FileDescriptor setup_end(setup[1]);
  library_ = FileDescriptor(memfd_create("candidate", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!library_) return system_error("make", "a file in memory", errno);
  Command command;
  command.argv = {runner};
  command.env = {fmt::format("OMP_NUM_THREADS={}", limits_.threads), "OMP_DYNAMIC=false",
                 // About 50 µs of spinning: threads meet between loops without sleeping, and an
                 // idle runner leaves the processor to others.
                 "GOMP_SPINCOUNT=4000", "LC_ALL=C"};
  command.cwd = "/";
  command.drop_output_when_full = true;
  command.fds.emplace_back(control_memory_.fd(), kRunnerControlFd);
  command.fds.emplace_back(setup_end.get(), kRunnerSetupFd);
  command.fds.emplace_back(library_.get(), kRunnerLibraryFd);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    command.fds.emplace_back(buffers_[i].fd(), kRunnerFirstBufferFd + static_cast<int>(i));
  }
  if (!trusted_) {
    command.sandbox.restrict_files = true;
    command.sandbox.no_network = true;
    command.sandbox.read_exec = {runner, "/lib64/ld-linux-x86-64.so.2"};
    command.sandbox.read_only = {"/usr/lib", "/lib", "/lib64", "/usr/local/lib",
                                 "/etc/ld.so.cache"};
    command.limits.file_size_bytes = 1;
  }
  QUERN_ASSIGN(child_, ChildProcess::launch(command));
  maker_ = gettid();
  return {};
}

bool KernelProcess::set_up() const {
  char byte = 0;
  return read(setup_.get(), &byte, 1) == 1;
}

Outcome<Done> KernelProcess::await_start() {
  if (auto confirmed = child_->confirm(); !confirmed) return confirmed.error();
  auto answered = [](uint32_t value) { return value != 0; };
  Wait wait = wait_for(control_->started, answered, *child_, control_->dying, limits_.start_s);
  if (wait == Wait::kOverrun) {
    return die(
        TimedOut{fmt::format("loading took more than {} s", limits_.start_s), "", limits_.start_s});
  }
  bool loading = set_up();
  if (wait == Wait::kDead && loading && child_->poll()->exit_code != kRunnerFailed) return die();
  if (control_->started.load() == 1) {
    for (int slot = 0; slot < layout_.slots; ++slot) {
      const uint64_t* row = control_->address[slot];
      addresses_.emplace_back(row, row + buffers_.size());
    }
    seccomp_ = control_->seccomp != 0;
    return Done{};
  }
  control_->message[sizeof control_->message - 1] = 0;
  std::string message = control_->message;
  RunnerTrouble trouble = control_->trouble;
  child_->kill();
  if (!loading) {
    return Error{ErrorKind::kEnvironment, "the runner could not start: " + message, ""};
  }
  if (trouble == RunnerTrouble::kEntry) return missing_entry(binary_, entry_, layout_);
  return Verdict(LaunchFailed{"the candidate's library cannot be loaded",
                              replace_all(message, library_path(), "candidate.so")});
}

Result<std::unique_ptr<KernelProcess>> KernelProcess::prepare(const KernelLayout& layout,
                                                              const KernelLimits& limits,
                                                              bool trusted,
                                                              std::vector<SharedBuffer> buffers) {
  QUERN_TRY(check_layout(layout, limits));
  std::unique_ptr<KernelProcess> process(new KernelProcess(layout, limits, trusted));
  if (buffers.empty()) {
    QUERN_TRY(process->make_buffers());
  } else {
    process->buffers_ = std::move(buffers);
    process->poison_outputs();
  }
  QUERN_TRY(process->make_control());
  QUERN_TRY(process->spawn());
  return process;
}

Result<void> KernelProcess::give(const Binary& binary, const std::string& entry) {
  QUERN_CHECK(!given_, "a runner takes one candidate");
  given_ = true;
  binary_ = binary;
  entry_ = entry;
  if (entry_.size() >= sizeof control_->entry) return bad_layout("the entry's name is too long");
  QUERN_TRY(copy_file(binary_.path, library_.get()));
  fcntl(library_.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  library_.close();
  std::memcpy(control_->entry, entry_.c_str(), entry_.size() + 1);
  control_->given.store(1, std::memory_order_release);
  wake(control_->given);
  return {};
}

Outcome<std::unique_ptr<KernelProcess>> KernelProcess::start(const Binary& binary,
                                                             const std::string& entry,
                                                             const KernelLayout& layout,
                                                             const KernelLimits& limits,
                                                             bool trusted) {
  auto process = prepare(layout, limits, trusted);
  if (!process) return process.error();
  if (auto given = (*process)->give(binary, entry); !given) return given.error();
  Outcome<Done> started = (*process)->await_start();
  if (started.has_error()) return started.error();
  if (started.has_verdict()) return started.verdict();
  return std::move(*process);
}

std::span<std::byte> KernelProcess::input(int slot, int index) {
  return buffers_[static_cast<size_t>(index)].data(slot);
}

std::span<std::byte> KernelProcess::output(int slot, int index) {
  return buffers_[layout_.inputs.size() + static_cast<size_t>(index)].data(slot);
}

void KernelProcess::poison_outputs() {
  for (int slot = 0; slot < layout_.slots; ++slot) poison_outputs(slot);
}

void KernelProcess::poison_outputs(int slot) {
  for (size_t i = layout_.inputs.size(); i < buffers_.size(); ++i) {
    buffers_[i].set_canaries(slot);
    std::span<std::byte> data = buffers_[i].data(slot);
    std::memset(data.data(), 0xff, data.size());
  }
}

bool KernelProcess::canaries_ok() const {
  for (size_t i = layout_.inputs.size(); i < buffers_.size(); ++i) {
    for (int slot = 0; slot < layout_.slots; ++slot) {
      if (!buffers_[i].canaries_ok(slot)) return false;
    }
  }
  return true;
}

Outcome<Done> KernelProcess::give_order(double limit_s) {
  control_->order.store(++order_, std::memory_order_release);
  wake(control_->order);
  auto answered = [this](uint32_t value) { return value == order_; };
  Wait wait = wait_for(control_->answer, answered, *child_, control_->dying, limit_s);
  if (wait == Wait::kDead) return die();
  if (wait == Wait::kOverrun) {
    return die(TimedOut{fmt::format("did not finish within {} s", limit_s), "", limit_s});
  }
  return Done{};
}

Outcome<double> KernelProcess::run(int calls, double limit_s, int first_slot) {
  if (verdict_) return *verdict_;
  thaw();
  control_->calls = static_cast<uint32_t>(calls);
  control_->first_slot = static_cast<uint32_t>(first_slot);
  if (Outcome<Done> ready = give_order(limit_s); !ready) return ready.verdict();
  int64_t start = steady_now_ns();
  Outcome<Done> done = give_order(limit_s);
  int64_t end = steady_now_ns();
  if (!done) return done.verdict();
  return static_cast<double>(end - start);
}

Verdict KernelProcess::die(std::optional<TimedOut> overrun) {
  Death death;
  death.status = overrun ? child_->kill() : *child_->poll();
  death.loading = order_ == 0;
  death.printed = printed();
  if (overrun) {
    overrun->evidence = death.printed;
    verdict_ = Verdict(*overrun);
    return *verdict_;
  }
  death.signal = control_->signal;
  death.system_call = control_->dying != 0 ? control_->system_call : -1;
  death.wrote = control_->fault_is_write != 0;
  death.address = control_->fault_address;
  death.stack_pointer = control_->stack_pointer;
  death.refused_bytes = control_->refused_bytes;
  death.addresses = addresses_;
  verdict_ = explain_death(death, layout_, limits_);
  return *verdict_;
}

Outcome<Done> KernelProcess::freeze() {
  if (verdict_) return *verdict_;
  if (!frozen_ && !child_->freeze()) return die();
  frozen_ = true;
  return Done{};
}

void KernelProcess::thaw() {
  if (!frozen_) return;
  child_->thaw();
  frozen_ = false;
}

int64_t KernelProcess::cpu_time_ns() const {
  clockid_t clock = 0;
  timespec time{};
  if (verdict_ || clock_getcpuclockid(child_->pid(), &clock) != 0) return 0;
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::string KernelProcess::sandbox_text() const {
  if (trusted_) return "none: trusted code";
  std::string text = child_->sandbox().text();
  if (!seccomp_) return text;
  return text == "none" ? "seccomp" : text + ", seccomp";
}

std::vector<std::string> KernelProcess::sandbox_notes() const {
  std::vector<std::string> notes = child_->sandbox().notes;
  if (!trusted_ && !seccomp_) {
    notes.push_back("system calls are not restricted: this kernel refused the seccomp filter");
  }
  return notes;
}

std::string KernelProcess::printed() {
  child_->drain();
  return child_->out() + child_->err();
}

}  // namespace quern
