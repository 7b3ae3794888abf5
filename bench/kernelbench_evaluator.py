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
import subprocess
import sys
import tempfile
import threading
import time

CHILD = pathlib.Path(__file__).with_name("kernelbench_process.py")
BUILD_LIMIT_S, JUDGE_LIMIT_S = 240.0, 180.0


class _Run:
    """One of their processes, from its start to its verdict."""

    def __init__(self, folder, reference, source, work, environment=None):
        from quern.torch_lane.kernelbench import backend_of

        work.mkdir(parents=True)
        self.given, self.made, self.log = work / "given", work / "made", work / "log"
        self.given.write_text(json.dumps({
            "reference": reference, "source": source, "build": str(work / "build"),
            "backend": backend_of(source)}))
        ready, told = os.pipe()
        waiting, self.go = os.pipe()
        self.began, self.ready = time.monotonic(), None
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(CHILD), str(folder), str(self.given), str(self.made),
                 str(told), str(waiting)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=work, pass_fds=(told, waiting), start_new_session=True,
                env={**os.environ, **(environment or {}), "TRITON_CACHE_DIR": str(work / "triton")})
        os.close(told)
        os.close(waiting)
        self.watcher = threading.Thread(target=self._watch, args=(ready,), daemon=True)
        self.watcher.start()

    def _watch(self, ready):
        select.select([ready], [], [], BUILD_LIMIT_S)
        self.ready = time.monotonic()
        os.close(ready)

    def finish(self):
        """{"result", "wall_s", ...}; the time in which it only waited for others is left out."""
        self.watcher.join()
        told = time.monotonic()
        try:
            os.write(self.go, b"g")
            self.process.wait(JUDGE_LIMIT_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        end = time.monotonic()
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self.go)
        made = json.loads(self.made.read_text()) if self.made.exists() else \
            {"result": None, "log": self.log.read_text()[-400:]}
        return {**made, "build_s": self.ready - self.began, "judge_s": end - told,
                "wall_s": end - self.began - (told - self.ready)}


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
                run.watcher.join()
            for name, run in batch.items():
                found[name] = run.finish()
                told("theirs", name, json.dumps(found[name]), flush=True)
    return found


def pairs(theirs, ours, order, told):
    """Finishes two runs of each candidate back to back: `theirs` as `started` made them, `ours` as
    `KernelbenchRun`s. Calls `told(name, their verdict, our record, who was first)` for each.

    `order` is a random.Random: who times first is drawn."""
    for run in theirs.values():
        run.watcher.join()
    for run in ours.values():
        run.until_timing()
    for name, run in theirs.items():
        sides = [("theirs", run), ("ours", ours[name])]
        order.shuffle(sides)
        made = {side: one.finish() for side, one in sides}
        told(name, made["theirs"], made["ours"], sides[0][0])
