# SPDX-License-Identifier: Apache-2.0
"""Writes the statements of a task, operation by operation, all traces of the graph in step."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from quern.importer import distributions, loops
from quern.importer.call import HANDLERS, Call, base_name, kind_of
from quern.importer.dims import Dim, Fitter, product
from quern.importer.names import LETTERS, RESERVED
from quern.importer.recorder import Made, Untraceable, functional
from quern.importer.rolling import AllSteps, AtStep, Loop, Step
from quern.importer.trace import Trace
from quern.importer.values import (
    Steps,
    Val,
    filled,
    listed,
    number_val,
    reshape_places,
    stretched,
)

ORDERS = {"sort", "argsort", "topk", "kthvalue", "median", "nanmedian", "mode", "msort"}


class Writer:
    """The lines of one task."""

    def __init__(self, traces: list[Trace], free: Sequence[str], names: dict[str, str],
                 explicit: bool = False) -> None:
        """`explicit`: extents are written wherever several tensors share an axis."""
        self.traces, self.explicit = traces, explicit
        atoms = [Dim(names[knob], tuple(t.values[knob] for t in traces)) for knob in free]
        self.fitter = Fitter(atoms, len(traces))
        self.taken = set(RESERVED) | {a.text for a in atoms} | set(LETTERS)
        self.size_names = {a.text for a in atoms}
        self.inputs: list[str] = []
        self.sources: list[tuple[str, str, Any]] = []  # task name, kind, where the values are
        self.lets: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.line_of: dict[str, int] = {}
        self.values: dict[Any, Any] = {}
        self.notes: list[str] = []
        self.convolves = False
        self.last_output = -1
        self.time: loops.Time | None = None  # of the loop whose body is being written
        self.stepped: dict[tuple[int, int], Val] = {}  # what loops made: time is the first axis
        # Tensors that loops fill step by step, and their last steps.
        self.ends: dict[tuple[int, int], tuple[Val, list[int]]] = {}
        self.carried: dict[str, str] = {}  # names of values that a loop carries, once known

    # Names and extents.
    def fresh(self, wish: str) -> str:
        wish = re.sub(r"\W", "_", wish)[:48].strip("_") or "t"
        wish = f"t{wish}" if wish[0].isdigit() else wish
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def named_extent(self, dim: Dim, wish: str) -> Dim:
        """Gives a derived extent a name of its own, once."""
        known = self.fitter._known.get(dim.values)
        if known is not None and known.atomic:
            return known
        if dim.constant is not None or dim.atomic or len(set(dim.values)) == 1:
            return self.fitter.literal(dim.values[0]) if len(set(dim.values)) == 1 else dim
        name = self.fresh(wish)
        self.lets.append((name, dim.text))
        made = Dim(name, dim.values)
        self.fitter._known[dim.values] = made
        return made

    def axes(self, count: int, avoid: Sequence[str] = ()) -> list[str]:
        avoid = [*avoid, self.time.axis] if self.time else avoid
        free = [a for a in LETTERS if a not in self.size_names and a not in avoid]
        return (free + [f"a{n}" for n in range(40)])[:count]

    # Statements.
    def statement(self, wish: str, shape: list[Dim], body: Callable[[list[str]], str],
                  kind: str = "f", origin: str = "", avoid: Sequence[str] = ()) -> Val:
        """Defines a tensor element by element."""
        name = self.fresh(wish if wish not in self.taken else wish + "_0")
        at = self.axes(len(shape), avoid)
        text = body(at)
        if self.time:
            return self.time.statement(self, name, at, shape, text, kind)
        parts = [a if self._implied(a, dim, text) else f"{a} < {dim.text}"
                 for a, dim in zip(at, shape, strict=True)]
        head = name + (" : i64" if kind == "i" else " : i32" if kind == "b" else "")
        axes = f"[{', '.join(parts)}]" if parts else ""
        return self.line(name, f"{head}{axes} = {text}" + (f" as {origin}" if origin else ""),
                         shape, kind)

    def _implied(self, axis: str, dim: Dim, text: str) -> bool:
        """Whether every direct use of the axis as an index is at a dimension of this extent."""
        found: set[str] = set()
        for match in re.finditer(r"(\w+)\[([^\[\]]*)\](\s+else\b)?", text):
            val = self.by_name.get(match[1])
            if val is None:
                continue
            for place, part in enumerate(match[2].split(", ")):
                if part.strip() == axis and not match[3]:
                    if place >= val.rank or val.shape[place].text != dim.text:
                        return False
                    found.add(match[1])
        return len(found) == 1 or (bool(found) and not self.explicit)

    @property
    def by_name(self) -> dict[str, Val]:
        if not hasattr(self, "_by_name"):
            self._by_name: dict[str, Val] = {}
        return self._by_name

    def reads_computed(self, text: str) -> bool:
        """Whether an expression reads a tensor that is a statement, not an input."""
        given = {name for name, *_ in self.sources}
        return any(name in self.by_name and name not in given
                   for name in re.findall(r"\b(\w+)\[", text))

    def line(self, name: str, text: str, shape: list[Dim], kind: str = "f") -> Val:
        self.line_of[name] = len(self.lines)
        self.lines.append(text)
        val = Val(shape, kind, name)
        self.by_name[name] = val
        return val

    def operator(self, call: Call, text: str, shape: list[Dim] | None = None,
                 kind: str = "f") -> Val:
        """Defines a tensor by a named operator."""
        if self.time:
            raise Untraceable(f"{call.op} in a loop over time has no form yet")
        wish = call.name if call.name not in self.taken else f"{call.name}_0"
        name = self.fresh(wish)
        return self.line(name, f"{name} = {text}", shape or call.out_shape(), kind)

    def tensor(self, val: Val, wish: str = "copy") -> str:
        """The name of a tensor, which gets a statement of its own where it is a view."""
        if val.name is None and self.time:
            raise Untraceable("an operation in a loop over time that takes whole tensors")
        if val.name is None:
            made = self.statement(wish, val.shape, val.read, val.kind)
            val.name, val.kind = made.name, "i" if val.kind == "b" else val.kind
            val.reader = val.indexer = val.condition = None
        assert val.name is not None
        return val.name

    def pointwise(self, call: Call, template: str, operands: Sequence[Val | str],
                  kind: str = "f", which: int | None = None) -> Val:
        """`template` over operands stretched to a common shape."""
        shape = call.out_shape(which)
        operands = [o.read([]) if isinstance(o, Val) and o.name is None and o.rank == 0 else o
                    for o in operands]
        plain = kind == "f" and self.time is None and 0 < len(shape) <= 6 and all(
            isinstance(o, str) or (o.name is not None and o.kind == "f") for o in operands)
        tensors = sum(isinstance(o, Val) and o.rank > 0 for o in operands)
        plain = plain and tensors > 0 and (tensors == 1 or not self.explicit)
        if plain:
            return self.operator(call, template.format(
                *[o if isinstance(o, str) else o.name for o in operands]), shape)
        return self.statement(call.name, shape, lambda at: template.format(
            *[o if isinstance(o, str) else o.read(stretched(o, shape, at)) for o in operands]),
            kind)

    def condition(self, call: Call, template: str, operands: Sequence[Val | str]) -> Val:
        """A comparison or a logical operation: never stored by itself."""
        shape = call.out_shape()

        def text(at: Sequence[str]) -> str:
            parts = []
            for o in operands:
                if isinstance(o, str):
                    parts.append(o)
                    continue
                place = stretched(o, shape, at)
                parts.append((o.index(place) if o.kind == "i" and o.index(place) else None)
                             or o.read(place))
            return template.format(*parts)

        return Val(shape, "b", condition=text)

    # Values of the graph.
    def value(self, args: list[Any]) -> Any:
        first = args[0]
        if isinstance(first, torch.fx.Node):
            return self.values[first]
        if isinstance(first, AtStep):
            return self.at_step(args)
        if isinstance(first, torch.Tensor):
            return self.recorded(args)
        if isinstance(first, Made):
            return self.from_made(args)
        if first is None:
            return None
        if isinstance(first, (int, float)):
            return number_val(self.fitter.number([float(a) for a in args], "a number"),
                              "i" if isinstance(first, int) else "f")
        raise Untraceable(f"an argument of kind {type(first).__name__}")

    def at_step(self, args: list[AtStep]) -> Val:
        """What a loop made in one of its steps."""
        steps, key = [one.step for one in args], (args[0].loop, args[0].place)
        if key in self.ends:
            if steps != self.ends[key][1]:
                raise Untraceable("a tensor that a loop over time has not yet filled is read")
            return self.ends[key][0]
        val = self.stepped[key]
        text = self.at_time(steps) if isinstance(steps[0], Step) else self.fitter.fit(
            steps, "a step of a loop", [val.shape[0]]).text
        return val.through(val.shape[1:], lambda at: [text, *at])

    def all_steps(self, made: AllSteps) -> Steps:
        if (made.loop, made.place) in self.ends:
            raise Untraceable("a tensor that a loop over time has not yet filled is read")
        return Steps(self.stepped[made.loop, made.place], made.backwards)

    def at_time(self, steps: list[Step], extent: Dim | None = None) -> str:
        """A whole number that moves with the steps of the loop being written, as an index."""
        if self.time is None or any(s.slope != steps[0].slope for s in steps):
            raise Untraceable("a number moves with the steps of a loop in no simple way")
        return self.time.index(self, steps, extent)

    def recorded(self, tensors: list[torch.Tensor]) -> Any:
        """A tensor made while the inputs were built, not by the graph."""
        made = [t.recorder.find(x) for t, x in zip(self.traces, tensors, strict=True)]
        if all(m is not None for m in made):
            return self.from_made(made)  # type: ignore[arg-type]
        return self.constant(tensors)

    def constant(self, tensors: list[torch.Tensor]) -> Val:
        """A tensor of known values: one number, or a few."""
        seen = [getattr(t, "constant", None) if getattr(t, "constant", None) is not None else t
                for t in tensors]
        if any(hasattr(t, "fake_mode") for t in seen):
            raise Untraceable("a constant whose values are not known when tracing")
        kind = kind_of(seen[0].dtype if seen[0].dtype != torch.float64 else torch.float32)
        flat = [t.reshape(-1).double().tolist() for t in seen]
        shape = [self.fitter.fit([t.shape[d] for t in seen], "an extent of a constant")
                 for d in range(seen[0].dim())]
        if all(len(set(f)) == 1 for f in flat):
            text = self.fitter.number([f[0] for f in flat], "a constant")
            return filled(shape, text, kind)
        if any(f != flat[0] for f in flat) or len(flat[0]) > 64:
            raise Untraceable("a table of constants that is large or depends on sizes")
        return listed(shape, flat[0], kind)

    def from_made(self, made: list[Made]) -> Any:
        if made[0] not in self.values:
            op = functional(made[0].op)
            name = base_name(op)
            if name not in HANDLERS or made[0].name in distributions.RANDOM or \
                    any(m.op is not made[0].op for m in made):
                raise Untraceable(f"a tensor is made by {name}")
            call = Call(self, op, [m.resolved(m.args) for m in made], [m.kwargs for m in made],
                        [m.out for m in made], name, table=True)
            result = HANDLERS[name](call)
            if made[0].part is not None:
                result = result[made[0].part]
            self.values[made[0]] = result.get() if hasattr(result, "get") else result
        return self.values[made[0]]

    def node(self, nodes: list[Any]) -> None:
        first = nodes[0]
        if isinstance(first, Loop):
            loops.write(self, nodes)
            return
        if first.target.__name__ == "getitem":
            one = self.values[first.args[0]][first.args[1]]
            self.values[first] = one.get() if hasattr(one, "get") else one
            return
        name = base_name(first.target)
        if name in distributions.RANDOM:
            raise Untraceable(f"{name} draws random numbers in every call")
        if name not in HANDLERS:
            why = ": the task language cannot put elements in order" if name in ORDERS else ""
            raise Untraceable(f"no form for the operation {first.target}{why}")
        call = Call(self, first.target, [list(n.args) for n in nodes],
                    [dict(n.kwargs) for n in nodes], [n.meta.get("val") for n in nodes],
                    first.name)
        self.values[first] = HANDLERS[name](call)

    # Inputs and outputs.
    def source(self, place: int) -> None:
        rows = [t.sources[place] for t in self.traces]
        name, kind, target, tensor = rows[0]
        if kind == "CONSTANT_TENSOR":
            node = self.traces[0].placeholders[name]
            self.values[node] = self.constant(
                [t.constants[r[2]] for t, r in zip(self.traces, rows, strict=True)])
            return
        tensors = [row[3] for row in rows]
        made = [t.recorder.find(x) for t, x in zip(self.traces, tensors, strict=True)]
        drawn = None
        if isinstance(tensor, torch.Tensor) and all(m is not None for m in made):
            drawn = distributions.find(self, made)  # type: ignore[arg-type]
        if kind == "BUFFER" and drawn and drawn.startswith("constant") and \
                "running_" not in str(target):
            drawn = None  # a table that belongs to the operation, such as a mask
        node = self.traces[0].placeholders[name]
        if not isinstance(tensor, torch.Tensor):
            self.values[node] = None
            return
        is_param = kind in ("PARAMETER", "BUFFER")
        if drawn is None and kind == "PARAMETER":
            drawn = distributions.SAMPLED
        elif drawn is None and made[0] is not None:
            try:
                self.values[node] = self.from_made(made)  # type: ignore[arg-type]
                return
            except Untraceable:
                drawn = distributions.SAMPLED
        elif drawn is None and kind == "BUFFER" and made[0] is None:
            try:
                self.values[node] = self.constant(tensors)
                return
            except Untraceable:
                drawn = distributions.SAMPLED
        wish = str(target or name).replace(".", "_")
        self.values[node] = self.input(wish, kind_of(tensor.dtype), tensors,
                                       drawn or distributions.DEFAULT, is_param,
                                       (kind, target or name))

    def input(self, wish: str, kind: str, tensors: list[torch.Tensor], drawn: str, is_param: bool,
              where: Any) -> Val:
        shape = [self.fitter.fit([t.shape[d] for t in tensors], f"an extent of {wish}")
                 for d in range(tensors[0].dim())]
        wish = wish if wish not in self.taken else wish + "_"
        name = self.fresh(wish)
        kind_text = "f32" if kind == "f" else "i32" if kind == "b" else "i64"
        extents = f"[{', '.join(d.text for d in shape)}]" if shape else ""
        self.inputs.append(f"{'param' if is_param else 'input'} {name} : {kind_text}{extents} "
                           f"~ {drawn}")
        self.sources.append((name, *where))
        val = Val(shape, kind, name)
        self.by_name[name] = val
        if kind == "b":
            val.kind = "i"
        return val

    def output(self, val: Any) -> None:
        if isinstance(val, list):
            for one in val:
                self.output(one)
            return
        line = self.line_of.get(val.name or "")
        if line is None or line <= self.last_output:  # results come in the order of the module's
            val = Val(val.shape, val.kind, None, **{"reader": val.read} if val.kind == "f" else
                      {"indexer": lambda at, v=val: v.index(at) or v.read(at),
                       "condition": val.condition})
            name = self.tensor(val, "result")
            line = self.line_of[name]
        self.lines[line] = "output " + self.lines[line]
        self.last_output = line

    def write(self) -> None:
        for place in range(len(self.traces[0].sources)):
            self.source(place)
        for nodes in zip(*[t.nodes for t in self.traces], strict=True):
            self.node(list(nodes))
        for place, node in enumerate(self.traces[0].outputs):
            self.output(self.at_step([t.outputs[place] for t in self.traces])
                        if isinstance(node, AtStep) else self.values[node])
        self.lines = [loops.named(line, self.carried) for line in self.lines]
        # The module's arguments come first, as its caller gives them.
        order = sorted(range(len(self.inputs)), key=lambda i: self.inputs[i].startswith("param"))
        self.inputs = [self.inputs[i] for i in order]
        self.sources = [self.sources[i] for i in order]

    # What handlers share.
    def reshaped(self, val: Val, shape: list[Dim]) -> Val:
        source = val.base if val.base is not None and val.name is None else val
        if len(source.shape) == len(shape) and all(
                a.same(b) for a, b in zip(source.shape, shape, strict=True)):
            return source
        made = source.through(shape, reshape_places(source.shape, shape))
        made.base = source
        return made

    def count(self, dims: Sequence[Dim]) -> Dim:
        return product(dims, len(self.traces))
