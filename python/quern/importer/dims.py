# SPDX-License-Identifier: Apache-2.0
"""Extents as expressions over a task's sizes, known by their values in several traces.

A module is traced at several assignments of its sizes. A number that occurs in all traces (an
extent, an option, a scale) is understood when an expression over the sizes gives its value in
every one of them; the more traces agree, the less can it be a coincidence.
"""
from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

Values = tuple[int, ...]


class Frozen(Exception):
    """A number that no expression explains: the sizes that move it must become literals."""

    def __init__(self, what: str, values: Sequence[float]) -> None:
        super().__init__(f"{what} is {', '.join(f'{v:g}' for v in values[:6])} in the traces")
        self.values = tuple(values)


@dataclasses.dataclass(frozen=True)
class Dim:
    """An extent: its text in a task file, and its value in each trace."""

    text: str
    values: Values
    atomic: bool = True  # a name or a literal: needs no parentheses

    @property
    def inner(self) -> str:
        return self.text if self.atomic else f"({self.text})"

    @property
    def constant(self) -> int | None:
        """The value where it is the same in every trace and written as a literal."""
        return self.values[0] if self.text == str(self.values[0]) else None

    def same(self, other: Dim) -> bool:
        return self.values == other.values

    def __str__(self) -> str:
        return self.text


def literal(value: int, traces: int) -> Dim:
    return Dim(str(value), (value,) * traces, value >= 0)


def combine(sign: str, a: Dim, b: Dim) -> Dim:
    """a sign b with constants folded; `/` rounds down."""
    work: dict[str, Callable[[int, int], int]] = {
        "+": lambda x, y: x + y, "-": lambda x, y: x - y,
        "*": lambda x, y: x * y, "/": lambda x, y: x // y if y else 0}
    values = tuple(work[sign](x, y) for x, y in zip(a.values, b.values, strict=True))
    left, right = a.constant, b.constant
    if left is not None and right is not None:
        return literal(values[0], len(values))
    if right == 0 and sign in "+-" or right == 1 and sign in "*/":
        return a
    if left == 0 and sign == "+" or left == 1 and sign == "*":
        return b
    if sign == "/" and a.text == b.text:
        return literal(1, len(values))
    if sign == "-" and a.text == b.text:
        return literal(0, len(values))
    if right is not None and right < 0 and sign in "+-":
        return combine("-" if sign == "+" else "+", a, literal(-right, len(values)))
    left_text = a.text if sign in "+-" else a.inner
    right_text = b.text if sign == "+" else b.inner
    return Dim(f"{left_text} {sign} {right_text}", values, False)


def product(dims: Iterable[Dim], traces: int) -> Dim:
    """The product, atoms first, so that `2 * 3 * n` and `6 * n` are one text."""
    made, factor = None, 1
    for dim in dims:
        if dim.constant is not None:
            factor *= dim.constant
        else:
            made = dim if made is None else combine("*", made, dim)
    if made is None:
        return literal(factor, traces)
    return made if factor == 1 else combine("*", made, literal(factor, traces))


class Fitter:
    """Finds expressions over sizes (and lets) for numbers seen in the traces."""

    def __init__(self, atoms: Sequence[Dim], traces: int) -> None:
        self.atoms = list(atoms)
        self.traces = traces
        self._known: dict[Values, Dim] = {}
        for atom in self.atoms:
            self._known.setdefault(atom.values, atom)

    def literal(self, value: int) -> Dim:
        return literal(value, self.traces)

    def learn(self, dim: Dim) -> Dim:
        """Remembers a derived extent, so that the same values get the same text later."""
        return self._known.setdefault(dim.values, dim)

    def fit(self, values: Sequence[int], what: str, near: Sequence[Dim] = ()) -> Dim:
        """`near`: extents that the number is likely made of (those of the operands)."""
        key = tuple(int(v) for v in values)
        if len(set(key)) == 1:
            return self.literal(key[0])
        if key in self._known:
            return self._known[key]
        pool = list({d.values: d for d in [*near, *self.atoms] if d.constant is None}.values())
        for made in self._candidates(pool, key):
            if made.values == key:
                return self.learn(made)
        raise Frozen(what, key)

    def _candidates(self, pool: list[Dim], key: Values) -> Iterable[Dim]:
        for a in pool:
            yield from self._affine(a, key)
        for a, b in itertools.combinations(pool, 2):
            for made in (combine("*", a, b), combine("/", a, b), combine("/", b, a),
                         combine("+", a, b), combine("-", a, b), combine("-", b, a)):
                yield made
                if all(v > 0 for v in made.values):
                    yield from self._affine(made, key)
        for three in itertools.combinations(pool[:8], 3):
            whole = product(three, self.traces)
            yield whole
            yield from self._affine(whole, key)
            for one in three:
                rest = product([d for d in three if d is not one], self.traces)
                yield combine("/", rest, one)
                yield combine("+", rest, one)
        if len(pool) >= 4:
            for four in itertools.combinations(pool[:6], 4):
                yield product(four, self.traces)

    def _affine(self, a: Dim, key: Values) -> Iterable[Dim]:
        """c a, a / c, a + c, c a + d, fitted to the first two traces in which `a` differs."""
        yield a
        one = a.values[0]
        if one and key[0] % one == 0:
            yield combine("*", a, self.literal(key[0] // one))
        for c in {one // key[0], one // max(key[0] - 1, 1)} if key[0] > 0 else ():
            if c > 1:
                yield combine("/", a, self.literal(c))
                yield combine("/", combine("+", a, self.literal(c - 1)), self.literal(c))
        yield combine("+", a, self.literal(key[0] - one))
        other = next((t for t, v in enumerate(a.values) if v != one), None)
        if other is not None and (key[other] - key[0]) % (a.values[other] - one) == 0:
            slope = (key[other] - key[0]) // (a.values[other] - one)
            if slope:
                yield combine("+", combine("*", a, self.literal(slope)),
                              self.literal(key[0] - slope * one))

    def number(self, values: Sequence[float], what: str, near: Sequence[Dim] = ()) -> str:
        """The text of a real number, which may be made from an extent: 1 / sqrt(width)."""
        if all(v == values[0] or (math.isnan(v) and math.isnan(values[0])) for v in values):
            return real_text(values[0])
        if all(float(v).is_integer() for v in values):
            return self.fit([int(v) for v in values], what, near).inner
        forms: list[tuple[str, Callable[[float], float]]] = [
            ("1 / sqrt({})", lambda v: v ** -0.5), ("sqrt({})", lambda v: v ** 0.5),
            ("1 / {}", lambda v: 1 / v), ("rsqrt(sqrt({}))", lambda v: v ** -0.25)]
        for text, work in forms:
            for a in self._pairs([*near, *self.atoms]):
                if all(v > 0 and math.isclose(work(v), seen, rel_tol=1e-9)
                       for v, seen in zip(a.values, values, strict=True)):
                    return "(" + text.format(a.text if a.atomic else f"index({a.text})") + ")"
        raise Frozen(what, values)

    @staticmethod
    def _pairs(pool: Sequence[Dim]) -> Iterable[Dim]:
        yield from pool
        for a, b in itertools.permutations(pool[:10], 2):
            yield combine("/", a, b)
            yield combine("*", a, b)


def real_text(value: float) -> str:
    """A number as the task language reads it."""
    if math.isinf(value):
        return "inf" if value > 0 else "(-inf)"
    if float(value).is_integer() and abs(value) < 1e15:
        text = str(int(value))
    else:
        text = repr(float(value))
    return text if not text.startswith("-") else f"({text})"
