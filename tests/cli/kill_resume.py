#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a run at random moments, resumes it each time, and compares its journal with that of an
unbroken run. Nothing is compiled and times come from a hash, so that the two must be equal.

usage: kill_resume.py QUERN
"""
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

KILLS = 12
# The same run; the second takes 3 ms for an evaluation, so that there is something to kill.
WHOLE, SLOW = "pretend", "pretend:3"


def start(quern, *arguments):
    return subprocess.Popen([quern, *map(str, arguments)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def journal(folder):
    """Everything that was decided and measured, without wall-clock times."""
    with sqlite3.connect(f"file:{folder}/run.db?mode=ro", uri=True) as db:
        attempts = db.execute("SELECT number, candidate_id, parents, action, evaluation FROM attempts "
                              "WHERE state = 'done' ORDER BY number").fetchall()
        duels = db.execute("SELECT candidate_id, baseline_id, duel FROM duels").fetchall()
        state, = db.execute("SELECT state FROM runs").fetchone()
    return attempts, sorted(duels), state


def main():
    quern = pathlib.Path(sys.argv[1]).resolve()
    rng = random.Random(11)
    with tempfile.TemporaryDirectory() as parent:
        whole, broken = pathlib.Path(parent, "whole"), pathlib.Path(parent, "broken")
        arguments = ["optimize", "relu", "--size", "tiny", "--budget", 96, "--seed", 4]
        process = start(quern, *arguments, "--clock", WHOLE, "--out", whole)
        errors = process.communicate(timeout=100)[1]
        assert process.returncode in (0, 4), errors
        kills = recorded = 0
        process = start(quern, *arguments, "--clock", SLOW, "--out", broken)
        while True:
            time.sleep(rng.uniform(0.005, 0.08))
            if kills >= KILLS or process.poll() is not None:
                errors = process.communicate(timeout=100)[1]
                assert process.returncode in (0, 4), errors
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            if not (broken / "run.db").exists():
                process = start(quern, *arguments, "--clock", SLOW, "--out", broken)
                continue
            now = len(journal(broken)[0])
            assert now >= recorded, f"kill {kills}: {recorded} attempts were recorded, now {now}"
            recorded = now
            process = start(quern, "resume", broken)
        assert kills > 3, f"only {kills} kills met a running process"
        for name, left, right in zip(("attempts", "duels", "state"), journal(whole), journal(broken)):
            assert left == right, f"{name} differ after {kills} kills:\n{left}\n{right}"
        assert (broken / "report.html").exists() and (broken / "best.cpp").exists()


main()
