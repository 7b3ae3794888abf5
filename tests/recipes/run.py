#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every recipe against the mock model server's toy mind, through real HTTP: each ends with a
verified kernel. Under the simulated clock the same run from its cassette alone, with no server, must
take the same course; under the steady one the kernel must be faster than the plain version.

usage: run.py QUERN [--budget 8] [--clock simulated] [--size tiny] [--task relu]... [--json FILE] [RECIPE...]

A recipe is a name, or the path of a .toml file; without any: all that come with Quern.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

SERVER = pathlib.Path(__file__).resolve().parent.parent / "mock_model/server.py"
IMPROVED, NOT_IMPROVED, NOTHING_PASSED = 0, 4, 6


def start_server(quern):
    process = subprocess.Popen([sys.executable, str(SERVER), "--mind", f"toy:{quern}"],
                               stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline().split()[1])


def settings(port, path):
    path.write_text(json.dumps({
        "providers": {"mock": {"protocol": "openai-chat", "base_url": f"http://127.0.0.1:{port}/v1"}},
        "models": {"mock/*": {"input": 1, "output": 2}}}))
    return path


def optimize(quern, out, task, recipe, models, options):
    command = [quern, "optimize", task, "--size", options.size, "--recipe", recipe, "--model", "mock/toy",
               "--models", models, "--budget", options.budget, "--clock", options.clock,
               "--out", out, "--max-usd", 1, "--json"]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    if ran.returncode not in (IMPROVED, NOT_IMPROVED, NOTHING_PASSED):
        sys.exit(f"{recipe} on {task}: exit {ran.returncode}\n{ran.stderr}")
    return json.loads(ran.stdout)


def course(quern, out):
    """What was tried, in order, and what became of it."""
    ran = subprocess.run([quern, "report", out, "--json"], capture_output=True, text=True, check=True)
    return [(attempt["action"], attempt["candidate_id"], attempt["verdict"])
            for attempt in json.loads(ran.stdout)["attempts"]]


def replayed_alike(out, folder, run, options):
    recipe, task, models = run
    again = folder / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    if (out / "exchanges.jsonl").exists():  # a run of the rules alone asks nobody
        shutil.copy(out / "exchanges.jsonl", again)
    optimize(options.quern, again, task, recipe, models, options)
    return course(options.quern, out) == course(options.quern, again)


def over_naive(summary):
    """How many times as fast as the plain version, by the medians of one run; 0 without a kernel."""
    naive = next((row["median_ns"] for row in summary["baselines"] if row["name"] == "naive"), 0)
    return naive / summary["best"]["median_ns"] if summary.get("best") else 0


def judge(recipe, task, out, folder, models, summary, options):
    """One row of results; `fault` says what is wrong with it."""
    row = {"recipe": recipe, "task": task, "attempts": summary["attempts"]["total"],
           "passed": summary["attempts"]["by_verdict"].get("passed", 0),
           "over_naive": round(over_naive(summary), 2), "fault": ""}
    if not summary.get("best"):
        row["fault"] = "no verified kernel"
    if options.clock == "simulated":
        row["replayed"] = replayed_alike(out, folder, (recipe, task, models), options)
        if not row["replayed"]:
            row["fault"] = "replayed otherwise"
    elif row["over_naive"] <= 1:
        row["fault"] = "not faster than the plain version"
    print(f"{recipe:20} {task:10} {row['attempts']} attempts, {row['passed']} passed, "
          f"{row['over_naive']}x the plain version{', replayed' if row.get('replayed') else ''}"
          f"{'  FAILED: ' + row['fault'] if row['fault'] else ''}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--budget", default=8, type=int)
    parser.add_argument("--clock", default="simulated", choices=["simulated", "steady"])
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--task", action="append")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the rows of results")
    options = parser.parse_args()
    known = json.loads(subprocess.check_output([options.quern, "recipes", "--json"]))["recipes"]
    recipes = options.recipes or [row["name"] for row in known if row["name"] != "rules"]
    server, port = start_server(options.quern)
    rows, runs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        models = settings(port, folder / "models.json")
        try:
            for recipe in recipes:
                for task in options.task or ["relu"]:
                    out = folder / f"{pathlib.Path(recipe).stem}-{task}"
                    summary = optimize(options.quern, out, task, recipe, models, options)
                    runs.append((recipe, task, out, summary))
        finally:
            server.terminate()
            server.wait()
        for recipe, task, out, summary in runs:
            rows.append(judge(recipe, task, out, folder, models, summary, options))
    if options.json:
        head = {"clock": options.clock, "budget": options.budget, "size": options.size}
        options.json.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")
    failed = [f"{row['recipe']} on {row['task']}: {row['fault']}" for row in rows if row["fault"]]
    sys.exit("\n".join(failed) if failed else 0)


main()
