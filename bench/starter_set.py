#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Optimises the whole starter set and tabulates it: level, time, speedups, share of the roofline.

usage: starter_set.py [--budget 64] [--size cpu] [--seed 0] [TASK...]
"""
import tempfile
import time

import quern

IMPROVED, NOT_IMPROVED, OUT_OF_BUDGET = 0, 4, 6


def row_of(name, outcome, wall_s):
    best = outcome["best"] or {}
    medians = {baseline["name"]: baseline["median_ns"] for baseline in outcome["baselines"]}
    libraries = {name: median for name, median in medians.items() if name != "naive"}
    median = best.get("median_ns")
    return {
        "task": name, "level": best.get("verification_level"), "wall_s": round(wall_s, 1),
        "median_ms": median and round(median / 1e6, 4),
        "over_naive": median and round(medians["naive"] / median, 2),
        "library": min(libraries, key=libraries.get) if libraries else None,
        "over_library": median and libraries and round(min(libraries.values()) / median, 3) or None,
        "speedup": best.get("speedup"),
        "interval": [best.get("speedup_low"), best.get("speedup_high")],
        "over": outcome["baseline"]["name"], "roofline": best.get("roofline"),
        "attempts": outcome["attempts"], "baselines": medians,
    }


def print_row(row):
    def show(value, pattern):
        return format(value, pattern) if value is not None else "-"
    print(f"| {row['task']} | {row['level'] or '-'} | {show(row['wall_s'], '.0f')} s "
          f"| {show(row['median_ms'], '.3f')} ms | {show(row['over_naive'], '.2f')}× "
          f"| {show(row['over_library'], '.2f')}{'× ' + row['library'] if row['library'] else ''} "
          f"| {show(row['roofline'] and 100 * row['roofline'], '.0f')} % |", flush=True)


def main():
    parser = quern.parser(__doc__, "starter_set")
    parser.add_argument("--budget", default="64")
    parser.add_argument("--size", default="cpu")
    parser.add_argument("--seed", default="0")
    parser.add_argument("tasks", nargs="*")
    options = parser.parse_args()
    names = options.tasks or [task["name"] for task in quern.call(options.quern, "tasks")["tasks"]]
    print("| task | level | search | kernel | over naive | over library | roofline |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            outcome = quern.call(
                options.quern, "optimize", name, "--size", options.size, "--budget", options.budget,
                "--seed", options.seed, good=(IMPROVED, NOT_IMPROVED, OUT_OF_BUDGET), cwd=folder)
            rows.append(row_of(name, outcome, time.monotonic() - began))
        print_row(rows[-1])
    ratios = [row["over_naive"] for row in rows if row["over_naive"]]
    library_ratios = [row["over_library"] for row in rows if row["over_library"]]
    figures = {
        "budget": options.budget, "size": options.size, "seed": options.seed,
        "geometric_mean_over_naive": round(quern.geometric_mean(ratios), 3),
        "geometric_mean_over_library": round(quern.geometric_mean(library_ratios), 3),
        "longest_s": max(row["wall_s"] for row in rows),
        "levels": sorted(str(row["level"]) for row in rows), "tasks": rows}
    print(f"geometric mean over naive {figures['geometric_mean_over_naive']}×, over the best library "
          f"{figures['geometric_mean_over_library']}× ({len(library_ratios)} tasks); "
          f"longest search {figures['longest_s']} s")
    quern.save(options.out, figures)


main()
