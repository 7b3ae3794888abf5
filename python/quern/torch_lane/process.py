# SPDX-License-Identifier: Apache-2.0
"""Forked processes of the lane, as their parent sees them.

The parent has imported PyTorch and runs nothing with it: a child forked from it starts in
milliseconds, and finds no thread pool or CUDA context that a fork would break.
"""
from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from typing import Any, Callable

from quern.torch_lane import sandbox
from quern.torch_lane.channel import Channel, Gone, Late, Message

_OUTPUT_CAP = 16 * 1024


class Died(Exception):
    """The process ended or was ended; `status` is as waitpid gave it, `late` says by whom."""

    def __init__(self, status: int, late: bool, output: str) -> None:
        super().__init__(f"status {status}")
        self.status, self.late, self.output = status, late, output

    @property
    def signal(self) -> int:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0

    @property
    def exit_code(self) -> int:
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else 0


class Process:
    """A child that takes orders."""

    def __init__(self, serve: Callable[..., None], settings: Message, capture: bool) -> None:
        self.scratch = sandbox.private_folder("lane")
        settings = {**settings, "scratch": self.scratch}
        self.output_fd = os.memfd_create("quern-output", os.MFD_CLOEXEC)
        ours, theirs = Channel.pair()
        sys.stdout.flush()
        sys.stderr.flush()
        began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            sandbox.die_with_parent()
            ours.close()
            if capture:
                serve(settings, theirs, self.output_fd)
            else:
                serve(settings, theirs)
            os._exit(70)
        theirs.close()
        self.channel = ours
        self.ended = False
        self.started_s = time.monotonic() - began
        self.is_ready = False  # it has said so
        self.notes: list[str] = []  # of how it is confined

    def output(self) -> str:
        """The end of what it printed."""
        size = os.fstat(self.output_fd).st_size
        first = max(0, size - _OUTPUT_CAP)
        return os.pread(self.output_fd, size - first, first).decode(errors="replace")

    def send(self, order: str, fds: list[int] | None = None, **fields: Any) -> None:
        try:
            self.channel.send({"order": order, **fields}, fds)
        except Gone:
            raise self._death(False) from None

    def receive(self, limit_s: float | None) -> tuple[Message, list[int]]:
        """The next message. Raises Died where the process ended, or was too late and is killed."""
        try:
            return self.channel.receive_with(limit_s)
        except Late:
            raise self._death(True) from None
        except Gone:
            raise self._death(False) from None

    def ask(self, order: str, limit_s: float | None = None, fds: list[int] | None = None,
            **fields: Any) -> Message:
        self.send(order, fds, **fields)
        return self.receive(limit_s)[0]

    def too_late(self) -> Died:
        """Ends the process, which took longer than it may."""
        return self._death(True)

    def _death(self, late: bool) -> Died:
        status = self.end(0.0 if late else 2.0)
        return Died(status, late, self.output())

    def end(self, grace_s: float = 0.0) -> int:
        """Ends the process and everything in its group; its status as waitpid gives it."""
        if self.ended:
            return 0
        self.channel.close()
        until = time.monotonic() + grace_s
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while pid == 0 and time.monotonic() < until:
            time.sleep(0.002)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            if pid == 0:
                os.kill(self.pid, signal.SIGKILL)
        if pid == 0:
            _, status = os.waitpid(self.pid, 0)
        self.ended = True
        shutil.rmtree(self.scratch, ignore_errors=True)
        return status

    def kill(self) -> None:
        """Has the kernel end it and its group; `close` waits for that."""
        if self.ended:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def close(self) -> None:
        self.end()
        if self.output_fd >= 0:
            os.close(self.output_fd)
            self.output_fd = -1
