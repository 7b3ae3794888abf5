# SPDX-License-Identifier: Apache-2.0
"""One operation of the graph as its handler sees it, and the table of handlers."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from quern.importer.dims import Dim, Frozen
from quern.importer.recorder import Made, Untraceable
from quern.importer.rolling import AllSteps, AtStep, Step
from quern.importer.values import Steps, Val

if TYPE_CHECKING:
    from quern.importer.writer import Writer

TENSORS = (torch.fx.Node, torch.Tensor, Made, AtStep)
STEPPED = {"index", "start", "end", "other"}  # arguments that may move with a loop's steps
Handler = Callable[["Call"], Any]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler
    return register


def base_name(op: Any) -> str:
    return op._schema.name.split("::")[-1] if hasattr(op, "_schema") else op.__name__


def stays_whole(op: Any) -> bool:
    """Whether an operation of the graph is written as it is, not taken apart first."""
    return hasattr(op, "_schema") and base_name(op) in HANDLERS and \
        op._schema.name.startswith(("aten::", "quern::"))


class Call:
    """One operation in all traces: arguments by the names of its schema."""

    def __init__(self, writer: Writer, op: Any, args: list[Any], kwargs: list[Any],
                 outs: list[Any], name: str, table: bool = False) -> None:
        """`table`: of a tensor made while the module was built, where f64 may stand for f32."""
        self.writer, self.op, self.outs, self.table = writer, op, outs, table
        self.name = re.sub(r"native_|_legit|_functional|_no_training|_with_indices|_default", "",
                           name).strip("_")
        self.bound: dict[str, list[Any]] = {}
        for place, arg in enumerate(op._schema.arguments):
            default = arg.default_value if arg.has_default_value() else None
            self.bound[arg.name] = [
                a[place] if place < len(a) else k.get(arg.name, default)
                for a, k in zip(args, kwargs, strict=True)]
            if arg.name not in STEPPED and _moves(self.bound[arg.name][0]):
                raise Untraceable(f"{arg.name} of {op} moves with the steps of a loop")

    def raw(self, name: str, default: Any = None) -> Any:
        """An argument that must not depend on sizes."""
        values = self.bound.get(name, [default])
        if any(v != values[0] for v in values[1:]):
            distinct = [next(i for i, w in enumerate(values) if w == v) for v in values]
            raise Frozen(f"{name} of {self.op}", distinct)
        return values[0]

    def has(self, name: str) -> bool:
        return name in self.bound and self.bound[name][0] is not None

    def val(self, name: str) -> Val:
        made = self.writer.value(self.bound[name])
        if made is None:
            raise Untraceable(f"{self.op} reads a second result of an operation, such as the "
                              "positions that a pool found, which has no form")
        if not isinstance(made, Val):
            raise Untraceable(f"{self.op}: `{name}` is no single tensor")
        return made

    def maybe(self, name: str) -> Val | None:
        return self.val(name) if self.has(name) else None

    def vals(self, name: str) -> list[Val]:
        made = self.items(name)
        if any(isinstance(one, Steps) for one in made):
            raise Untraceable(f"{self.op}: `{name}` is what all steps of a loop made")
        return made  # type: ignore[return-value]

    def items(self, name: str) -> list[Val | Steps]:
        """Tensors of a list; all steps of a loop count as one."""
        lists = self.bound[name]
        return [self.writer.all_steps(lists[0][i]) if isinstance(lists[0][i], AllSteps) else
                self.writer.value([one[i] for one in lists]) for i in range(len(lists[0]))]

    def is_tensor(self, name: str) -> bool:
        return isinstance(self.bound[name][0], TENSORS)

    def operand(self, name: str, near: Sequence[Dim] = ()) -> Val | str:
        """A tensor, or a number as text."""
        if self.is_tensor(name):
            return self.val(name)
        values = self.bound[name]
        if isinstance(values[0], Step):
            return f"index({self.writer.at_time(values)})"
        if isinstance(values[0], bool):
            return str(int(self.raw(name)))
        return self.writer.fitter.number([float(v) for v in values], f"{name} of {self.op}",
                                         [*near, *self.near()])

    def near(self) -> list[Dim]:
        dims: list[Dim] = []
        for values in self.bound.values():
            if isinstance(values[0], TENSORS):
                made = self.writer.value(values)
                if isinstance(made, Val):
                    dims += made.shape
        return dims

    def dim(self, name: str) -> Dim:
        return self.writer.fitter.fit(self.bound[name], f"{name} of {self.op}", self.near())

    def dims(self, name: str) -> list[Dim]:
        lists = self.bound[name]
        return [self.writer.fitter.fit([one[i] for one in lists], f"{name} of {self.op}",
                                       self.near()) for i in range(len(lists[0]))]

    def axis(self, name: str, rank: int) -> int:
        place = int(self.raw(name))
        return place + rank if place < 0 else place

    def axes(self, name: str, rank: int) -> list[int]:
        """Positions of axes; all of them where none are named."""
        value = self.raw(name)
        if value is None or value == []:
            return list(range(rank))
        value = [value] if isinstance(value, int) else value
        return sorted({v + rank if v < 0 else v for v in value})

    def spread(self, name: str, count: int) -> list[int]:
        """An option along each spatial axis, which must not depend on sizes."""
        value = self.raw(name)
        value = [value] if isinstance(value, int) else list(value or [])
        return value * count if len(value) == 1 else value

    def out_shape(self, which: int | None = None) -> list[Dim]:
        outs = self.outs if which is None else [out[which] for out in self.outs]
        shapes = [tuple(out.shape) for out in outs]
        near = self.near()
        return [self.writer.fitter.fit([s[d] for s in shapes], f"an extent of {self.op}", near)
                for d in range(len(shapes[0]))]

    @property
    def kind(self) -> str:
        out = self.outs[0]
        dtype = (out[0] if isinstance(out, (tuple, list)) else out).dtype
        return kind_of(torch.float32 if self.table and dtype == torch.float64 else dtype)


def _moves(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_moves(one) for one in value)
    return isinstance(value, Step)


def kind_of(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "b"
    if dtype in (torch.float32,):
        return "f"
    if dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        return "i"
    raise Untraceable(f"the task language has no {str(dtype).removeprefix('torch.')}")
