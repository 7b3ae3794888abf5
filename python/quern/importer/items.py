# SPDX-License-Identifier: Apache-2.0
"""Which modules a path holds: a module file, lines of JSON, a Definition, or a folder of them."""
from __future__ import annotations

import json
import pathlib
import re

from quern.importer.definitions import is_definition, item_of
from quern.importer.names import task_name
from quern.importer.source import BadModule, Item


def read_items(path: pathlib.Path, widen: bool = False) -> list[Item]:
    """The modules of a .py file, of a .jsonl of {name, code, level, problem_id}, of a Definition
    (.json), or of every such file in a folder. `widen`: 16-bit floats of Definitions become 32."""
    if path.is_dir():
        items = _read_folder(path, widen)
    elif not path.is_file():
        raise BadModule(f"{path}: " + ("it is no ordinary file" if path.exists() else
                                      "there is no such file"))
    elif path.suffix == ".jsonl":
        items = _read_lines(path)
    elif path.suffix == ".json":
        items = [_read_definition(path, widen)]
    else:
        items = [_read_module(path)]
    if not items:
        raise BadModule(f"{path}: there is no module and no Definition in it")
    _tell_apart(items)
    return items


def _within(path: pathlib.Path, folder: pathlib.Path, item: Item) -> Item:
    """Says of an item where in the folder it is: names of files alone may be alike."""
    if item.origin == path.name:
        item.origin = str(path.relative_to(folder))
    return item


def _tell_apart(items: list[Item]) -> None:
    """Names under which no two modules would be written to the same file."""
    seen: set[str] = set()
    for item in items:
        name, number = item.name, 1
        while task_name(item) in seen:
            number += 1
            item.name = f"{name}_{number}"
        seen.add(task_name(item))


def _text(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _read_module(path: pathlib.Path) -> Item:
    """A file LEVEL/PROBLEM_name.py, with a folder named level1, says where it comes from."""
    item = Item(path.stem, _text(path), origin=path.name)
    level = re.fullmatch(r"level(\d+)", path.parent.name)
    number = re.match(r"(\d+)_", path.stem)
    if level and number:
        item.level, item.problem_id = int(level[1]), int(number[1])
        item.origin = f"KernelBench level{item.level}/{item.problem_id}"
    return item


def _program(row: dict[str, object], origin: str) -> Item:
    """A problem of compute-eval: prompt, files, and a held-out test that is a program of its own."""
    name = str(row["task_id"])
    build = str(row.get("build_command") or "")
    needs = "nvcc and a CUDA device" if build.startswith("nvcc") else "an environment of its own"
    item = Item(name, "", origin=origin)
    item.unsupported = (f"a program that tests a whole solution ({build or row['test_command']}): "
                        f"it needs {needs}, and says nothing of time or inputs")
    return item


def _read_lines(path: pathlib.Path) -> list[Item]:
    items = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "task_id" in row and "test_command" in row:
                items.append(_program(row, f"{path.name}:{number}"))
                continue
            item = Item(str(row["name"]), str(row["code"]), row.get("level"),
                        row.get("problem_id"))
        except (ValueError, KeyError, TypeError) as error:
            raise BadModule(f"{path}:{number}: not a line with `name` and `code` ({error})"
                            ) from error
        item.origin = (f"KernelBench level{item.level}/{item.problem_id}"
                       if item.level is not None else f"{path.name}:{number}")
        items.append(item)
    return items


def _json(path: pathlib.Path) -> object:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise BadModule(f"{path}: not JSON ({error})") from error


def _workloads(path: pathlib.Path) -> list[dict]:
    """Those of a Definition: workload.jsonl beside it, or the file of its name under workloads/."""
    places = [path.with_name("workload.jsonl"), path.with_name(f"{path.stem}.workload.jsonl"),
              path.with_suffix(".jsonl")]
    parts = list(path.parts)
    if "definitions" in parts:
        parts[len(parts) - 1 - parts[::-1].index("definitions")] = "workloads"
        places.append(pathlib.Path(*parts).with_suffix(".jsonl"))
    for place in places:
        if place.is_file():
            rows = []
            for number, line in enumerate(_text(place).splitlines(), 1):
                try:
                    row = json.loads(line) if line.strip() else None
                except ValueError as error:
                    raise BadModule(f"{place}:{number}: not JSON ({error})") from error
                if row is not None:
                    rows.append(row.get("workload", row) if isinstance(row, dict) else row)
            return rows
    return []


def _read_definition(path: pathlib.Path, widen: bool) -> Item:
    definition = _json(path)
    if not is_definition(definition):
        raise BadModule(f"{path}: not a Definition: it needs `name`, `axes`, `inputs` and "
                        "`reference` (docs/importing.md)")
    return item_of(definition, _workloads(path), path.name, widen)


def _read_folder(folder: pathlib.Path, widen: bool) -> list[Item]:
    def order(path: pathlib.Path) -> list[object]:
        return [(not part.isdigit(), part.zfill(12) if part.isdigit() else part)
                for part in re.split(r"(\d+)", str(path)) if part]

    items = []
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.json")], key=order):
        if path.suffix == ".py" and not path.with_name("definition.json").exists():
            items.append(_within(path, folder, _read_module(path)))
        elif path.suffix == ".json":
            items += _definition_in(path, widen)
    return items


def _definition_in(path: pathlib.Path, widen: bool) -> list[Item]:
    """That of a file in a folder, which may hold anything else: one that cannot be read stops no
    other."""
    try:
        return [_read_definition(path, widen)] if is_definition(_json(path)) else []
    except BadModule as error:
        return [Item(path.stem, "", origin=path.name, failed=str(error))]
