# SPDX-License-Identifier: Apache-2.0
"""Views, joins, paddings, constants and gathers. Views cost nothing until they are read."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quern.importer.dims import Dim, combine
from quern.importer.trace import Untraceable
from quern.importer.values import Val, plus, wrap
from quern.importer.writer import Call, filled, handles, stretched


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


def _start(call: Call, name: str, extent: Dim) -> Dim:
    values = call.bound[name]
    if values[0] is None:
        return call.writer.fitter.literal(0)
    placed = [v + e if v < 0 else min(v, e) for v, e in zip(values, extent.values, strict=True)]
    return call.writer.fitter.fit(placed, f"{name} of {call.op}", [extent, *call.near()])


@handles("slice", "narrow")
def cut(call: Call) -> Val:
    x = call.val("self")
    axis = call.axis("dim", x.rank)
    start = _start(call, "start", x.shape[axis])
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
    place = _start(call, "index", x.shape[axis])
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
    vals = [v for v in call.vals("tensors") if stack or v.rank > 1 or v.shape[0].constant != 0]
    shape = call.out_shape()
    axis = call.axis("dim", len(shape))
    ends, total = [], call.writer.fitter.literal(0)
    for val in vals:
        total = combine("+", total, call.writer.fitter.literal(1) if stack else val.shape[axis])
        ends.append(total)

    def body(at: Sequence[str]) -> str:
        made = ""
        for n in range(len(vals) - 1, -1, -1):
            begin = ends[n - 1] if n else None
            place = at[axis] if begin is None else plus(at[axis], "-" + begin.text)
            inner = list(at)
            if stack:
                del inner[axis]
            else:
                inner[axis] = place
            item = vals[n].read(inner)
            made = item if not made else f"select({at[axis]} < {ends[n].text}, {item}, {made})"
        return made

    if len(vals) == 1 and not stack:
        return vals[0]
    kind = "f" if call.kind == "f" else "i"
    return call.writer.statement(call.name, shape, body, kind)


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
                f"{d.inner} - 1 - max({d.inner} - 1 - max({h(a)}, 0 - ({h(a)})), "
                f"max({h(a)}, 0 - ({h(a)})) - ({d.inner} - 1))")
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


@handles("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones",
         "new_full", "scalar_tensor", "empty", "empty_like", "new_empty", "zero_", "fill_", "fill",
         "zero", "scalar_tensor", "empty_strided")
def fill(call: Call) -> Val:
    name = call.op._schema.name.split("::")[-1]
    if "one" in name:
        value: Any = "1"
    elif name == "scalar_tensor":
        value = call.operand("s")
    elif "full" in name:
        value = call.operand("fill_value")
    elif "fill" in name:
        value = call.operand("value")
    else:
        value = "0"
    if isinstance(value, Val):
        value = value.read([])
    return filled(call.out_shape(), value, call.kind)


@handles("arange")
def arange(call: Call) -> Val:
    start = call.operand("start") if call.has("start") else "0"
    step = call.operand("step") if call.has("step") else "1"
    shape = call.out_shape()
    if call.kind == "f":
        return Val(shape, "f", reader=lambda at: f"({start} + {step} * index({at[0]}))")
    scaled = (lambda at: at[0]) if step == "1" else (lambda at: f"{wrap(at[0])} * {step}")
    return Val(shape, "i", indexer=lambda at: plus(scaled(at), str(start)))


@handles("eye")
def eye(call: Call) -> Val:
    return Val(call.out_shape(), "f", reader=lambda at: f"select({at[0]} == {at[1]}, 1, 0)")


@handles("linspace")
def linspace(call: Call) -> Val:
    start, end = call.operand("start"), call.operand("end")
    steps = call.out_shape()[0]
    return Val([steps], "f", reader=lambda at: f"({start} + ({end} - {start}) * index({at[0]}) / "
                                               f"index({steps.inner} - 1))")


def gathered(call: Call, index: Val, wish: str) -> Callable[[Sequence[str]], str]:
    """Elements of a tensor of whole numbers, as indices."""
    if index.index(["0"] * index.rank) is None:
        call.writer.tensor(index, wish)
    return lambda at: str(index.index(at))


@handles("gather")
def gather(call: Call) -> Val:
    x, index = call.val("self"), call.val("index")
    axis, place = call.axis("dim", x.rank), gathered(call, call.val("index"), call.name + "_at")
    return x.through(index.shape, lambda at: [place(at) if d == axis else a
                                              for d, a in enumerate(at)])


@handles("index_select", "embedding")
def index_select(call: Call) -> Val:
    embedding = call.op._schema.name == "aten::embedding"
    x = call.val("weight" if embedding else "self")
    index = call.val("indices" if embedding else "index")
    axis = 0 if embedding else call.axis("dim", x.rank)
    place = gathered(call, index, call.name + "_at")
    shape = [*x.shape[:axis], *index.shape, *x.shape[axis + 1:]]
    width = index.rank
    return x.through(shape, lambda at: [*at[:axis], place(at[axis:axis + width]),
                                        *at[axis + width:]])


@handles("index")
def index(call: Call) -> Val:
    x = call.val("self")
    rows = [one for one in call.bound["indices"]]
    items = [None if rows[0][d] is None else call.writer.value([r[d] for r in rows])
             for d in range(len(rows[0]))]
    if any(i is not None and i.kind == "b" for i in items):
        raise Untraceable("indexing by a mask: the shape of the result depends on the data")
    where = [d for d, i in enumerate(items) if i is not None]
    if where != list(range(where[0], where[-1] + 1)):
        raise Untraceable("indexing by tensors that are not side by side")
    shape = call.out_shape()
    width = max(items[d].rank for d in where)
    common = shape[where[0]:where[0] + width]
    places = {d: gathered(call, items[d], call.name + "_at") for d in where}

    def source(at: Sequence[str]) -> list[str]:
        here = at[where[0]:where[0] + width]
        rest = [*at[:where[0]], *at[where[0] + width:]]
        return [places[d](stretched(items[d], common, here)) if d in places else rest.pop(0)
                for d in range(x.rank)]
    return x.through(shape, source)


@handles("slice_scatter", "select_scatter")
def scatter(call: Call) -> Val | str:
    x, source = call.val("self"), call.val("src")
    axis = call.axis("dim", x.rank)
    one = call.op._schema.name == "aten::select_scatter"
    start = _start(call, "index" if one else "start", x.shape[axis])
    step = 1 if one else int(call.raw("step") or 1)
    end = start if one else combine("+", start, combine(
        "*", source.shape[axis], call.writer.fitter.literal(step)))

    def body(at: Sequence[str]) -> str:
        here = at[axis]
        offset = plus(here, "-" + start.inner) if start.constant != 0 else here
        if one:
            inner = [*at[:axis], *at[axis + 1:]]
            test = f"{here} == {start.text}"
        else:
            inner = list(at)
            inner[axis] = offset if step == 1 else f"({offset}) / {step}"
            test = f"{here} >= {start.text} and {here} < {end.text}"
            if step != 1:
                test += f" and ({offset}) % {step} == 0"
        return f"select({test}, {source.read(inner)}, {x.read(at)})"

    return call.writer.statement(call.name, x.shape, body)


@handles("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold")
def blocks(call: Call) -> Val:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    shape = call.out_shape()
    if name == "unfold":
        axis, step = call.axis("dimension", x.rank), call.dim("step")
        return x.through(shape, lambda at: [
            f"{wrap(a)} * {step.inner} + {wrap(at[-1])}" if d == axis else a
            for d, a in enumerate(at[:-1])])
    if name == "channel_shuffle":
        groups = call.raw("groups")
        width = combine("/", x.shape[1], call.writer.fitter.literal(groups))
        return moved(x, 1, shape[1], lambda a: f"{wrap(a)} % {groups} * {width.inner} + "
                                               f"{wrap(a)} / {groups}")
    r = int(call.raw("upscale_factor" if name == "pixel_shuffle" else "downscale_factor"))

    def places(at: Sequence[str]) -> list[str]:
        c, h, w = (wrap(a) for a in at[-3:])
        if name == "pixel_shuffle":
            return [*at[:-3], f"{c} * {r * r} + {h} % {r} * {r} + {w} % {r}", f"{h} / {r}",
                    f"{w} / {r}"]
        return [*at[:-3], f"{c} / {r * r}", f"{h} * {r} + {c} / {r} % {r}",
                f"{w} * {r} + {c} % {r}"]
    return x.through(shape, places)


@handles("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample(call: Call) -> Val:
    x, shape = call.val("input" if "input" in call.bound else "self"), call.out_shape()
    for axis in range(2, x.rank):
        old, new = x.shape[axis], shape[axis]
        x = moved(x, axis, new, lambda a, o=old, n=new: f"{wrap(a)} * {o.inner} / {n.inner}")
    return x


def _between(x: Val, axis: int, old: Dim, new: Dim, aligned: bool) -> Val:
    """Linear interpolation along one axis."""
    shape = [new if d == axis else dim for d, dim in enumerate(x.shape)]
    if old.same(new):
        return x
    # The place among the old elements is above / below, a quotient of whole numbers.
    above = (lambda a: f"{wrap(a)} * ({old.inner} - 1)") if aligned else (
        lambda a: f"max((2 * {wrap(a)} + 1) * {old.inner} - {new.inner}, 0)")
    below = f"({new.inner} - 1)" if aligned else f"(2 * {new.inner})"

    def reader(at: Sequence[str]) -> str:
        here = above(at[axis])
        first = f"({here}) / {below}"
        left, right = list(at), list(at)
        left[axis] = f"min({first}, {old.text} - 1)"
        right[axis] = f"min({first} + 1, {old.text} - 1)"
        share = f"(index(({here}) % {below}) / index({below}))"
        return f"({x.read(left)} * (1 - {share}) + {x.read(right)} * {share})"

    return Val(shape, "f", reader=reader)


@handles("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def interpolate(call: Call) -> Val:
    x, shape = call.val("input" if "input" in call.bound else "self"), call.out_shape()
    scales = call.raw("scale_factors", None) or []
    for old, new, scale in zip(x.shape[2:], shape[2:], scales):
        if any(int(v * scale) != v * scale or v * scale != w
               for v, w in zip(old.values, new.values, strict=True)):
            raise Untraceable("an interpolation by a factor that does not divide")
    call.writer.tensor(x, call.name + "_in")
    aligned = bool(call.raw("align_corners"))
    made = x
    for axis in range(2, x.rank):
        made = _between(made, axis, x.shape[axis], shape[axis], aligned)
    return call.writer.statement(call.name, shape, made.read)


@handles("im2col")
def im2col(call: Call) -> Val:
    x, out = call.val("self"), call.out_shape()
    taps, dilation = call.spread("kernel_size", 2), call.spread("dilation", 2)
    padding, stride = call.spread("padding", 2), call.spread("stride", 2)
    lit = call.writer.fitter.literal
    columns = call.writer.named_extent(combine("+", combine("/", combine(
        "+", x.shape[-1], lit(2 * padding[1] - dilation[1] * (taps[1] - 1) - 1)), lit(stride[1])),
        lit(1)), "columns")
    name = call.writer.tensor(x, call.name + "_in")

    def reader(at: Sequence[str]) -> str:
        *lead, tap, place = at
        tap, place = wrap(tap), wrap(place)
        channel = f"{tap} / {taps[0] * taps[1]}"
        rows = plus(f"{place} / {columns.inner} * {stride[0]} + {tap} / {taps[1]} % {taps[0]} * "
                    f"{dilation[0]}", str(-padding[0]))
        across = plus(f"{place} % {columns.inner} * {stride[1]} + {tap} % {taps[1]} * "
                      f"{dilation[1]}", str(-padding[1]))
        text = f"{name}[{', '.join([*lead, channel, rows, across])}]"
        return f"({text} else 0)" if any(padding) else text

    return Val(out, "f", reader=reader)


@handles("one_hot")
def one_hot(call: Call) -> Val:
    x = call.val("self")
    place = gathered(call, x, call.name + "_at")
    return Val(call.out_shape(), "i",
               reader=lambda at: f"select({place(at[:-1])} == {at[-1]}, 1, 0)")
