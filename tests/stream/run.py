#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Feeds a stream of candidates, one in five hostile, to `quern eval TASK --stream`.

Every candidate must get its right verdict, no process may be left over, and no file outside of the
run's own directory may be touched.

usage: run.py [--quern BINARY] [--target cpu|opencl] [--bad-share S] [--count N] [--seed N] [--json FILE] [--watch DIR]... [--ignore PREFIX]...
"""
import argparse
import collections
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import candidates
import opencl_candidates

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STREAMS = {"cpu": candidates.stream, "opencl": opencl_candidates.stream}
WATCHED = [ROOT, pathlib.Path.home(), "/etc", "/usr", "/var/tmp", "/dev/shm", tempfile.gettempdir()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quern", default=ROOT / "build/release/apps/quern", type=pathlib.Path)
    parser.add_argument("--target", default="cpu", choices=STREAMS)
    parser.add_argument("--bad-share", default=0.2, type=float, help="share of broken candidates")
    parser.add_argument("--count", default=1000, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures there")
    parser.add_argument("--watch", action="append", metavar="DIR", help="where to look for touched files")
    parser.add_argument("--ignore", action="append", default=[], metavar="PREFIX",
                        help="paths that something else writes on this machine")
    return parser.parse_args()


def feed(process, wanted):
    for candidate in wanted:
        process.stdin.write(json.dumps({key: candidate[key] for key in ("id", "source")}) + "\n")
    process.stdin.close()


def evaluate(quern, target, wanted, folder):
    """Evaluations in the order of arrival, with stderr and exit code."""
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"),
                   "TMPDIR": str(folder)}
    with open(folder / "stderr.txt", "w+") as errors:
        process = subprocess.Popen(
            [quern, "eval", "relu", "--size", "tiny", "--target", target, "--stream"], text=True, cwd=folder,
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        threading.Thread(target=feed, args=(process, wanted), daemon=True).start()
        evaluations = [json.loads(line) for line in process.stdout]
        code = process.wait()
        errors.seek(0)
        return evaluations, code, errors.read()


def left_over_processes():
    mine = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [f"process left over: {pid} " + pathlib.Path(f"/proc/{pid}/cmdline").read_text()
            for pid in mine]


def touched_files(stamp, folder, watched, ignored):
    """Files outside the run's directory whose content or entry changed since the stamp."""
    skipped = [folder, ROOT / "build", ROOT / ".git", ROOT / ".venv", *ignored]
    prune = [word for path in skipped for word in ("-path", str(path), "-o")][:-1]
    found = subprocess.run(
        ["find", *map(str, dict.fromkeys(watched)), "-xdev", "(", *prune, ")", "-prune", "-o",
         "-type", "f", "-cnewer", str(stamp), "-print"], capture_output=True, text=True).stdout
    return [f"file touched: {path}" for path in found.splitlines()
            if not any(path.startswith(prefix) for prefix in ignored)]


def verdict_faults(wanted, evaluations):
    got = {evaluation["id"]: evaluation for evaluation in evaluations}
    if len(got) != len(evaluations) or len(got) != len(wanted):
        yield f"{len(wanted)} candidates, {len(evaluations)} evaluations, {len(got)} ids"
    for candidate in wanted:
        evaluation = got.get(candidate["id"], {"verdict": "none"})
        both = f"{evaluation['verdict']} {evaluation.get('breach') or ''}".strip()
        if not {both, evaluation["verdict"]} & set(candidate["expect"]):
            yield (f"{candidate['id']} {candidate['kind']}: expected {' or '.join(candidate['expect'])},"
                   f" got {both}: {evaluation.get('reason')}")


def main():
    options = arguments()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us
    wanted = list(STREAMS[options.target](options.count, options.seed, options.bad_share))
    with tempfile.TemporaryDirectory(prefix="quern-stream-") as name:
        folder = pathlib.Path(name)
        stamp = folder / "stamp"
        stamp.touch()
        began = time.monotonic()
        evaluations, code, errors = evaluate(options.quern.resolve(), options.target, wanted,
                                             folder)
        wall_s = time.monotonic() - began
        found = [*verdict_faults(wanted, evaluations), *left_over_processes(),
                 *touched_files(stamp, folder, options.watch or WATCHED, options.ignore)]
        if code != 0:
            found.append(f"exit code {code}: {errors[-1000:]}")
    figures = {"target": options.target, "candidates": len(wanted), "evaluations": len(evaluations), "wall_s": round(wall_s, 1),
               "per_s": round(len(evaluations) / wall_s, 2), "faults": len(found),
               "kinds": collections.Counter(candidate["kind"] for candidate in wanted),
               "verdicts": collections.Counter(e["verdict"] for e in evaluations)}
    print("\n".join(found[:50]))
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps({**figures, "first_faults": found[:50]}, indent=1) + "\n")
    sys.exit(1 if found else 0)


main()
