#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""256 concurrent streams against the mock model server: what they cost, and whether any reply was
lost or mixed up. Runs the load tests of src/llm, each in a process of its own, and keeps their figures.

usage: http_load.py [--test build/dev/src/llm_test] [--rounds 5] [--faults]
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

import quern

STREAMS = "HttpLoad.TwoHundredFiftySixStreamsAtOnceLoseAndMixNothing"
THOUSAND = "HttpLoad.AThousandCallsWithFaultsLoseAndMixNothing"
BUDGETS = "HttpLoad.WhatTheServerBilledNeverExceedsTheBudgetOver200RunsWithFaults"


def run(binary, name):
    """(passed, seconds, what it printed)."""
    began = time.monotonic()
    ran = subprocess.run([binary, f"--gtest_filter={name}"], capture_output=True, text=True, timeout=280)
    if "1 test from 1 test suite ran" not in ran.stdout:
        sys.exit(f"{binary} has no test {name}\n{ran.stdout[-500:]}{ran.stderr[-500:]}")
    return ran.returncode == 0, time.monotonic() - began, ran.stdout


def under_faults(binary):
    """Figures of the two tests with faults."""
    passed, seconds, said = run(binary, THOUSAND)
    thousand = {"calls": 1000, "no_reply_lost_or_mixed": passed, "wall_s": round(seconds, 2),
                "faults": json.loads(re.search(r"faults: (\{.*\})", said)[1])}
    passed, seconds, said = run(binary, BUDGETS)
    answers, refusals, tokens = map(int, re.search(
        r"200 runs: (\d+) answers, (\d+) refusals, (\d+) tokens", said).groups())
    budgets = {"runs": 200, "never_over_the_limit": passed, "answers": answers, "refusals": refusals,
               "tokens_billed": tokens, "wall_s": round(seconds, 2)}
    return {"thousand_calls_with_faults": thousand, "budgets_under_faults": budgets}


def main():
    parser = quern.parser(__doc__, "http_load")
    parser.add_argument("--test", default=quern.ROOT / "build/dev/src/llm_test", type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--faults", action="store_true",
                        help="also 1,000 calls and 200 budgets under faults")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        passed, seconds, said = run(options.test, STREAMS)
        streams, megabytes = re.search(r"(\d+) streams at once.* ([\d.]+) MB", said).groups()
        rounds.append({"no_reply_lost_or_mixed": passed, "streams_at_once": int(streams),
                       "peak_memory_mb": float(megabytes), "wall_s": round(seconds, 2)})
    figures = {"network_threads": 1, "streams": rounds,
               "largest_peak_memory_mb": max(row["peak_memory_mb"] for row in rounds),
               "median_wall_s": statistics.median(row["wall_s"] for row in rounds)}
    if options.faults:
        figures |= under_faults(options.test)
    print(json.dumps(figures, indent=1))
    quern.save(options.out, figures)
    fine = all(row["no_reply_lost_or_mixed"] and row["streams_at_once"] >= 256 for row in rounds)
    if options.faults:
        fine &= figures["thousand_calls_with_faults"]["no_reply_lost_or_mixed"]
        fine &= figures["budgets_under_faults"]["never_over_the_limit"]
    raise SystemExit(0 if fine else 1)


main()
