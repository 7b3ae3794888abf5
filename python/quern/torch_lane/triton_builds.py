# SPDX-License-Identifier: Apache-2.0
"""What Triton compiles with other programs, asked of the parent: launchers and machine code.

Triton lowers a kernel in the candidate's own process, then has a C compiler make the kernel's
launcher and ptxas its machine code. Launchers depend on the types of arguments alone, so that most
candidates' are there already; the parent keeps both under the hash of their text.
"""
from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from quern.torch_lane.channel import Channel

# Flags of ptxas that only change the code it makes.
_FLAG = re.compile(r"-lineinfo|-suppress-debug-info|-g|-v|--fmad=(true|false)|--opt-level|[0-3]"
                   r"|--gpu-name=sm_\w+|--maxrregcount=\d+|-maxrregcount=\d+")


def warm_up(architecture: str) -> bool:
    """Imports Triton and compiles a kernel, before anything forks and without asking CUDA.
    False where there is no Triton, or another than is known here; it then starts slower."""
    if importlib.util.find_spec("triton") is None:
        return False
    folder = tempfile.mkdtemp(prefix="quern-triton-")
    before = os.environ.get("TRITON_CACHE_DIR")
    os.environ["TRITON_CACHE_DIR"] = folder
    try:
        from quern.torch_lane import triton_warm_up

        triton_warm_up.compile_one(int(architecture))
        return True
    except Exception:  # noqa: BLE001  of any version's inside; nothing depends on it
        return False
    finally:
        os.environ.pop("TRITON_CACHE_DIR")
        if before is not None:
            os.environ["TRITON_CACHE_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def intercept(channel: Channel) -> None:
    """Makes Triton, where this process has it, ask the parent."""
    if "triton" not in sys.modules:
        return
    try:
        from triton import knobs
        from triton.backends.nvidia import compiler

        knobs.build.impl = _Launchers(channel)
        compiler.subprocess = _Assembler(channel)  # type: ignore[attr-defined]
    except (ImportError, AttributeError):
        return  # an older Triton starts its compilers itself


def prepare() -> None:
    """Loads what Triton needs of the device, in a process that has its context."""
    if "triton" not in sys.modules:
        return
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except Exception:  # noqa: BLE001  a candidate that uses it will say more
        return


class _Launchers:
    """Stands for the C compiler that makes a kernel's launcher."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def __call__(self, name: str, source: str, folder: str, *_: Any) -> str:
        with open(source) as file:
            text = file.read()
        self.channel.send({"build": {"kind": "launcher", "name": name, "text": text}})
        answer = self.channel.receive(None)
        if "path" not in answer:
            raise RuntimeError(f"the launcher {name} does not compile: {answer.get('log', '')}")
        return str(answer["path"])


class _Assembler:
    """Stands for the module subprocess where Triton calls ptxas."""

    CalledProcessError = subprocess.CalledProcessError
    check_output = staticmethod(subprocess.check_output)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def run(self, command: list[str], **options: Any) -> Any:
        flags, source, into = command[1:-3], command[-3], command[-1]
        if command[-2] != "-o" or not flags_are_plain(flags):
            return subprocess.run(command, **options)
        with open(source) as file:
            text = file.read()
        self.channel.send({"build": {"kind": "ptxas", "name": "kernel", "flags": flags,
                                     "tool": command[0], "text": text}})
        answer = self.channel.receive(None)
        if "path" in answer:
            shutil.copyfile(str(answer["path"]), into)
            return subprocess.CompletedProcess(command, 0)
        log = options.get("stderr")
        if log is not None:
            os.write(log.fileno(), str(answer.get("log", "")).encode())
        raise subprocess.CalledProcessError(255, command)


def _torch_ptxas() -> str:
    """PyTorch's own assembler, which not every PyTorch has."""
    import torch

    return os.path.join(os.path.dirname(torch.__file__), "bin", "ptxas")


def flags_are_plain(flags: list[str]) -> bool:
    return all(_FLAG.fullmatch(flag) for flag in flags)


# The parent's side --------------------------------------------------------------------------


def command(request: dict[str, Any], source: str, made: str) -> list[str]:
    """The call of a compiler for a request of the above. Raises ValueError."""
    from triton.backends.nvidia import compiler, driver

    if request["kind"] == "ptxas":
        flags = [str(flag) for flag in request["flags"]]
        if not flags_are_plain(flags):
            raise ValueError("flags of ptxas that are not passed on")
        named = next((flag for flag in flags if flag.startswith("--gpu-name=sm_")), "90")
        tool = compiler.get_ptxas(int(re.sub(r"\D", "", named))).path
        if request["tool"] == _torch_ptxas():  # Inductor prefers it, and writes for its version
            tool = request["tool"]
        return [tool, *flags, source, "-o", made]
    import sysconfig

    return ["cc", "-x", "c", source, "-O2", "-shared", "-fPIC", "-Wno-psabi", "-o", made,
            *(f"-l:{name}" for name in driver.libraries),
            *(f"-L{folder}" for folder in driver.library_dirs()),
            *(f"-I{folder}" for folder in (*driver.include_dirs,
                                           sysconfig.get_paths()["include"]))]
