// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/death.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cstring>
#include <optional>

#include "base/strings.h"
#include "device/cpu/runner_protocol.h"

namespace quern {
namespace {

struct SystemCall {
  int number;
  const char* name;
  const char* breach;
};

constexpr SystemCall kSystemCalls[] = {
    {SYS_open, "open", "file_access"},
    {SYS_openat, "openat", "file_access"},
    {SYS_openat2, "openat2", "file_access"},
    {SYS_creat, "creat", "file_access"},
    {SYS_read, "read", "file_access"},
    {SYS_pread64, "pread64", "file_access"},
    {SYS_readv, "readv", "file_access"},
    {SYS_write, "write", "file_access"},
    {SYS_pwrite64, "pwrite64", "file_access"},
    {SYS_writev, "writev", "file_access"},
    {SYS_sendfile, "sendfile", "file_access"},
    {SYS_stat, "stat", "file_access"},
    {SYS_lstat, "lstat", "file_access"},
    {SYS_newfstatat, "newfstatat", "file_access"},
    {SYS_statx, "statx", "file_access"},
    {SYS_access, "access", "file_access"},
    {SYS_faccessat, "faccessat", "file_access"},
    {SYS_faccessat2, "faccessat2", "file_access"},
    {SYS_readlink, "readlink", "file_access"},
    {SYS_readlinkat, "readlinkat", "file_access"},
    {SYS_getdents64, "getdents64", "file_access"},
    {SYS_getcwd, "getcwd", "file_access"},
    {SYS_chdir, "chdir", "file_access"},
    {SYS_unlink, "unlink", "file_access"},
    {SYS_unlinkat, "unlinkat", "file_access"},
    {SYS_rename, "rename", "file_access"},
    {SYS_renameat, "renameat", "file_access"},
    {SYS_renameat2, "renameat2", "file_access"},
    {SYS_mkdir, "mkdir", "file_access"},
    {SYS_mkdirat, "mkdirat", "file_access"},
    {SYS_rmdir, "rmdir", "file_access"},
    {SYS_link, "link", "file_access"},
    {SYS_symlink, "symlink", "file_access"},
    {SYS_chmod, "chmod", "file_access"},
    {SYS_chown, "chown", "file_access"},
    {SYS_truncate, "truncate", "file_access"},
    {SYS_ftruncate, "ftruncate", "file_access"},
    {SYS_lseek, "lseek", "file_access"},
    {SYS_close, "close", "file_access"},
    {SYS_dup, "dup", "file_access"},
    {SYS_dup2, "dup2", "file_access"},
    {SYS_fcntl, "fcntl", "file_access"},
    {SYS_mount, "mount", "file_access"},
    {SYS_memfd_create, "memfd_create", "file_access"},
    {SYS_socket, "socket", "network"},
    {SYS_socketpair, "socketpair", "network"},
    {SYS_connect, "connect", "network"},
    {SYS_bind, "bind", "network"},
    {SYS_listen, "listen", "network"},
    {SYS_accept, "accept", "network"},
    {SYS_sendto, "sendto", "network"},
    {SYS_recvfrom, "recvfrom", "network"},
    {SYS_sendmsg, "sendmsg", "network"},
    {SYS_recvmsg, "recvmsg", "network"},
    {SYS_fork, "fork", "fork"},
    {SYS_vfork, "vfork", "fork"},
    {SYS_clone, "clone", "fork"},
    {SYS_clone3, "clone3", "fork"},
    {SYS_execve, "execve", "exec"},
    {SYS_execveat, "execveat", "exec"},
    {SYS_kill, "kill", "system_call"},
    {SYS_tkill, "tkill", "system_call"},
    {SYS_tgkill, "tgkill", "system_call"},
    {SYS_ptrace, "ptrace", "system_call"},
    {SYS_process_vm_readv, "process_vm_readv", "system_call"},
    {SYS_process_vm_writev, "process_vm_writev", "system_call"},
    {SYS_mmap, "mmap", "system_call"},
    {SYS_mprotect, "mprotect", "system_call"},
    {SYS_prctl, "prctl", "system_call"},
    {SYS_arch_prctl, "arch_prctl", "system_call"},
    {SYS_prlimit64, "prlimit64", "system_call"},
    {SYS_ioctl, "ioctl", "system_call"},
    {SYS_unshare, "unshare", "system_call"},
    {SYS_setns, "setns", "system_call"},
    {SYS_seccomp, "seccomp", "system_call"},
    {SYS_bpf, "bpf", "system_call"},
    {SYS_perf_event_open, "perf_event_open", "system_call"},
    {SYS_io_uring_setup, "io_uring_setup", "system_call"},
    {SYS_pipe, "pipe", "system_call"},
    {SYS_pipe2, "pipe2", "system_call"},
    {SYS_wait4, "wait4", "system_call"},
    {SYS_shmget, "shmget", "system_call"},
    {SYS_setsid, "setsid", "system_call"},
    {SYS_setpgid, "setpgid", "system_call"},
    {SYS_setuid, "setuid", "system_call"},
    {SYS_setitimer, "setitimer", "system_call"},
    {SYS_alarm, "alarm", "system_call"},
    {SYS_poll, "poll", "system_call"},
    {SYS_select, "select", "system_call"},
};

Verdict explain_call(const Death& death) {
  std::string name = fmt::format("number {}", death.system_call);
  std::string breach = "system_call";
  for (const SystemCall& call : kSystemCalls) {
    if (call.number != death.system_call) continue;
    name = call.name;
    breach = call.breach;
  }
  if (death.system_call < 0) {
    return Rejected{breach, "a system call that is not allowed in a kernel", death.printed};
  }
  // These are allowed with other arguments, so the name alone would puzzle.
  if (name == "mmap" || name == "mprotect") name += " for executable memory";
  if (name == "clone") name += " of a process";
  return Rejected{breach, fmt::format("system call {} is not allowed in a kernel", name),
                  death.printed};
}

std::string buffer_name(const KernelLayout& layout, size_t index) {
  bool input = index < layout.inputs.size();
  size_t place = input ? index : index - layout.inputs.size();
  const auto& names = input ? layout.input_names : layout.output_names;
  std::string kind = input ? "input " : "output ";
  return kind + (place < names.size() ? names[place] : std::to_string(place));
}

/// The verdict of a fault at or beside a buffer; nothing when it is far from all.
std::optional<Verdict> explain_buffer_fault(const Death& death, const KernelLayout& layout) {
  const char* verb = death.wrote ? "wrote" : "read";
  std::string breach = death.wrote ? "out_of_bounds_write" : "out_of_bounds_read";
  for (size_t slot = 0; slot < death.addresses.size(); ++slot) {
    for (size_t i = 0; i < death.addresses[slot].size(); ++i) {
      uint64_t start = death.addresses[slot][i];
      bool input = i < layout.inputs.size();
      uint64_t bytes = input ? layout.inputs[i] : layout.outputs[i - layout.inputs.size()];
      std::string name = buffer_name(layout, i);
      if (death.address >= start && death.address < start + bytes) {
        return Rejected{"modified_input",
                        fmt::format("wrote to {} at byte {}", name, death.address - start),
                        "inputs are read-only"};
      }
      uint64_t reach = kRunnerGuardBytes;
      if (death.address >= start + bytes && death.address < start + bytes + reach) {
        return Rejected{breach,
                        fmt::format("{} past the end of {}, {} bytes from its end", verb, name,
                                    death.address - start - bytes),
                        fmt::format("{} has {} bytes", name, bytes)};
      }
      if (death.address < start && death.address >= start - reach) {
        return Rejected{breach,
                        fmt::format("{} before the start of {}, {} bytes from its start", verb,
                                    name, start - death.address),
                        fmt::format("{} has {} bytes", name, bytes)};
      }
    }
  }
  return std::nullopt;
}

Verdict out_of_memory(const Death& death, const KernelLimits& limits) {
  return Crashed{
      fmt::format("ran out of its memory limit of {} MiB", limits.memory_bytes >> 20),
      fmt::format("an allocation of {} bytes was refused\n{}", death.refused_bytes, death.printed),
      death.signal};
}

Verdict explain_fault(const Death& death, const KernelLayout& layout, const KernelLimits& limits) {
  if (auto verdict = explain_buffer_fault(death, layout)) return *verdict;
  constexpr uint64_t kNull = 1 << 16, kStack = 1 << 20;
  if (death.refused_bytes != 0 && death.address < kNull) return out_of_memory(death, limits);
  uint64_t distance = death.address > death.stack_pointer ? death.address - death.stack_pointer
                                                          : death.stack_pointer - death.address;
  if (distance < kStack) {
    return Crashed{"overflowed its stack", death.printed, death.signal};
  }
  const char* verb = death.wrote ? "writing to" : "reading";
  if (death.address < kNull) {
    return Crashed{fmt::format("crashed {} address {:#x}: a null pointer", verb, death.address),
                   death.printed, death.signal};
  }
  return Crashed{
      fmt::format("crashed {} address {:#x}, which is not its memory", verb, death.address),
      death.printed, death.signal};
}

Verdict explain_end(const Death& death, const KernelLayout& layout, const KernelLimits& limits) {
  const ExitStatus& status = death.status;
  if (status.signal == SIGSYS) return explain_call(death);
  if (status.signal == 0 && status.exit_code == kRunnerTrapped) return explain_call(death);
  if (status.signal == 0 && status.exit_code == kRunnerFaulted) {
    return explain_fault(death, layout, limits);
  }
  if (status.signal == 0) {
    return Crashed{fmt::format("ended the process with exit code {}", status.exit_code),
                   death.printed, 0};
  }
  if (status.signal == SIGABRT && death.refused_bytes != 0) return out_of_memory(death, limits);
  return Crashed{signal_meaning(status.signal), death.printed, status.signal};
}

}  // namespace

std::string signal_meaning(int signal) {
  switch (signal) {
    case SIGABRT:
      return "aborted";
    case SIGFPE:
      return "divided an integer by zero, or overflowed a division";
    case SIGILL:
      return "executed an instruction this processor does not have, or a trap";
    case SIGTRAP:
      return "executed a trap";
    case SIGSEGV:
      return "crashed: an invalid memory access";
    case SIGBUS:
      return "crashed: a bus error";
    case SIGKILL:
      return "was killed by the system, most likely for want of memory";
    default:
      return fmt::format("died of signal {} ({})", signal, strsignal(signal));
  }
}

Verdict explain_death(const Death& death, const KernelLayout& layout, const KernelLimits& limits) {
  if (!death.loading) return explain_end(death, layout, limits);
  Death noted = death;
  noted.printed = "while its library was being loaded\n" + death.printed;
  return explain_end(noted, layout, limits);
}

}  // namespace quern
