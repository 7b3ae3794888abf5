#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does a run ever spend more on models than it may? Whole searches against the mock model server,
with faults and wrong usage, killed at random moments and resumed; what the server truly billed is
compared with what the run accounts for, and that with the limit.

usage: budget_faults.py [--runs 200] [--workers 4] [--seed 1]
"""
import collections
import concurrent.futures
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import urllib.request

import quern

SERVER = quern.ROOT / "tests/mock_model/server.py"
PRICES = {"input": 1, "cache_read": 0.25, "cache_write": 1.25, "output": 4}  # USD per million tokens
FAULTS = [
    {"chance": 0.08, "do": "status", "status": 529, "retry_after": "0.01"},
    {"chance": 0.08, "seed": 1, "do": "cut", "events": 3},
    {"chance": 0.05, "seed": 2, "do": "refuse"},
    {"chance": 0.08, "seed": 3, "do": "usage", "usage": {"output": 1000000}},
    {"chance": 0.08, "seed": 4, "do": "usage", "usage": None},
    {"chance": 0.05, "seed": 5, "do": "error_event"},
    {"chance": 0.05, "seed": 6, "do": "malformed"},
    {"chance": 0.3, "seed": 7, "do": "trickle", "bytes": 400, "seconds": 0.02}]
RECIPES = ["cudaforge", "kevin", "stark", "evoengineer", "caesar", "peak"]
IMPROVED, NOT_IMPROVED, OUT_OF_BUDGET = 0, 4, 6
MOST_KILLS = 4


class Mock:
    """The server in a process of its own, and what it billed since it was last asked."""

    def __init__(self, binary, folder):
        faults = folder / "faults.json"
        faults.write_text(json.dumps(FAULTS))
        self.process = subprocess.Popen(
            [sys.executable, SERVER, "--mind", f"toy:{binary}", "--faults", faults],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.settings = folder / "models.json"
        self.settings.write_text(json.dumps({
            "providers": {"mock": {"base_url": f"http://127.0.0.1:{self.port}/v1"}},
            "models": {"mock/*": PRICES}}))
        self.before = self.stats()

    def stats(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            return json.load(answer)

    def billed(self):
        now, before = self.stats(), self.before
        self.before = now
        spent = {kind: now[kind] - before[kind] for kind in PRICES}
        return {"calls": now["billed"] - before["billed"], "tokens": sum(spent.values()),
                "nano_usd": sum(spent[kind] * price * 1000 for kind, price in PRICES.items())}


def random_limit(rng):
    """(flag, its value, the unit that it limits, the limit in that unit)."""
    flag, unit, value, factor = rng.choice([
        ("--max-calls", "calls", rng.randint(1, 10), 1),
        ("--max-tokens", "tokens", rng.randint(20_000, 120_000), 1),
        ("--max-usd", "nano_usd", round(rng.uniform(0.05, 0.35), 4), 1e9)])
    return flag, value, unit, value * factor


def run_once(options, mock, folder, number):
    rng = random.Random(options.seed * 1_000_003 + number)
    flag, value, unit, limit = random_limit(rng)
    out = folder / f"run{number}"
    start = ["optimize", "relu", "--size", "tiny", "--clock", "pretend:20", "--budget", "40",
             "--recipe", rng.choice(RECIPES), "--model", "mock/toy", "--models", mock.settings,
             "--seed", number, flag, value, "--out", out]
    kills = 0
    while True:
        arguments = ["resume", out] if (out / "run.db").exists() else start
        process = subprocess.Popen([options.quern.resolve(), *map(str, arguments), "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        patience = rng.expovariate(1 / 0.4) if kills < MOST_KILLS else 300
        try:
            said, errors = process.communicate(timeout=patience)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    if process.returncode not in (IMPROVED, NOT_IMPROVED, OUT_OF_BUDGET):
        sys.exit(f"run {number}: exit {process.returncode}\n{errors[-2000:]}")
    summary = json.loads(said)
    spent, billed = summary["models"]["spent"], mock.billed()
    return {"run": number, "limit": {unit: limit}, "spent": spent, "billed": billed, "kills": kills,
            "attempts": summary["attempts"]["total"], "ended_by": summary["ended_by"],
            "over_limit": spent[unit] > limit or billed[unit] > limit,
            "unaccounted": any(billed[key] > spent[key] for key in billed)}


def worker(options, numbers):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        mock = Mock(options.quern.resolve(), folder)
        try:
            return [run_once(options, mock, folder, number) for number in numbers]
        finally:
            mock.process.terminate()
            mock.process.wait()


def main():
    parser = quern.parser(__doc__, "budget_faults")
    parser.add_argument("--runs", default=200, type=int)
    parser.add_argument("--workers", default=4, type=int)
    parser.add_argument("--seed", default=1, type=int)
    options = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        parts = pool.map(lambda first: worker(options, range(first, options.runs, options.workers)),
                         range(options.workers))
        rows = sorted((row for part in parts for row in part), key=lambda row: row["run"])
    print("| limit on | runs | killed | calls billed | calls accounted for | over the limit |")
    print("|---|---|---|---|---|---|")
    for unit in ("calls", "tokens", "nano_usd"):
        some = [row for row in rows if unit in row["limit"]]
        print(f"| {unit} | {len(some)} | {sum(row['kills'] for row in some)} "
              f"| {sum(row['billed']['calls'] for row in some)} "
              f"| {sum(row['spent']['calls'] for row in some)} "
              f"| {sum(row['over_limit'] for row in some)} |")
    shares = [max(row["spent"][unit] / limit for unit, limit in row["limit"].items()) for row in rows]
    figures = {"runs": len(rows), "kills": sum(row["kills"] for row in rows),
               "over_limit": sum(row["over_limit"] for row in rows),
               "unaccounted": sum(row["unaccounted"] for row in rows),
               "ended_by": dict(collections.Counter(row["ended_by"] for row in rows)),
               "largest_share_of_limit_spent": round(max(shares), 4),
               "calls_billed": sum(row["billed"]["calls"] for row in rows), "rows": rows}
    quern.save(options.out, figures)
    bad = figures["over_limit"] + figures["unaccounted"]
    asked = figures["calls_billed"] >= figures["runs"] / 2 and figures["kills"] > 0
    raise SystemExit(0 if not bad and asked else 1)


main()
