# SPDX-License-Identifier: Apache-2.0
"""What `quern bench` says of ParEval's drivers, serial and OpenMP, for two answers to each prompt.

usage: bench/pareval.py PAREVAL [--work DIR] [--quern QUERN] [--out pareval.md]

PAREVAL is a checkout of their repository. One answer calls the function that the driver's `best`
calls, and should pass at a speedup of 1; the other does nothing, and should be refused. What is judged
is kept in DIR: the same command goes on where one was stopped.
"""
import json
import pathlib
import re
import statistics
import sys
import time

import quern

MODELS = ("serial", "omp")


def arguments_of(text):
    """Names of a function's parameters: commas inside brackets separate none."""
    depth, names, current = 0, [], ""
    for letter in text + ",":
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            names.append(re.search(r"(\w+)\s*$", current)[1])
            current = ""
        else:
            current += letter
    return names


def answers(prompt, driver):
    """The driver's own function under the prompt's name, and nothing."""
    head = prompt.strip().splitlines()[-1].strip()
    result, arguments = re.fullmatch(r"(.+?)\s*\w+\((.*)\)\s*\{", head).groups()
    own = re.search(r"\bcorrect\w*(?=\s*\()", driver[driver.index(" best("):])[0]
    give = "" if result == "void" else "return "
    called = f"{own}({', '.join(arguments_of(arguments))})"
    return [f"  extern {result} {own}({arguments});\n  {give}{called};\n}}\n",
            "}\n" if result == "void" else "  return {};\n}\n"]


def candidates(root, model):
    rows = []
    for row in json.loads((root / "prompts/generation-prompts.json").read_text()):
        if row["parallelism_model"] == model:
            (driver,) = root.glob(f"drivers/cpp/benchmarks/*/{row['name']}/cpu.cc")
            rows.append({**row, "outputs": answers(row["prompt"], driver.read_text())})
    return rows


def judged(binary, root, model, work):
    offered = work / f"{model}.json"
    offered.write_text(json.dumps(candidates(root, model)))
    return quern.call(binary, "bench", root, "--candidates", offered, "--out", work / model,
                      good=(0, 5), timeout=7200)


def numbers(rows):
    return ", ".join(row["task"][:2] for row in rows) or "none"


def table_row(model, result):
    rows = result["rows"]
    fit = [row for row in rows if row["outcome"] != "unsupported"]
    own = [row["samples"][0] for row in fit]
    ratios = sorted(sample["speedup"] for sample in own if sample["state"] == "passed")
    missed = [row for row in fit if row["samples"][0]["state"] != "passed"]
    taken = [row for row in fit if row["samples"][1]["state"] == "passed"]
    tenth = len(ratios) // 10
    spread = (f"{statistics.median(ratios):.2f} [{ratios[tenth]:.2f}, {ratios[-1 - tenth]:.2f}]"
              if ratios else "")
    return (f"| {model} | {len(rows)} | {len(rows) - len(fit)} | {len(ratios)} | {numbers(missed)} | "
            f"{len(fit) - len(taken)} | {numbers(taken)} | {spread} |")


def unfit(result, root):
    for row in result["rows"]:
        if row["outcome"] == "unsupported":
            reason = re.sub(r"\S*/drivers/", "drivers/", row["reason"].replace(str(root), ""))
            yield f"| {row['task'][:2]} | {reason.replace('|', '/')} |"


def report(results, root):
    machine = quern.machine()
    lines = [
        "# `quern bench` on ParEval's drivers", "",
        f"{time.strftime('%Y-%m-%d')}, {machine['cores']} cores ({machine['cpu']}), shared with other "
        "work; published sizes, 21 pairs of calls (5 at least).", "Two answers to each prompt: the "
        "function that the driver's own `best` calls, and one that does nothing.",
        "Written by `bench/pareval.py PAREVAL`.", "",
        "| model | drivers | cannot tell right from wrong | own answer passes | refused (numbers) | "
        "empty answer refused | accepted (numbers) | speedup of the own answer: median "
        "[10 %, 90 %] |", "|---|---|---|---|---|---|---|---|",
        *(table_row(model, result) for model, result in results.items()), "",
        "| driver set aside | why |", "|---|---|",
        *sorted({line for result in results.values() for line in unfit(result, root)})]
    return "\n".join(lines) + "\n"


def main():
    parser = quern.parser(__doc__, "pareval")
    parser.add_argument("pareval", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("bench-pareval"))
    options = parser.parse_args()
    root = options.pareval.resolve()
    if not (root / "drivers/cpp/benchmarks").is_dir():
        sys.exit(f"{root} is no checkout of ParEval: it has no drivers/cpp/benchmarks")
    options.work.mkdir(parents=True, exist_ok=True)
    results = {model: judged(options.quern, root, model, options.work) for model in MODELS}
    out = options.out.with_suffix(".md")
    out.write_text(report(results, root))
    print(f"wrote {out.name}")


if __name__ == "__main__":
    main()
