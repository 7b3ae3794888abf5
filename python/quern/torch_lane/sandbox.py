# SPDX-License-Identifier: Apache-2.0
"""Confines a forked process: Landlock, a system-call filter, limits, no network.

The same mechanisms as src/base/landlock.cpp, spoken to through ctypes, since the process to confine
is a fork of this interpreter. What the kernel lacks is reported, never skipped in silence. The
filter answers with one errno for each kind of breach, so that Python raises what names it. x86-64.
"""
from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
import sysconfig
import tempfile

_libc = ctypes.CDLL(None, use_errno=True)

# linux/landlock.h: rights on files, by the version of the interface that brought them.
_EXECUTE, _WRITE, _READ, _READ_DIR = 1, 2, 4, 8
_ENTRIES = 0x1FF0  # remove and make entries of every kind but the two below
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_CREATE, _ADD, _RESTRICT = 444, 445, 446

READ = _READ | _READ_DIR
READ_EXECUTE = READ | _EXECUTE
READ_WRITE = READ | _WRITE | _ENTRIES | _REFER | _TRUNCATE
DEVICE = _READ | _WRITE | _IOCTL

# errno by which a breach is told: PermissionError and OSError carry it to the candidate's caller.
BREACH_OF_ERRNO = {errno.EACCES: "file_access", errno.EROFS: "file_access",
                   errno.ENETDOWN: "network", errno.EPERM: "forbidden_call",
                   errno.ECHILD: "fork"}


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("fd", ctypes.c_int)]


class _Filter(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def landlock_version() -> int:
    """0 where the kernel has none."""
    return max(0, _libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1))


def restrict_files(rules: list[tuple[str, int]]) -> str:
    """Only these paths from here on. Returns "" or what went wrong."""
    version = landlock_version()
    if version == 0:
        return "files are not restricted: this kernel has no Landlock"
    known = 0x1FFF | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0) | \
        (_IOCTL if version >= 5 else 0)
    # TCP (4), then abstract sockets and signals to processes outside (6).
    words = [known] + ([3] if version >= 4 else []) + ([3] if version >= 6 else [])
    attributes = (ctypes.c_uint64 * len(words))(*words)
    ruleset = _libc.syscall(_CREATE, attributes, ctypes.c_size_t(8 * len(words)), 0)
    if ruleset < 0:
        return "files are not restricted: " + os.strerror(ctypes.get_errno())
    for path, rights in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = _PathRule(rights & known, fd)
        _libc.syscall(_ADD, ruleset, 1, ctypes.byref(rule), 0)
        os.close(fd)
    _libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    failed = _libc.syscall(_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return "" if failed == 0 else "files are not restricted: " + os.strerror(ctypes.get_errno())


def remove_network() -> str:
    """A network namespace without interfaces. Returns "" or what went wrong."""
    clone_new_user, clone_new_net = 0x10000000, 0x40000000
    if _libc.unshare(clone_new_net) == 0 or _libc.unshare(clone_new_user | clone_new_net) == 0:
        return ""
    return "the network is not removed: " + os.strerror(ctypes.get_errno())


# x86-64 numbers.
_PROCESSES = {"execve": 59, "execveat": 322, "fork": 57, "vfork": 58}
_NETWORK = {"socket": 41, "connect": 42, "bind": 49, "listen": 50, "accept": 43, "accept4": 288}
_OTHERS = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "mount": 165, "umount2": 166,
    "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "bpf": 321,
    "perf_event_open": 298, "kexec_load": 246, "init_module": 175, "finit_module": 313,
    "delete_module": 176, "keyctl": 250, "add_key": 248, "userfaultfd": 323,
    "io_uring_setup": 425, "reboot": 169, "swapon": 167, "swapoff": 168, "pidfd_open": 434,
    "pidfd_getfd": 438, "pidfd_send_signal": 424, "open_by_handle_at": 304, "setuid": 105,
    "setgid": 106, "setreuid": 113, "setregid": 114, "setresuid": 117, "setresgid": 119,
}
_CLONE, _CLONE3, _KILL, _TKILL, _TGKILL = 56, 435, 62, 200, 234
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000


def _program(allow_processes: bool) -> bytes:
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, 0xC000003E), (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, 0)]

    def refuse(number: int, error: int) -> None:
        code.extend([(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)])

    for number in _NETWORK.values():
        refuse(number, errno.ENETDOWN)
    for number in _OTHERS.values():
        refuse(number, errno.EPERM)
    # Signals go to this process alone.
    for number in (_KILL, _TGKILL):
        code.extend([(_EQUAL, 0, 4, number), (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, os.getpid()),
                     (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)])
    refuse(_TKILL, errno.EPERM)
    if not allow_processes:
        for number in _PROCESSES.values():
            refuse(number, errno.ECHILD)
        # clone3 keeps its flags in memory: it gives way to clone, which may make threads only.
        refuse(_CLONE3, errno.ENOSYS)
        code.extend([(_EQUAL, 0, 4, _CLONE), (_LOAD, 0, 0, 16), (_SET, 1, 0, 0x10000),
                     (_RETURN, 0, 0, _ERRNO | errno.ECHILD), (_RETURN, 0, 0, _ALLOW)])
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def filter_calls(allow_processes: bool) -> str:
    """Gives up system calls, for every thread. Returns "" or what went wrong."""
    code = _program(allow_processes)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Filter(len(code) // 8, ctypes.addressof(buffer))
    _libc.prctl(38, 1, 0, 0, 0)
    if _libc.syscall(317, 1, 1, ctypes.byref(program)) == 0:  # SECCOMP_FILTER_FLAG_TSYNC
        return ""
    return "system calls are not filtered: " + os.strerror(ctypes.get_errno())


def candidate_rules(scratch: str, readable: list[str]) -> list[tuple[str, int]]:
    """What a candidate's process may touch: libraries and toolchains, devices, its own folder."""
    python = {sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"],
              sysconfig.get_paths()["purelib"]}
    python |= {os.path.realpath(path) for path in python}
    rules = [(path, READ_EXECUTE) for path in sorted(python)]
    rules += [(path, READ_EXECUTE) for path in ("/usr", "/lib", "/lib64", "/bin", "/opt")]
    rules += [(path, READ) for path in ("/etc/ld.so.cache", "/etc/alternatives", "/proc/cpuinfo",
                                        "/proc/meminfo", "/proc/self", "/proc/driver",
                                        "/sys/devices", "/sys/bus/pci", "/sys/module/nvidia",
                                        "/proc/stat", "/proc/devices", "/proc/modules",
                                        "/proc/sys/vm", "/dev/urandom", "/dev/random")]
    rules += [(path, DEVICE) for path in ("/dev/null", "/dev/zero", "/dev/nvidiactl", "/dev/nvidia-caps",
                                          "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")]
    rules += [(f"/dev/nvidia{number}", DEVICE) for number in range(16)]
    rules += [(path, READ_EXECUTE) for path in readable]
    return [*rules, (scratch, READ_WRITE | _EXECUTE)]


def limit(memory_bytes: int, file_bytes: int = 1 << 30) -> None:
    """Ceilings of this process; `memory_bytes` beyond what it has mapped now, 0: none."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if memory_bytes:
        with open("/proc/self/statm") as text:
            mapped = int(text.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))


def close_descriptors(keep: set[int]) -> None:
    """Every descriptor but the standard ones and `keep`."""
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = max(first, fd + 1)
    os.closerange(first, 65536)


def private_folder(prefix: str) -> str:
    return tempfile.mkdtemp(prefix=f"quern-{prefix}-")
