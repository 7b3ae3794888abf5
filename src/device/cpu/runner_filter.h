// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <initializer_list>

namespace quern {

/// Builds the system call filters of `quern-runner`: lists of what is allowed; anything else is a
/// trap, which the runner's handler reports and does not survive.
class SyscallFilter {
 public:
  /// While a candidate is loaded, files may be read (Landlock says which) and code mapped.
  /// Afterwards neither.
  explicit SyscallFilter(bool loading) {
    load(offsetof(seccomp_data, arch));
    jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
    ret(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
    allow_always();
    refuse_politely();
    allow_by_argument();
    if (loading) {
      allow_loading();
    } else {
      restrict_code();
    }
    ret(SECCOMP_RET_TRAP);
  }

  /// Applies it to every thread of the process. 0 or an errno.
  int install() {
    sock_fprog program{static_cast<unsigned short>(length_), code_};
    long failed =
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    return failed == 0 ? 0 : failed > 0 ? EBUSY : errno;  // positive: a thread that could not
  }

 private:
  static constexpr int kLimit = 256;

  void add(sock_filter instruction) {
    if (length_ < kLimit) code_[length_++] = instruction;
  }
  void load(size_t offset) {
    add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)));
  }
  void jump(int test, unsigned value, int yes, int no) {
    add(BPF_JUMP(static_cast<unsigned short>(BPF_JMP | test | BPF_K), value,
                 static_cast<unsigned char>(yes), static_cast<unsigned char>(no)));
  }
  void ret(unsigned action) { add(BPF_STMT(BPF_RET | BPF_K, action)); }

  /// `action` for one call number; the number is in the accumulator before and after.
  void rule(long number, unsigned action) {
    jump(BPF_JEQ, static_cast<unsigned>(number), 0, 1);
    ret(action);
  }
  void allow(long number) { rule(number, SECCOMP_RET_ALLOW); }

  /// Allows a call when (low half of an argument & mask) == value; otherwise `otherwise`.
  void allow_if(long number, int argument, unsigned mask, unsigned value,
                unsigned otherwise = SECCOMP_RET_TRAP) {
    jump(BPF_JEQ, static_cast<unsigned>(number), 0, 5);
    load(offsetof(seccomp_data, args) + 8 * static_cast<size_t>(argument));
    add(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    jump(BPF_JEQ, value, 0, 1);
    ret(SECCOMP_RET_ALLOW);
    ret(otherwise);
  }

  void allow_always() {
    for (long number : {SYS_futex,
                        SYS_sched_yield,
                        SYS_madvise,
                        SYS_munmap,
                        SYS_mremap,
                        SYS_brk,
                        SYS_exit,
                        SYS_exit_group,
                        SYS_clock_gettime,
                        SYS_clock_getres,
                        SYS_gettimeofday,
                        SYS_time,
                        SYS_getcpu,
                        SYS_nanosleep,
                        SYS_clock_nanosleep,
                        SYS_getpid,
                        SYS_gettid,

                        SYS_rt_sigreturn,
                        SYS_sigaltstack,
                        SYS_set_robust_list,
                        SYS_rseq,
                        SYS_getrandom,
                        SYS_sysinfo,
                        SYS_uname,
                        SYS_sched_getaffinity,
                        SYS_getrusage,
                        SYS_times,
                        SYS_restart_syscall,
                        SYS_getuid,
                        SYS_geteuid,
                        SYS_getgid,
                        SYS_getegid}) {
      allow(number);
    }
  }

  /// Calls the C library makes on the way to something harmless: an error and no harm.
  void refuse_politely() {
    rule(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);  // then it uses clone, whose flags we can see
    rule(SYS_rt_sigaction, SECCOMP_RET_ERRNO | EPERM);  // our handlers stay
    rule(SYS_rt_sigprocmask, SECCOMP_RET_ERRNO | 0);    // "done": a blocked trap would kill unseen
    rule(SYS_sched_setaffinity, SECCOMP_RET_ERRNO | EPERM);
  }

  void allow_by_argument() {
    unsigned thread = CLONE_THREAD | CLONE_VM;
    allow_if(SYS_clone, 0, thread, thread);
    allow_if(SYS_tgkill, 0, ~0u, static_cast<unsigned>(getpid()));
    allow_limits();
    // Standard output and error are pipes that drop what does not fit.
    for (long number : {SYS_write, SYS_writev}) {
      jump(BPF_JEQ, static_cast<unsigned>(number), 0, 5);
      load(offsetof(seccomp_data, args));
      jump(BPF_JEQ, 1, 1, 0);
      jump(BPF_JEQ, 2, 0, 1);
      ret(SECCOMP_RET_ALLOW);
      ret(SECCOMP_RET_TRAP);
    }
  }

  /// prlimit may read limits: its third argument, the new limit, is null.
  void allow_limits() {
    size_t argument = offsetof(seccomp_data, args) + 16;
    jump(BPF_JEQ, SYS_prlimit64, 0, 6);
    load(argument);
    jump(BPF_JEQ, 0, 0, 3);
    load(argument + 4);
    jump(BPF_JEQ, 0, 0, 1);
    ret(SECCOMP_RET_ALLOW);
    ret(SECCOMP_RET_TRAP);
  }

  void allow_loading() {
    allow(SYS_seccomp);  // for the second filter; filters only ever add up
    // Files may be opened to be read; O_TMPFILE needs no look of its own, it comes with writing.
    constexpr unsigned kWriting = O_ACCMODE | O_CREAT | O_TRUNC;
    allow_if(SYS_open, 1, kWriting, O_RDONLY);
    allow_if(SYS_openat, 2, kWriting, O_RDONLY);
    for (long number : {SYS_read, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_lseek,
                        SYS_readlink, SYS_access, SYS_faccessat, SYS_mmap, SYS_mprotect}) {
      allow(number);
    }
  }

  void restrict_code() {
    allow_if(SYS_mmap, 2, PROT_EXEC, 0);
    allow_if(SYS_mprotect, 2, PROT_EXEC, 0);
    // stdio asks what its descriptor is; an error means "buffer it".
    rule(SYS_fstat, SECCOMP_RET_ERRNO | EACCES);
    constexpr unsigned kEmptyPath = 0x1000;
    jump(BPF_JEQ, SYS_newfstatat, 0, 5);
    load(offsetof(seccomp_data, args) + 24);
    add(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kEmptyPath));
    jump(BPF_JEQ, kEmptyPath, 0, 1);
    ret(SECCOMP_RET_ERRNO | EACCES);
    ret(SECCOMP_RET_TRAP);
  }

  sock_filter code_[kLimit];
  int length_ = 0;
};

}  // namespace quern
