# SPDX-License-Identifier: Apache-2.0
"""Losses and distances."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import Dim, real_text
from quern.importer.ops_reduce import finish, reduced
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, stretched


def averaged(call: Call, each: Val, default_count: Dim | None = None) -> Val:
    """A loss of each element, reduced as asked: 0 none, 1 mean, 2 sum."""
    how = int(call.raw("reduction", 1))
    if how == 0:
        return call.writer.statement(call.name, each.shape, each.read)
    axes = list(range(each.rank))
    if default_count is not None and how == 1:
        return reduced(call, each, axes, "sum", "{0}", f"{{0}} / index({default_count.text})")
    return reduced(call, each, axes, "mean" if how == 1 else "sum")


def _pair(call: Call, form: str) -> Val:
    a, b = call.val("self"), call.val("target")
    shape = a.shape if a.rank >= b.rank else b.shape
    if any(d.constant == 1 for d in shape):
        shape = [max((v.shape[d] for v in (a, b) if v.rank == len(shape)),
                     key=lambda dim: dim.values[0]) for d in range(len(shape))]
    return Val(shape, "f", reader=lambda at: form.format(
        a.read(stretched(a, shape, at)), b.read(stretched(b, shape, at))))


@handles("mse_loss")
def mse_loss(call: Call) -> Val:
    a, b = call.val("self"), call.val("target")
    if a.name and b.name and int(call.raw("reduction")) == 1 and a.rank == b.rank and a.rank and \
            all(p.same(q) for p, q in zip(a.shape, b.shape)):
        return call.writer.operator(call, f"mse_loss({a.name}, {b.name})", [])
    return averaged(call, _pair(call, "(({0} - {1}) * ({0} - {1}))"))


@handles("l1_loss")
def l1_loss(call: Call) -> Val:
    return averaged(call, _pair(call, "abs({0} - {1})"))


@handles("smooth_l1_loss", "huber_loss")
def smooth_l1_loss(call: Call) -> Val:
    huber = "huber" in call.op._schema.name
    edge = real_text(float(call.raw("delta" if huber else "beta")))
    if edge == "0":
        return averaged(call, _pair(call, "abs({0} - {1})"))
    inside = "0.5 * ({0} - {1}) * ({0} - {1})" + ("" if huber else f" / {edge}")
    outside = (f"{edge} * (abs({{0}} - {{1}}) - 0.5 * {edge})" if huber else
               f"abs({{0}} - {{1}}) - 0.5 * {edge}")
    return averaged(call, _pair(call, f"select(abs({{0}} - {{1}}) < {edge}, {inside}, {outside})"))


@handles("soft_margin_loss")
def soft_margin_loss(call: Call) -> Val:
    return averaged(call, _pair(call, "log1p(exp(-{0} * {1}))"))


@handles("kl_div")
def kl_div(call: Call) -> Val:
    form = ("(exp({1}) * ({1} - {0}))" if call.raw("log_target") else
            "select({1} > 0, {1} * (log({1}) - {0}), 0)")
    return averaged(call, _pair(call, form))


@handles("binary_cross_entropy", "binary_cross_entropy_with_logits")
def binary_cross_entropy(call: Call) -> Val:
    logits = "logits" in call.op._schema.name
    weight = call.maybe("weight")
    scale = call.maybe("pos_weight") if logits else None
    if logits and scale is None:
        form = "(max({0}, 0) - {0} * {1} + log1p(exp(-abs({0}))))"
    elif logits:
        form = "((1 - {1}) * {0} + (1 + (POS - 1) * {1}) * softplus(-{0}))"
    else:  # logarithms are held at -100
        form = "(0 - {1} * max(log({0}), -100) - (1 - {1}) * max(log(1 - {0}), -100))"
    each = _pair(call, form)

    def reader(at: Sequence[str]) -> str:
        text = each.read(at)
        if scale is not None:
            text = text.replace("POS", scale.read(stretched(scale, each.shape, at)))
        return text if weight is None else (
            f"({text} * {weight.read(stretched(weight, each.shape, at))})")

    return averaged(call, Val(each.shape, "f", reader=reader))


@handles("cross_entropy_loss")
def cross_entropy(call: Call) -> Val:
    x, labels = call.val("self"), call.val("target")
    smooth = float(call.raw("label_smoothing"))
    weight, whole = call.maybe("weight"), labels.kind == "i"
    plain = weight is None and smooth == 0 and call.raw("ignore_index") < 0
    writer = call.writer
    if whole and x.rank == 2 and plain and int(call.raw("reduction")) == 1:
        return writer.operator(call, f"cross_entropy({writer.tensor(x, 'logits')}, "
                                     f"{writer.tensor(labels, 'labels')})", [])
    axis = 1 if x.rank > 1 else 0
    logs = writer.line(
        name := writer.fresh("log_softmax_0"),
        f"{name} = log_softmax({writer.tensor(x, 'logits')}, axis = {axis})", x.shape)
    if whole:
        return likelihood(call, logs, labels, weight, smooth)
    share = labels.read if smooth == 0 else lambda at: (
        f"({real_text(1 - smooth)} * {labels.read(at)} + {real_text(smooth)} / "
        f"index({x.shape[axis].inner}))")
    each = Val(x.shape, "f", reader=lambda at: f"({logs.read(at)} * {share(at)}" + (
        ")" if weight is None else f" * {weight.read([at[axis]])})"))
    made = reduced(call, each, [axis], "sum", finish="-{0}")
    kept = [d for d in range(x.rank) if d != axis]
    count = x.shape[kept[0]] if kept else writer.fitter.literal(1)
    return averaged(call, made, writer.count([count, *[x.shape[d] for d in kept[1:]]]))


def likelihood(call: Call, logs: Val, labels: Val, weight: Val | None, smooth: float = 0.0) -> Val:
    """Of the labels, negated. `smooth`: the share of it that goes to all classes alike. A label
    that is ignored counts neither in the sum nor in the mean, which is over the labels' weights."""
    from quern.importer.ops_index import gathered
    axis, ignored = 1 if logs.rank > 1 else 0, int(call.raw("ignore_index"))
    place = gathered(call, labels, call.name + "_at", logs.shape[axis])
    weighted = logs if weight is None else Val(logs.shape, "f", reader=lambda at: (
        f"({logs.read(at)} * {weight.read([at[axis]])})"))
    spread = reduced(call, weighted, [axis], "mean") if smooth else None

    def counted(at: Sequence[str], text: str) -> str:
        return text if ignored < 0 else f"select({place(at)} == {ignored}, 0, {text})"

    def reader(at: Sequence[str]) -> str:
        inner = [*at[:axis], place(at), *at[axis:]]
        text = weighted.read(inner)
        if spread is not None:
            text = (f"({real_text(1 - smooth)} * {text} + "
                    f"{real_text(smooth)} * {spread.read(at)})")
        return counted(at, f"(0 - {text})")

    each = Val(labels.shape, "f", reader=reader)
    if int(call.raw("reduction", 1)) != 1 or (weight is None and ignored < 0):
        return averaged(call, each)
    share = Val(labels.shape, "f", reader=lambda at: counted(
        at, "1" if weight is None else weight.read([place(at)])))
    axes = list(range(labels.rank))
    total, count = reduced(call, each, axes, "sum"), reduced(call, share, axes, "sum")
    return call.writer.statement(call.name, [], lambda at: f"{total.read([])} / {count.read([])}")


@handles("nll_loss", "nll_loss_nd", "nll_loss_forward", "nll_loss2d_forward", "nll_loss2d")
def nll_loss(call: Call) -> Any:
    made = likelihood(call, call.val("self"), call.val("target"), call.maybe("weight"))
    return (made, None) if "forward" in call.op._schema.name else made


@handles("pairwise_distance")
def pairwise_distance(call: Call) -> Val:
    a, b = call.val("x1"), call.val("x2")
    p, eps = float(call.raw("p")), real_text(float(call.raw("eps")))
    shape = a.shape if a.rank >= b.rank else b.shape
    gap = Val(shape, "f", reader=lambda at: f"abs({a.read(stretched(a, shape, at))} - "
                                            f"{b.read(stretched(b, shape, at))} + {eps})")
    axes = [len(shape) - 1]
    if p == 2:
        made = reduced(call, gap, axes, "sum", "square({0})", "sqrt({0})")
    elif p == 1:
        made = reduced(call, gap, axes, "sum")
    else:
        text = real_text(p)
        made = reduced(call, gap, axes, "sum", f"pow({{0}}, {text})", f"pow({{0}}, 1 / {text})")
    return finish(call, made, axes, len(shape))


@handles("cdist", "_cdist_forward", "_euclidean_dist")
def cdist(call: Call) -> Val:
    a, b = call.val("x1"), call.val("x2")
    p = float(call.raw("p", 2.0))
    if p not in (1.0, 2.0):
        raise Untraceable(f"distances of order {p:g}")
    shape = [*call.out_shape(), a.shape[-1]]

    def gap(at: Sequence[str]) -> str:
        left = stretched(a, [*shape[:-2], shape[-1]], [*at[:-2], at[-1]])
        right = stretched(b, [*shape[:-3], *shape[-2:]], [*at[:-3], *at[-2:]])
        return f"abs({a.read(left)} - {b.read(right)})"

    axes = [len(shape) - 1]
    if p == 1:
        return reduced(call, Val(shape, "f", reader=gap), axes, "sum")
    return reduced(call, Val(shape, "f", reader=gap), axes, "sum", "square({0})", "sqrt({0})")
