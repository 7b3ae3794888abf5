# SPDX-License-Identifier: Apache-2.0
"""Constants, gathers and scatters: tensors whose elements come by their places."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import Dim, combine
from quern.importer.ops_shape import start_of
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, filled, plus, stretched, wrap


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


def gathered(call: Call, index: Val, wish: str,
             extent: Dim | None = None) -> Callable[[Sequence[str]], str]:
    """Elements of a tensor of whole numbers, as indices. Those that the task computes itself have
    no promised range: they are held inside `extent`, where the module needs them to be."""
    if index.index(["0"] * index.rank) is None:
        call.writer.tensor(index, wish)

    def place(at: Sequence[str]) -> str:
        text = str(index.index(at))
        if extent is None or not call.writer.reads_computed(text):
            return text
        return f"min(max({text}, 0), {extent.text} - 1)"

    return place


@handles("gather")
def gather(call: Call) -> Val:
    x, index = call.val("self"), call.val("index")
    axis = call.axis("dim", x.rank)
    place = gathered(call, index, call.name + "_at", x.shape[axis])
    return x.through(index.shape, lambda at: [place(at) if d == axis else a
                                              for d, a in enumerate(at)])


@handles("index_select", "embedding")
def index_select(call: Call) -> Val:
    embedding = call.op._schema.name == "aten::embedding"
    x = call.val("weight" if embedding else "self")
    index = call.val("indices" if embedding else "index")
    axis = 0 if embedding else call.axis("dim", x.rank)
    place = gathered(call, index, call.name + "_at", x.shape[axis])
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
    places = {d: gathered(call, items[d], call.name + "_at", x.shape[d]) for d in where}

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
    start = start_of(call, "index" if one else "start", x.shape[axis])
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

    return call.writer.statement(call.name, x.shape, body, "f" if x.kind == "f" else "i")


@handles("one_hot")
def one_hot(call: Call) -> Val:
    x = call.val("self")
    place = gathered(call, x, call.name + "_at")
    return Val(call.out_shape(), "i",
               reader=lambda at: f"select({place(at[:-1])} == {at[-1]}, 1, 0)")


@handles("scatter_add", "index_add")
def scatter_add(call: Call) -> Val | str:
    """Each place takes the sum of what is sent there: a sum over all that might be."""
    x, index = call.val("self"), call.val("index")
    rows = call.op._schema.name == "aten::index_add"
    source = call.val("source" if rows else "src")
    axis, shape = call.axis("dim", x.rank), call.out_shape()
    place = gathered(call, index, call.name + "_at")
    if not rows and any(not a.same(b) for d, (a, b) in enumerate(zip(index.shape, x.shape))
                        if d != axis):
        raise Untraceable("a scatter that fills only part of the other axes")
    alpha, extent = call.operand("alpha") if rows else "1", index.shape[0 if rows else axis]
    inner = call.writer.axes(len(shape) + 1)[-1]

    def body(at: Sequence[str]) -> str:
        there = [inner if d == axis else a for d, a in enumerate(at)]
        sent = source.read(there) if alpha == "1" else f"{alpha} * {source.read(there)}"
        return (f"{x.read(at)} + (sum[{inner} < {extent.text}] select("
                f"{place([inner] if rows else there)} == {at[axis]}, {sent}, 0))")

    return call.writer.statement(call.name, shape, body)
