// SPDX-License-Identifier: Apache-2.0
//
// quern-runner: the process a candidate runs in. Its parent has put it under Landlock and in its
// own namespaces, and given it descriptors of the shared control block and of every buffer. It maps
// them, warms up OpenMP, loads the candidate, gives up every system call that computing does not
// need, then runs batches when told. It is small on purpose: it shares its address space with
// code nobody has read. The clock and the comparison are the parent's.

#include <dlfcn.h>
#include <linux/futex.h>
#include <malloc.h>
#include <omp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "device/cpu/runner_filter.h"
#include "device/cpu/runner_protocol.h"

extern "C" {
void* libc_malloc(size_t) asm("__libc_malloc");
void* libc_calloc(size_t, size_t) asm("__libc_calloc");
void* libc_realloc(void*, size_t) asm("__libc_realloc");
void* libc_memalign(size_t, size_t) asm("__libc_memalign");
}

namespace quern {
namespace {

// Signal handlers and malloc have no other way to it.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
RunnerControl* control = nullptr;
/// What a call is given, by slot.
using Arguments = uint64_t[kRunnerMaxSlots][kRunnerMaxArguments];

using Entry = void (*)();

void wake(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, 1, 0, 0, 0); }

[[noreturn]] void fail(RunnerTrouble trouble, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(control->message, sizeof control->message, format, values);
  va_end(values);
  control->trouble = trouble;
  control->started = 2;
  wake(control->started);
  _exit(kRunnerFailed);
}

/// Reports a fault or a forbidden call and ends the process. Async-signal-safe.
void report_death(int signal, siginfo_t* info, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  control->signal = signal;
  control->fault_address = reinterpret_cast<uint64_t>(info->si_addr);
  control->stack_pointer = static_cast<uint64_t>(registers[REG_RSP]);
  control->fault_is_write = (registers[REG_ERR] & 2) != 0;
  control->system_call = signal == SIGSYS ? info->si_syscall : -1;
  control->dying = 1;
  wake(control->answer);
  wake(control->started);
  syscall(SYS_exit_group, signal == SIGSYS ? kRunnerTrapped : kRunnerFaulted);
}

/// A stack of its own for this thread's handlers, so that a stack overflow can be told.
void use_handler_stack(int thread) {
  constexpr size_t kHandlerStack = 64 * 1024;
  alignas(64) static char stacks[kRunnerMaxThreads][kHandlerStack];
  stack_t stack{};
  stack.ss_sp = stacks[thread];
  stack.ss_size = kHandlerStack;
  sigaltstack(&stack, nullptr);
}

void install_handlers() {
  struct sigaction action {};
  action.sa_sigaction = report_death;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  for (int signal : {SIGSEGV, SIGBUS, SIGSYS}) sigaction(signal, &action, nullptr);
}

/// Rounds to nearest, keeps denormals, raises nothing: what a candidate may have changed.
void reset_floating_point() {
  unsigned vector_state = 0x1f80;
  unsigned short scalar_state = 0x37f;
  asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(vector_state), "m"(scalar_state));
}

char* reserve(uint64_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fail(RunnerTrouble::kSetup, "cannot reserve %lu bytes", bytes);
  return static_cast<char*>(at);
}

/// What one copy of a buffer takes of the address space.
uint64_t room_of(const RunnerBuffer& buffer) {
  return buffer.stride + 2 * kRunnerGuardBytes + kRunnerHugePage;
}

/// Maps one copy of a buffer between two stretches without access.
uint64_t map_slot(int fd, const RunnerBuffer& buffer, uint32_t slot) {
  char* base = reserve(room_of(buffer)) + kRunnerGuardBytes;
  base += -reinterpret_cast<uint64_t>(base) % kRunnerHugePage;  // up to the next whole one
  int access = PROT_READ | (buffer.writable != 0 ? PROT_WRITE : 0);
  void* at = mmap(base, buffer.stride, access, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
                  static_cast<off_t>(slot * buffer.stride));
  if (at == MAP_FAILED) {
    fail(RunnerTrouble::kSetup, "cannot map %lu bytes: %s", buffer.stride, strerror(errno));
  }
  return reinterpret_cast<uint64_t>(base) + buffer.offset;
}

/// Returns how many bytes of the address space the buffers take.
uint64_t map_buffers(Arguments& arguments) {
  uint64_t reserved_bytes = 0;
  for (uint32_t i = 0; i < control->buffers; ++i) {
    int fd = kRunnerFirstBufferFd + static_cast<int>(i);
    for (uint32_t slot = 0; slot < control->slots; ++slot) {
      uint64_t at = map_slot(fd, control->buffer[i], slot);
      reserved_bytes += room_of(control->buffer[i]);
      control->address[slot][i] = at;
      arguments[slot][control->sizes + i] = at;
    }
    close(fd);
  }
  for (uint32_t slot = 0; slot < control->slots; ++slot) {
    for (uint32_t i = 0; i < control->sizes; ++i) {
      arguments[slot][i] = static_cast<uint64_t>(control->size[i]);
    }
  }
  return reserved_bytes;
}

/// Threads must exist before the filters; each gets its handler stack.
void warm_up_threads() {
  use_handler_stack(0);
  omp_set_dynamic(0);
#pragma omp parallel num_threads(control->threads)
  {
    if (omp_get_thread_num() > 0) use_handler_stack(omp_get_thread_num());
  }
}

/// The candidate may have `memory_bytes` beyond the buffers and what the runner itself takes: the
/// libraries, and for each thread its stack.
void limit_memory(uint64_t reserved_bytes) {
  constexpr rlim_t kRunner = rlim_t{192} << 20, kThread = rlim_t{9} << 20;
  rlim_t bytes = reserved_bytes + kRunner + control->threads * kThread + control->memory_bytes;
  rlimit limit{bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
}

/// Waits until the parent has put a candidate into the library's file.
void await_candidate() {
  while (control->given.load(std::memory_order_acquire) == 0) {
    syscall(SYS_futex, &control->given, FUTEX_WAIT, 0, 0, 0, 0);
  }
}

void confine(bool loading) {
  if (control->trusted != 0) return;
  SyscallFilter filter(loading);
  control->seccomp = filter.install() == 0 ? 1 : 0;
}

Entry load_candidate() {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", kRunnerLibraryFd);
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(RunnerTrouble::kLoad, "%s", dlerror());
  close(kRunnerLibraryFd);
  void* entry = dlsym(library, control->entry);
  if (entry == nullptr) fail(RunnerTrouble::kEntry, "%s", dlerror());
  return reinterpret_cast<Entry>(entry);
}

template <size_t>
using Word = uint64_t;

/// Every argument is a word of 64 bits, so that more of them than a function takes do no harm.
template <size_t... i>
void call_with(Entry entry, const uint64_t* a, std::index_sequence<i...>) {
  reinterpret_cast<void (*)(Word<i>...)>(entry)(a[i]...);
}

void call(Entry entry, const uint64_t* a) {
  constexpr size_t kFew = 32;  // hundreds of words on the stack take time
  if (control->sizes + control->buffers <= kFew) {
    call_with(entry, a, std::make_index_sequence<kFew>());
  } else {
    call_with(entry, a, std::make_index_sequence<kRunnerMaxArguments>());
  }
}

/// Waits for an order, spinning at first: longer when it is expected at once.
void await_order(uint32_t number, bool soon) {
  for (int i = 0; i < (soon ? 20'000 : 1'500); ++i) {
    if (control->order.load(std::memory_order_acquire) == number) return;
    __builtin_ia32_pause();
  }
  for (;;) {
    uint32_t seen = control->order.load(std::memory_order_acquire);
    if (seen == number) return;
    syscall(SYS_futex, &control->order, FUTEX_WAIT, seen, 0, 0, 0);
  }
}

void answer(uint32_t number) {
  control->answer.store(number, std::memory_order_release);
  wake(control->answer);
}

[[noreturn]] void serve(Entry entry, const Arguments& arguments) {
  uint32_t slots = control->slots;
  uint32_t threads = control->threads;
  for (uint32_t order = 1;; order += 2) {
    await_order(order, false);
    uint32_t calls = control->calls;
    uint32_t slot = control->first_slot % slots;
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
      reset_floating_point();
    }
    reset_floating_point();
    answer(order);
    await_order(order + 1, true);
    for (uint32_t i = 0; i < calls; ++i) {
      call(entry, arguments[slot]);
      slot = slot + 1 == slots ? 0 : slot + 1;
    }
    answer(order + 1);
  }
}

void note_refusal(size_t bytes) {
  uint64_t none = 0;
  if (control != nullptr) control->refused_bytes.compare_exchange_strong(none, bytes | 1);
}

int main_of_runner() {
  void* at =
      mmap(nullptr, sizeof(RunnerControl), PROT_READ | PROT_WRITE, MAP_SHARED, kRunnerControlFd, 0);
  if (at == MAP_FAILED) return kRunnerFailed;
  close(kRunnerControlFd);
  control = static_cast<RunnerControl*>(at);
  mallopt(M_ARENA_MAX, 2);  // an arena reserves 64 MiB of the candidate's allowance
  static Arguments arguments;
  const uint64_t reserved_bytes = map_buffers(arguments);
  install_handlers();
  warm_up_threads();
  limit_memory(reserved_bytes);
  await_candidate();
  if (write(kRunnerSetupFd, "", 1) != 1) fail(RunnerTrouble::kSetup, "nobody listens");
  close(kRunnerSetupFd);
  confine(true);
  Entry entry = load_candidate();
  confine(false);
  control->started = 1;
  wake(control->started);
  serve(entry, arguments);
}

}  // namespace
}  // namespace quern

// Allocation goes through here only so that a refusal is seen and can be told.
extern "C" {
void* malloc(size_t bytes) {
  void* at = libc_malloc(bytes);
  if (at == nullptr) quern::note_refusal(bytes);
  return at;
}
void* calloc(size_t count, size_t bytes) {
  void* at = libc_calloc(count, bytes);
  if (at == nullptr) quern::note_refusal(count * bytes);
  return at;
}
void* realloc(void* old, size_t bytes) {
  void* at = libc_realloc(old, bytes);
  if (at == nullptr && bytes != 0) quern::note_refusal(bytes);
  return at;
}
void* memalign(size_t alignment, size_t bytes) {
  void* at = libc_memalign(alignment, bytes);
  if (at == nullptr) quern::note_refusal(bytes);
  return at;
}
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** out, size_t alignment, size_t bytes) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  *out = memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
}

int main() { return quern::main_of_runner(); }
