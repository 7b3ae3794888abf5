# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers and cells as one operation each while a module is traced: PyTorch takes them
apart step by step on tensors without data."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import register_flop_formula

_LAYER = ("Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
          "bool bidirectional, bool batch_first")
_CELL = "Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None"
SCHEMAS = {
    "lstm": f"(Tensor input, Tensor[] hx, {_LAYER}) -> (Tensor, Tensor, Tensor)",
    **{name: f"(Tensor input, Tensor hx, {_LAYER}) -> (Tensor, Tensor)"
       for name in ("gru", "rnn_tanh", "rnn_relu")},
    "lstm_cell": f"(Tensor input, Tensor[] hx, {_CELL}) -> (Tensor, Tensor)",
    **{name: f"(Tensor input, Tensor hx, {_CELL}) -> Tensor"
       for name in ("gru_cell", "rnn_tanh_cell", "rnn_relu_cell")},
}
_library = torch.library.Library("quern", "FRAGMENT")


def _shapes_of_layer(x: torch.Tensor, hx: Any, params: list[torch.Tensor], *_: Any) -> Any:
    states = hx if isinstance(hx, (list, tuple)) else [hx]
    ways = 2 if _[4] else 1
    out = x.new_empty((*x.shape[:2], states[0].shape[-1] * ways))
    return (out, *(torch.empty_like(s) for s in states))


def _shapes_of_cell(x: torch.Tensor, hx: Any, *_: Any) -> Any:
    if isinstance(hx, (list, tuple)):
        return tuple(torch.empty_like(h) for h in hx)
    return torch.empty_like(hx)


def _flops(shapes: Any, *rest: Any, **_: Any) -> int:
    """Two for each weight, step and row of the batch. Shapes stand for the tensors."""
    weights = [w for w in (rest[1] if isinstance(rest[1], list) else rest[1:3]) if len(w) == 2]
    rows = torch.Size(shapes[:-1]).numel()
    return 2 * rows * sum(torch.Size(w).numel() for w in weights)


def _register() -> None:
    for name, schema in SCHEMAS.items():
        _library.define(name + schema)
        shapes = _shapes_of_cell if name.endswith("_cell") else _shapes_of_layer
        _library.impl(name, shapes, "Meta")
        register_flop_formula(getattr(torch.ops.quern, name))(_flops)


_register()


def _whole(name: str) -> Any:
    """The function that a layer calls; a packed batch, whose lengths are data, is left to it."""
    real, op = getattr(torch._VF, name), getattr(torch.ops.quern, name).default

    def call(*args: Any, **kwargs: Any) -> Any:
        packed = not name.endswith("_cell") and isinstance(args[3], (list, tuple))
        return real(*args, **kwargs) if packed else op(*args, **kwargs)

    return call


@contextlib.contextmanager
def kept_whole(mode: Any) -> Iterator[None]:
    """`mode`, a context for tensors without data, in which recurrent layers stay whole."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mode)
        for name in SCHEMAS:
            stack.enter_context(mock.patch.object(torch._VF, name, _whole(name), create=True))
        yield
