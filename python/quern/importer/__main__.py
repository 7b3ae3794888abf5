# SPDX-License-Identifier: Apache-2.0
"""usage: python -m quern.importer FILE [--out DIR] [--only NAME]... [--no-check] [--eval] [--widen]
    [--resume] [--list]

Imports the modules of a .py file, a .jsonl of them, or a folder; prints {"tasks": [...]} as JSON,
one row a module: name, level, problem_id, status (imported, opaque, failed, unsupported), reason,
path, fit (null where trying wrong kernels takes too long; unchecked says so). With --widen 16-bit
floats of Definitions become 32-bit ones. With --resume rows are kept in DIR/import.json, and those
modules are not done again. With --list nothing is imported (nor PyTorch): each module is saved as
DIR/NAME.py; its row (status: listed) says where (module), and how a Solution becomes a candidate for
it (adapters).
"""
from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
import time
from typing import Any

from quern.importer.items import read_items
from quern.importer.names import task_name
from quern.importer.source import BadModule, Item

Row = dict[str, Any]
CANNOT_WRITE = 5  # exit code


def save(path: pathlib.Path, text: str) -> None:
    """Whole or not at all. Where it cannot be written, no module can: the program ends."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        print(f"cannot write {path}: {error.strerror}", file=sys.stderr)
        raise SystemExit(CANNOT_WRITE) from error


def draw_wider(text: str) -> str:
    """The task with its inputs (not its parameters) drawn around zero."""
    lines = [line.replace("~ uniform(0, 1)", "~ normal(0, 1)") if line.startswith("input ") else
             line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def with_note(text: str, note: str) -> str:
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("task "))
    return "\n".join([*lines[:place], f"# {note}", *lines[place:]]) + "\n"


def verify_fitness(row: Row, path: pathlib.Path, text: str, binary: Any) -> None:
    """Tries wrong kernels; draws the inputs anew where one would pass."""
    accepted = binary.wrong_kernels_accepted(path)
    if accepted is None:
        row["fit"] = None
        row["unchecked"] = "wrong kernels were not tried: the check takes too long"
        save(path, with_note(text, row["unchecked"]))
        return
    row["fit"] = not accepted
    if not accepted:
        return
    wider = draw_wider(text)
    if wider != text:
        save(path, with_note(wider, "inputs re-drawn: uniform(0, 1) would accept "
                                    + ", ".join(accepted)))
        still = binary.wrong_kernels_accepted(path)
        row["fit"], row["redrawn"] = still == [], True
        if row["fit"]:
            return
        accepted = still or accepted
    row["reason"] = f"unfit: wrong kernels pass ({', '.join(accepted)})"
    save(path, with_note(text, row["reason"]))


def import_item(item: Item, out: pathlib.Path, binary: Any, check: bool, training: bool) -> Row:
    from quern.importer.check import disagreement
    from quern.importer.convert import Converter
    from quern.importer.source import Literals
    from quern.importer.trace import Untraceable

    if item.unsupported or item.failed:
        return refused(item)
    row: Row = {"name": item.name, "level": item.level, "problem_id": item.problem_id,
                "status": "failed", "reason": "", "path": ""}
    path = out / f"{task_name(item)}.task"
    # As written; then with every extent said (equal ones may differ as expressions); then with
    # fewer sizes: two numbers may have to be equal though nothing in the module says so.
    converter, attempts = None, [(False, Literals.EACH), (True, Literals.EACH),
                                 (False, Literals.EQUAL), (True, Literals.EQUAL),
                                 (True, Literals.FIXED)]
    for place, (explicit, literals) in enumerate(attempts):
        try:
            if converter is None or converter.module.literals is not literals:
                converter = Converter(item, training, literals)
            task = converter.convert(explicit)
        except Untraceable as reason:
            module = path.with_suffix(".py")
            save(module, item.code)
            return {**row, "status": "opaque", "reason": str(reason), "path": str(module)}
        except BadModule as reason:
            return {**row, "reason": str(reason)}
        save(path, task.text)
        row["reason"] = binary.refusal(path) if binary is not None else ""
        if not row["reason"]:
            break
        if place + 1 == len(attempts) and converter.unroll():
            attempts.append((True, literals))
    row.update(path=str(path), sizes={k: v for k, v in task.sets.items()})
    if binary is not None:
        if not row["reason"] and check:
            row["reason"] = disagreement(task, path, binary)
        if row["reason"]:
            return row
        if check:
            verify_fitness(row, path, task.text, binary)
            if row["fit"] is False:
                try_larger(row, path, lambda: converter.convert(explicit) if converter.grow()
                           else None, binary)
    return {**row, "status": "imported"}


def try_larger(row: Row, path: pathlib.Path, convert: Any, binary: Any) -> None:
    """Tries wrong kernels at larger sizes: statistics of two values make rounding errors as large
    as results, those of many do not. What does not help is not kept."""
    from quern.importer.check import disagreement

    before, larger = path.read_text(), convert()
    if larger is None:
        return
    save(path, larger.text)
    again: Row = {}
    if not binary.refusal(path) and not disagreement(larger, path, binary):
        verify_fitness(again, path, larger.text, binary)
    if not again.get("fit"):
        save(path, before)
        return
    row.pop("redrawn", None)
    row.update(again, reason="", sizes=dict(larger.sets))


def refused(item: Item) -> Row:
    return {"name": item.name, "level": item.level, "problem_id": item.problem_id,
            "status": "failed" if item.failed else "unsupported",
            "reason": item.failed or item.unsupported, "path": ""}


def listed(item: Item, out: pathlib.Path) -> Row:
    if item.unsupported or item.failed:
        return refused(item)
    path = out / f"{task_name(item)}.py"
    save(path, item.code)
    return {"name": item.name, "level": item.level, "problem_id": item.problem_id,
            "status": "listed", "reason": "", "path": "", "module": str(path),
            "adapters": item.adapters}


def kept_rows(path: pathlib.Path) -> list[Row]:
    """Rows of a former session whose task file is still there."""
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text())["tasks"]
    except (ValueError, KeyError, TypeError):
        print(f"{path} is no record of an import: all modules are imported again", file=sys.stderr)
        return []
    return [row for row in rows if not row["path"] or pathlib.Path(row["path"]).exists()]


def wanted(item: Item, only: list[str]) -> bool:
    return not only or item.name in only or f"{item.level}/{item.problem_id}" in only or \
        f"{item.level}" in only


def main() -> int:
    parser = argparse.ArgumentParser(prog="quern import")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("imported"))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--quern", default="")
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--eval", action="store_true")
    parser.add_argument("--widen", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    try:
        items = [i for i in read_items(arguments.file, arguments.widen)
                 if wanted(i, arguments.only)]
    except BadModule as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.list:
        print(json.dumps({"tasks": [listed(item, arguments.out) for item in items]}, indent=1))
        return 0
    from quern.importer.check import Binary

    binary = Binary(arguments.quern) if arguments.quern else None
    record = arguments.out / "import.json"
    rows = kept_rows(record) if arguments.resume else []
    known = {(row["name"], row["digest"]) for row in rows}
    for number, item in enumerate(items, 1):
        told = item.code + item.failed + item.unsupported
        digest = hashlib.sha256(told.encode()).hexdigest()
        if (item.name, digest) in known:
            continue
        began = time.monotonic()
        try:
            row = import_item(item, arguments.out, binary, not arguments.no_check,
                              not arguments.eval)
        except Exception as error:  # noqa: BLE001  one module must not stop the others
            row = {"name": item.name, "level": item.level, "problem_id": item.problem_id,
                   "status": "failed", "path": "",
                   "reason": f"{type(error).__name__}: {str(error)[:300]}"}
        row["seconds"] = round(time.monotonic() - began, 1)
        row["digest"] = digest
        rows = [r for r in rows if r["name"] != item.name or r["level"] != item.level] + [row]
        if arguments.resume:
            save(record, json.dumps({"tasks": rows}))
        print(f"[{number}/{len(items)}] {row['status']:<8} {item.name} {row['seconds']} s "
              f"{row['reason'][:160]}", file=sys.stderr, flush=True)
    order = {(item.name, item.level): place for place, item in enumerate(items)}
    rows = sorted((r for r in rows if (r["name"], r["level"]) in order),
                  key=lambda r: order[r["name"], r["level"]])
    print(json.dumps({"tasks": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
