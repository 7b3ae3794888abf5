# SPDX-License-Identifier: Apache-2.0
"""Imports every module of a .jsonl and writes the table of what became of each.

usage: import_modules.py QUERN FILE.jsonl OUT.md [--only LEVEL]... [--chunk MODULES]

Rows already in OUT.md.json are kept, so that an interrupted run goes on where it stopped.
"""
from __future__ import annotations

import argparse
import collections
import json
import pathlib
import subprocess
import tempfile


def import_some(quern: str, file: str, rows: list[dict], folder: str) -> list[dict]:
    command = [quern, "import", file, "--out", folder, "--json"]
    for row in rows:
        command += ["--only", f"{row['level']}/{row['problem_id']}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout)["tasks"]


def table(rows: list[dict], file: str) -> str:
    lines = [f"# Importing {pathlib.Path(file).name}", ""]
    for level in sorted({r["level"] for r in rows}):
        counts = collections.Counter(r["status"] for r in rows if r["level"] == level)
        unfit = sum(r.get("fit") is False for r in rows if r["level"] == level)
        lines.append(f"- level {level}: {counts['imported']} imported ({unfit} of them unfit), "
                     f"{counts['opaque']} opaque, {counts['failed']} failed")
    lines += ["", "| task | status | fit | inputs re-drawn | s | reason |",
              "|---|---|---|---|---|---|"]
    for r in rows:
        fit = {True: "yes", False: "no"}.get(r.get("fit"), "")
        lines.append(f"| {r['level']}/{r['problem_id']} {r['name'].split('_', 1)[1]} | "
                     f"{r['status']} | {fit} | {'yes' if r.get('redrawn') else ''} | "
                     f"{r['seconds']} | {r['reason'][:200]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("file")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", action="append", type=int)
    parser.add_argument("--chunk", type=int, default=6, help="modules a process [6]")
    arguments = parser.parse_args()
    kept = pathlib.Path(str(arguments.out) + ".json")
    rows = json.loads(kept.read_text()) if kept.exists() else []
    known = {(r["level"], r["problem_id"]) for r in rows}
    todo = [row for row in map(json.loads, pathlib.Path(arguments.file).read_text().splitlines())
            if (row["level"], row["problem_id"]) not in known
            and (not arguments.only or row["level"] in arguments.only)]
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(todo), arguments.chunk):
            rows += import_some(arguments.quern, arguments.file, todo[start:start + arguments.chunk], folder)
            kept.write_text(json.dumps(rows))
    rows.sort(key=lambda r: (r["level"], r["problem_id"]))
    arguments.out.write_text(table(rows, arguments.file))


main()
