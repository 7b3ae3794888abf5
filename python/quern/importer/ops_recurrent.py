# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers (LSTM, GRU, RNN): the input's projection for all steps at once, then statements
that read themselves one step earlier along the axis of time."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import Dim
from quern.importer.recorder import Untraceable
from quern.importer.values import Val

TIME = "t"


@dataclasses.dataclass
class Direction:
    """One direction of one layer: its parameters and initial state."""

    weights: list[Val]  # of the input, of the state; biases of both, and the projection, if any
    state: list[Val | None]  # h and c before the first step; None where they are zero
    backwards: bool


class Layer:
    """The names that the statements of one direction share. `order` is that of the input's axes:
    steps and batch, or batch and steps."""

    def __init__(self, call: Call, x: Val, way: Direction, batch_first: bool, biased: bool,
                 projected: bool) -> None:
        self.call, self.way, self.writer = call, way, call.writer
        self.batch_first, self.projected = batch_first, projected
        order = x.shape[:2][::-1] if batch_first else x.shape[:2]
        wish = "seq" if "seq" not in self.writer.taken else "steps"
        self.steps, self.batch = self.writer.named_extent(order[0], wish), order[1]
        weights = [self.writer.tensor(w, call.name + "_w") for w in way.weights]
        self.u, self.bias = weights[1], weights[3] if biased else None
        self.hidden = way.weights[1].shape[0]
        self.width = way.weights[1].shape[1]
        self.out = weights[-1] if projected else None
        parts = [self.writer.tensor(x, call.name + "_in"), weights[0], *weights[2:2 + biased]]
        self.xg = self.writer.operator(call, f"linear({', '.join(parts)})",
                                       [*x.shape[:2], self.hidden]).name
        self.axes = self.writer.axes(3, avoid=[TIME])

    def at(self, name: str, *rest: str, time: str = TIME) -> str:
        b = self.axes[0]
        lead = [b, time] if self.batch_first else [time, b]
        return f"{name}[{', '.join([*lead, *rest])}]"

    def before(self, name: str, index: str, which: int = 0) -> str:
        """A member one step earlier, the initial state before the first."""
        start = self.way.state[which]
        first = start.read([self.axes[0], index]) if start is not None else "0"
        earlier = f"{TIME} + 1" if self.way.backwards else f"{TIME} - 1"
        return f"({self.at(name, index, time=earlier)} else {first})"

    def through_u(self, h: str, row: str) -> str:
        """The state's product with the recurrent weights, and its bias."""
        k = self.axes[2]
        text = f"(sum[{k} < {self.width.text}] {self.u}[{row}, {k}] * {self.before(h, k)})"
        return text if self.bias is None else f"{self.bias}[{row}] + {text}"

    def member(self, name: str, axis: str, extent: Dim, text: str) -> Val:
        steps, batch = f"{TIME} < {self.steps.text}", f"{self.axes[0]} < {self.batch.text}"
        lead = [batch, steps] if self.batch_first else [steps, batch]
        dims = [self.batch, self.steps] if self.batch_first else [self.steps, self.batch]
        return self.writer.line(name, f"{name}[{', '.join([*lead, f'{axis} < {extent.text}'])}]"
                                      f" = {text}", [*dims, extent])

    def last(self, val: Val) -> Val:
        """The state after the last step."""
        text = "0" if self.way.backwards else f"{self.steps.inner} - 1"
        return val.through([val.shape[0 if self.batch_first else 1], val.shape[2]],
                           lambda at: [at[0], text, at[1]] if self.batch_first
                           else [text, at[0], at[1]])


def _part(extent: Dim, number: int, axis: str) -> str:
    """The place of a unit in gate `number` of those that stand one after the other."""
    return axis if number == 0 else f"{extent.inner} + {axis}" if number == 1 else \
        f"{number} * {extent.inner} + {axis}"


def lstm_layer(layer: Layer) -> list[Val]:
    w, j = layer.writer, layer.axes[1]
    g, c, h = (w.fresh(f"{layer.call.name}_{n}") for n in ("gates", "cell", "hidden"))
    units = w.fitter.fit([v // 4 for v in layer.hidden.values], "an LSTM's units", [layer.width])
    layer.member(g, j, layer.hidden, f"{layer.at(layer.xg, j)} + {layer.through_u(h, j)}")

    def gate(number: int, index: str) -> str:
        return layer.at(g, _part(units, number, index))

    cell = layer.member(c, j, units, f"sigmoid({gate(1, j)}) * {layer.before(c, j, 1)} + "
                                     f"sigmoid({gate(0, j)}) * tanh({gate(2, j)})")
    k = layer.axes[2]
    text = f"sigmoid({gate(3, j)}) * tanh({layer.at(c, j)})" if layer.out is None else (
        f"sum[{k} < {units.text}] {layer.out}[{j}, {k}] * sigmoid({gate(3, k)}) * "
        f"tanh({layer.at(c, k)})")
    return [layer.member(h, j, layer.width, text), cell]


def gru_layer(layer: Layer) -> list[Val]:
    w, j = layer.writer, layer.axes[1]
    g, h = (w.fresh(f"{layer.call.name}_{n}") for n in ("gates", "hidden"))
    layer.member(g, j, layer.hidden, layer.through_u(h, j))

    def gate(number: int) -> str:
        at = _part(layer.width, number, j)
        return f"sigmoid({layer.at(layer.xg, at)} + {layer.at(g, at)})"

    new = _part(layer.width, 2, j)
    fresh = f"tanh({layer.at(layer.xg, new)} + {gate(0)} * {layer.at(g, new)})"
    return [layer.member(h, j, layer.width,
                         f"(1 - {gate(1)}) * {fresh} + {gate(1)} * {layer.before(h, j)}")]


def rnn_layer(layer: Layer, function: str) -> list[Val]:
    j, h = layer.axes[1], layer.writer.fresh(f"{layer.call.name}_hidden")
    return [layer.member(h, j, layer.width, f"{function}({layer.at(layer.xg, j)} + "
                                            f"{layer.through_u(h, j)})")]


def _joined(call: Call, ways: Sequence[Val], axis: int) -> Val:
    """Tensors of one shape, one after the other along the last axis or along a new first one."""
    if len(ways) == 1 and axis != 0:
        return ways[0]
    w, one = call.writer, ways[0]
    if axis == 0:
        def chosen(at: Sequence[str]) -> str:
            if at[0].isdigit():
                return ways[int(at[0])].read(at[1:])
            text = ways[-1].read(at[1:])
            for n in range(len(ways) - 2, -1, -1):
                text = f"select({at[0]} == {n}, {ways[n].read(at[1:])}, {text})"
            return text

        return Val([w.fitter.literal(len(ways)), *one.shape], "f", reader=chosen)
    width = one.shape[-1]
    shape = [*one.shape[:-1], w.fitter.fit([2 * v for v in width.values], "both ways", [width])]
    return w.statement(f"{call.name}_both", shape, lambda at: (
        f"select({at[-1]} < {width.text}, {ways[0].read(at)}, "
        f"{ways[1].read([*at[:-1], f'{at[-1]} - {width.inner}'])})"))


def _initial(state: Val, number: int, count: int) -> Val | None:
    """The initial state of one direction; None where it is zero."""
    if state.name is None and state.read(["0"] * state.rank) == "0":
        return None
    return state.through(state.shape[1:], lambda at: [str(number) if count > 1 else "0", *at])


@handles("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(call: Call) -> Any:
    kind = call.op._schema.name.split("::")[-1]
    if "batch_sizes" in call.bound or "data" in call.bound:
        raise Untraceable(f"{kind} over a packed batch: lengths that depend on data")
    layers, both = int(call.raw("num_layers")), bool(call.raw("bidirectional"))
    if layers > 1 and call.raw("train") and float(call.raw("dropout")) > 0:
        raise Untraceable("dropout draws random numbers in every call")
    x, first, biased = call.val("input"), bool(call.raw("batch_first")), bool(
        call.raw("has_biases"))
    states = call.vals("hx") if kind == "lstm" else [call.val("hx")]
    params, ways = call.vals("params"), 1 + both
    each = len(params) // (layers * ways)
    projected = each > 2 + 2 * biased
    write: dict[str, Callable[[Layer], list[Val]]] = {
        "lstm": lstm_layer, "gru": gru_layer, "rnn_tanh": lambda p: rnn_layer(p, "tanh"),
        "rnn_relu": lambda p: rnn_layer(p, "relu")}
    ends: list[list[Val]] = [[] for _ in states]
    for number in range(layers * ways):
        way = Direction(params[number * each:(number + 1) * each],
                        [_initial(s, number, layers * ways) for s in states], number % ways == 1)
        layer = Layer(call, x, way, first, biased, projected)
        made = write[kind](layer)
        for end, val in zip(ends, made):
            end.append(layer.last(val))
        done = [*done, made[0]] if number % ways else [made[0]]
        if len(done) == ways:
            x = _joined(call, done, -1)
    return [x, *(_joined(call, end, 0) for end in ends)]


def _cell(call: Call, gates: int) -> tuple[Callable[..., str], list[Dim], Val]:
    """The text of a cell's projections: of the input, of the state, and of both."""
    x, w, u = call.val("input"), call.val("w_ih"), call.val("w_hh")
    h = call.vals("hx")[0] if isinstance(call.bound["hx"][0], (list, tuple)) else call.val("hx")
    biases = call.maybe("b_ih"), call.maybe("b_hh")
    k = call.writer.axes(3)[-1]

    def text(b: str, q: str, part: str = "both") -> str:
        made = []
        for name, val, weight, bias in (("x", x, w, biases[0]), ("h", h, u, biases[1])):
            if part in ("both", name):
                made.append(f"(sum[{k} < {weight.shape[1].text}] {weight.read([q, k])} * "
                            f"{val.read([b, k])})")
                made += [bias.read([q])] if bias is not None else []
        return " + ".join(made)

    rows = call.writer.fitter.fit([v // gates for v in w.shape[0].values], "a cell's units",
                                  [u.shape[1]])
    return text, [x.shape[0], rows], h


@handles("lstm_cell")
def lstm_cell(call: Call) -> list[Val]:
    text, shape, _ = _cell(call, 4)
    c, w = call.vals("hx")[1], call.writer
    g = w.statement(call.name + "_gates", [shape[0], call.val("w_ih").shape[0]],
                    lambda at: text(at[0], at[1]))

    def gate(number: int, at: Sequence[str]) -> str:
        return g.read([at[0], _part(shape[1], number, at[1])])

    cell = w.statement(call.name + "_cell", shape, lambda at: (
        f"sigmoid({gate(1, at)}) * {c.read(at)} + sigmoid({gate(0, at)}) * tanh({gate(2, at)})"))
    return [w.statement(call.name + "_hidden", shape, lambda at: (
        f"sigmoid({gate(3, at)}) * tanh({cell.read(at)})")), cell]


@handles("gru_cell")
def gru_cell(call: Call) -> Val:
    text, shape, h = _cell(call, 3)
    w = call.writer
    gates = [call.val("w_ih").shape[0]]
    xs, hs = (w.statement(f"{call.name}_{part}", [shape[0], *gates],
                          lambda at, p=part: text(at[0], at[1], p)) for part in "xh")

    def gate(number: int, at: Sequence[str]) -> str:
        place = [at[0], _part(shape[1], number, at[1])]
        return f"sigmoid({xs.read(place)} + {hs.read(place)})"

    def body(at: Sequence[str]) -> str:
        place = [at[0], _part(shape[1], 2, at[1])]
        fresh = f"tanh({xs.read(place)} + {gate(0, at)} * {hs.read(place)})"
        return f"(1 - {gate(1, at)}) * {fresh} + {gate(1, at)} * {h.read(at)}"

    return w.statement(call.name + "_hidden", shape, body)


@handles("rnn_tanh_cell", "rnn_relu_cell")
def rnn_cell(call: Call) -> Val:
    text, shape, _ = _cell(call, 1)
    function = "relu" if "relu" in call.op._schema.name else "tanh"
    return call.writer.statement(call.name + "_hidden", shape,
                                 lambda at: f"{function}({text(at[0], at[1])})")
