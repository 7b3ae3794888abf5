# SPDX-License-Identifier: Apache-2.0
"""Builds against the light header, which has of PyTorch what kernels mostly use."""
from __future__ import annotations

import pathlib
from typing import Any, Callable


def may_suit(request: dict[str, Any]) -> bool:
    return False


def compile_light(request: dict[str, Any], name: str, work: pathlib.Path,
                  run: Callable[..., None]) -> pathlib.Path:
    raise NotImplementedError
