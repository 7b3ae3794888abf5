# SPDX-License-Identifier: Apache-2.0
"""`load_inline` inside a candidate's process: the build is asked of whoever started it.

The candidate's process may start no compiler. It sends what it was given and gets the path of a
library, which it loads as PyTorch does.
"""
from __future__ import annotations

import importlib.util
import sys
from typing import Any

from quern.torch_lane.channel import Channel

_LIST_FIELDS = ("extra_cflags", "extra_cuda_cflags", "extra_ldflags", "extra_include_paths")


class BuildFailed(RuntimeError):
    """The compiler refused; the message is what it said."""


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _load(path: str, name: str, is_module: bool) -> Any:
    if not is_module:
        import torch

        torch.ops.load_library(path)
        return path
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def intercept(channel: Channel, device: str) -> None:
    """Replaces torch.utils.cpp_extension.load_inline (and load) in this process."""
    import torch.utils.cpp_extension as extension

    def ask(request: dict[str, Any]) -> str:
        channel.send({"build": request})
        answer = channel.receive(None)
        if "path" not in answer:
            raise BuildFailed(f"Error building extension '{request['name']}': "
                              + str(answer.get("log", "")))
        return str(answer["path"])

    def load_inline(name: str, cpp_sources: Any = None, cuda_sources: Any = None,
                    functions: Any = None, with_cuda: bool | None = None,
                    is_python_module: bool = True, with_pytorch_error_handling: bool = True,
                    no_implicit_headers: bool = False, **options: Any) -> Any:
        if isinstance(functions, (list, tuple)):
            functions = {str(function): str(function) for function in functions}
        elif isinstance(functions, str):
            functions = {functions: functions}
        request: dict[str, Any] = {
            "name": str(name), "cpp": _texts(cpp_sources), "cuda": _texts(cuda_sources),
            "functions": functions, "with_cuda": bool(with_cuda),
            "implicit_headers": not no_implicit_headers}
        request.update({field: _texts(options.get(field)) for field in _LIST_FIELDS})
        return _load(ask(request), str(name), is_python_module)

    def load(name: str, sources: Any, is_python_module: bool = True, **options: Any) -> Any:
        cpp, cuda = [], []
        for path in _texts(sources):
            with open(path) as file:
                (cuda if path.endswith((".cu", ".cuh")) else cpp).append(file.read())
        return load_inline(name, cpp, cuda, is_python_module=is_python_module,
                           no_implicit_headers=True, **options)

    for module in (extension, sys.modules.get("torch.utils.cpp_extension")):
        if module is not None:
            module.load_inline, module.load = load_inline, load  # type: ignore[attr-defined]
