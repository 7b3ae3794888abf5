# SPDX-License-Identifier: Apache-2.0
"""What compare.py computes over whole tensors, on a device in one pass each; needs Triton.

PyTorch's operators would bring every intermediate to memory: four to six times the bytes. Imported
only by compare.py, which has the same in PyTorch for wherever this does not apply.
"""
from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

_PROGRAMS = 132 * 16
_CELLS = 2048
_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@triton.jit(do_not_specialize=["count", "rounds"])
def _extremes(got, want, own, found, count, rounds, B: tl.constexpr):
    scale = tl.zeros((B,), tl.float64)
    rounding = tl.zeros((B,), tl.float64)
    error = tl.zeros((B,), tl.float64)
    special = tl.zeros((B,), tl.float64)
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    for _ in range(rounds):
        mask = at < count
        exact = tl.load(want + at, mask=mask, other=0.0).to(tl.float64)
        size = tl.abs(exact)
        off = tl.abs(tl.load(own + at, mask=mask, other=0.0).to(tl.float64) - exact)
        wrong = tl.abs(tl.load(got + at, mask=mask, other=0.0).to(tl.float64) - exact)
        total = size + off + wrong
        special = tl.where(total - total != 0, 1.0, special)  # NaN or infinite
        scale = tl.maximum(scale, size)
        rounding = tl.maximum(rounding, off)
        error = tl.maximum(error, wrong)
        at += tl.num_programs(0).to(tl.int64) * B
    into = found + tl.program_id(0) * 4
    tl.store(into, tl.max(scale, 0))
    tl.store(into + 1, tl.max(rounding, 0))
    tl.store(into + 2, tl.max(error, 0))
    tl.store(into + 3, tl.max(special, 0))


@triton.jit(do_not_specialize=["rows", "rounds", "step"])
def _sums(words, weights, found, rows, rounds, step, R: tl.constexpr, W: tl.constexpr):
    column = tl.arange(0, W)
    weight = tl.load(weights + column)
    total = tl.zeros((R,), tl.int64)
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    for _ in range(rounds):
        mask = row < rows
        part = tl.load(words + row[:, None] * W + column[None, :], mask=mask[:, None], other=0)
        sums = tl.sum(part * weight[None, :], 1)
        mixed = (sums ^ (sums >> 29)) * (((row + 1) * step) | 1)
        total += tl.where(mask, mixed, 0)
        row += tl.num_programs(0).to(tl.int64) * R
    tl.store(found + tl.program_id(0), tl.sum(total, 0))


def extremes(got: torch.Tensor, want: torch.Tensor, own: torch.Tensor) -> list[float] | None:
    """Greatest |want|, |own - want| and |got - want|, in double; None where a value is NaN or
    infinite, or the tensors are of another kind than is known here."""
    tensors = (got, want, own)
    if any(t.dtype not in _TYPES or not t.is_contiguous() for t in tensors):
        return None
    count = got.numel()
    programs = min(_PROGRAMS, -(-count // _CELLS))
    found = torch.empty((programs, 4), dtype=torch.float64, device=got.device)
    rounds = -(-count // (programs * _CELLS))
    _extremes[(programs,)](got, want, own, found, count, rounds, B=_CELLS, num_warps=8)
    *worst, special = found.amax(0).tolist()
    return None if special or not all(map(math.isfinite, worst)) else worst


def fingerprint(words: torch.Tensor, weights: torch.Tensor, step: int) -> int:
    """Fingerprint.of, of words [rows, weights]."""
    rows, height = len(words), 8
    programs = min(_PROGRAMS, -(-rows // height))
    found = torch.empty(programs, dtype=torch.int64, device=words.device)
    rounds = -(-rows // (programs * height))
    _sums[(programs,)](words, weights, found, rows, rounds, step, R=height, W=len(weights))
    return int(found.sum())
