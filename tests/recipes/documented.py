#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the recipe that docs/recipes.md shows whole, as its reader would: from a file, by its path.

usage: documented.py QUERN
"""
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs/recipes.md"

shown = [block for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
         if block.startswith('title = "Beam of plans')]
if len(shown) != 1:
    sys.exit(f"{PAGE} shows {len(shown)} recipes that begin with the title Beam of plans")
with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name) / "mine.toml"
    path.write_text(shown[0])
    sys.exit(subprocess.run([sys.executable, HERE / "run.py", sys.argv[1], path, "--budget", "10",
                             "--task", "relu", "--task", "softmax"]).returncode)
