# SPDX-License-Identifier: Apache-2.0
"""One CUDA source to one object file, host and device passes at the same time.

nvcc runs its passes one after another. `--dryrun` names them; the two that read the source (for the
host: preprocessor, cudafe++; for the device: preprocessor, cicc, ptxas, fatbinary) depend on each
other only through a name that cudafe++ makes up, which is given to both here. Where the passes are
not as expected (several architectures, another nvcc), nvcc is called as it is.
"""
from __future__ import annotations

import hashlib
import pathlib
import re
import subprocess

_ASSIGNED = re.compile(r"^[A-Z_]+=")


def _passes(command: list[str], work: pathlib.Path) -> tuple[list[str], list[str]]:
    """(assignments, commands) that nvcc would run, as lines of shell."""
    made = subprocess.run([*command, "--dryrun"], cwd=work, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    lines = [line[3:] for line in made.stderr.splitlines() if line.startswith("#$ ")]
    if made.returncode != 0:
        return [], []
    assigned = [line for line in lines if _ASSIGNED.match(line)]
    return assigned, [line for line in lines if not _ASSIGNED.match(line)]


def _quoted(assignment: str) -> str:
    name, value = assignment.split("=", 1)
    return f"export {name}='" + value.replace("'", "'\\''") + "'"


def _split(commands: list[str]) -> tuple[list[str], list[str], list[str]]:
    """(host passes, device passes, what needs both); empty where they are not as expected."""
    kinds = [next((kind for kind in ("cudafe++", "cicc", "ptxas", "fatbinary", " -E ", " -c ")
                   if kind in line.split(" --orig_src")[0]), "") for line in commands]
    if kinds != [" -E ", "cudafe++", " -E ", "cicc", "ptxas", "fatbinary", " -c "]:
        return [], [], []
    return commands[:2], commands[2:6], commands[6:]


def script(command: list[str], work: pathlib.Path, source: pathlib.Path) -> str:
    """A shell script that does what the nvcc call `command` (with `-c` and `-o`) would do; ""
    where only nvcc itself can."""
    kept = work / "passes"
    kept.mkdir(exist_ok=True)
    assigned, commands = _passes([*command, "--keep", "--keep-dir", str(kept)], work)
    host, device, both = _split(commands)
    if not host or "--gen_module_id_file" not in host[1]:
        return ""
    named = re.search(r'--module_id_file_name "([^"]+)"', host[1])
    if named is None:
        return ""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    pathlib.Path(work / named[1]).write_text(f"_{digest}_{len(source.name)}_unit_cu")
    host = [host[0], host[1].replace("--gen_module_id_file", "")]
    lines = [_quoted(line) for line in assigned]
    lines += [f"( {' && '.join(host)} ) & host=$!",
              f"( {' && '.join(device)} ) > {kept}/device.log 2>&1; device=$?",
              "wait $host || exit 1",
              f"cat {kept}/device.log; [ $device = 0 ] || exit 1", *both]
    return "\n".join(lines) + "\n"
