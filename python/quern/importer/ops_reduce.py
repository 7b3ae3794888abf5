# SPDX-License-Identifier: Apache-2.0
"""Reductions, scans, softmax and normalisations."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import real_text
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, stretched

OPERATORS = {"sum", "mean", "prod", "max", "min"}


def reduced(call: Call, x: Val, axes: Sequence[int], word: str, form: str = "{0}",
            finish: str = "{0}", kind: str = "f") -> Val:
    """`finish(word over axes of form(x))`, without those axes."""
    writer = call.writer
    kept = [d for d in range(x.rank) if d not in axes]
    shape = [x.shape[d] for d in kept]
    # An axis of extent 1 holds nothing to reduce; its index is 0.
    if not word.startswith("arg"):
        axes = [a for a in axes if x.shape[a].constant != 1]
    if not axes:
        return writer.statement(call.name, shape, lambda at: finish.format(
            form.format(x.read(_spread(x, kept, at)))), kind)
    plain = form == "{0}" and finish == "{0}" and x.name is not None and x.kind == "f"
    if plain and word in OPERATORS and kind == "f":
        places = ", ".join(str(a) for a in axes)
        return writer.operator(call, f"{word}({x.name}, axis = "
                                     f"{places if len(axes) == 1 else f'({places})'})", shape)
    names = writer.axes(x.rank)
    outer, inner = names[:len(kept)], names[len(kept):]

    def body(at: Sequence[str]) -> str:
        place = _spread(x, kept, at)
        for text, d in zip(inner, axes):
            place[d] = text
        text = form.format(x.read(place))
        over = ", ".join(f"{n} < {x.shape[d].text}" for n, d in zip(inner, axes))
        whole = f"{word}[{over}] {text}"
        return whole if finish == "{0}" else finish.format(f"({whole})")

    assert list(outer) == names[:len(kept)]
    return writer.statement(call.name, shape, body, kind)


def _spread(x: Val, kept: Sequence[int], at: Sequence[str]) -> list[str]:
    place = ["0"] * x.rank
    for text, d in zip(at, kept, strict=True):
        place[d] = text
    return place


def kept_as_ones(call: Call, val: Val, axes: Sequence[int], rank: int) -> Val:
    shape = iter(val.shape)
    one = call.writer.fitter.literal(1)
    return call.writer.reshaped(val, [one if d in axes else next(shape) for d in range(rank)])


def finish(call: Call, val: Val, axes: Sequence[int], rank: int) -> Val:
    return kept_as_ones(call, val, axes, rank) if call.raw("keepdim", False) else val


def axes_of(call: Call, rank: int) -> list[int]:
    name = next((n for n in ("dim", "dims") if n in call.bound), None)
    return call.axes(name, rank) if name and call.has(name) else list(range(rank))


@handles("sum", "mean", "prod", "amax", "amin", "any", "all", "nansum")
def reduce(call: Call) -> Val:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    axes = axes_of(call, x.rank)
    if name in ("any", "all"):
        made = reduced(call, Val(x.shape, "i", reader=lambda at: f"select({x.truth(at)}, 1, 0)"),
                       axes, "max" if name == "any" else "min", kind="i")
    else:
        word = {"amax": "max", "amin": "min", "nansum": "sum"}.get(name, name)
        made = reduced(call, x, axes, word, kind="i" if call.kind == "i" else "f")
    return finish(call, made, axes, x.rank)


@handles("argmax", "argmin")
def position(call: Call) -> Val:
    x, word = call.val("self"), call.op._schema.name.split("::")[-1]
    if not call.has("dim"):
        x = call.writer.reshaped(x, [call.writer.count(x.shape)])
        return reduced(call, x, [0], word, kind="i")
    axis = call.axis("dim", x.rank)
    return finish(call, reduced(call, x, [axis], word, kind="i"), [axis], x.rank)


@handles("max", "min")
def extreme(call: Call) -> Any:
    x, word = call.val("self"), call.op._schema.name.split("::")[-1]
    if "other" in call.bound:
        return call.writer.pointwise(call, f"{word}({{0}}, {{1}})", [x, call.val("other")])
    if "dim" not in call.bound:
        return reduced(call, x, list(range(x.rank)), word)
    axis = call.axis("dim", x.rank)
    value = _Late(lambda: finish(call, reduced(call, x, [axis], word), [axis], x.rank))
    place = _Late(lambda: finish(call, reduced(call, x, [axis], "arg" + word, kind="i"), [axis],
                                 x.rank))
    return value, place


class _Late:
    """One of several results, written only where it is used."""

    def __init__(self, make: Any) -> None:
        self.make, self.made = make, None

    def get(self) -> Val:
        if self.made is None:
            self.made = self.make()
        return self.made


@handles("var", "std", "var_mean", "std_mean")
def variance(call: Call) -> Any:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    axes = axes_of(call, x.rank)
    less = call.raw("correction", None)
    less = int(call.raw("unbiased", True)) if "unbiased" in call.bound else 1 if less is None \
        else less
    mean = reduced(call, x, axes, "mean")
    wide = kept_as_ones(call, mean, axes, x.rank)
    gap = Val(x.shape, "f", reader=lambda at: f"({x.read(at)} - "
                                              f"{wide.read(stretched(wide, x.shape, at))})")
    count = call.writer.count([x.shape[a] for a in axes])
    under = f"index({count.text} - {less})" if less else f"index({count.text})"
    ends = f"sqrt({{0}} / {under})" if "std" in name else f"{{0}} / {under}"
    made = reduced(call, gap, axes, "sum", "{0} * {0}", ends)
    value = finish(call, made, axes, x.rank)
    return (value, finish(call, mean, axes, x.rank)) if "mean" in name else value


@handles("logsumexp")
def logsumexp(call: Call) -> Val:
    x = call.val("self")
    axes = axes_of(call, x.rank)
    top = reduced(call, x, axes, "max")
    wide = kept_as_ones(call, top, axes, x.rank)
    shifted = Val(x.shape, "f", reader=lambda at: f"exp({x.read(at)} - "
                                                  f"{wide.read(stretched(wide, x.shape, at))})")
    total = reduced(call, shifted, axes, "sum")
    made = call.writer.statement(call.name, top.shape,
                                 lambda at: f"log({total.read(at)}) + {top.read(at)}")
    return finish(call, made, axes, x.rank)


@handles("linalg_vector_norm", "norm", "frobenius_norm", "linalg_norm", "linalg_matrix_norm")
def norm(call: Call) -> Val:
    x = call.val("self")
    name = call.op._schema.name.split("::")[-1]
    order = call.raw("ord", None) if "ord" in call.bound else call.raw("p", 2)
    if name == "linalg_matrix_norm" or name == "linalg_norm" and order is not None and (
            x.rank == 2 if not call.has("dim") else len(call.axes("dim", x.rank)) == 2):
        if order not in (None, "fro"):
            return matrix_norm(call, x, order)
    order = 2.0 if order in (None, "fro") else float(order)
    axes = axes_of(call, x.rank)
    if order == 2:
        made = reduced(call, x, axes, "sum", "{0} * {0}", "sqrt({0})")
    elif order == 1:
        made = reduced(call, x, axes, "sum", "abs({0})")
    elif order in (float("inf"), float("-inf")):
        made = reduced(call, x, axes, "max" if order > 0 else "min", "abs({0})")
    elif order == 0:
        made = reduced(call, x, axes, "sum", "select({0} != 0, 1, 0)")
    else:
        text = real_text(order)
        made = reduced(call, x, axes, "sum", f"pow(abs({{0}}), {text})",
                       f"pow({{0}}, 1 / {text})")
    return finish(call, made, axes, x.rank)


def matrix_norm(call: Call, x: Val, order: Any) -> Val:
    """The greatest (or least) sum of magnitudes of a column (order 1) or of a row (infinity)."""
    if abs(float(order)) not in (1.0, float("inf")) if order != "nuc" else True:
        raise Untraceable(f"the matrix norm of order {order} takes singular values, for which the "
                          "task language has no form")
    rows, columns = [d % x.rank for d in call.raw("dim", None) or (-2, -1)]
    along, over = (rows, columns) if abs(float(order)) == 1 else (columns, rows)
    sums = reduced(call, x, [along], "sum", "abs({0})")
    made = reduced(call, sums, [over - (over > along)], "max" if float(order) > 0 else "min")
    return finish(call, made, [rows, columns], x.rank)


@handles("logcumsumexp")
def log_scan(call: Call) -> Val:
    x = call.val("self")
    axis = call.axis("dim", x.rank)
    top = kept_as_ones(call, reduced(call, x, [axis], "max"), [axis], x.rank)
    parts = call.writer.statement(
        call.name + "_sum", x.shape, lambda at: f"scan_sum[{at[axis]}] exp({x.read(at)} - "
        f"{top.read(stretched(top, x.shape, at))})")
    return call.writer.statement(call.name, x.shape, lambda at: f"log({parts.read(at)}) + "
                                 f"{top.read(stretched(top, x.shape, at))}")


@handles("cumsum", "cumprod", "cummax", "cummin")
def scan(call: Call) -> Any:
    x, name = call.val("self"), call.op._schema.name.split("::")[-1]
    axis = call.axis("dim", x.rank)
    if x.rank == 0:
        return x
    if x.name is not None and x.kind == "f":
        made = call.writer.operator(call, f"{name}({x.name}, axis = {axis})", x.shape)
    else:
        word = "scan_" + name.removeprefix("cum")
        made = call.writer.statement(call.name, x.shape, lambda at: f"{word}[{at[axis]}] "
                                                                    f"{x.read(at)}")
    if name in ("cummax", "cummin"):
        # The latest place so far whose element is the extreme of all up to it.
        return made, _Late(lambda: call.writer.statement(
            call.name + "_at", x.shape, lambda at: f"scan_max[{at[axis]}] select({x.read(at)} == "
            f"{made.read(at)}, {at[axis]}, 0)", "i"))
    return made


@handles("softmax", "log_softmax", "_softmax", "_log_softmax", "softmin")
def softmax(call: Call) -> Val:
    x = call.val("self")
    word = "log_softmax" if "log" in call.op._schema.name else "softmax"
    if x.rank == 0:
        return call.writer.statement(call.name, [], lambda at: "0" if "log" in word else "1")
    axis = call.axis("dim", x.rank)
    if call.writer.time:
        return _softmax_of_step(call, x, axis, "log" in word)
    return call.writer.operator(
        call, f"{word}({call.writer.tensor(x, call.name + '_in')}, axis = {axis})")


def _softmax_of_step(call: Call, x: Val, axis: int, logarithm: bool) -> Val:
    top = kept_as_ones(call, reduced(call, x, [axis], "max"), [axis], x.rank)
    less = call.writer.statement(call.name + "_less", x.shape, lambda at: (
        f"{x.read(at)} - {top.read(stretched(top, x.shape, at))}"))
    total = kept_as_ones(call, reduced(call, less, [axis], "sum", "exp({0})"), [axis], x.rank)
    form = "{0} - log({1})" if logarithm else "exp({0}) / {1}"
    return call.writer.statement(call.name, x.shape, lambda at: form.format(
        less.read(at), total.read(stretched(total, x.shape, at))))


# Normalisations.

def arguments(call: Call, x: Val, weight: Val | None, bias: Val | None) -> list[str]:
    writer = call.writer
    parts = [writer.tensor(x, call.name + "_in")]
    if weight is not None:
        parts.append("gamma = " + writer.tensor(weight, call.name + "_gamma"))
    if bias is not None:
        parts.append("beta = " + writer.tensor(bias, call.name + "_beta"))
    return parts


def epsilon(call: Call) -> list[str]:
    eps = call.raw("eps")
    return [] if eps in (None, 1e-5) else [f"eps = {real_text(float(eps))}"]


@handles("layer_norm", "native_layer_norm", "rms_norm")
def layer_norm(call: Call) -> Any:
    x, weight, bias = call.val("input"), call.maybe("weight"), call.maybe("bias")
    name = call.op._schema.name.split("::")[-1]
    count = len(call.bound["normalized_shape"][0])
    axes = list(range(x.rank - count, x.rank))
    if call.writer.time:
        made = _norm_of_step(call, x, weight, bias, axes)
        return (made, None, None) if "native" in name else made
    if name == "rms_norm":
        return rms_norm(call, x, weight, axes)
    if weight is None and bias is None and count > 1:
        ones = Val(x.shape[-count:], "f", reader=lambda at: "1")
        weight = call.writer.statement(call.name + "_gamma", ones.shape, ones.read)
    elif weight is None and bias is not None:
        raise Untraceable("a layer norm with shift but no scale")
    parts = arguments(call, x, weight, bias) + epsilon(call)
    made = call.writer.operator(call, f"layer_norm({', '.join(parts)})", x.shape)
    return (made, None, None) if "native" in name else made


def _norm_of_step(call: Call, x: Val, weight: Val | None, bias: Val | None,
                  axes: list[int]) -> Val:
    eps, less = call.raw("eps"), x
    if "rms_norm" not in call.op._schema.name:
        mean = kept_as_ones(call, reduced(call, x, axes, "mean"), axes, x.rank)
        less = call.writer.statement(call.name + "_less", x.shape, lambda at: (
            f"{x.read(at)} - {mean.read(stretched(mean, x.shape, at))}"))
    square = kept_as_ones(call, reduced(call, less, axes, "mean", "square({0})"), axes, x.rank)
    shift = real_text(float(1.1920928955078125e-07 if eps is None else eps))

    def body(at: Sequence[str]) -> str:
        text = f"{less.read(at)} * rsqrt({square.read(stretched(square, x.shape, at))} + {shift})"
        inner = at[axes[0]:]
        text = text if weight is None else f"{text} * {weight.read(inner)}"
        return text if bias is None else f"{text} + {bias.read(inner)}"

    return call.writer.statement(call.name, x.shape, body)


def rms_norm(call: Call, x: Val, weight: Val | None, axes: list[int]) -> Val:
    parts = [call.writer.tensor(x, call.name + "_in")]
    if weight is not None:
        parts.append("gamma = " + call.writer.tensor(weight, call.name + "_gamma"))
    eps = call.raw("eps")
    parts.append(f"eps = {real_text(float(1.1920928955078125e-07 if eps is None else eps))}")
    places = ", ".join(map(str, axes))
    parts.append(f"axis = {places if len(axes) == 1 else f'({places})'}")
    return call.writer.operator(call, f"rms_norm({', '.join(parts)})", x.shape)


@handles("group_norm", "native_group_norm")
def group_norm(call: Call) -> Any:
    x = call.val("input")
    native = "native" in call.op._schema.name
    groups = call.dim("group" if native else "num_groups")
    parts = arguments(call, x, call.maybe("weight"), call.maybe("bias"))
    parts.append(f"groups = {groups.text}")
    made = call.writer.operator(call, f"group_norm({', '.join(parts + epsilon(call))})", x.shape)
    return (made, None, None) if native else made


@handles("batch_norm", "native_batch_norm", "_native_batch_norm_legit",
         "_native_batch_norm_legit_functional", "cudnn_batch_norm", "_batch_norm_with_update",
         "_batch_norm_with_update_functional", "_native_batch_norm_legit_no_training")
def batch_norm(call: Call) -> Any:
    x = call.val("input")
    name = call.op._schema.name.split("::")[-1]
    weight, bias = call.maybe("weight"), call.maybe("bias")
    several = name != "batch_norm"
    training = "no_training" not in name and call.raw("training", True) is not False
    if training:
        parts = arguments(call, x, weight, bias) + epsilon(call)
        made = call.writer.operator(call, f"batch_norm({', '.join(parts)})", x.shape)
        return (made, *[None] * 6) if several else made
    mean, var = call.val("running_mean"), call.val("running_var")
    eps = real_text(float(call.raw("eps")))

    def body(at: Sequence[str]) -> str:
        channel = [at[1]]
        text = f"({x.read(at)} - {mean.read(channel)}) * rsqrt({var.read(channel)} + {eps})"
        text += f" * {weight.read(channel)}" if weight is not None else ""
        return text + (f" + {bias.read(channel)}" if bias is not None else "")

    made = call.writer.statement(call.name, x.shape, body, origin="batch_norm")
    return (made, *[None] * 6) if several else made


@handles("instance_norm")
def instance_norm(call: Call) -> Val:
    if call.raw("use_input_stats") is False:
        raise Untraceable("an instance norm with running statistics")
    x = call.val("input")
    parts = arguments(call, x, call.maybe("weight"), call.maybe("bias")) + epsilon(call)
    return call.writer.operator(call, f"instance_norm({', '.join(parts)})", x.shape)
