# SPDX-License-Identifier: Apache-2.0
"""Elements in order along an axis, by their ranks: how many come before each."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import Dim
from quern.importer.ops_reduce import Late, finish
from quern.importer.recorder import Untraceable
from quern.importer.values import Val

MOST_RANKED = 4096  # along the axis: every element is compared with every other


class Order:
    """The elements of one axis, least or greatest first; equal ones as they stand."""

    def __init__(self, call: Call, x: Val, axis: int, descending: bool) -> None:
        self.call, self.axis, self.extent = call, axis, x.shape[axis]
        if max(self.extent.values) > MOST_RANKED:
            raise Untraceable(f"{call.op} puts more than {MOST_RANKED} elements in order: by "
                              "ranks, every one is compared with every other")
        if x.kind != "f":
            raise Untraceable(f"{call.op} of whole numbers")
        writer = call.writer
        self.x = x if x.name is not None else writer.statement(call.name + "_in", x.shape, x.read)
        self.inner = writer.axes(x.rank + 1)[-1]
        test = "{0} > {1}" if descending else "{0} < {1}"

        def body(at: Sequence[str]) -> str:
            other, here = self.x.read(self._at(at, self.inner)), self.x.read(at)
            return (f"sum[{self.inner} < {self.extent.text}] select({test.format(other, here)} or "
                    f"{other} == {here} and {self.inner} < {at[axis]}, 1, 0)")

        self.ranks = writer.statement(call.name + "_rank", x.shape, body)

    def _at(self, at: Sequence[str], place: str) -> list[str]:
        return [*at[:self.axis], place, *at[self.axis + 1:]]

    def _of_rank(self, at: Sequence[str], rank: str, value: str) -> str:
        """`value`, at the inner axis, of the element of this rank."""
        found = self.ranks.read(self._at(at, self.inner))
        return (f"sum[{self.inner} < {self.extent.text}] select({found} == index({rank}), "
                f"{value}, 0)")

    def values(self, count: Dim, rank: str = "{0}", wish: str = "") -> Val:
        shape = [count if d == self.axis else dim for d, dim in enumerate(self.x.shape)]
        return self.call.writer.statement(wish or self.call.name, shape, lambda at: self._of_rank(
            at, rank.format(at[self.axis]), self.x.read(self._at(at, self.inner))))

    def places(self, count: Dim, rank: str = "{0}") -> Val:
        shape = [count if d == self.axis else dim for d, dim in enumerate(self.x.shape)]

        def body(at: Sequence[str]) -> str:
            here = self.ranks.read(self._at(at, self.inner))
            wanted = f"index({rank.format(at[self.axis])})"
            return f"argmax[{self.inner} < {self.extent.text}] select({here} == {wanted}, 1, 0)"

        return self.call.writer.statement(self.call.name + "_at", shape, body, "i")


@handles("sort", "argsort", "msort")
def sort(call: Call) -> Any:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    axis = call.axis("dim", x.rank) if "dim" in call.bound else 0
    order = Order(call, x, axis, bool(call.raw("descending", False)))
    values = Late(lambda: order.values(order.extent))
    places = Late(lambda: order.places(order.extent))
    return places.get() if name == "argsort" else values.get() if name == "msort" else (
        values, places)


@handles("topk")
def topk(call: Call) -> Any:
    x = call.val("self")
    order = Order(call, x, call.axis("dim", x.rank), bool(call.raw("largest")))
    count = call.dim("k")
    return Late(lambda: order.values(count)), Late(lambda: order.places(count))


@handles("kthvalue", "median", "nanmedian")
def ranked(call: Call) -> Any:
    """The element of one rank, and where it stands."""
    x, whole = call.val("self"), "dim" not in call.bound
    if whole:
        x = call.writer.reshaped(x, [call.writer.count(x.shape)])
    axis = 0 if whole else call.axis("dim", x.rank)
    order, one = Order(call, x, axis, False), call.writer.fitter.literal(1)
    rank = f"{call.dim('k').inner} - 1" if "k" in call.bound else f"({order.extent.inner} - 1) / 2"

    def one_of(val: Val) -> Val:
        shape = [dim for d, dim in enumerate(val.shape) if d != axis]
        made = val.through(shape, lambda at: [*at[:axis], "0", *at[axis:]])
        return made if whole else finish(call, made, [axis], x.rank)

    if whole:
        return one_of(order.values(one, rank))
    return Late(lambda: one_of(order.values(one, rank))), Late(
        lambda: one_of(order.places(one, rank)))
