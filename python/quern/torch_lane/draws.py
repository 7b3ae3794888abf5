# SPDX-License-Identifier: Apache-2.0
"""Inputs of a module, drawn from several distributions.

A draw is the module's own `get_inputs()` under a seed, then a function of each value alone: what is
zero stays zero, what is equal stays equal, so that triangular, symmetric and masked inputs keep
their structure. Whole numbers, truth values and tensors of few distinct values stay as drawn.
"""
from __future__ import annotations

import math
from typing import Any, Callable

import torch

from quern.torch_lane.block import flatten, unflatten
from quern.torch_lane.compare import PIECE, pieces

_FEW = 16


def _normal(x: torch.Tensor, uniform: bool) -> torch.Tensor:
    """The normal variable that a uniform one stands for; other values change sign."""
    if not uniform:
        return -x
    # By erfinv: PyTorch compiles its ndtri for a device at the first call, which takes a second.
    return (2 * x.double() - 1).clamp_(-1 + 1e-12, 1 - 1e-12).erfinv_().mul_(math.sqrt(2)).to(x.dtype)


def _wide(x: torch.Tensor, uniform: bool) -> torch.Tensor:
    return _normal(x, uniform) * 8


def _shifted(x: torch.Tensor, uniform: bool) -> torch.Tensor:
    return -x * 3


# name -> what becomes of a value; None: as published
DISTRIBUTIONS: dict[str, Callable[[torch.Tensor, bool], torch.Tensor] | None] = {
    "published": None, "normal": _normal, "wide": _wide, "negative": _shifted}


def _few_values(x: torch.Tensor) -> bool:
    return x.numel() > _FEW and x.flatten()[:4096].unique().numel() <= _FEW


def transform(tree: Any, name: str) -> Any:
    change = DISTRIBUTIONS[name]
    if change is None:
        return tree
    shape, tensors = flatten(tree)
    made = []
    for tensor in tensors:
        if not tensor.is_floating_point() or _few_values(tensor):
            made.append(tensor)
            continue
        made.append(_changed(tensor, change))
    return unflatten(shape, made)


def _changed(tensor: torch.Tensor,
             change: Callable[[torch.Tensor, bool], torch.Tensor]) -> torch.Tensor:
    """Value by value, zeros kept, in pieces; the tensor given stays as it is."""
    uniform = all(bool(((part >= 0) & (part <= 1)).all()) for part, in pieces(tensor))
    made = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    for part, into in pieces(tensor, made):
        into.copy_(torch.where(part == 0, part, change(part, uniform)))
    return made if tensor.is_contiguous() else torch.empty_like(tensor).copy_(made)


def draw(get_inputs: Callable[[], Any], name: str, seed: int, device: str) -> list[Any]:
    """Example inputs under a seed, drawn on the device where the module's function allows."""
    torch.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)
    try:
        with torch.device(device):
            inputs = list(get_inputs())
    except (RuntimeError, TypeError, NotImplementedError):
        inputs = list(get_inputs())
    return list(transform(_to(inputs, device), name))


def _to(tree: Any, device: str) -> Any:
    shape, tensors = flatten(tree)
    return unflatten(shape, [tensor.detach().to(device) for tensor in tensors])
