# SPDX-License-Identifier: Apache-2.0
"""Builds against the light header, which has of PyTorch what kernels mostly use.

The header stands where PyTorch's would: a folder of one-line files with PyTorch's names brings it
in. Host and device code are one unit.
"""
from __future__ import annotations

import pathlib
import re
import sysconfig
from typing import Any, Callable

from quern.torch_lane import nvcc

HEADER = pathlib.Path(__file__).parent / "headers" / "light_torch.h"
SHADOWED = ("torch/extension.h", "torch/torch.h", "torch/types.h", "torch/all.h",
            "torch/python.h", "ATen/ATen.h", "ATen/Tensor.h", "ATen/core/Tensor.h",
            "ATen/Dispatch.h", "ATen/cuda/CUDAContext.h", "ATen/cuda/Exceptions.h",
            "c10/cuda/CUDAStream.h", "c10/cuda/CUDAException.h", "c10/cuda/CUDAGuard.h",
            "c10/cuda/CUDAFunctions.h", "c10/util/Exception.h", "c10/core/ScalarType.h")
# What the header lacks for certain: asking the compiler would only cost time.
_LACKING = re.compile(
    r"\bpy::|pybind11::|torch::nn::|\bTORCH_LIBRARY|packed_accessor|at::Half|c10::Half"
    r"|_AND_HALF|c10::BFloat16|at::BFloat16|torch::autograd|at::matmul|torch::matmul"
    r"|at::parallel_for|\.accessor<|at::native")

# Device code of several units, which a link of its own puts together.
_SEPARATE = ("-rdc", "--relocatable-device-code", "-dc", "--device-c", "-dlto")


def may_suit(request: dict[str, Any]) -> bool:
    """Whether the light header is worth a try."""
    if not request["cpp"] and not request["cuda"]:
        return False
    text = "\n".join(request["cpp"] + request["cuda"])
    if any(flag.startswith(_SEPARATE) for flag in request["extra_cuda_cflags"]):
        return False
    return bool(request["functions"] or "PYBIND11_MODULE" in text) and not _LACKING.search(text)


# Errors that PyTorch's own header may cure: they speak of PyTorch, or of what it brings along.
_OF_TORCH = re.compile(r"error:.*(torch|\bstd\b|\bat::|\bc10::|ATen|Tensor|TORCH|AT_|C10_|quern_|ScalarType"
                       r"|namespace .at.|[Pp]y[A-Z_]|\.h[>:\"])|fatal error")


def explains(log: str) -> bool:
    """Whether a compiler's log may be the light header's fault, and not the candidate's."""
    return bool(_OF_TORCH.search(log)) or "error" not in log


def _unit(request: dict[str, Any]) -> str:
    parts = ['#include "light_torch.h"', *request["cpp"], *request["cuda"]]
    if request["functions"] is not None:
        parts.append("PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {")
        parts += [f'm.def("{name}", &{name}, "{name}");' for name in request["functions"]]
        parts.append("}")
    return "\n".join(parts) + "\n"


def compile_light(request: dict[str, Any], name: str, work: pathlib.Path,
                  run: Callable[[list[str], pathlib.Path], None], linking: list[str],
                  standard: str = "c++17") -> pathlib.Path:
    """The library. Raises what `run` raises where the compiler refuses. C++17 by default, whose
    library takes a quarter less time to read than C++20's."""
    from quern.torch_lane import builder

    for path in SHADOWED:
        shadow = work / "shadow" / path
        shadow.parent.mkdir(parents=True, exist_ok=True)
        shadow.write_text('#include "light_torch.h"\n')
    cuda = bool(request["cuda"])
    source = work / ("unit.cu" if cuda else "unit.cpp")
    source.write_text(_unit(request))
    made = work / f"{name}.so"
    folders = [f"{work}/shadow", str(HEADER.parent), sysconfig.get_paths()["include"]]
    common = [*(word for path in folders for word in ("-isystem", path)),
              "-DTORCH_EXTENSION_NAME=" + name, "-std=" + standard,
              *("-I" + path for path in request["extra_include_paths"])]
    linking = [*linking, *(builder.cuda_link_flags() if cuda else []), *request["extra_ldflags"],
               "-o", str(made)]
    if not cuda:
        run(["c++", *common, "-shared", "-fPIC", *request["extra_cflags"], str(source), *linking],
            work)
        return made
    host = [word for flag in ["-fPIC", *request["extra_cflags"]] for word in ("-Xcompiler", flag)]
    unit = work / "unit.o"
    command = [builder.nvcc(), *builder.nvcc_flags(), *common, "-DQUERN_LIGHT_CUDA", *host,
               *request["extra_cuda_cflags"], "-c", str(source), "-o", str(unit)]
    passes = nvcc.script(command, work, source)
    if passes:
        (work / "passes.sh").write_text(passes)
    run(["sh", str(work / "passes.sh")] if passes else command, work)
    run(["c++", "-shared", str(unit), *linking], work)
    return made
