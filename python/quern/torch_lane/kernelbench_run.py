# SPDX-License-Identifier: Apache-2.0
"""The parent's side of one evaluation by KernelBench's protocol (kernelbench.py)."""
from __future__ import annotations

import time
from typing import Any

from quern.torch_lane import kernelbench
from quern.torch_lane.builder import PACKAGE, Builder, environment
from quern.torch_lane.process import Died, Process
from quern.torch_lane.verdicts import died

Report = dict[str, Any]
LIMIT_S = kernelbench.LIMIT_S + 120.0  # with builds


class KernelbenchRun:
    """One evaluation in a confined process of its own. `until_timing` brings it to where it would
    time; `finish` lets it, which wants a quiet machine. With `each_trial` it stops before each timed
    call, and `step` lets it make one. Not thread-safe."""

    def __init__(self, options: Any, builder: Builder, reference: str, source: str,
                 backend: str = "", precision: str = "fp32",
                 timed_trials: int = kernelbench.TIMED_TRIALS, each_trial: bool = False) -> None:
        self.builder = builder
        self.answer: Report | None = None
        self.until = time.monotonic() + LIMIT_S
        self.process = Process(kernelbench.serve, {
            "role": "kernelbench", "reference": reference, "source": source,
            "device": options.device, "confined": True, "may_compile": True,
            "precision": precision, "backend": backend, "timed_trials": timed_trials,
            "each_trial": each_trial,
            "memory_bytes": options.memory_bytes, "fast_builds": True,
            "baselines": list(options.baselines), "readable": [PACKAGE],
            "environment": environment(options.cache, False)}, capture=True)

    def until_timing(self, times: int = 1) -> None:
        """Answers what it asks to have built, until it has wanted to time so often or is done."""
        while self.answer is None:
            try:
                message, _ = self.process.receive(max(0.1, self.until - time.monotonic()))
            except Died as death:
                self._ended(death)
                break
            if message.get("quiet"):
                times -= 1
                if times == 0:
                    return
                continue
            if "build" in message:
                self.process.channel.send(self.builder.build(message["build"],
                                                             self.process.scratch))
            else:
                self.answer = message if "result" in message else {
                    "result": None, "reason": "its process sent something else"}
        self.process.close()

    def step(self, count: int = 1) -> None:
        """Lets it go on until it has wanted to time so many times more, or is done."""
        if self.answer is not None:
            return
        try:
            if time.monotonic() > self.until:
                raise self.process.too_late()
            for _ in range(count):
                self.process.send("time")
        except Died as death:
            self._ended(death)
        self.until_timing(count)

    def finish(self) -> Report:
        """The record (kernelbench.evaluate), after `until_timing`; {"result": None, "reason"} where
        the process ended."""
        while self.answer is None:
            self.step()
        return self.answer

    def _ended(self, death: Died) -> None:
        self.answer = {"result": None, "reason": died(death).report["reason"]}
