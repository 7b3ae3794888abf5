# SPDX-License-Identifier: Apache-2.0
"""Tensors of a task being written: named ones, and views of them that cost no statement."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from quern.importer.dims import Dim, real_text

Reader = Callable[[Sequence[str]], str]


@dataclasses.dataclass
class Val:
    """A tensor: its shape, what it holds ("f" reals, "i" whole numbers, "b" truths), how to read
    an element. A named tensor is a statement or an input; any other is read through `reader`."""

    shape: list[Dim]
    kind: str
    name: str | None = None
    reader: Reader | None = None  # of a real number: its text
    indexer: Reader | None = None  # of a whole number: its text as an index
    condition: Reader | None = None  # of a truth: its text as a condition
    base: Val | None = None  # a reshape of `base`, in the order of its elements
    wide: bool = False  # whole numbers of 64 bits
    whole: str = ""  # where this is one step of a loop: the tensor of all steps

    @property
    def rank(self) -> int:
        return len(self.shape)

    def element(self, at: Sequence[str]) -> str:
        return f"{self.name}[{', '.join(at)}]" if at else str(self.name)

    def read(self, at: Sequence[str]) -> str:
        """The element as a value: an atom, or in parentheses."""
        if self.name is not None:
            return self.element(at)
        if self.condition is not None:
            return f"select({self.condition(at)}, 1, 0)"
        if self.reader is not None:
            return self.reader(at)
        assert self.indexer is not None
        return f"index({self.indexer(at)})"

    def index(self, at: Sequence[str]) -> str | None:
        """The element as an index expression, where it can be one."""
        if self.kind == "f":
            return None
        if self.name is not None:
            return self.element(at)
        return self.indexer(at) if self.indexer is not None else None

    def truth(self, at: Sequence[str]) -> str:
        if self.condition is not None:
            return self.condition(at)
        return f"{self.read(at)} != 0"

    def through(self, shape: list[Dim], places: Callable[[Sequence[str]], list[str]]) -> Val:
        """A view: element `at` of the new tensor is element `places(at)` of this one."""
        made = Val(shape, self.kind, wide=self.wide)
        if self.name is None and self.reader is not None:
            made.reader = lambda at: self.read(places(at))
        elif self.kind == "f" or (self.name is None and self.indexer is None and
                                  self.condition is None):
            made.reader = lambda at: self.read(places(at))
        if self.name is not None and self.kind != "f":
            made.indexer = lambda at: self.element(places(at))
        elif self.indexer is not None:
            made.indexer = lambda at: self.indexer(places(at))  # type: ignore[misc]
        if self.condition is not None:
            made.condition = lambda at: self.condition(places(at))  # type: ignore[misc]
        return made


@dataclasses.dataclass
class Steps:
    """What all steps of a loop made: a tensor whose first axis is time."""

    val: Val
    backwards: bool

    @property
    def count(self) -> Dim:
        return self.val.shape[0]

    def time(self, at: str) -> str:
        return f"{self.count.inner} - 1 - {wrap(at)}" if self.backwards else at


def wrap(text: str) -> str:
    """An index expression as an operand."""
    return text if text.replace("_", "").isalnum() else f"({text})"


def plus(text: str, offset: str) -> str:
    if offset in ("0", "-0"):
        return text
    if offset.startswith("-"):
        return f"{text} - {wrap(offset[1:])}"
    return f"{text} + {wrap(offset)}"


def reshape_places(source: Sequence[Dim], target: Sequence[Dim]
                   ) -> Callable[[Sequence[str]], list[str]]:
    """Indices into `source` of an element of `target`, both in row-major order. Runs of axes with
    the same count of elements are matched first, so that most axes need no division."""
    runs, i, j, left, right = [], 0, 0, 0, 0
    while i < len(source) or j < len(target):
        i, j = i + (i < len(source)), j + (j < len(target))
        while not _same_count(source[left:i], target[right:j]):
            if _is_less(source[left:i], target[right:j]) and i < len(source) or j == len(target):
                if i == len(source):
                    break
                i += 1
            else:
                j += 1
        runs.append((source[left:i], target[right:j], right))
        left, right = i, j

    def places(at: Sequence[str]) -> list[str]:
        made: list[str] = []
        for old, new, first in runs:
            made += _split(old, [(at[first + n], dim) for n, dim in enumerate(new)])
        return made

    return places


def _count(dims: Sequence[Dim], trace: int) -> int:
    total = 1
    for dim in dims:
        total *= dim.values[trace]
    return total


def _same_count(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    traces = len((list(a) + list(b))[0].values) if list(a) + list(b) else 0
    return all(_count(a, t) == _count(b, t) for t in range(traces))


def _is_less(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    traces = len((list(a) + list(b))[0].values)
    return sum(_count(a, t) < _count(b, t) for t in range(traces)) * 2 >= traces and \
        any(_count(a, t) < _count(b, t) for t in range(traces))


def _split(old: Sequence[Dim], new: Sequence[tuple[str, Dim]]) -> list[str]:
    """Indices into the axes `old` of the element at `new`: (index, extent) of each axis."""
    big_old = [d for d in old if d.constant != 1]
    new = [(text, d) for text, d in new if d.constant != 1]
    if not big_old:
        return ["0"] * len(old)
    if len(new) == len(big_old) and all(a.same(d) for a, (_, d) in zip(big_old, new)):
        texts = iter(text for text, _ in new)
        return ["0" if d.constant == 1 else next(texts) for d in old]
    linear = ""
    for text, dim in new:
        linear = text if not linear else f"{wrap(linear)} * {dim.inner} + {wrap(text)}"
    linear = linear or "0"
    made, after = [], ""
    for number, dim in enumerate(reversed(big_old)):
        place = linear if not after else f"{wrap(linear)} / {wrap(after)}"
        if number + 1 < len(big_old):
            place = f"{wrap(place)} % {dim.inner}"
        made.append(place)
        after = dim.text if not after else f"{dim.inner} * {wrap(after)}"
    texts = iter(reversed(made))
    return ["0" if d.constant == 1 else next(texts) for d in old]


def stretched(val: Val, shape: Sequence[Dim], at: Sequence[str]) -> list[str]:
    """Indices of an operand aligned at the last axis; an extent of 1 stretches."""
    offset = len(shape) - val.rank
    return ["0" if dim.constant == 1 else at[offset + d] for d, dim in enumerate(val.shape)]


def filled(shape: list[Dim], text: str, kind: str) -> Val:
    if kind == "b":
        truth = "0 < 1" if text not in ("0",) else "1 < 0"
        return Val(shape, kind, condition=lambda at: truth)
    return Val(shape, kind, reader=lambda at: text, indexer=(lambda at: text) if kind == "i"
               else None)


def number_val(text: str, kind: str) -> Val:
    return filled([], text, kind)


def listed(shape: list[Dim], values: list[float], kind: str) -> Val:
    """A small table, as nested selections over the place in row-major order."""
    def reader(at: Sequence[str]) -> str:
        linear = ""
        for text, dim in zip(at, shape, strict=True):
            linear = text if not linear else f"({linear}) * {dim.inner} + {text}"
        made = real_text(values[-1])
        for place in range(len(values) - 2, -1, -1):
            made = f"select({linear} == {place}, {real_text(values[place])}, {made})"
        return made

    if kind == "b":
        return Val(shape, kind, condition=lambda at: f"{reader(at)} != 0")
    return Val(shape, kind, reader=reader)
