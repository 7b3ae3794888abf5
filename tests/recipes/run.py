#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every recipe against the mock model server's toy mind: each ends with a verified kernel, and
replays from its record alone, with no server and no compiler, bit for bit.

usage: run.py QUERN [--budget 8] [--clock simulated] [--task relu]... [RECIPE...]
"""
import argparse
import json
import pathlib
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
    command = [quern, "optimize", task, "--size", "tiny", "--recipe", recipe, "--model", "mock/toy",
               "--models", models, "--budget", options.budget, "--clock", options.clock,
               "--out", out, "--max-usd", 1, "--json"]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    if ran.returncode not in (IMPROVED, NOT_IMPROVED, NOTHING_PASSED):
        sys.exit(f"{recipe} on {task}: exit {ran.returncode}\n{ran.stderr}")
    return json.loads(ran.stdout)


def replays(quern, out):
    ran = subprocess.run([quern, "replay", out], capture_output=True, text=True, timeout=100)
    if ran.returncode:
        print(ran.stdout + ran.stderr)
    return ran.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--budget", default=8, type=int)
    parser.add_argument("--clock", default="simulated")
    parser.add_argument("--task", action="append")
    options = parser.parse_args()
    known = json.loads(subprocess.check_output([options.quern, "recipes", "--json"]))["recipes"]
    recipes = options.recipes or [row["name"] for row in known if row["name"] != "rules"]
    failed = []
    server, port = start_server(options.quern)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        models = settings(port, folder / "models.json")
        runs = {}
        for recipe in recipes:
            for task in options.task or ["relu"]:
                out = folder / f"{recipe}-{task}"
                runs[out] = (recipe, task, optimize(options.quern, out, task, recipe, models, options))
        server.terminate()
        server.wait()
        for out, (recipe, task, summary) in runs.items():
            same = replays(options.quern, out)
            passed = summary["attempts"]["by_verdict"].get("passed", 0)
            best = summary.get("best") or {}
            speedup = best.get("speedup")
            print(f"{recipe:14} {task:10} {summary['attempts']['total']} attempts, {passed} passed, "
                  f"best {speedup and round(speedup, 2)}x, "
                  f"{'replayed alike' if same else 'REPLAYED OTHERWISE'}", flush=True)
            if not same or not best:
                failed.append(f"{recipe} on {task}")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


main()
