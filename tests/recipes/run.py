#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every recipe against the mock model server's toy mind, through real HTTP: each ends with a
verified kernel, and `quern replay` takes the same course from the run's record, with the server gone.
Under the steady clock a duel must find the kernel faster than the plain version.

usage: run.py QUERN [--budget 8] [--clock simulated] [--size tiny] [--task relu]... [--json FILE] [RECIPE...]

A recipe is a name, or the path of a .toml file; without any: all that come with Quern. With --json,
what FILE has already without a fault is not run again.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SERVER = HERE.parent / "mock_model/server.py"
TASKS = HERE.parent.parent / "tasks"
IMPROVED, NOT_IMPROVED, NOTHING_PASSED = 0, 4, 6
# Sizes at which an evaluation takes about a second, and the plain version several times the best.
SMALL = {"rms_norm": "rows = 256, dim = 1024", "cross_entropy": "batch = 256, classes = 1024",
         "attention": "batch = 1, heads = 4, length = 128, width = 64"}


def start_server(quern):
    process = subprocess.Popen([sys.executable, str(SERVER), "--mind", f"toy:{quern}"],
                               stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline().split()[1])


def settings(port, path):
    path.write_text(json.dumps({
        "providers": {"mock": {"protocol": "openai-chat", "base_url": f"http://127.0.0.1:{port}/v1"}},
        "models": {"mock/*": {"input": 1, "output": 2}}}))
    return path


def task_at(task, size, folder):
    """The task, or a copy of its file that has the size `small` too."""
    if size != "small":
        return task
    path = folder / f"{task}.task"
    text = (TASKS / f"{task}.task").read_text()
    path.write_text(text.replace("sizes tiny:", f"sizes small: {SMALL[task]}\nsizes tiny:"))
    return path


def optimize(out, recipe, task, models, options):
    command = [options.quern, "optimize", task, "--size", options.size, "--recipe", recipe, "--model",
               "mock/toy", "--models", models, "--budget", options.budget, "--clock", options.clock,
               "--out", out, "--max-usd", 1, "--json"]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    if ran.returncode not in (IMPROVED, NOT_IMPROVED, NOTHING_PASSED):
        sys.exit(f"{recipe} on {task}: exit {ran.returncode}\n{ran.stderr}")
    return json.loads(ran.stdout)


def replay(out, options):
    """What `quern replay` found different; none is as it should be."""
    ran = subprocess.run([options.quern, "replay", str(out), "--json"], capture_output=True, text=True)
    if ran.returncode != 0 and not ran.stdout:
        return [ran.stderr.strip()]
    said = json.loads(ran.stdout)
    return [] if said["same"] and ran.returncode == 0 else said["differences"] or ["exit code"]


def over_naive(summary):
    """How many times as fast as the plain version, with the interval of their duel. The tasks are such
    that the plain version is the fastest baseline."""
    best = summary.get("best") or {}
    if summary["baseline"]["name"] != "naive" or not best:
        return [0, 0, 0]
    return [round(best[key], 3) for key in ("speedup", "speedup_low", "speedup_high")]


def judge(recipe, task, out, summary, options):
    """One row of results; `fault` says what is wrong with it."""
    best = summary.get("best") or {}
    row = {"recipe": recipe, "task": task, "budget": options.budget, "attempts": summary["attempts"]["total"],
           "passed": summary["attempts"]["by_verdict"].get("passed", 0),
           "verified": best.get("verification_level", ""), "fault": ""}
    if options.clock == "steady":
        row["over_naive"] = over_naive(summary)
        if row["over_naive"][1] <= 1:
            row["fault"] = "not found faster than the plain version"
    if not best:
        row["fault"] = "no verified kernel"
    differences = replay(out, options)
    row["replayed"] = not differences
    if differences:
        row["fault"] = f"replayed otherwise: {differences[0]}"
    gain = f", {row['over_naive'][0]}x the plain version" if "over_naive" in row else ""
    print(f"{recipe:20} {task:14} {row['attempts']} attempts, {row['passed']} passed{gain}"
          f"{'  FAILED: ' + row['fault'] if row['fault'] else ', replayed'}", flush=True)
    return row


def known_rows(options):
    if not options.json or not options.json.exists():
        return []
    return json.loads(options.json.read_text())["rows"]


def is_of(recipe, task):
    return lambda row: (row["recipe"], row["task"]) == (recipe, task)


def save(rows, options):
    gains = [row["over_naive"][0] for row in rows if row.get("over_naive", [0])[0] > 0]
    summary = {"runs": len(rows), "recipes": len({row["recipe"] for row in rows}),
               "faults": sum(row["fault"] != "" for row in rows),
               "replayed": sum(row["replayed"] for row in rows)}
    if gains:
        summary["over_naive"] = {
            "geometric_mean": round(math.exp(sum(map(math.log, gains)) / len(gains)), 2),
            "least": min(gains), "most": max(gains)}
    head = {"clock": options.clock, "size": options.size}
    options.json.write_text(json.dumps({**head, "summary": summary, "rows": rows}, indent=1) + "\n")


def run_all(todo, folder, options):
    """Searches with the server up, then judges them with the server gone."""
    server, port = start_server(options.quern)
    models = settings(port, folder / "models.json")
    runs = []
    try:
        for recipe, task in todo:
            out = folder / f"{pathlib.Path(recipe).stem}-{task}"
            summary = optimize(out, recipe, task_at(task, options.size, folder), models, options)
            runs.append((recipe, task, out, summary))
    finally:
        server.terminate()
        server.wait()
    return [judge(*run, options) for run in runs]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--budget", default=8, type=int)
    parser.add_argument("--clock", default="simulated", choices=["simulated", "steady"])
    parser.add_argument("--size", default="tiny", help="a task's own, or small")
    parser.add_argument("--task", action="append")
    parser.add_argument("--json", type=pathlib.Path, help="where to keep the rows of results")
    options = parser.parse_args()
    known = json.loads(subprocess.check_output([options.quern, "recipes", "--json"]))["recipes"]
    recipes = options.recipes or [row["name"] for row in known if row["name"] != "rules"]
    rows = known_rows(options)
    todo = [(recipe, task) for recipe in recipes for task in options.task or ["relu"]
            if not any(is_of(recipe, task)(row) and not row["fault"] for row in rows)]
    fresh = []
    if todo:
        with tempfile.TemporaryDirectory() as name:
            fresh = run_all(todo, pathlib.Path(name), options)
    rows = [row for row in rows if not any(is_of(*run)(row) for run in todo)] + fresh
    if options.json:
        save(sorted(rows, key=lambda row: (row["recipe"], row["task"])), options)
    failed = [f"{row['recipe']} on {row['task']}: {row['fault']}" for row in rows if row["fault"]]
    sys.exit("\n".join(failed) if failed else 0)


main()
