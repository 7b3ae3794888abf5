# SPDX-License-Identifier: Apache-2.0
"""How a tensor's values are drawn, read off the operations that filled it."""
from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch

from quern.importer.dims import real_text
from quern.importer.recorder import RANDOM, Made

if TYPE_CHECKING:
    from quern.importer.writer import Writer

__all__ = ["DEFAULT", "RANDOM", "find"]

DEFAULT = "normal(0, 1)"
SAMPLED = "sampled"  # to be replaced once the values are at hand
SAME = {"view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "unsqueeze",
        "squeeze", "contiguous", "clone", "detach", "alias", "copy_", "clamp_", "clamp",
        "as_strided", "requires_grad_"}


@dataclasses.dataclass(frozen=True)
class Drawn:
    kind: str
    a: float = 0.0
    b: float = 0.0
    low: str = ""
    structure: str = ""

    def scaled(self, factor: float, shift: float = 0.0) -> Drawn:
        a = self.a * factor + shift
        if self.kind in ("uniform", "integers"):
            b = self.b * factor + shift
            return dataclasses.replace(self, a=min(a, b), b=max(a, b), low="")
        return dataclasses.replace(self, a=a, b=self.b * abs(factor))

    def text(self) -> str:
        if self.kind == "integers":
            return self.low or f"integers({math.floor(self.a)}, {math.ceil(self.b)})"
        if self.kind == "constant" or (self.kind == "uniform" and self.a == self.b):
            return f"constant({plain(self.a)})" + self.structure
        return f"{self.kind}({plain(self.a)}, {plain(self.b)})" + self.structure


def plain(value: float) -> str:
    return real_text(float(f"{value:.9g}")).strip("()")


def sampled(tensor: torch.Tensor) -> str:
    """A plain distribution like these values: for what is drawn in ways that have no name."""
    values = tensor.detach().double().reshape(-1)
    values = values[torch.isfinite(values)]
    if values.numel() == 0:
        return DEFAULT
    low, high = values.min().item(), values.max().item()
    if not tensor.is_floating_point():
        return f"integers({int(low)}, {int(high)})"
    if low == high:
        return f"constant({plain(low)})"
    if low >= 0:
        return f"uniform({plain(low)}, {plain(high)})"
    return f"normal({plain(values.mean().item())}, {plain(values.std(correction=0).item())})"


def find(writer: Writer, made: list[Made]) -> str | None:
    """The distribution in the words of the task language, or nothing where it is no plain one."""
    drawn = _drawn(writer, made)
    return drawn.text() if drawn is not None else None


def _constant(value: Any) -> Drawn | None:
    if isinstance(value, (int, float)):
        return Drawn("constant", float(value))
    return None


def _drawn(writer: Writer, made: list[Made]) -> Drawn | None:
    first = made[0]
    name, args = first.name, first.args
    if name in ("rand", "rand_like"):
        return Drawn("uniform", 0, 1)
    if name in ("randn", "randn_like"):
        return Drawn("normal", 0, 1)
    if name == "uniform_":
        low, high = (*args[1:], *(0.0, 1.0)[len(args) - 1:])
        return Drawn("uniform", float(low), float(high))
    if name == "normal_":
        mean, deviation = (*args[1:], *(0.0, 1.0)[len(args) - 1:])
        return Drawn("normal", float(mean), float(deviation))
    if name in ("randint", "randint_like"):
        return _integers(writer, made)
    if name in ("zeros", "zero_", "zeros_like"):
        return Drawn("constant", 0.0) if first.out.is_floating_point() else None
    if name in ("ones", "ones_like"):
        return Drawn("constant", 1.0) if first.out.is_floating_point() else None
    if name in ("full", "fill_", "full_like"):
        return _constant(args[1]) if first.out.is_floating_point() else None
    if name == "erfinv_":  # of U(-1, 1): a normal of deviation 1 / sqrt 2
        return Drawn("normal", 0.0, math.sqrt(0.5))
    return _derived(writer, made)


def _integers(writer: Writer, made: list[Made]) -> Drawn:
    names = [a.name for a in made[0].op._schema.arguments]
    rows = [dict(zip(names, m.args)) for m in made]
    low = writer.fitter.fit([int(r.get("low", 0)) for r in rows], "the lower bound")
    high = writer.fitter.fit([int(r["high"]) - 1 for r in rows], "the upper bound")
    return Drawn("integers", low.values[0], high.values[0],
                 f"integers({low.text}, {high.text})")


def _derived(writer: Writer, made: list[Made]) -> Drawn | None:
    """Of a tensor made from one that was drawn: scaled, shifted, copied, made triangular."""
    first = made[0]
    name, args = first.name, first.args

    def of(place: int) -> Drawn | None:
        if place == 0 and first.before is not None:
            return _drawn(writer, [m.before for m in made])  # type: ignore[misc]
        if len(args) <= place or not isinstance(args[place], torch.Tensor):
            return None
        source = [m.source(m.args[place]) for m in made]
        return None if None in source else _drawn(writer, source)  # type: ignore[arg-type]

    if name == "copy_":
        return of(1)
    if name in SAME:
        return of(0)
    if name == "_to_copy":
        drawn = of(0)
        whole = drawn is not None and drawn.kind == "integers"
        return drawn if whole or first.out.is_floating_point() else None
    if name in ("tril", "triu") and len(args) == 1 and first.out.dim() == 2:
        drawn = of(0)
        side = ", lower" if name == "tril" else ", upper"
        return dataclasses.replace(drawn, structure=side) if drawn is not None else None
    base = name.rstrip("_")
    if base not in ("mul", "div", "add", "sub", "neg"):
        return None
    if base == "neg":
        drawn = of(0)
        return drawn.scaled(-1) if drawn else None
    return _scaled(writer, base, first, of)


def _scaled(writer: Writer, base: str, first: Made, of: Any) -> Drawn | None:
    left, right = first.args[0], first.args[1]
    other = right if isinstance(left, torch.Tensor) else left
    drawn = of(0) if isinstance(left, torch.Tensor) else of(1)
    if drawn is None:
        return None
    if drawn.kind == "integers" and not first.out.is_floating_point():
        return None
    if isinstance(other, torch.Tensor):
        if base == "add" and _transposed(left, right):
            return dataclasses.replace(drawn.scaled(2), structure=", symmetric")
        # A factor that is itself one random number is drawn anew with the seed; 1 stands for it.
        return drawn if base == "mul" and other.dim() == 0 else None
    factor = float(other)
    if base == "mul":
        return drawn.scaled(factor)
    if base == "div":
        return drawn.scaled(1 / factor) if factor and isinstance(left, torch.Tensor) else None
    if base == "add":
        return drawn.scaled(1, factor)
    return drawn.scaled(1, -factor) if isinstance(left, torch.Tensor) else drawn.scaled(-1, factor)


def _transposed(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dim() == 2 and b.dim() == 2 and a.stride() == b.stride()[::-1] and \
        a.untyped_storage()._cdata == b.untyped_storage()._cdata
