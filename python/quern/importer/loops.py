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

import networkx
import torch

from quern.importer.dims import Dim
from quern.importer.recorder import Untraceable
from quern.importer.rolling import AtStep, Loop, Step
from quern.importer.values import Val, plus, wrap

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


def _order(loop: Loop, written: set[int]) -> tuple[list[int], list[int]]:
    """Places of the body that are the same in every step, and the others: what depends on one
    another from step to step stands side by side. `written`: tensors filled step by step."""
    place = {node: n for n, node in enumerate(loop.body)}
    carries = {loop.before[n]: n for n in loop.initial}
    graph = networkx.DiGraph()
    moves = [False] * len(loop.body)
    for n, node in enumerate(loop.body):
        graph.add_node(n)
        for one in _reads(node):
            start = place.get(one, carries.get(one)) if isinstance(one, torch.fx.Node) else None
            moves[n] |= one in carries or start is not None and moves[start] or isinstance(
                one, Step) or isinstance(one, AtStep) and isinstance(one.step, Step)
            if start is not None and not (one in carries and start in written):
                graph.add_edge(start, n)
    rings = networkx.condensation(graph)
    members = {ring: sorted(rings.nodes[ring]["members"]) for ring in rings}
    order = networkx.lexicographical_topological_sort(rings, key=lambda ring: members[ring][0])
    return [n for n in range(len(moves)) if not moves[n]], [
        n for ring in order for n in members[ring] if moves[n]]


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


def _written(loop: Loop) -> set[int]:
    """Places of tensors that every step writes a part of, and that no step reads."""
    made = set()
    for place in loop.initial:
        node, before = loop.body[place], loop.before[place]
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        readers = [one for one in loop.body if one is not node and before in _reads(one)]
        blind = all(str(one.target).startswith(("aten.select.", "aten.slice.")) and all(
            str(user.target).startswith("aten.copy.") and user.args[0] is one
            for user in one.users) for one in readers)
        if name in ("select_scatter", "slice_scatter") and blind and node.args[0] is before and \
                isinstance(node.args[3], Step) and (name[1] == "e" or len(node.args) == 5):
            made.add(place)
    return made


def _filled(writer: Writer, loops: list[Loop], place: int, time: Time) -> Val:
    """A tensor that all steps have written their parts of."""
    nodes = [one.body[place] for one in loops]
    shape = [writer.fitter.fit([n.meta["val"].shape[d] for n in nodes], "an extent")
             for d in range(nodes[0].meta["val"].dim())]
    start = writer.value([one.initial[place] for one in loops])
    parts = writer.by_name[_whole(writer, loops[0], loops[0].body.index(nodes[0].args[1]))]
    axis, steps = nodes[0].args[2] % len(shape), [n.args[3] for n in nodes]
    slope, one = steps[0].slope, "select" in str(nodes[0].target)
    width = 1 if one else parts.shape[axis + 1].constant
    if width is None or abs(slope) != width or any(s.slope != slope for s in steps):
        raise Untraceable("a loop over time writes parts that overlap or leave gaps")
    counts = time.steps.values
    lows = [s.first if slope > 0 else s.first + slope * (n - 1)
            for s, n in zip(steps, counts, strict=True)]
    lows = [v + e if v < 0 else v for v, e in zip(lows, shape[axis].values, strict=True)]
    low = writer.fitter.fit(lows, "where a loop begins to write", [shape[axis], time.steps])
    every = all(v == 0 and n * width == e
                for v, n, e in zip(lows, counts, shape[axis].values, strict=True))

    def reader(at: Sequence[str]) -> str:
        offset = plus(at[axis], "-" + low.inner) if low.constant != 0 else at[axis]
        step = offset if width == 1 else f"({offset}) / {width}"
        step = step if slope > 0 else f"{time.steps.inner} - 1 - {wrap(step)}"
        rest = [*at[:axis], *at[axis + 1:]] if one else [
            *at[:axis], "0" if width == 1 else f"({offset}) % {width}", *at[axis + 1:]]
        text = parts.read([step, *rest])
        if every:
            return text
        return (f"select({at[axis]} >= {low.text} and {at[axis]} < {low.text} + "
                f"{time.steps.inner} * {width}, {text}, {start.read(at)})")

    return Val(shape, parts.kind, reader=reader)


def _unread(at: Sequence[str]) -> str:
    raise Untraceable("a loop over time reads a tensor that it is still writing")


def write(writer: Writer, loops: list[Loop]) -> None:
    """The loops of all traces, which are one."""
    loop = loops[0]
    steps = writer.fitter.fit([one.count for one in loops], "the steps of a loop")
    axis = "t" if "t" not in writer.size_names else "step"
    time = Time(axis, writer.named_extent(steps, "steps"))
    written = _written(loop)
    for place in loop.initial:
        if place in written:
            shapes = [one.before[place].meta["val"].shape for one in loops]
            writer.values[loop.before[place]] = Val([writer.fitter.fit(
                [s[d] for s in shapes], "an extent") for d in range(len(shapes[0]))], "f",
                reader=_unread)
        else:
            _carry(writer, loops, place, time)
    fixed, moving = _order(loop, written)
    for place in [*fixed, *moving]:
        writer.time = None if place in fixed else time
        if place not in written:
            writer.node([one.body[place] for one in loops])
        if place in loop.initial and place not in written:
            writer.time = time
            writer.carried[f"carried_{loop.number}_{place}"] = _whole(writer, loop, place)
    writer.time = time
    for place in sorted(loop.used - written):
        writer.stepped[loop.number, place] = writer.by_name[_whole(writer, loop, place)]
    ends = {place: _filled(writer, loops, place, time) for place in sorted(written)}
    writer.time = None
    for place, val in ends.items():
        writer.ends[loop.number, place] = val, [one.count - 1 for one in loops]
