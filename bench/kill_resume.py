#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a run's whole process tree at random moments, resumes it each time, and compares what comes
out with an unbroken run under the simulated clock.

usage: kill_resume.py [--kills 50] [--task softmax] [--budget 64]
"""
import contextlib
import os
import pathlib
import random
import signal
import sqlite3
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


def journal(folder):
    """The recorded attempts: what must not depend on the kills."""
    if not (folder / "run.db").exists():
        return []
    with contextlib.closing(sqlite3.connect(folder / "run.db", timeout=60)) as database:
        if not database.execute("SELECT name FROM sqlite_master WHERE name = 'attempts'").fetchone():
            return []
        return database.execute("SELECT number, candidate_id, trace, action, verdict, reason, level, "
                                "median_ns FROM attempts WHERE state = 'done' ORDER BY number").fetchall()


def unbroken(options, arguments, parent):
    folder = parent / "unbroken"
    began = time.monotonic()
    process = start(options.quern, *arguments, "--out", folder, cwd=parent)
    process.communicate(timeout=3000)
    return journal(folder), time.monotonic() - began


def broken(options, arguments, parent, most_kills, mean_s, rng):
    """(journal, kills that landed, recorded attempts that were lost)."""
    folder = parent / "broken"
    kills = lost = 0
    before = []
    while True:
        begun = bool(before) or (folder / "run.db").exists()
        process = start(options.quern, *(["resume", folder] if begun else
                                         [*arguments, "--out", folder]), cwd=parent)
        try:
            deadline = rng.expovariate(1 / mean_s) if kills < most_kills else 3000
            process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            kill_tree(process)
            kills += 1
            after = journal(folder)
            lost += sum(attempt not in after for attempt in before)
            before = after
            continue
        if process.returncode not in (0, 4, 6):
            raise SystemExit(f"after {kills} kills: exit {process.returncode}")
        return journal(folder), kills, lost


def round_of(options, seed, kills_left):
    """One run, whole and broken; a figure per question."""
    arguments = ["optimize", options.task, "--size", "tiny", "--budget", options.budget, "--seed", seed,
                 "--clock", "simulated"]
    with tempfile.TemporaryDirectory() as name:
        parent = pathlib.Path(name)
        whole, wall_s = unbroken(options, arguments, parent)
        resumed, kills, lost = broken(options, arguments, parent, kills_left, wall_s / 3,
                                      random.Random(seed))
    first = next((i for i, (a, b) in enumerate(zip(whole, resumed)) if a != b), None)
    return {"seed": seed, "attempts": len(whole), "resumed_attempts": len(resumed),
            "unbroken_s": round(wall_s, 2), "kills": kills, "lost": lost,
            "first_difference": first, "same": whole == resumed}


def main():
    parser = quern.parser(__doc__, "kill_resume")
    parser.add_argument("--kills", default=50, type=int)
    parser.add_argument("--task", default="softmax")
    parser.add_argument("--budget", default="64")
    parser.add_argument("--seed", default=1, type=int)
    options = parser.parse_args()
    rounds = []
    while (done := sum(r["kills"] for r in rounds)) < options.kills and len(rounds) < options.kills:
        rounds.append(round_of(options, options.seed + len(rounds), options.kills - done))
        print(rounds[-1], flush=True)
    figures = {"task": options.task, "kills": sum(r["kills"] for r in rounds),
               "recorded_attempts_lost": sum(r["lost"] for r in rounds),
               "same_trajectory": all(r["same"] for r in rounds), "rounds": rounds}
    quern.save(options.out, figures)
    raise SystemExit(0 if figures["same_trajectory"] and not figures["recorded_attempts_lost"] else 1)


main()
