# SPDX-License-Identifier: Apache-2.0
"""Which whole numbers of a module become sizes of its task, and the size sets `cpu` and `tiny`."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from quern.importer.source import Module
from quern.importer.trace import build_fake, runs

CPU_BYTES = 200e6  # of everything: the limit is 256 MB with its margins
CPU_FLOPS = 4e8  # a naive kernel then stays under a second
Values = dict[str, int]


@dataclasses.dataclass
class Cost:
    bytes: float
    flops: float

    @property
    def fits(self) -> bool:
        return self.bytes <= CPU_BYTES and self.flops <= CPU_FLOPS


class _Counter(TorchDispatchMode):
    """Elements written by every operation."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, torch.Tensor) and not func.is_view:
                self.elements += one.numel()
        return out


def cost(module: Module, values: Values) -> Cost | None:
    """What one call takes at these sizes; nothing where the module does not work."""
    try:
        model, inputs, _, fake = build_fake(module, values)
        held = sum(p.numel() for p in model.parameters())
        held += sum(x.numel() for x in inputs if isinstance(x, torch.Tensor))
        counter = FlopCounterMode(display=False)
        with fake, torch.no_grad(), counter, _Counter() as made:
            model(*inputs)
    except Exception:  # noqa: BLE001  anything a module may raise
        return None
    return Cost(4.0 * (held + made.elements), counter.get_total_flops() + 8.0 * made.elements)


def other_values(value: int) -> Iterable[int]:
    """Values to try in place of one, likeliest to work first."""
    seen = {value}
    for other in (2 * value, value + 2, value + 1, 3 * value, value + 4, value // 2,
                  value + 8, value - 1, value - 2):
        if other >= 2 and other not in seen:
            seen.add(other)
            yield other


def shrunk(module: Module, full: Values, free: list[str],
           usable: Callable[[Values], bool] = lambda values: True) -> Values:
    """Small values of the free sizes, all different where that works."""
    values, strict = dict(full), runs(module, full)
    ladder = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 18, 20, 24, 28, 32, 36, 40, 48, 56, 64,
              80, 96, 112, 128, 160, 192, 224]
    for place, name in enumerate(free):
        for small in ladder[place % 4 + (len(free) < 3):]:
            if small >= values[name]:
                break
            smaller = {**values, name: small}
            if runs(module, smaller, strict) and usable(smaller):
                values[name] = small
                break
    return values


def fitting(module: Module, full: Values, free: list[str], tiny: Values,
            traceable: Callable[[Values], bool]) -> Values:
    """The free sizes halved, the greatest first, until the whole fits a CPU."""
    values, stuck = dict(full), set[str]()
    for least in (16, 2):
        stuck.clear()
        for _ in range(80):
            found = cost(module, values)
            if found is not None and found.fits:
                return values
            loose = [n for n in free if n not in stuck and values[n] // 2 >= max(least, tiny[n])]
            if not loose:
                break
            name = max(loose, key=lambda n: values[n])
            smaller = {**values, name: values[name] // 2}
            if cost(module, smaller) is None or not traceable(smaller):
                stuck.add(name)
            else:
                values = smaller
    for share in (0.25, 0.0):  # what cannot be halved is taken from the small set
        mixed = {n: max(tiny[n], int(values[n] * share)) if n in free else v
                 for n, v in values.items()}
        found = cost(module, mixed)
        if found is not None and traceable(mixed) and (found.fits or share == 0.0):
            return mixed
    return tiny
