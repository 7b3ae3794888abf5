# SPDX-License-Identifier: Apache-2.0
"""Loops over time, found again in a graph that repeats their body once a step.

Steps follow one another in the graph. Operation k of one step and operation k of the next agree in
everything but the place that they index (which moves by the same amount every step) and the values
of the step before, which they read in its stead.
"""
from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

LEAST_STEPS = 4  # of a loop that indexes by its step
LEAST_REPEATS = 16  # of one that does not: fewer are as well written out
LEAST_NODES = 16  # of all its steps together


@dataclasses.dataclass(frozen=True)
class Step:
    """A whole number that moves with the steps: `first + slope * step`."""

    first: int
    slope: int


@dataclasses.dataclass(frozen=True)
class AtStep:
    """What operation `place` of a loop's body makes in one of its steps."""

    loop: int
    place: int
    step: int | Step


@dataclasses.dataclass(frozen=True)
class AllSteps:
    """What operation `place` of a loop's body makes, in all of its steps; `backwards`: the last
    step first."""

    loop: int
    place: int
    backwards: bool


@dataclasses.dataclass(eq=False)
class Loop:
    """`count` steps of one body. The body is that of the second step: its operations read those
    of the first, `before`, where a value is carried. `initial`: by the place of a carried value,
    what stands for it in the first step."""

    number: int
    count: int
    body: list[Any]
    before: list[Any]
    initial: dict[int, Any]
    used: set[int] = dataclasses.field(default_factory=set)  # places that others read


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, (list, tuple)):
        for place, one in enumerate(value):
            yield from _leaves(one, (*path, place))
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _leaves(value[key], (*path, key))
    else:
        yield path, value


def _replaced(value: Any, changes: dict[tuple[Any, ...], Any], path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, (list, tuple)):
        return [_replaced(one, changes, (*path, n)) for n, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _replaced(one, changes, (*path, key)) for key, one in value.items()}
    return changes.get(path, value)


def _shape(node: Any) -> Any:
    made = node.meta.get("val")
    made = made if isinstance(made, (list, tuple)) else [made]
    return [tuple(getattr(one, "shape", ())) for one in made]


def select_steps(graph: Any) -> None:
    """Writes the parts of an `unbind` as selections where each is read, as a loop by index is."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not torch.ops.aten.unbind.int:
            continue
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        for part in list(node.users):
            for user in list(part.users):
                if user.op == "output":
                    continue
                with graph.inserting_before(user):
                    one = graph.call_function(torch.ops.aten.select.int,
                                              (node.args[0], axis, part.args[1]))
                one.meta = dict(part.meta)
                user.replace_input_with(part, one)


def complete_results(graph: Any) -> None:
    """Names every result of a cell, also those that the last step leaves unread, so that all steps
    are alike."""
    for node in list(graph.nodes):
        shapes = node.meta.get("val") if node.op == "call_function" else None
        if not str(node.target).startswith("quern.") or not isinstance(shapes, (list, tuple)):
            continue
        known = {user.args[1]: user for user in node.users}
        last = node
        for part, shape in enumerate(shapes):
            if part not in known:
                with graph.inserting_after(last):
                    known[part] = graph.call_function(operator.getitem, (node, part))
                known[part].meta["val"] = shape
            last = known[part]


class Roller:
    """Finds the loops of one graph, given as its operations in order."""

    def __init__(self, nodes: list[Any]) -> None:
        self.nodes = nodes
        self.place = {node: n for n, node in enumerate(nodes)}
        self.leaves = [list(_leaves((list(n.args), n.kwargs))) for n in nodes]
        words: dict[Any, int] = {}
        self.where: dict[Any, AtStep] = {}
        self.words = np.array([words.setdefault(self._word(n), len(words))
                               for n in range(len(nodes))], dtype=np.int64)

    def _word(self, n: int) -> Any:
        """What operations of two steps have in common."""
        kinds = tuple((path, "number" if isinstance(leaf, int) and not isinstance(leaf, bool)
                       else "value" if isinstance(leaf, torch.fx.Node) or leaf == 0.0 else
                       str(leaf)) for path, leaf in self.leaves[n])
        return str(self.nodes[n].target), str(_shape(self.nodes[n])), kinds

    def find(self) -> list[tuple[int, int, int]]:
        """Loops as (first operation, operations of a step, steps), in order, apart."""
        found: list[tuple[int, int, int]] = []
        todo = [(0, len(self.nodes))]
        while todo:
            begin, end = todo.pop()
            best = self._longest(begin, end)
            if best is not None:
                start, period, count = best
                self._keep(len(found), start, period, count)
                found.append(best)
                todo += [(begin, start), (start + period * count, end)]
        return found

    def _keep(self, number: int, first: int, period: int, count: int) -> None:
        for n in range(count * period):
            self.where[self.nodes[first + n]] = AtStep(number, n % period, n // period)

    def _longest(self, begin: int, end: int) -> tuple[int, int, int] | None:
        """The loop of most operations between two places."""
        runs = []
        for period in range(1, (end - begin) // LEAST_STEPS + 1):
            same = np.flatnonzero(self.words[begin:end - period] !=
                                  self.words[begin + period:end])
            edges = np.concatenate(([-1], same, [end - begin - period]))
            gaps = np.diff(edges) - 1
            for at in np.flatnonzero(gaps >= max((LEAST_STEPS - 1) * period,
                                                 LEAST_NODES - period)):
                runs.append((int(gaps[at]) + period, -period, begin + int(edges[at]) + 1))
        best: tuple[int, int, int] | None = None
        for length, period, start in sorted(runs, key=lambda run: (-run[0], -run[1])):
            if best is not None and best[1] * best[2] >= length:
                break
            made = self._aligned(start, -period, length)
            if made is not None and (best is None or made[1] * made[2] > best[1] * best[2]):
                best = made
        return best

    def _aligned(self, start: int, period: int, length: int) -> tuple[int, int, int] | None:
        """The first place in a run of equal words from which steps agree in all."""
        first, stop = start, start + length - LEAST_STEPS * period
        best: tuple[int, int, int] | None = None
        while first <= min(stop, start + 2 * period):
            count, wrong = self._steps(first, period, (start + length - first) // period)
            if count >= LEAST_STEPS and count * period >= LEAST_NODES and \
                    self._starts_alike(first, period) and \
                    (count >= LEAST_REPEATS or self._moves(first, period)):
                if best is None or count > best[2]:
                    best = (first, period, count)
                first += 1
                if best[2] >= (start + length - first) // period:
                    break
            else:
                first = max(first, wrong) + 1
        return best

    def _steps(self, first: int, period: int, most: int) -> tuple[int, int]:
        """How many steps agree from here, and, where they are too few, an operation of the first
        step that agrees with none."""
        for step in range(1, most):
            for n in range(first + step * period, first + (step + 1) * period):
                if not self._agree(n, period, first, step):
                    return step if step > 1 else 0, n - step * period
        return most, first

    def _agree(self, n: int, period: int, first: int, step: int) -> bool:
        """Whether operation n, of this step, does what its counterpart of the step before does."""
        for (path, now), (_, old) in zip(self.leaves[n], self.leaves[n - period], strict=True):
            if isinstance(now, torch.fx.Node):
                here = self.place.get(now, -1)
                if here < first:
                    if now is not old and not self._follows(now, old):
                        return False
                elif here < first + (step - 1) * period:
                    return False  # of two steps before
                elif here < first + step * period and step == 1:
                    if isinstance(old, torch.fx.Node) and (
                            self.place.get(old, -1) >= first or _shape(old) != _shape(now)):
                        return False
                elif not isinstance(old, torch.fx.Node) or \
                        self.place.get(old, -1) != here - period:
                    return False
            elif type(now) is not type(old):
                return False
            elif isinstance(now, int) and not isinstance(now, bool):
                if step > 1:
                    older = self.leaves[n - 2 * period]
                    before = next(leaf for p, leaf in older if p == path)
                    if now - old != old - before:
                        return False
            elif now != old and not (now != now and old != old):
                return False
        return True


    def _moves(self, first: int, period: int) -> bool:
        """Whether steps read different places of something."""
        for n in range(first + period, first + 2 * period):
            for (_, now), (_, old) in zip(self.leaves[n], self.leaves[n - period], strict=True):
                if now in self.where if isinstance(now, torch.fx.Node) else now != old:
                    return True
        return False

    def _starts_alike(self, first: int, period: int) -> bool:
        """Whether every value that is carried starts as one thing, whoever reads it."""
        starts = _initial_values(self, first, period)
        for n in range(first + period, first + 2 * period):
            for (_, now), (_, old) in zip(self.leaves[n], self.leaves[n - period], strict=True):
                here = self.place.get(now, -1) - first if isinstance(now, torch.fx.Node) else -1
                if here in starts and 0 <= here and starts[here] is not old and not (
                        isinstance(old, float) and starts[here] == old):
                    return False
        return True

    def _follows(self, now: Any, old: Any) -> bool:
        """Whether two operations are one of an earlier loop, in a step and in the next or the one
        before."""
        a, b = self.where.get(now), self.where.get(old)
        return a is not None and b is not None and (a.loop, a.place) == (b.loop, b.place) and \
            a.step - b.step in (1, -1)


def _initial_values(roller: Roller, first: int, period: int) -> dict[int, Any]:
    """What the first step reads where the second reads the first."""
    made: dict[int, Any] = {}
    for n in range(first + period, first + 2 * period):
        for (_, now), (_, old) in zip(roller.leaves[n], roller.leaves[n - period], strict=True):
            here = roller.place.get(now, -1) if isinstance(now, torch.fx.Node) else -1
            if first <= here < first + period:
                made.setdefault(here - first, old)
    return made


def rolled(nodes: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Operations with loops in place of their steps, and what the module returns. Whoever reads
    a step from outside reads `AtStep` or `AllSteps`."""
    roller, loops, made, at = Roller(nodes), [], [], 0
    for number, (first, period, count) in enumerate(roller.find()):
        loops.append(Loop(number, count, nodes[first + period:first + 2 * period],
                          nodes[first:first + period], _initial_values(roller, first, period)))
    for loop in sorted(loops, key=lambda one: roller.place[one.before[0]]):
        first, period = roller.place[loop.before[0]], len(loop.body)
        made += [_outside(node, roller.where, loops) for node in nodes[at:first]]
        _number_steps(roller, first, period)
        for node in loop.body:
            _outside(node, roller.where, loops, loop.number)
        loop.initial = {place: _read(value, roller.where, loops)
                        for place, value in loop.initial.items()}
        made.append(loop)
        at = first + period * loop.count
    made += [_outside(node, roller.where, loops) for node in nodes[at:]]
    return made, [_read(node, roller.where, loops) for node in outputs]


def _number_steps(roller: Roller, first: int, period: int) -> None:
    """Writes what moves with the steps as such, in the body: whole numbers, and steps of earlier
    loops."""
    for n in range(first + period, first + 2 * period):
        changes: dict[tuple[Any, ...], Any] = {}
        for (path, now), (_, old) in zip(roller.leaves[n], roller.leaves[n - period], strict=True):
            if isinstance(now, int) and not isinstance(now, bool) and now != old:
                changes[path] = Step(old, now - old)
            elif isinstance(now, torch.fx.Node) and now is not old and \
                    roller.place.get(now, -1) < first:
                there, then = roller.where[now], roller.where[old]
                changes[path] = AtStep(there.loop, there.place,
                                       Step(then.step, there.step - then.step))
        if changes:
            node = roller.nodes[n]
            args, node.kwargs = _replaced((list(node.args), node.kwargs), changes)
            node.args = tuple(args)


def _read(value: Any, where: dict[Any, AtStep], loops: list[Loop],
          inside: int = -1) -> Any:
    """An argument as it is read from outside of the loops (but for the loop `inside`)."""
    if isinstance(value, (list, tuple)):
        return _joined([_read(one, where, loops, inside) for one in value], loops)
    found = where.get(value) if isinstance(value, torch.fx.Node) else value
    if not isinstance(found, AtStep) or found.loop == inside:
        return value
    loops[found.loop].used.add(found.place)
    return found


def _joined(items: list[Any], loops: list[Loop]) -> list[Any]:
    """A list in which all steps of one operation, one after the other, are a single item."""
    made: list[Any] = []
    at = 0
    while at < len(items):
        one = items[at]
        if isinstance(one, AtStep):
            count = loops[one.loop].count
            there = [one.step for one in items[at:at + count] if isinstance(one, AtStep)]
            same = all(isinstance(i, AtStep) and (i.loop, i.place) == (one.loop, one.place)
                       for i in items[at:at + count])
            if same and there in (list(range(count)), list(range(count))[::-1]):
                made.append(AllSteps(one.loop, one.place, there[0] != 0))
                at += count
                continue
        made.append(one)
        at += 1
    return made


def _outside(node: Any, where: dict[Any, AtStep], loops: list[Loop],
             inside: int = -1) -> Any:
    args = [_read(arg, where, loops, inside) for arg in node.args]
    kwargs = {key: _read(arg, where, loops, inside) for key, arg in node.kwargs.items()}
    if any(isinstance(leaf, (AtStep, AllSteps)) for _, leaf in _leaves((args, kwargs))):
        node.args, node.kwargs = tuple(args), kwargs
    return node
