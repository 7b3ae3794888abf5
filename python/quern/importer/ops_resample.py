# SPDX-License-Identifier: Apache-2.0
"""Blocks, patches and interpolation: tensors that show another one at other places."""
from __future__ import annotations

from collections.abc import Sequence

from quern.importer.call import Call, handles
from quern.importer.dims import Dim, combine
from quern.importer.ops_shape import moved
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, plus, wrap


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


@handles("col2im")
def col2im(call: Call) -> Val | str:
    """Each element takes the sum of the columns' elements that lie on it."""
    x, shape = call.val("self"), call.out_shape()
    taps, dilation = call.spread("kernel_size", 2), call.spread("dilation", 2)
    padding, stride = call.spread("padding", 2), call.spread("stride", 2)
    lit = call.writer.fitter.literal
    rows, columns = (call.writer.named_extent(combine("+", combine("/", combine(
        "+", size, lit(2 * p - d * (t - 1) - 1)), lit(s)), lit(1)), name)
        for size, p, d, t, s, name in zip(shape[-2:], padding, dilation, taps, stride,
                                          ("rows", "columns")))
    inner = call.writer.axes(len(shape) + 2)[-2:]
    name = call.writer.tensor(x, call.name + "_in")

    def body(at: Sequence[str]) -> str:
        steps = [plus(f"{wrap(a)} - {r} * {d}", str(p))
                 for a, r, d, p in zip(at[-2:], inner, dilation, padding)]
        tests = [f"{h} >= 0 and {h} < {e.inner} * {s} and ({h}) % {s} == 0"
                 for h, e, s in zip(steps, (rows, columns), stride)]
        channel = f"{at[-3]} * {taps[0] * taps[1]} + {inner[0]} * {taps[1]} + {inner[1]}"
        place = f"({steps[0]}) / {stride[0]} * {columns.inner} + ({steps[1]}) / {stride[1]}"
        over = ", ".join(f"{r} < {t}" for r, t in zip(inner, taps))
        return (f"sum[{over}] select({' and '.join(tests)}, "
                f"({name}[{', '.join([*at[:-3], channel, place])}] else 0), 0)")

    return call.writer.statement(call.name, shape, body)
