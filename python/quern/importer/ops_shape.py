# SPDX-License-Identifier: Apache-2.0
"""Views, joins and paddings. Views cost nothing until they are read."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from quern.importer.call import Call, handles
from quern.importer.dims import Dim, combine
from quern.importer.rolling import Step
from quern.importer.values import Steps, Val, plus, stretched, wrap


@handles("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze",
         "view_as", "reshape_as", "_reshape_alias")
def reshape(call: Call) -> Val:
    return call.writer.reshaped(call.val("self"), call.out_shape())


def permuted(val: Val, order: Sequence[int]) -> Val:
    """Axis d of the result is axis order[d] of `val`."""
    def places(at: Sequence[str]) -> list[str]:
        made = [""] * val.rank
        for d, axis in enumerate(order):
            made[axis] = at[d]
        return made
    return val.through([val.shape[a] for a in order], places)


@handles("permute", "transpose", "t", "numpy_T", "mT", "matrix_H", "swapaxes", "swapdims",
         "movedim", "moveaxis", "adjoint")
def permute(call: Call) -> Val:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    rank = x.rank
    order = list(range(rank))
    if name == "permute":
        order = [d % rank for d in call.raw("dims")]
    elif name in ("numpy_T", "t"):
        order = order[::-1]
    elif name in ("mT", "matrix_H", "adjoint"):
        order[-2:] = order[:-3:-1]
    elif name in ("movedim", "moveaxis"):
        source, target = call.raw("source"), call.raw("destination")
        source = [source] if isinstance(source, int) else source
        target = [target] if isinstance(target, int) else target
        order = [d for d in order if d not in [s % rank for s in source]]
        for to, from_ in sorted((t % rank, s % rank) for s, t in zip(source, target)):
            order.insert(to, from_)
    else:
        names = ("dim0", "dim1") if "dim0" in call.bound else ("axis0", "axis1")
        a, b = (call.axis(n, rank) for n in names)
        order[a], order[b] = order[b], order[a]
    return permuted(x, order)


@handles("expand", "expand_as", "broadcast_to")
def expand(call: Call) -> Val:
    x, shape = call.val("self"), call.out_shape()
    return x.through(shape, lambda at: stretched(x, shape, at))


@handles("repeat", "tile")
def repeat(call: Call) -> Val:
    x, shape = call.val("self"), call.out_shape()
    offset = len(shape) - x.rank

    def places(at: Sequence[str]) -> list[str]:
        return [at[offset + d] if dim.same(shape[offset + d]) else
                "0" if dim.constant == 1 else f"{wrap(at[offset + d])} % {dim.inner}"
                for d, dim in enumerate(x.shape)]
    return x.through(shape, places)


def moved(val: Val, axis: int, extent: Dim, place: Callable[[str], str]) -> Val:
    """A view whose index along one axis is computed."""
    shape = [extent if d == axis else dim for d, dim in enumerate(val.shape)]
    return val.through(shape, lambda at: [place(a) if d == axis else a for d, a in enumerate(at)])


def start_of(call: Call, name: str, extent: Dim) -> Dim:
    values = call.bound[name]
    if values[0] is None:
        return call.writer.fitter.literal(0)
    if isinstance(values[0], Step):
        text = call.writer.at_time(values, extent)
        return Dim(text, (-1,) * len(values), text.isalnum())
    placed = [v + e if v < 0 else min(v, e) for v, e in zip(values, extent.values, strict=True)]
    return call.writer.fitter.fit(placed, f"{name} of {call.op}", [extent, *call.near()])


@handles("slice", "narrow")
def cut(call: Call) -> Val:
    x = call.val("self")
    axis = call.axis("dim", x.rank)
    start = start_of(call, "start", x.shape[axis])
    step = int(call.raw("step", 1) or 1)
    extent = call.out_shape()[axis]
    if start.constant == 0 and step == 1 and extent.same(x.shape[axis]):
        return x
    scaled = (lambda a: a) if step == 1 else (lambda a: f"{wrap(a)} * {step}")
    return moved(x, axis, extent, lambda a: plus(scaled(a), start.text if start.constant is not None
                                                 else start.inner))


@handles("select")
def select(call: Call) -> Val:
    x = call.val("self")
    axis = call.axis("dim", x.rank)
    place = start_of(call, "index", x.shape[axis])
    shape = [dim for d, dim in enumerate(x.shape) if d != axis]
    return x.through(shape, lambda at: [*at[:axis], place.text, *at[axis:]])


@handles("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "unsafe_split",
         "unsafe_chunk", "unsafe_split_with_sizes")
def split(call: Call) -> list[Val]:
    x = call.val("self")
    axis = call.axis("dim", x.rank)
    whole = call.op._schema.name == "aten::unbind"
    parts, start = [], call.writer.fitter.literal(0)
    for number in range(len(call.outs[0])):
        if whole:
            shape = [dim for d, dim in enumerate(x.shape) if d != axis]
            parts.append(x.through(shape, lambda at, n=number: [*at[:axis], str(n), *at[axis:]]))
            continue
        extent = call.out_shape(number)[axis]
        first = start.text if start.constant is not None else start.inner
        parts.append(moved(x, axis, extent, lambda a, f=first: plus(a, f)))
        start = combine("+", start, extent)
    return parts


@handles("cat", "concat", "concatenate", "stack")
def join(call: Call) -> Val | str:
    stack = call.op._schema.name == "aten::stack"
    vals = [v for v in call.items("tensors")
            if stack or isinstance(v, Steps) or v.rank > 1 or v.shape[0].constant != 0]
    shape = call.out_shape()
    axis = call.axis("dim", len(shape))
    ends, total = [], call.writer.fitter.literal(0)
    for val in vals:
        total = combine("+", total, _extent_joined(call, val, axis, stack))
        ends.append(total)

    def item(val: Val | Steps, at: Sequence[str], place: str) -> str:
        whole, places = _joined_from(val, axis, stack)
        return whole.read(places([*at[:axis], place, *at[axis + 1:]]))

    def body(at: Sequence[str]) -> str:
        made = ""
        for n in range(len(vals) - 1, -1, -1):
            begin = ends[n - 1] if n else None
            one = item(vals[n], at, at[axis] if begin is None else
                       plus(at[axis], "-" + begin.text))
            made = one if not made else f"select({at[axis]} < {ends[n].text}, {one}, {made})"
        return made

    if len(vals) == 1 and (not stack or isinstance(vals[0], Steps)):
        whole, places = _joined_from(vals[0], axis, stack)
        return whole.through(shape, places) if isinstance(vals[0], Steps) else vals[0]
    kind = "f" if call.kind == "f" else "i"
    return call.writer.statement(call.name, shape, body, kind)


def _extent_joined(call: Call, val: Val | Steps, axis: int, stack: bool) -> Dim:
    """What an item adds along the axis."""
    one = call.writer.fitter.literal(1)
    if isinstance(val, Steps):
        return combine("*", val.count, one if stack else val.val.shape[axis + 1])
    return one if stack else val.shape[axis]


def _joined_from(val: Val | Steps, axis: int, stack: bool
                 ) -> tuple[Val, Callable[[Sequence[str]], list[str]]]:
    """The tensor that holds an item, and where an element of the result is in it."""
    if not isinstance(val, Steps):
        return val, lambda at: [*at[:axis], *at[axis + 1:]] if stack else list(at)
    if stack:
        return val.val, lambda at: [val.time(at[axis]), *at[:axis], *at[axis + 1:]]
    each = val.val.shape[axis + 1]
    if each.constant == 1:
        return val.val, lambda at: [val.time(at[axis]), *at[:axis], "0", *at[axis + 1:]]
    return val.val, lambda at: [val.time(f"{wrap(at[axis])} / {each.inner}"), *at[:axis],
                                f"{wrap(at[axis])} % {each.inner}", *at[axis + 1:]]


@handles("flip")
def flip(call: Call) -> Val:
    x = call.val("self")
    for axis in call.axes("dims", x.rank):
        extent = x.shape[axis]
        x = moved(x, axis, extent, lambda a, e=extent: f"{e.inner} - 1 - {wrap(a)}")
    return x


@handles("roll")
def roll(call: Call) -> Val:
    x = call.val("self")
    shifts, dims = call.dims("shifts"), call.raw("dims")
    if not dims:
        flat = call.writer.reshaped(x, [call.writer.count(x.shape)])
        rolled = _rolled(flat, 0, shifts[0])
        return call.writer.reshaped(rolled, x.shape)
    for axis, shift in zip(dims, shifts, strict=True):
        x = _rolled(x, axis % x.rank, shift)
    return x


def _rolled(x: Val, axis: int, shift: Dim) -> Val:
    extent = x.shape[axis]
    back = f"-{shift.inner}" if shift.constant is None or shift.constant >= 0 else \
        str(-shift.constant)
    return moved(x, axis, extent, lambda a: f"({plus(a, back)}) % {extent.inner}")


def padded(call: Call, x: Val, before: Sequence[Dim], shape: list[Dim], value: str) -> Val:
    """x with `before[d]` places in front along axis d, up to `shape`, filled with `value`."""
    name = call.writer.tensor(x, call.name + "_in")
    moved_axes = [not (a.constant == 0 and s.same(d)) for a, s, d in zip(before, shape, x.shape)]

    def reader(at: Sequence[str]) -> str:
        places = [plus(a, "-" + b.text) if b.constant is None or b.constant >= 0
                  else plus(a, str(-b.constant)) for a, b in zip(at, before, strict=True)]
        text = f"{name}[{', '.join(places)}]"
        return f"({text} else {value})" if any(moved_axes) else text

    return Val(shape, x.kind, reader=reader)


@handles("constant_pad_nd", "pad")
def pad(call: Call) -> Val:
    x = call.val("self")
    mode = call.raw("mode", "constant") or "constant"
    amounts = call.dims("pad")
    zero = call.writer.fitter.literal(0)
    before = [zero] * x.rank
    for n in range(len(amounts) // 2):
        before[x.rank - 1 - n] = amounts[2 * n]
    value = call.operand("value") if call.has("value") else "0"
    assert isinstance(value, str)
    if mode != "constant":
        return mirrored(call, x, before, mode)
    return padded(call, x, before, call.out_shape(), value)


def mirrored(call: Call, x: Val, before: Sequence[Dim], mode: str) -> Val:
    """Padding by the nearest element, by reflection, or by wrapping around."""
    shape = call.out_shape()
    for axis, (start, extent, dim) in enumerate(zip(before, shape, x.shape, strict=True)):
        if extent.same(dim) and start.constant == 0:
            continue
        here = lambda a, s=start: plus(a, "-" + s.text)  # noqa: E731
        if mode == "replicate":
            place = lambda a, h=here, d=dim: f"min(max({h(a)}, 0), {d.text} - 1)"  # noqa: E731
        elif mode == "circular":
            place = lambda a, h=here, d=dim: f"({h(a)}) % {d.inner}"  # noqa: E731
        else:  # |i| folded at the far end: last - |last - |i||
            place = lambda a, h=here, d=dim: (  # noqa: E731
                f"min(max({d.inner} - 1 - max({d.inner} - 1 - max({h(a)}, 0 - ({h(a)})), "
                f"max({h(a)}, 0 - ({h(a)})) - ({d.inner} - 1)), 0), {d.inner} - 1)")
        x = moved(x, axis, extent, place)
    return x


@handles("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
         "replication_pad2d", "replication_pad3d")
def pad_edges(call: Call) -> Val:
    x = call.val("self")
    amounts = call.dims("padding")
    before = [call.writer.fitter.literal(0)] * x.rank
    for n in range(len(amounts) // 2):
        before[x.rank - 1 - n] = amounts[2 * n]
    return mirrored(call, x, before,
                    "reflect" if "reflection" in call.op._schema.name else "replicate")


@handles("tril", "triu")
def triangle(call: Call) -> Val:
    x = call.val("self")
    diagonal = int(call.raw("diagonal"))
    sign = "<=" if "tril" in call.op._schema.name else ">="

    def inside(at: Sequence[str]) -> str:
        return f"{at[-1]} {sign} {plus(at[-2], str(diagonal))}"

    if x.kind == "b":
        return Val(x.shape, "b", condition=lambda at: f"({inside(at)}) and ({x.truth(at)})")
    if x.name is not None and x.kind == "f":
        return call.writer.statement(call.name, x.shape,
                                     lambda at: f"select({inside(at)}, {x.read(at)}, 0)")
    return Val(x.shape, x.kind, reader=lambda at: f"select({inside(at)}, {x.read(at)}, 0)")


@handles("diag", "diag_embed", "diagonal")
def diagonal(call: Call) -> Val:
    x = call.val("self")
    name = call.op._schema.name.split("::")[-1]
    offset = int(call.raw("diagonal" if name == "diag" else "offset"))
    if name == "diagonal" or (name == "diag" and x.rank == 2):
        a, b = (0, 1) if name == "diag" else (call.axis("dim1", x.rank), call.axis("dim2", x.rank))
        kept = [d for d in range(x.rank) if d not in (a, b)]

        def places(at: Sequence[str]) -> list[str]:
            made = [""] * x.rank
            for text, d in zip(at, kept):
                made[d] = text
            made[a] = plus(at[-1], str(max(-offset, 0)))
            made[b] = plus(at[-1], str(max(offset, 0)))
            return made
        return x.through(call.out_shape(), places)
    shape = call.out_shape()

    def reader(at: Sequence[str]) -> str:
        inner = [*at[:-2], plus(at[-2], str(-max(-offset, 0))) if offset < 0 else at[-2]]
        return f"select({at[-1]} == {plus(at[-2], str(offset))}, {x.read(inner)}, 0)"
    return Val(shape, "f", reader=reader)
