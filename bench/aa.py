#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The A/A experiment: duels of a kernel against itself, on a quiet machine and beside a busy process.
Any that is declared different is a false alarm.

usage: aa.py [--duels 200] [--task softmax]
"""
import subprocess
import sys
import tempfile
import time

import quern


def duels(options, count):
    """(Results of so many duels of a kernel against itself, seconds)."""
    source = quern.ROOT / f"tests/cheats/honest_{options.task}.cpp"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        answer = quern.call(options.quern, "compare", options.task, source, source, "--size",
                            options.size, "--repeat", count, cwd=folder, timeout=3000)
    keys = ("different", "speedup", "low", "high", "pairs")
    return ([{key: duel[key] for key in keys} for duel in answer["duels"]],
            time.monotonic() - began)


def summary(outcome):
    results, wall_s = outcome
    worst = max(results, key=lambda duel: abs(duel["speedup"] - 1))
    widths = sorted(duel["high"] - duel["low"] for duel in results)
    return {"duels": len(results), "different": sum(duel["different"] for duel in results),
            "worst": worst, "median_interval_width": round(widths[len(widths) // 2], 5),
            "wall_s": round(wall_s, 1), "speedups":
            [round(duel["speedup"], 5) for duel in results]}


def main():
    parser = quern.parser(__doc__, "aa")
    parser.add_argument("--duels", default=200, type=int)
    parser.add_argument("--task", default="softmax", choices=["relu", "softmax", "matmul"])
    parser.add_argument("--size", default="cpu")
    options = parser.parse_args()
    quiet = summary(duels(options, options.duels))
    print(f"quiet: {quiet['different']} of {quiet['duels']} declared different", flush=True)
    busy_process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = summary(duels(options, options.duels))
    finally:
        busy_process.kill()
        busy_process.wait()
    print(f"one core busy: {busy['different']} of {busy['duels']} declared different")
    quern.save(options.out, {"task": options.task, "size": options.size, "quiet": quiet, "busy": busy})


main()
