# SPDX-License-Identifier: Apache-2.0
"""Loops over time as statements with an axis of time.

What does not depend on the values carried from step to step is written before the recurrence, what
they do not depend on after it; the rest are its members, side by side.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from quern.importer.dims import Dim
from quern.importer.recorder import Untraceable
from quern.importer.rolling import AtStep, Loop, Step
from quern.importer.values import Val, plus

if TYPE_CHECKING:
    from quern.importer.writer import Writer


@dataclasses.dataclass
class Time:
    """The axis of time of a loop whose body is being written."""

    axis: str
    steps: Dim

    def index(self, writer: Writer, steps: list[Step], extent: Dim | None) -> str:
        """`first + slope * axis`; places counted from the end of `extent` are counted anew."""
        slope, firsts = steps[0].slope, []
        for place, one in enumerate(steps):
            last = one.first + slope * (self.steps.values[place] - 1)
            if (last < 0) != (one.first < 0) or (one.first < 0 and extent is None):
                raise Untraceable("an index that goes round the end of its axis in a loop")
            firsts.append(one.first + (extent.values[place] if one.first < 0 and extent else 0))
        first = writer.fitter.fit(firsts, "the first index of a loop",
                                  [self.steps, *([extent] if extent else [])])
        if slope < 0:
            moved = self.axis if slope == -1 else f"{-slope} * {self.axis}"
            return f"{first.text} - {moved}"
        moved = self.axis if slope == 1 else f"{slope} * {self.axis}"
        return plus(moved, first.text if first.constant is not None else first.inner)

    def statement(self, writer: Writer, name: str, at: Sequence[str], shape: list[Dim], text: str,
                  kind: str) -> Val:
        """Defines a tensor in all steps; what the body sees is the present one."""
        axes = [f"{a} < {dim.text}" for a, dim in
                zip([self.axis, *at], [self.steps, *shape], strict=True)]
        head = name + (" : i64" if kind == "i" else " : i32" if kind == "b" else "")
        writer.line(name, f"{head}[{', '.join(axes)}] = {text}", [self.steps, *shape],
                    "f" if kind == "f" else "i")

        def element(index: Sequence[str]) -> str:
            return f"{name}[{', '.join([self.axis, *index])}]"

        made = Val(shape, "f" if kind == "f" else "i", reader=element, whole=name)
        if kind != "f":
            made.indexer = element
        return made


def named(line: str, carried: dict[str, str]) -> str:
    return re.sub(r"\bcarried_\d+_\d+\b", lambda m: carried.get(m[0], m[0]), line)


def _reads(node: Any) -> list[Any]:
    made: list[Any] = []

    def visit(value: Any) -> None:
        if isinstance(value, (list, tuple)):
            for one in value:
                visit(one)
        elif isinstance(value, (torch.fx.Node, Step, AtStep)):
            made.append(value)

    visit(node.args)
    visit(list(node.kwargs.values()))
    return made


def _classes(loop: Loop) -> dict[str, list[int]]:
    """Places of the body: the same in every step; before, in and after the recurrence."""
    place = {node: n for n, node in enumerate(loop.body)}
    carries = {loop.before[n] for n in loop.initial}
    reads = [_reads(node) for node in loop.body]
    moves, depends = [False] * len(reads), [False] * len(reads)
    for n, read in enumerate(reads):
        mine = [place[one] for one in read if one in place]
        depends[n] = any(one in carries for one in read) or any(depends[m] for m in mine)
        moves[n] = depends[n] or any(moves[m] for m in mine) or any(
            isinstance(one, Step) or isinstance(one, AtStep) and isinstance(one.step, Step)
            for one in read)
    feeds = set(loop.initial)
    for n in range(len(reads) - 1, -1, -1):
        if n in feeds:
            feeds |= {place[one] for one in reads[n] if one in place}
    made: dict[str, list[int]] = {"same": [], "before": [], "in": [], "after": []}
    for n in range(len(reads)):
        made["same" if not moves[n] else "before" if not depends[n] else
             "in" if n in feeds else "after"].append(n)
    return made


def _carry(writer: Writer, loops: list[Loop], place: int, time: Time) -> None:
    """Lets the body read what the step before made; the first step reads what came before."""
    node, start = loops[0].before[place], writer.value([one.initial[place] for one in loops])
    tensors = [one.before[place].meta.get("val") for one in loops]
    if not isinstance(start, Val) or not all(
            isinstance(t, torch.Tensor) and t.dtype == torch.float32 for t in tensors):
        raise Untraceable("a loop over time carries something else than a tensor of reals")
    shape = [writer.fitter.fit([t.shape[d] for t in tensors], "an extent of what a loop carries",
                               start.shape) for d in range(tensors[0].dim())]
    name = f"carried_{loops[0].number}_{place}"

    def reader(at: Sequence[str]) -> str:
        first = start.read(at if start.rank else [])
        return f"({name}[{', '.join([f'{time.axis} - 1', *at])}] else {first})"

    writer.values[node] = Val(shape, "f", reader=reader)


def _whole(writer: Writer, loop: Loop, place: int) -> str:
    """The name of the tensor that holds an operation's results in all steps."""
    val = writer.values[loop.body[place]]
    if not isinstance(val, Val):
        raise Untraceable("a loop over time carries several tensors as one")
    if not val.whole:
        made = writer.statement(f"step_{loop.body[place].name}", val.shape, val.read, val.kind)
        val.whole = made.whole
    return val.whole


def write(writer: Writer, loops: list[Loop]) -> None:
    """The loops of all traces, which are one."""
    loop = loops[0]
    steps = writer.fitter.fit([one.count for one in loops], "the steps of a loop")
    axis = "t" if "t" not in writer.size_names else "step"
    time = Time(axis, writer.named_extent(steps, "steps"))
    for place in loop.initial:
        _carry(writer, loops, place, time)
    for kind, places in _classes(loop).items():
        writer.time = None if kind == "same" else time
        for place in places:
            writer.node([one.body[place] for one in loops])
        for place in set(loop.initial) & set(places):
            writer.time = time
            writer.carried[f"carried_{loop.number}_{place}"] = _whole(writer, loop, place)
    for place in sorted(loop.used):
        writer.time = time
        writer.stepped[loop.number, place] = writer.by_name[_whole(writer, loop, place)]
    writer.time = None
