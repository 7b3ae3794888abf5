# SPDX-License-Identifier: Apache-2.0
"""The lane for many modules: one request a line in, one answer a line out (docs/torch_lane.md).

A request is {"module": path, "size": "cpu" or "full", "source", "protocols": ["strict",
"kernelbench"]}; its answer {"size": what was judged at, "strict": report, "kernelbench": record}, or
{"unfit": why the module cannot judge}, or {"failed": what went wrong here}. Lanes of several such
processes that are given the same `Machine` take turns in what is timed.
"""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import signal
from collections.abc import Iterator
from typing import Any, TextIO

from quern.importer.source import BadModule
from quern.torch_lane import scale
from quern.torch_lane.lane import Lane, Options, ReferenceUnfit
from quern.torch_lane.process import Died

Message = dict[str, Any]


class Machine:
    """What several processes share: many may work at a time, or one alone."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if path else -1

    def _hold(self, how: int) -> None:
        if self.fd >= 0:
            fcntl.flock(self.fd, how)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        self._hold(fcntl.LOCK_SH)
        try:
            yield
        finally:
            self._hold(fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Inside of `shared`: nobody else works until it ends."""
        self._hold(fcntl.LOCK_EX)
        try:
            yield
        finally:
            self._hold(fcntl.LOCK_SH)


class Service:
    """Keeps the lane of the last module."""

    def __init__(self, options: Options, machine: Machine) -> None:
        self.machine = machine
        self.options = dataclasses.replace(options, alone=machine.alone)
        self.key: tuple[str, str] | None = None
        self.lane: Lane | None = None
        self.size, self.unfit = "", ""

    def _open(self, path: str, size: str) -> None:
        if self.key == (path, size):
            return
        self.close()
        self.key, self.unfit = (path, size), ""
        module = pathlib.Path(path)
        try:
            source, self.size = module.read_text(encoding="utf-8", errors="replace"), "full"
            if size == "cpu":
                source, self.size = scale.to_cpu(source, module.name)
            self.lane = Lane(source, module.name, self.options)
        except (ReferenceUnfit, BadModule) as error:
            death = error.__context__
            if isinstance(death, Died) and death.signal == signal.SIGKILL:
                raise RuntimeError(f"{error} (out of memory?)") from None
            self.unfit = str(error)

    def judge(self, request: Message) -> Message:
        with self.machine.shared():
            self._open(request["module"], request["size"])
            if self.lane is None:
                return {"unfit": self.unfit or "the module could not be prepared"}
            answer: Message = {"size": self.size}
            if "strict" in request["protocols"]:
                answer["strict"] = self.lane.evaluate(request["source"])
            if "kernelbench" in request["protocols"]:
                answer["kernelbench"] = self.lane.kernelbench(request["source"])
            return answer

    def close(self) -> None:
        if self.lane is not None:
            self.lane.close()
        self.lane, self.key = None, None


def serve(service: Service, lines: TextIO, out: TextIO) -> None:
    """Until the end of `lines`."""
    for line in lines:
        try:
            answer = service.judge(json.loads(line))
        except Exception as error:  # noqa: BLE001  one request must not end the others
            answer = {"failed": f"{type(error).__name__}: {error}"[:600]}
            service.close()
        out.write(json.dumps(answer) + "\n")
        out.flush()
    service.close()
