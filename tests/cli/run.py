#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one script of commands and checks what each prints and returns.

usage: run.py QUERN SCRIPT.test

A script is a list of steps, all in one fresh folder:
    # a comment
    $ command        run by bash, `quern` on PATH, $TESTS the folder of the scripts
    exit 2           its exit code (0 where no such line stands)
    out REGEX        occurs in stdout           no-out REGEX   does not
    err REGEX        occurs in stderr           no-err REGEX   does not
    json EXPRESSION  stdout is exactly one JSON value `v` of which this Python expression is true
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def steps_of(script):
    """(line number, command, checks) for each step."""
    steps = []
    for number, line in enumerate(script.read_text().splitlines(), 1):
        if line.startswith("$ "):
            steps.append((number, line[2:], []))
        elif line.strip() and not line.startswith("#"):
            steps[-1][2].append((number, *line.split(" ", 1)))
    return steps


def run(command, folder, quern, tests):
    environment = {key: os.environ[key] for key in ("LANG", "LD_LIBRARY_PATH") if key in os.environ}
    environment |= {"PATH": f"{quern.parent}:/usr/bin:/bin", "HOME": folder, "TESTS": str(tests),
                    "TMPDIR": folder}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=200)


def faults(result, checks):
    expected = next((int(value) for _, kind, value in checks if kind == "exit"), 0)
    if result.returncode != expected:
        yield None, f"exit code {result.returncode}, expected {expected}"
    texts = {"out": result.stdout, "err": result.stderr}
    for number, kind, value in checks:
        name = kind.removeprefix("no-")
        if name in texts:
            if bool(re.search(value, texts[name], re.M)) == kind.startswith("no-"):
                yield number, f"{kind} {value}"
        elif kind == "json":
            try:
                fine = eval(value, {"v": json.loads(result.stdout)})
            except Exception as error:
                yield number, f"{value}: {error!r}"
            else:
                if not fine:
                    yield number, f"not true: {value}"
        elif kind != "exit":
            yield number, f"unknown check: {kind}"


def main():
    quern, script = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for line, command, checks in steps_of(script):
            result = run(command, folder, quern, script.parent)
            for number, fault in faults(result, checks):
                failed += 1
                print(f"{script.name}:{number or line}: {fault}\n$ {command}\nstdout: "
                      f"{result.stdout[-3000:]}\nstderr: {result.stderr[-3000:]}\n")
    sys.exit(1 if failed else 0)


main()
