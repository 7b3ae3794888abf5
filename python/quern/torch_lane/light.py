# SPDX-License-Identifier: Apache-2.0
"""Builds against the light header, which has of PyTorch what kernels mostly use.

The header stands where PyTorch's would: a folder of one-line files with PyTorch's names brings it
in. One compiler call makes the library, host and device code in one unit.
"""
from __future__ import annotations

import pathlib
import re
import sysconfig
from typing import Any, Callable

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


def may_suit(request: dict[str, Any]) -> bool:
    """Whether the light header is worth a try."""
    if not request["cpp"] and not request["cuda"]:
        return False
    text = "\n".join(request["cpp"] + request["cuda"])
    return bool(request["functions"] or "PYBIND11_MODULE" in text) and not _LACKING.search(text)


# Errors that PyTorch's own header may cure: they speak of PyTorch.
_OF_TORCH = re.compile(r"error:.*(torch|\bat::|\bc10::|ATen|Tensor|TORCH|AT_|C10_|quern_|ScalarType"
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
                  run: Callable[[list[str], pathlib.Path], None]) -> pathlib.Path:
    """The library. Raises what `run` raises where the compiler refuses."""
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
              "-DTORCH_EXTENSION_NAME=" + name, "-std=c++20", "-shared",
              *("-I" + path for path in request["extra_include_paths"])]
    linking = [flag for flag in builder.torch_link_flags() if flag not in (
        "-ltorch_python", "-lc10", "-ltorch")]
    if cuda:
        host = [word for flag in ["-fPIC", *request["extra_cflags"]]
                for word in ("-Xcompiler", flag)]
        paths = [word for flag in linking if flag.startswith("-Wl,")
                   for word in ("-Xlinker", flag[4:].replace(",", "="))]
        command = [builder.nvcc(), *builder.nvcc_flags(), *common, "-DQUERN_LIGHT_CUDA", *host,
                   *request["extra_cuda_cflags"], str(source), *paths,
                   *(flag for flag in linking if not flag.startswith("-Wl,")), "-ltorch_cuda",
                   "-cudart", "shared", *request["extra_ldflags"], "-o", str(made)]
    else:
        command = ["c++", *common, "-fPIC", *request["extra_cflags"], str(source), *linking,
                   *request["extra_ldflags"], "-o", str(made)]
    run(command, work)
    return made
