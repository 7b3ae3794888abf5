# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the lane, by the names of src/record/verdict.h, and what leads to them."""
from __future__ import annotations

import signal
from typing import Any

from quern.torch_lane.process import Died
from quern.torch_lane.sandbox import BREACH_OF_ERRNO

Report = dict[str, Any]


class Stop(Exception):
    """A candidate's verdict is known."""

    def __init__(self, verdict: str, reason: str, evidence: str = "", breach: str = "") -> None:
        super().__init__(reason)
        self.report: Report = {"verdict": verdict, "breach": breach or None, "reason": reason,
                               "evidence": evidence[-6000:]}


def raised(answer: Report) -> Stop:
    """The verdict on what a module raised."""
    text = f"{answer['raised']}: {answer['text']}"[:600]
    breach = BREACH_OF_ERRNO.get(answer["errno"] or 0)
    if breach and answer["raised"] in ("PermissionError", "OSError", "ChildProcessError"):
        return Stop("rejected", f"it may not: {text}", answer["trace"], breach)
    if answer["build_failed"] or (answer["stage"] == "load" and answer["raised"] in (
            "SyntaxError", "ImportError", "ModuleNotFoundError", "NameError", "IndentationError")):
        return Stop("compile_failed", text, answer["trace"])
    return Stop("launch_failed", f"{answer['stage']} raised {text}", answer["trace"])


def died(death: Died) -> Stop:
    if death.late:
        return Stop("timed_out", "no answer in time", death.output)
    if death.signal:
        name = signal.Signals(death.signal).name
        return Stop("crashed", f"ended by {name}", death.output)
    return Stop("rejected", f"the process ended with exit code {death.exit_code} before it "
                "answered", death.output, "early_exit")
