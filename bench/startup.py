#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long `./quern --version` takes, through the launcher and without it, alternating.

usage: startup.py [--count 100]
"""
import statistics
import subprocess
import time

import quern


def milliseconds(command):
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1e3


def main():
    parser = quern.parser(__doc__, "startup")
    parser.add_argument("--count", default=100, type=int)
    options = parser.parse_args()
    commands = {"launcher": [quern.ROOT / "quern", "--version"], "binary": [options.quern, "--version"]}
    for command in commands.values():
        milliseconds(command)
    times = {name: [] for name in commands}
    for _ in range(options.count):
        for name, command in commands.items():
            times[name].append(milliseconds(command))
    figures = {f"{name}_ms": {"median": round(statistics.median(values), 2), "max": round(max(values), 2)}
               for name, values in times.items()}
    print(figures)
    quern.save(options.out, figures)


main()
