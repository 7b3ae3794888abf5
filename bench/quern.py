# SPDX-License-Identifier: Apache-2.0
"""What the drivers of this folder share: calling the binary, and writing results with the machine
that they were measured on."""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parser(doc, result):
    """Options of every driver; `result` names the file under bench/results/."""
    made = argparse.ArgumentParser(description=doc.split("\n")[0])
    made.add_argument("--quern", default=ROOT / "build/release/apps/quern", type=pathlib.Path)
    made.add_argument("--out", default=ROOT / "bench/results" / f"{result}.json", type=pathlib.Path)
    return made


def call(binary, *args, good=(0,), cwd=None, timeout=600, stdin=None):
    """The JSON value that `quern ARGS --json` prints."""
    command = [str(pathlib.Path(binary).resolve()), *map(str, args), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=timeout,
                            input=stdin)
    if result.returncode not in good:
        sys.exit(f"{' '.join(command)}: exit {result.returncode}\n{result.stderr[-2000:]}")
    return json.loads(result.stdout)


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    return {"cpu": names[0], "cores": len(names), "kernel": platform.release()}


def save(path, figures, quietly=False):
    figures = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), **figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    if not quietly:
        print(f"wrote {path.name}")


def geometric_mean(values):
    return statistics.geometric_mean(values) if values else 0.0
