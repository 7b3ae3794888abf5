# SPDX-License-Identifier: Apache-2.0
"""Samples of calls as the reports give them: medians, intervals, ratios of pairs."""
from __future__ import annotations

import math
import statistics
import time
from typing import Any

Report = dict[str, Any]


def summary(samples_s: list[float], calls: int) -> Report:
    """Samples in ns per call with their median and its 95 % interval (order statistics)."""
    ordered = sorted(1e9 * sample for sample in samples_s)
    low, high = median_interval(len(ordered))
    return {"samples_ns": [1e9 * sample for sample in samples_s], "calls_per_sample": calls,
            "median_ns": statistics.median(ordered), "low_ns": ordered[low],
            "high_ns": ordered[high], "clock": "steady"}


def median_interval(count: int) -> tuple[int, int]:
    """Places of the order statistics that enclose the median with 95 %, or all there is."""
    mass, low = 0.0, 0
    for place in range(count // 2):
        mass += math.comb(count, place) / 2 ** count
        if mass > 0.025:
            break
        low = place + 1
    low = min(max(low - 1, 0), count // 2)
    return low, count - 1 - low


def paired(baseline: list[float], candidate: list[float]) -> Report:
    """The speedup over a baseline: the median of the ratios of pairs, and its interval."""
    ratios = sorted(b / c for b, c in zip(baseline, candidate, strict=True))
    low, high = median_interval(len(ratios))
    return {"speedup": statistics.median(ratios), "speedup_low": ratios[low],
            "speedup_high": ratios[high], "pairs": len(ratios)}


def settled(samples: dict[str, list[float]]) -> bool:
    """Whether the speedups are known to 0.5 %, as one is soon where a call takes long."""
    found = [paired(values, samples["candidate"]) for name, values in samples.items()
             if name != "candidate"]
    return bool(found) and all(pair["speedup_high"] - pair["speedup_low"] <
                               0.01 * pair["speedup"] for pair in found)


class Stages:
    """Milliseconds of each stage of an evaluation, put into its report."""

    def __init__(self, stages: dict[str, float]) -> None:
        self.stages, self.last = stages, time.monotonic()

    def mark(self, name: str) -> None:
        now = time.monotonic()
        self.stages[name] = 1000 * (now - self.last)
        self.last = now


class Batches:
    """What timed batches of calls gave. Seconds a call (`samples`), and of bringing all outputs of a
    batch (`late`), by name; `overhead`: seconds of an empty batch."""

    def __init__(self, runners: dict[str, Any], overhead: float) -> None:
        self.runners, self.overhead = runners, overhead
        self.samples: dict[str, list[float]] = {name: [] for name in runners}
        self.late: dict[str, list[float]] = {name: [] for name in runners}
