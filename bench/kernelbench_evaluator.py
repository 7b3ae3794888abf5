# SPDX-License-Identifier: Apache-2.0
"""Runs KernelBench's own evaluator (obtained separately) beside ours.

Each candidate has a fresh process, as their scripts give it. A batch of them imports, builds and
checks values at the same time; then they time one after another, on a machine that does nothing
else.
"""
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CHILD = pathlib.Path(__file__).with_name("kernelbench_process.py")
BUILD_LIMIT_S, JUDGE_LIMIT_S = 240.0, 180.0
# Calls in a turn where turns of one call are shorter than that: a process that has just slept is too
# slow in launching them.
BLOCK, SHORT_S = 100, 0.8e-3


class _Run:
    """One of their processes, from its start to its verdict."""

    def __init__(self, folder, reference, source, work, environment=None):
        from quern.torch_lane.kernelbench import backend_of

        work.mkdir(parents=True)
        self.given, self.made, self.log = work / "given", work / "made", work / "log"
        self.given.write_text(json.dumps({
            "reference": reference, "source": source, "build": str(work / "build"),
            "backend": backend_of(source)}))
        self.ready, told = os.pipe()
        waiting, self.go = os.pipe()
        self.began, self.done, self.judge_s = time.monotonic(), False, 0.0
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(CHILD), str(folder), str(self.given), str(self.made),
                 str(told), str(waiting)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=work, pass_fds=(told, waiting), start_new_session=True,
                env={**os.environ, **(environment or {}), "TRITON_CACHE_DIR": str(work / "triton")})
        os.close(told)
        os.close(waiting)
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self):
        self._look(BUILD_LIMIT_S)
        self.ready_at = time.monotonic()

    def _look(self, limit_s):
        """Waits for it to want to time; ends it where it takes too long."""
        if not select.select([self.ready], [], [], limit_s)[0]:
            os.killpg(self.process.pid, 9)
        self.done = os.read(self.ready, 1) == b""

    def until_timing(self):
        """Once it wants to time, or is done."""
        self.watcher.join()

    def step(self, count=1):
        """Lets it go on until it has wanted to time so many times more, or is done."""
        began = time.monotonic()
        try:
            os.write(self.go, b"g" * (0 if self.done else count))
        except BrokenPipeError:
            pass
        for _ in range(count):
            if not self.done:
                self._look(JUDGE_LIMIT_S)
        self.judge_s += time.monotonic() - began

    def finish(self):
        """{"result", "wall_s", ...}; the time in which it only waited for others is left out."""
        self.until_timing()
        while not self.done:
            self.step(BLOCK)
        began = time.monotonic()
        self.process.wait()
        self.judge_s += time.monotonic() - began
        os.close(self.go)
        os.close(self.ready)
        made = json.loads(self.made.read_text()) if self.made.exists() else \
            {"result": None, "log": self.log.read_text()[-400:]}
        build_s = self.ready_at - self.began
        return {**made, "build_s": build_s, "judge_s": self.judge_s,
                "wall_s": build_s + self.judge_s}


def started(folder, rows, base, environment=None):
    """{name: _Run} of rows (name, reference source, candidate source), all at work."""
    return {name: _Run(folder, reference, source, pathlib.Path(base) / name, environment)
            for name, reference, source in rows}


def judge(folder, rows, jobs, environment=None, told=print):
    """{name: verdict} of rows (name, reference source, candidate source), `jobs` at a time."""
    found = {}
    with tempfile.TemporaryDirectory() as base:
        for first in range(0, len(rows), jobs):
            batch = started(folder, rows[first:first + jobs], base, environment)
            for run in batch.values():
                run.until_timing()
            for name, run in batch.items():
                found[name] = run.finish()
                told("theirs", name, json.dumps(found[name]), flush=True)
    return found


def pairs(theirs, ours, order, told):
    """Finishes two runs of each candidate, `theirs` as `started` made them and `ours` as
    `KernelbenchRun`s with `each_trial`. The two make their timed calls in turns, one by one where
    they are long and a clock may change meanwhile; `order` (a random.Random) draws who is first.
    Calls `told(name, their verdict, our record)` for each."""
    for run in [*theirs.values(), *ours.values()]:
        run.until_timing()
    for name in theirs:
        sides, turns, calls = [theirs[name], ours[name]], [], 1
        while not (theirs[name].done or ours[name].answer is not None):
            order.shuffle(sides)
            began = time.monotonic()
            for side in sides:
                side.step(calls)
            turns.append((time.monotonic() - began) / 2)
            if len(turns) == 7:  # the first two warm up
                calls = BLOCK if statistics.median(turns[2:]) < SHORT_S else 1
        told(name, theirs[name].finish(), ours[name].finish())
