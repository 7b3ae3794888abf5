# SPDX-License-Identifier: Apache-2.0
"""Fails when a room includes a room it does not depend on, or touches what only another may touch.

usage: check_layers.py SRC    (reads the quern_library lines of SRC/CMakeLists.txt)
"""
import pathlib
import re
import sys

# pattern -> rooms that may use it; tests (*_test.cpp) may touch anything but other rooms' headers.
ONLY = {
    r"#include <sqlite3\.h>": {"store"},
    r"#include <cuda": {"device"},
    r"#include <curl/|#include <sys/socket": {"llm", "serve"},
    r"\bgetenv\(|\bstd::cout\b|(?<![\w.:])exit\(": set(),
    r"(?<!\w)v?fork\(|\bexecv": {"base"},
    r"\bthrow\b": set(),
}

src = pathlib.Path(sys.argv[1])
graph = {room: set((deps or "").split()) for room, deps in
         re.findall(r"quern_library\((\w+)(?:\s+DEPENDS\s+([\w\s]+))?\)",
                    (src / "CMakeLists.txt").read_text())}


def reach(room, path=()):
    """The room and everything below it; refuses cycles."""
    if room in path:
        sys.exit(f"cycle: {' -> '.join((*path, room))}")
    return {room}.union(*(reach(dep, (*path, room)) for dep in graph[room]))


def code_of(line):
    """The line without its comment and without what its string literals hold."""
    line = re.sub(r'^(\s*#include\b.*)$', r'\1', line)
    if not line.lstrip().startswith("#include"):
        line = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
    return line.split("//")[0]


def faults(room, line, is_test):
    include = re.match(r'\s*#include "(\w+)/', line)
    if include and include[1] in graph and include[1] not in reach(room):
        yield f"{room} may not include {include[1]}"
    if is_test:
        return
    for pattern, rooms in ONLY.items():
        if room not in rooms and re.search(pattern, code_of(line)):
            yield f"{room} may not touch {pattern}"


def lines_of(file):
    """Numbered lines outside raw string literals (generated code is data, not ours to check)."""
    inside = False
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if inside:
            inside = ')"' not in line and ')code"' not in line
        elif re.search(r'R"(code)?\((?!.*\)(code)?")', line):
            inside = True
        else:
            yield number, line


found = [f"{file}:{number}: {fault}"
         for room in graph for file in sorted((src / room).rglob("*.[ch]*"))
         for number, line in lines_of(file)
         for fault in faults(room, line, file.name.endswith("_test.cpp"))]
sys.exit("\n".join(found) or 0)
