# SPDX-License-Identifier: Apache-2.0
"""One module to one task: traces, free sizes, size sets, text."""
from __future__ import annotations

import dataclasses
import logging
import re
import warnings

import torch

from quern.importer import (
    ops_contract,
    ops_index,
    ops_loss,
    ops_pointwise,
    ops_recurrent,
    ops_reduce,
    ops_resample,
    ops_shape,
)
from quern.importer.call import stays_whole
from quern.importer.dims import Frozen
from quern.importer.distributions import SAMPLED, sampled
from quern.importer.names import RESERVED, task_name
from quern.importer.sizes import Values, fitting, other_values, shrunk
from quern.importer.source import BadModule, Item, Literals, Module, without_grad_modes
from quern.importer.trace import Trace, Untraceable, runs, trace
from quern.importer.writer import Writer

# They register themselves.
assert all((ops_contract, ops_index, ops_loss, ops_pointwise, ops_recurrent, ops_reduce,
            ops_resample, ops_shape))


GROWTH = 9  # of the smallest sizes, where wrong kernels pass at them
OTHER_GRAPHS = 3  # at so many values of a number, it is none that may vary
MOST_UNROLLED = 1500  # operations of loops over time that are written out where they must be


@dataclasses.dataclass
class Task:
    """A task's text, and where the values of its inputs are in the module."""

    name: str
    text: str
    module: Module
    sets: dict[str, Values]  # every whole number of the file, by size set
    sources: list[tuple[str, str, str]]  # input, PARAMETER / BUFFER / USER_INPUT, its name
    input_names: list[str]  # of the module's arguments, in order
    training: bool


class Converter:
    """`literals`: see `Literals`. A module is traced once, however often it is written."""

    def __init__(self, item: Item, training: bool = True,
                 literals: Literals = Literals.EACH) -> None:
        self.item, self.training, self.explicit = item, training, False
        self.module = Module(without_grad_modes(item.code), item.origin or item.name,
                             literals)
        self.full: Values = dict(self.module.initial)
        self.base: Trace | None = None
        self.cache: dict[tuple[int, ...], Trace | None] = {}
        self.varied: dict[str, Trace] | None = None
        self.chosen: dict[tuple[str, ...], tuple[Values, Values]] = {}  # tiny and cpu, by sizes
        self.roll = True  # loops over time become recurrences

    def unroll(self) -> bool:
        """Writes loops over time step by step from now on; false where there are none, or where
        that takes too many statements."""
        loops = self.base.loops if self.base is not None else []
        if not loops or sum(one.count * len(one.body) for one in loops) > MOST_UNROLLED:
            return False
        self.roll, self.base, self.varied = False, None, None
        self.cache.clear()
        self.chosen.clear()
        return True

    def at(self, values: Values) -> Trace | None:
        """The trace at these sizes, where the graph there is the same."""
        key = tuple(values[n] for n in self.full)
        if key not in self.cache:
            try:
                made: Trace | None = trace(self.module, values, stays_whole, self.training,
                                           self.roll)
            except Exception:  # noqa: BLE001  anything a module may raise
                made = None
            if made is not None and self.base is not None and \
                    made.signature() != self.base.signature():
                made = None
            self.cache[key] = made
        return self.cache[key]

    def convert(self, explicit: bool = False) -> Task:
        """`explicit`: every statement says its extents."""
        self.explicit = explicit
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # sizes that do not work are tried on purpose
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    return self._convert()
                except Untraceable:
                    if not self.unroll():
                        raise
                    return self._convert()
        finally:
            logging.disable(level)

    def _convert(self) -> Task:
        try:
            if self.base is None:
                self.base = trace(self.module, self.full, stays_whole, self.training, self.roll)
        except (BadModule, Untraceable):
            raise
        except Exception as error:  # noqa: BLE001  anything a module may raise
            raise Untraceable(f"it cannot be traced: {type(error).__name__}: "
                              f"{str(error).strip().splitlines()[0] if str(error) else ''}"
                              ) from error
        varied = self.varied = self.varied or self._varied()
        free, writer = self._explained([k for k in self.full if k in varied], varied)
        tiny, cpu = self._chosen(free, varied)
        sets = {"full": self.full}
        for name, values in (("cpu", cpu), ("tiny", tiny)):
            more = [v for v in sets.values() if v is not self.full]
            made = self._also(free, varied, [*more, values])
            if made is not None:
                writer, sets[name] = made, values
        for place, sizes in enumerate(self.item.workloads, 2):
            values = {**self.full, **{n: v for n, v in sizes.items() if n in self.full}}
            moved = [n for n in values if values[n] != self.full[n]]
            more = [v for v in sets.values() if v is not self.full]
            made = self._also(free, varied, [*more, values]) if set(moved) <= set(free) else None
            if made is not None:
                writer, sets[f"workload{place}"] = made, values
        return self._task(free, writer, sets)

    def _chosen(self, free: list[str], varied: dict[str, Trace]) -> tuple[Values, Values]:
        """The size sets tiny and cpu."""
        def usable(values: Values) -> bool:
            return self._also(free, varied, [values]) is not None

        if tuple(free) in self.chosen:
            return self.chosen[tuple(free)]
        tiny = shrunk(self.module, self.full, free)
        if not usable(tiny):  # rare: every step is traced then, which takes long
            tiny = shrunk(self.module, self.full, free, usable)
        cpu = fitting(self.module, self.full, free, tiny, lambda values: True)
        if not usable(cpu):
            cpu = fitting(self.module, self.full, free, tiny, usable)
        self.chosen[tuple(free)] = tiny, cpu
        return tiny, cpu

    def grow(self) -> bool:
        """Takes for `tiny` sizes `GROWTH` times as large, one after the other, as far as the module
        runs there; the next `convert` uses them. False where none can grow."""
        assert self.varied is not None
        grew = False
        for free, (tiny, cpu) in list(self.chosen.items()):
            values = dict(tiny)
            for name in free:
                larger = {**values, name: min(self.full[name], GROWTH * values[name])}
                if larger != values and runs(self.module, larger, strict=False) and \
                        self._also(list(free), self.varied, [larger]) is not None:
                    values, grew = larger, True
            self.chosen[free] = values, cpu
        return grew

    def _varied(self) -> dict[str, Trace]:
        """For each number that may vary, a trace in which it alone does."""
        assert self.base is not None
        found = {}
        for name, value in self.full.items():
            others = 0  # graphs that differ: a count of layers or steps always makes another
            for other in other_values(value):
                values = {**self.full, name: other}
                if others == OTHER_GRAPHS or not runs(self.module, values, strict=False):
                    continue
                made = self.at(values)
                if made is not None:
                    found[name] = made
                    break
                others += 1
        return found

    def _write(self, free: list[str], varied: dict[str, Trace], more: list[Trace | None]) -> Writer:
        assert self.base is not None
        traces = [self.base, *(varied[n] for n in free), *(t for t in more if t is not None)]
        writer = Writer(traces, free, {n: self._size_name(n, free) for n in free},
                        self.explicit)
        writer.write()
        return writer

    def _also(self, free: list[str], varied: dict[str, Trace],
              sets: list[Values]) -> Writer | None:
        """The lines that hold at these sizes too, if any do."""
        more = [self.at(values) for values in sets]
        if None in more:
            return None
        try:
            return self._write(free, varied, more)
        except Frozen:
            return None

    def _explained(self, free: list[str], varied: dict[str, Trace]) -> tuple[list[str], Writer]:
        """Drops numbers whose effect has no expression, and those that shape no input."""
        while True:
            try:
                writer = self._write(free, varied, [])
            except Frozen as frozen:
                moved = [n for n, v in zip(free, frozen.values[1:]) if v != frozen.values[0]]
                if not moved:
                    raise Untraceable(str(frozen)) from frozen
                free = [n for n in free if n not in moved]
                continue
            shapes = "\n".join(line.partition("~")[0] for line in writer.inputs)
            used = [n for n in free
                    if re.search(rf"\b{re.escape(self._size_name(n, free))}\b", shapes)]
            if used == free:
                return free, writer
            free = used

    def _size_name(self, knob: str, free: list[str]) -> str:
        name = re.sub(r"_0$", "", knob) if f"{knob[:-1]}1" not in free else knob
        return name if name not in RESERVED and name not in ("b", "e") or name == knob and \
            name not in RESERVED else f"{name}_"

    def _task(self, free: list[str], writer: Writer, sets: dict[str, Values]) -> Task:
        names = {n: self._size_name(n, free) for n in free}
        name = task_name(self.item)
        title = re.sub(r"^\d+_", "", self.item.name).replace("_", " ").strip()
        lines = [f"# {title}.", f"# origin: {self.item.origin}"]
        lines += [f"# note: {note}" for note in [*self.item.notes, *writer.notes]]
        head = ", ".join(f"{names[n]} = {self.full[n]}" for n in free)
        lines.append(f"task {name}({head})")
        for key, values in sets.items():
            changed = [f"{names[n]} = {values[n]}" for n in free if values[n] != self.full[n]]
            if key != "full":
                lines.append(f"sizes {key}: {', '.join(changed)}".rstrip())
        statements = drop_unused(writer.lines)
        read = "\n".join(statements)
        used = [i for i, (name, *_) in enumerate(writer.sources)
                if re.search(rf"\b{name}\b", read)]
        inputs = [writer.inputs[i] for i in used]
        self._fill_samples(inputs, [writer.sources[i] for i in used], sets)
        body = inputs + statements
        lines += [f"let {n} = {text}" for n, text in used_lets(writer.lets, body)]
        if writer.convolves:
            lines.append("precision as_reference")
        lines += ["", *inputs, *statements]
        assert self.base is not None
        text = "\n".join(lines) + "\n"
        return Task(name, text.encode("ascii", "replace").decode(), self.module, sets,
                    [writer.sources[i] for i in used], self.base.input_names, self.training)


    def _fill_samples(self, inputs: list[str], sources: list[tuple[str, str, str]],
                      sets: dict[str, Values]) -> None:
        """Distributions like the real values, where the way they are made has no name."""
        marked = [i for i, line in enumerate(inputs) if line.endswith(f"~ {SAMPLED}")]
        if not marked:
            return
        assert self.base is not None
        torch.manual_seed(0)
        model, given = self.module.build(sets.get("tiny", self.full))
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()),
                   **dict(zip(self.base.input_names, given, strict=False))}
        for place in marked:
            text = sampled(tensors[sources[place][2]])
            inputs[place] = inputs[place].removesuffix(SAMPLED) + text


def used_lets(lets: list[tuple[str, str]], body: list[str]) -> list[tuple[str, str]]:
    """Derived sizes that something uses, in the order of their definition."""
    text, kept = "\n".join(body), []
    for name, value in reversed(lets):
        if re.search(rf"\b{name}\b", text):
            kept.append((name, value))
            text += "\n" + value
    return kept[::-1]


def drop_unused(lines: list[str]) -> list[str]:
    """Without statements that nothing reads. Those of a recurrence read one another."""
    names = [re.split(r"[\s\[:]", line.removeprefix("output "), maxsplit=1)[0] for line in lines]
    place = {name: at for at, name in enumerate(names)}
    kept = {at for at, line in enumerate(lines) if line.startswith("output ")}
    todo = list(kept)
    while todo:
        for word in re.findall(r"\w+", lines[todo.pop()]):
            at = place.get(word)
            if at is not None and at not in kept:
                kept.add(at)
                todo.append(at)
    return [lines[at] for at in sorted(kept)]
