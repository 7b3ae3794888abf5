# SPDX-License-Identifier: Apache-2.0
"""Builds what candidates give to `load_inline`, outside of their processes.

One compiler call a source, no ninja; the result is kept under the hash of everything that decides
it, for every candidate that asks for the same.
"""
from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import warnings
from typing import Any, Callable

from quern.torch_lane import light, sandbox, triton_builds

BUILD_LIMIT_S = 180.0
_LOG_CAP = 8000
PACKAGE = str(pathlib.Path(__file__).parents[2])


def environment(cache: str, trusted: bool) -> dict[str, str]:
    """Where compilers inside a runner keep their files: candidates in their own folder, `scratch`,
    so that none reads what another wrote."""
    # Inductor asks for a user's name, which a confined process cannot look up.
    made = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "MAX_JOBS": "1", "USER": "quern"}
    if trusted:
        made["TORCHINDUCTOR_COMPILE_THREADS"] = str(min(8, os.cpu_count() or 1))
        return {**made, "TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "inductor"),
                "TRITON_CACHE_DIR": os.path.join(cache, "triton")}
    return {**made, "HOME": "{scratch}", "TMPDIR": "{scratch}",
            "TORCHINDUCTOR_CACHE_DIR": "{scratch}/inductor",
            "TRITON_CACHE_DIR": "{scratch}/triton", "XDG_CACHE_HOME": "{scratch}/cache"}


@functools.cache
def _torch_flags() -> tuple[list[str], list[str], str]:
    """(compile flags, link flags, C++ standard) that PyTorch's own load_inline uses."""
    import torch
    from torch.utils import cpp_extension

    standard = "c++20" if "c++20" in inspect.getsource(
        cpp_extension._write_ninja_file_to_build_library) else "c++17"
    compiling = [word for path in [*cpp_extension.include_paths(),
                                   sysconfig.get_paths()["include"]]
                 for word in ("-isystem", path)]
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    return compiling, ["-L" + folder, "-Wl,-rpath," + folder, "-lc10", "-ltorch_cpu", "-ltorch",
                       "-ltorch_python"], standard


def warm_up(device: str) -> None:
    """Imports what builds and their callers need, once, before anything forks."""
    # Asking CUDA for devices would make this process unfit for forking users of CUDA.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        _torch_flags()
        nvcc_flags()
        _compiler_version("c++")
        if device.startswith("cuda"):
            triton_builds.warm_up(device_architecture() or "90")


def _link_stand_ins(folder: pathlib.Path) -> list[str]:
    """Flags that bind a library to PyTorch's by name alone: to read what PyTorch's define takes a
    linker longer than all the rest, and a library may leave symbols open."""
    import torch

    for name in ("libtorch_cpu.so", "libtorch_cuda.so"):
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = folder / f"{name}.{os.getpid()}"
            subprocess.run(["c++", "-shared", "-nostdlib", "-x", "c", "/dev/null",
                            f"-Wl,-soname,{name}", "-o", str(made)], check=True)
            os.replace(made, folder / name)
    real = os.path.join(os.path.dirname(torch.__file__), "lib")
    names = ["-ltorch_cpu", *(["-ltorch_cuda"] if torch.version.cuda else [])]
    return ["-L" + str(folder), "-Wl,-rpath," + real, "-Wl,--push-state,--no-as-needed", *names,
            "-Wl,--pop-state"]


class _Failed(Exception):
    """A compiler refused; the message is its log."""


class Builder:
    """Compiles requests of `build.intercept`. `cache` may be shared by processes."""

    def __init__(self, cache: str, fast: bool = True) -> None:
        self.cache = pathlib.Path(cache or sandbox.private_folder("extensions"))
        self.cache.mkdir(parents=True, exist_ok=True)
        self.fast = fast
        self.spent_s = 0.0
        self.how: list[str] = []  # of the builds so far: "cached", "light", "full"

    def build(self, request: dict[str, Any], into: str) -> dict[str, Any]:
        """{"path"} of a copy of the library in folder `into`, so that nobody need read the cache;
        or {"log"} of the compiler that refused."""
        began = time.monotonic()
        try:
            made = self._extension(request) if request.get("kind", "extension") == "extension" \
                else self._for_triton(request)
            path = pathlib.Path(into) / made.parent.name / made.name
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(made, path)
            return {"path": str(path)}
        except _Failed as failed:
            return {"log": str(failed)[-_LOG_CAP:]}
        except OSError as error:
            return {"log": f"a compiler does not start: {error}"}
        finally:
            self.spent_s += time.monotonic() - began

    def _extension(self, request: dict[str, Any]) -> pathlib.Path:
        name = re.sub(r"\W", "_", request["name"]) or "extension"
        return self._kept(request, f"{name}.so", lambda work: self._compile(request, name, work))

    def _for_triton(self, request: dict[str, Any]) -> pathlib.Path:
        import triton

        def make(work: pathlib.Path) -> pathlib.Path:
            source, made = work / "source", work / "made"
            source.write_text(str(request["text"]))
            try:
                self._run(triton_builds.command(request, str(source), str(made)), work)
            except ValueError as error:
                raise _Failed(str(error)) from None
            self.how.append("triton")
            return made

        name = re.sub(r"\W", "_", request["name"]) or "launcher"
        ending = sysconfig.get_config_var("EXT_SUFFIX") if request["kind"] == "launcher" else ".o"
        return self._kept({**request, "triton": triton.__version__}, name + str(ending), make)

    def _kept(self, request: dict[str, Any], name: str,
              make: Callable[[pathlib.Path], pathlib.Path]) -> pathlib.Path:
        """What `make` makes of a request in a folder of its own, or what it made before."""
        import torch

        key = hashlib.sha256(repr((sorted(request.items()), torch.__version__, sys.version,
                                   _compiler_version("c++"), self.fast)).encode()).hexdigest()[:32]
        path = self.cache / key / name
        if path.exists():
            self.how.append("cached")
            return path
        work = pathlib.Path(sandbox.private_folder("build"))
        try:
            made = make(work)
            path.parent.mkdir(parents=True, exist_ok=True)
            waiting = path.with_name(f"{name}.{os.getpid()}")
            shutil.copyfile(made, waiting)
            waiting.chmod(0o755)
            os.replace(waiting, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return path

    def _compile(self, request: dict[str, Any], name: str, work: pathlib.Path) -> pathlib.Path:
        if self.fast and light.may_suit(request):
            made = self._compile_light(request, name, work)
            if made is not None:
                self.how.append("light")
                return made
        made = self._compile_full(request, name, work)
        self.how.append("full")
        return made

    def _compile_light(self, request: dict[str, Any], name: str,
                       work: pathlib.Path) -> pathlib.Path | None:
        """None where PyTorch's own header may do better."""
        standards = ["c++17", _torch_flags()[2]]
        linking = _link_stand_ins(self.cache / "headers" / "stand_ins")
        for standard in dict.fromkeys(standards):
            try:
                return light.compile_light(request, name, work, self._run, linking, standard)
            except _Failed as failed:
                if light.explains(str(failed)):
                    return None
                if standard == standards[-1]:
                    raise
        return None

    def _compile_full(self, request: dict[str, Any], name: str,
                      work: pathlib.Path) -> pathlib.Path:
        compiling, linking, standard = _torch_flags()
        common = ["-DTORCH_EXTENSION_NAME=" + name, "-DTORCH_API_INCLUDE_EXTENSION_H", *compiling,
                  *("-I" + path for path in request["extra_include_paths"])]
        main = work / "main.cpp"
        lines = ["#include <torch/extension.h>"] if request["implicit_headers"] else []
        lines += request["cpp"] + _module_lines(request["functions"])
        main.write_text("\n".join(lines) + "\n")
        header = self._precompiled(request, standard) if self.fast else []
        objects = [work / "main.o"]
        calls = [["c++", *header, *common, "-fPIC", "-std=" + standard, *request["extra_cflags"],
                  "-c", str(main), "-o", str(objects[0])]]
        if request["cuda"]:
            source = work / "cuda.cu"
            lines = ["#include <torch/types.h>", "#include <cuda.h>",
                     "#include <cuda_runtime.h>"] if request["implicit_headers"] else []
            source.write_text("\n".join(lines + request["cuda"]) + "\n")
            objects.append(work / "cuda.o")
            calls.append([nvcc(), *nvcc_flags(), *common, "-Xcompiler", "-fPIC",
                          "-std=" + standard, *request["extra_cuda_cflags"], "-c", str(source),
                          "-o", str(objects[1])])
        self._run_all(calls, work)
        made = work / f"{name}.so"
        if request["cuda"] or request["with_cuda"]:
            linking = [*linking, "-lc10_cuda", "-ltorch_cuda", *cuda_link_flags()]
        self._run(["c++", *map(str, objects), "-shared", *linking, *request["extra_ldflags"],
                   "-o", str(made)], work)
        return made

    def _precompiled(self, request: dict[str, Any], standard: str) -> list[str]:
        """Flags that bring torch/extension.h in precompiled, made once a set of flags."""
        import torch

        key = hashlib.sha256(repr((torch.__version__, _compiler_version("c++"), standard,
                                   request["extra_cflags"])).encode()).hexdigest()[:24]
        folder = self.cache / "headers" / key
        header = folder / "torch_all.h"
        if not (folder / "torch_all.h.gch").exists():
            if request["cuda"] or not request["implicit_headers"]:
                return []  # nvcc takes longer than the host's compiler without it
            folder.mkdir(parents=True, exist_ok=True)
            header.write_text("#include <torch/extension.h>\n")
            made = folder / f"{os.getpid()}.gch"
            self._run(["c++", *_torch_flags()[0], "-DTORCH_API_INCLUDE_EXTENSION_H", "-fPIC",
                       "-std=" + standard, *request["extra_cflags"], "-x", "c++-header",
                       str(header), "-o", str(made)], folder)
            os.replace(made, folder / "torch_all.h.gch")
        return ["-include", str(header), "-Winvalid-pch"]

    def _run_all(self, commands: list[list[str]], work: pathlib.Path) -> None:
        running = [self._start(command, work) for command in commands]
        logs = [self._finish(process) for process in running]
        if any(process.returncode != 0 for process in running):
            raise _Failed("\n".join(logs))

    def _run(self, command: list[str], work: pathlib.Path) -> None:
        self._run_all([command], work)

    def _start(self, command: list[str], work: pathlib.Path) -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=work, text=True, errors="replace",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, start_new_session=True,
                                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                                     "HOME": str(work), "TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
                                preexec_fn=lambda: self._confine(work))

    def _confine(self, work: pathlib.Path) -> None:
        sandbox.remove_network()
        rules = sandbox.candidate_rules(str(work), [PACKAGE, str(self.cache / "headers"),
                                                    cuda_home()])
        sandbox.restrict_files(rules)
        sandbox.limit(0, 4 << 30)

    def _finish(self, process: subprocess.Popen[str]) -> str:
        try:
            return process.communicate(timeout=BUILD_LIMIT_S)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return f"the compiler did not end within {BUILD_LIMIT_S:.0f} s"


def _module_lines(functions: dict[str, str] | None) -> list[str]:
    if functions is None:
        return []
    return ["PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {",
            *(f'm.def("{name}", torch::wrap_pybind_function({name}), "{name}");'
              for name in functions), "}"]


@functools.cache
def _compiler_version(program: str) -> str:
    made = subprocess.run([program, "-dumpfullversion"], capture_output=True, text=True)
    return program + made.stdout.strip()


@functools.cache
def cuda_home() -> str:
    found = os.environ.get("CUDA_HOME") or ""
    if not found and (program := shutil.which("nvcc")):
        found = os.path.dirname(os.path.dirname(os.path.realpath(program)))
    return found or "/usr/local/cuda"


def nvcc() -> str:
    return os.path.join(cuda_home(), "bin", "nvcc")


@functools.cache
def device_architecture() -> str:
    """"90" of the first device; "" without one."""
    found = subprocess.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
                           capture_output=True, text=True) if shutil.which("nvidia-smi") else None
    lines = found.stdout.split() if found and found.returncode == 0 else []
    return lines[0].replace(".", "") if lines else ""


def nvcc_flags() -> list[str]:
    """PyTorch's own flags for CUDA sources, for the device at hand."""
    from torch.utils.cpp_extension import COMMON_NVCC_FLAGS

    arch = device_architecture() or "90"
    return [*COMMON_NVCC_FLAGS, f"-gencode=arch=compute_{arch},code=sm_{arch}"]


def cuda_link_flags() -> list[str]:
    return ["-L" + os.path.join(cuda_home(), "lib64"), "-lcudart"]
