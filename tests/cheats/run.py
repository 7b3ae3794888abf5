#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluates one dishonest, broken or honest candidate and compares the verdict with its header.

usage: run.py QUERN CHEAT.cpp

The header of a cheat says `// task: NAME`, `// expect: VERDICT [BREACH] | …` and, where the verdict
must not repeat something, `// hides: TEXT`. No process and no file may be left behind.
"""
import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PR_SET_CHILD_SUBREAPER = 36
MACHINE_FAULTS = {1: "internal error", 2: "usage", 5: "environment", 130: "interrupted"}


def header_of(path):
    return dict(re.findall(r"^// (task|expect|hides): (.+)$", path.read_text(), re.M))


def evaluate(quern, task, candidate, folder):
    command = [quern, "eval", task, candidate, "--size", "tiny", "--no-speedup", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240)
    if result.returncode in MACHINE_FAULTS or result.returncode < 0:
        sys.exit(f"{MACHINE_FAULTS.get(result.returncode, 'killed')}: {result.stderr.strip()}")
    return json.loads(result.stdout)


def left_over_processes():
    """Commands of the processes that became our children when their parents went."""
    mine = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") or pid for pid in mine]


def faults(header, evaluation, folder):
    got = f"{evaluation['verdict']} {evaluation.get('breach') or ''}".strip()
    expected = [alternative.strip() for alternative in header["expect"].split("|")]
    if got not in expected and evaluation["verdict"] not in expected:
        yield f"expected {' or '.join(expected)}, got {got}: {evaluation.get('reason')}\n" + str(
            evaluation.get("evidence"))[:2000]
    if evaluation["verdict"] != "passed" and not evaluation.get("reason"):
        yield "the verdict has no reason"
    if header.get("hides", "\0") in json.dumps(evaluation):
        yield f"the verdict repeats {header['hides']!r}"
    if left := sorted(file.name for file in folder.iterdir()):
        yield f"files left behind: {left}"
    if left := left_over_processes():
        yield f"processes left behind: {left}"


def main():
    quern, cheat = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    header = header_of(cheat)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        evaluation = evaluate(quern, header["task"], cheat, folder)
        found = list(faults(header, evaluation, folder))
    print("\n".join(found) or f"{cheat.stem}: {evaluation['verdict']} {evaluation.get('breach') or ''}")
    sys.exit(1 if found else 0)


main()
