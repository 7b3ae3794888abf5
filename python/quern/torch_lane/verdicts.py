# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the lane, by the names of src/record/verdict.h, and what leads to them."""
from __future__ import annotations

import signal
import statistics
from typing import Any

from quern.torch_lane import static_checks
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


def judge_shape(told: Report, facts: Report) -> None:
    """What the candidate's process says of its output, where it contradicts the reference."""
    if told["types"] and any(kind not in ("Tensor", "Parameter") for kind in told["types"]):
        raise Stop("rejected", f"an output is a {told['types'][0]}, not a Tensor: it may "
                   "compute when it is looked at", breach="lazy_output")
    places, wanted = told["places"], facts["out_places"]
    if told["tree"] != facts["out_tree"] or len(places) != len(wanted):
        raise Stop("wrong_result", f"{len(places)} outputs, or their nesting, are not the "
                   f"reference's {len(wanted)}")
    for place, want in zip(places, wanted, strict=True):
        if place["shape"] != want["shape"]:
            raise Stop("wrong_result", f"shape {place['shape']} instead of {want['shape']}")
        if place["dtype"] != want["dtype"]:
            raise Stop("wrong_result", f"type {place['dtype']} instead of {want['dtype']}")


def refuse_replaced(names: list[str]) -> None:
    """Functions of PyTorch, its timers or Python that a candidate has put its own in place of."""
    if names:
        breach = "patched_timer" if any(
            name.split(".")[-1] in static_checks.TIMER_NAMES for name in names) else \
            "patched_torch"
        raise Stop("rejected", "the candidate replaces " + ", ".join(names[:5]), breach=breach)


def put_off(samples: dict[str, list[float]], late: dict[str, list[float]], calls: int) -> str:
    """Whether work is put off until the outputs are asked for, in words; "": it is not, or nobody
    can say. `samples`: seconds a call of batches of `calls`; `late`: of bringing their outputs."""
    if "eager" not in late or len(late["candidate"]) < 2:
        return ""
    batch = statistics.median(samples["eager"]) * calls
    own = statistics.median(samples["candidate"]) * calls
    usual = statistics.median(late["eager"])
    noise = statistics.median(abs(value - usual) for value in late["eager"])
    excess = statistics.median(late["candidate"]) - usual
    if excess <= 0.5 * batch + 4 * noise or own >= 0.5 * batch:
        return ""
    return (f"it answers after {1e3 * own:.3g} ms and its outputs come {1e3 * excess:.3g} ms later "
            "than PyTorch's: the work is put off")
