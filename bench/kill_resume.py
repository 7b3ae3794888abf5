#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a run's whole process tree at random moments, resumes it each time, and compares what comes
out with an unbroken run under the simulated clock.

usage: kill_resume.py [--kills 50] [--task softmax] [--budget 64]
"""
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

import quern


def descendants(pid):
    """The process and everything below it, each stopped before it is looked into."""
    try:
        os.kill(pid, signal.SIGSTOP)
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in descendants(int(child)))]


def kill_tree(process):
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def start(binary, *args, cwd):
    return subprocess.Popen([str(binary.resolve()), *map(str, args), "--json"], cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def trajectory(binary, folder):
    """What must not depend on the kills: each attempt's candidate, verdict and median."""
    report = quern.call(binary, "report", folder)
    keys = ("number", "candidate_id", "trace", "verdict", "median_ns")
    return [{key: attempt.get(key) for key in keys} for attempt in report["attempts"]]


def unbroken(options, arguments, parent):
    folder = parent / "unbroken"
    began = time.monotonic()
    process = start(options.quern, *arguments, "--out", folder, cwd=parent)
    process.communicate(timeout=3000)
    return trajectory(options.quern, folder), time.monotonic() - began


def broken(options, arguments, parent, mean_s, rng):
    """(trajectory, kills that landed, attempts lost at each kill)."""
    folder = parent / "broken"
    process = start(options.quern, *arguments, "--out", folder, cwd=parent)
    kills, lost, before = 0, [], 0
    while True:
        try:
            deadline = rng.expovariate(1 / mean_s) if kills < options.kills else 3000
            process.communicate(timeout=deadline)
            break
        except subprocess.TimeoutExpired:
            kill_tree(process)
            kills += 1
        after = len(trajectory(options.quern, folder)) if folder.exists() else 0
        lost.append(max(0, before - after))
        before = after
        process = start(options.quern, "resume", folder, cwd=parent) if after or folder.exists() else \
            start(options.quern, *arguments, "--out", folder, cwd=parent)
    return trajectory(options.quern, folder), kills, lost


def main():
    parser = quern.parser(__doc__, "kill_resume")
    parser.add_argument("--kills", default=50, type=int)
    parser.add_argument("--task", default="softmax")
    parser.add_argument("--budget", default="64")
    parser.add_argument("--seed", default=1, type=int)
    options = parser.parse_args()
    arguments = ["optimize", options.task, "--size", "tiny", "--budget", options.budget,
                 "--seed", options.seed, "--clock", "simulated"]
    with tempfile.TemporaryDirectory() as name:
        parent = pathlib.Path(name)
        whole, wall_s = unbroken(options, arguments, parent)
        # Mean time between kills: so that the run needs about all of them to get to its end.
        resumed, kills, lost = broken(options, arguments, parent, wall_s / options.kills * 2,
                                      random.Random(options.seed))
    same = json.dumps(whole) == json.dumps(resumed)
    figures = {"task": options.task, "attempts": len(whole), "unbroken_s": round(wall_s, 1),
               "kills": kills, "recorded_attempts_lost": sum(lost), "same_trajectory": same}
    print(json.dumps(figures, indent=1))
    if not same:
        first = next((i for i, (a, b) in enumerate(zip(whole, resumed)) if a != b), None)
        print(f"first difference at attempt {first}; {len(whole)} and {len(resumed)} attempts")
    quern.save(options.out, figures)
    raise SystemExit(0 if same and not any(lost) else 1)


main()
