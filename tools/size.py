#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines per room, and what changed since a base.

usage: size.py [BASE]    (a commit; without one, only the lines of today)
"""
import collections
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {".h", ".cpp", ".py", ".sh", ".task", ".md", ".cmake", ".test", ".txt"}


def git(*args):
    return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True, check=True).stdout


def room_of(path):
    """`src/ir` for src/ir/print.cpp, its tests apart; else the top folder."""
    parts = pathlib.PurePath(path).parts
    if parts[0] == "src" and len(parts) > 2:
        return f"src/{parts[1]}" + (" (tests)" if path.endswith("_test.cpp") else "")
    return parts[0] if len(parts) > 1 else "."


def lines_now():
    count = collections.Counter()
    for path in git("ls-files").split("\n"):
        if pathlib.PurePath(path).suffix in KINDS and (ROOT / path).is_file():
            count[room_of(path)] += len((ROOT / path).read_text(errors="replace").splitlines())
    return count


def delta(base):
    added, removed = collections.Counter(), collections.Counter()
    for line in git("diff", "--numstat", "--no-renames", base).splitlines():
        plus, minus, path = line.split("\t")
        if plus != "-" and pathlib.PurePath(path).suffix in KINDS:
            added[room_of(path)] += int(plus)
            removed[room_of(path)] += int(minus)
    return added, removed


def main():
    count = lines_now()
    added, removed = delta(sys.argv[1]) if len(sys.argv) > 1 else ({}, {})
    for room in sorted(count | collections.Counter(removed)):
        change = f"  +{added.get(room, 0)} -{removed.get(room, 0)}" if added else ""
        print(f"{room:24}{count[room]:7}{change}")
    print(f"{'all':24}{sum(count.values()):7}"
          + (f"  +{sum(added.values())} -{sum(removed.values())}" if added else ""))


main()
