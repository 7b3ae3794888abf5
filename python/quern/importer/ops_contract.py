# SPDX-License-Identifier: Apache-2.0
"""Products of matrices, convolutions, attention and pooling."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.dims import Dim, combine
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, plus, stretched, wrap


def multiply(call: Call, a: Val, b: Val, finish: str = "{0}", others: Sequence[Val] = ()) -> Val:
    """The matrix product in the sense of `matmul`, with stretched leading axes."""
    writer = call.writer
    shape = call.out_shape()
    plain = a.name and b.name and finish == "{0}" and 2 <= a.rank <= 4 and (
        b.rank == 2 or (b.rank == a.rank and all(
            p.same(q) for p, q in zip(a.shape[:-2], b.shape[:-2], strict=True))))
    if plain:
        return writer.operator(call, f"matmul({a.name}, {b.name})", shape)
    inner = writer.axes(len(shape) + 1)[-1]

    def body(at: Sequence[str]) -> str:
        rows = 1 if a.rank > 1 else 0
        columns = 1 if b.rank > 1 else 0
        lead = list(at[:len(at) - rows - columns])
        leads = shape[:len(lead)]

        def place(val: Val, tail: list[str]) -> list[str]:
            if val.rank < 2:
                return tail
            front = Val(val.shape[:-2], "f")
            return stretched(front, leads, lead) + tail

        left = a.read(place(a, [at[len(lead)], inner] if rows else [inner]))
        right = b.read(place(b, [inner, at[-1]] if columns else [inner]))
        text = f"sum[{inner} < {a.shape[-1].text}] {left} * {right}"
        if finish == "{0}":
            return text
        return finish.format(f"({text})", *[o.read(stretched(o, shape, at)) for o in others])

    return writer.statement(call.name, shape, body, origin="matmul" if finish == "{0}" else "")


@handles("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner_product")
def matmul(call: Call) -> Val:
    names = list(call.bound)
    a, b = call.val(names[0]), call.val(names[1])
    return multiply(call, a, b)


@handles("addmm", "baddbmm", "addbmm_", "addmv")
def addmm(call: Call) -> Val:
    names = [n for n in call.bound if n not in ("self", "beta", "alpha")]
    a, b, c = call.val(names[0]), call.val(names[1]), call.val("self")
    alpha, beta = call.operand("alpha"), call.operand("beta")
    left = "{0}" if alpha == "1" else f"{alpha} * {{0}}"
    right = "{1}" if beta == "1" else f"{beta} * {{1}}"
    return multiply(call, a, b, f"{left} + {right}" if beta != "0" else left, [c])


@handles("linear")
def linear(call: Call) -> Val:
    x, w, b = call.val("input"), call.val("weight"), call.maybe("bias")
    writer = call.writer
    if writer.time:
        return _linear_of_step(call, x, w, b)
    if w.rank == 2 and 1 <= x.rank <= 4:
        parts = [writer.tensor(x, call.name + "_in"), writer.tensor(w, call.name + "_w")]
        parts += [writer.tensor(b, call.name + "_b")] if b is not None else []
        return writer.operator(call, f"linear({', '.join(parts)})")
    raise Untraceable("a linear layer of unusual shape")


def _linear_of_step(call: Call, x: Val, w: Val, b: Val | None) -> Val:
    shape = call.out_shape()
    k = call.writer.axes(len(shape) + 1)[-1]

    def body(at: Sequence[str]) -> str:
        text = f"sum[{k} < {w.shape[1].text}] {x.read([*at[:-1], k])} * {w.read([at[-1], k])}"
        return text if b is None else f"({text}) + {b.read([at[-1]])}"

    return call.writer.statement(call.name, shape, body)


@handles("bilinear")
def bilinear(call: Call) -> Val:
    """Each output is x1 by a matrix of its own by x2."""
    a, b, w, bias = call.val("input1"), call.val("input2"), call.val("weight"), call.maybe("bias")
    shape = call.out_shape()
    i, j = call.writer.axes(len(shape) + 2)[-2:]

    def body(at: Sequence[str]) -> str:
        text = (f"sum[{i} < {a.shape[-1].text}, {j} < {b.shape[-1].text}] "
                f"{a.read([*at[:-1], i])} * {w.read([at[-1], i, j])} * {b.read([*at[:-1], j])}")
        return text if bias is None else f"({text}) + {bias.read([at[-1]])}"

    return call.writer.statement(call.name, shape, body)


@handles("outer", "ger")
def outer(call: Call) -> Val:
    a, b = call.val("self"), call.val("vec2")
    return call.writer.statement(call.name, call.out_shape(),
                                 lambda at: f"{a.read([at[0]])} * {b.read([at[1]])}")


@handles("einsum")
def einsum(call: Call) -> Val:
    equation = str(call.raw("equation")).replace(" ", "")
    vals = call.vals("tensors")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    if "..." in equation:
        terms, right = _spell_out(terms, right if "->" in equation else None, vals)
    elif "->" not in equation:
        right = "".join(sorted({c for c in left if left.count(c) == 1 and c != ","}))
    extents: dict[str, Dim] = {}
    for term, val in zip(terms, vals, strict=True):
        for letter, dim in zip(term, val.shape, strict=True):
            if letter not in extents or extents[letter].constant == 1:
                extents[letter] = dim
    summed = [c for c in extents if c not in right]
    names = call.writer.axes(len(right) + len(summed))
    inner = dict(zip(summed, names[len(right):]))

    def body(at: Sequence[str]) -> str:
        index = {**dict(zip(right, at)), **inner}
        factors = [v.read(["0" if d.constant == 1 else index[c]
                           for c, d in zip(t, v.shape)]) for t, v in zip(terms, vals)]
        text = " * ".join(factors)
        over = ", ".join(f"{inner[c]} < {extents[c].text}" for c in summed)
        return f"sum[{over}] {text}" if summed else text

    plain = len(vals) == 2 and all(v.name for v in vals)
    if plain and len(terms[1]) == 2 and terms[0][-1] == terms[1][0] and \
            right == terms[0][:-1] + terms[1][1] and 2 <= len(terms[0]) <= 4:
        return call.writer.operator(call, f"matmul({vals[0].name}, {vals[1].name})")
    return call.writer.statement(call.name, [extents[c] for c in right], body)


def _spell_out(terms: list[str], right: str | None, vals: list[Val]) -> tuple[list[str], str]:
    """Letters in place of `...`, aligned at the last of the axes it stands for."""
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in "".join(terms)]
    width = max(v.rank - len(t.replace("...", "")) for t, v in zip(terms, vals) if "..." in t)
    letters = "".join(spare[:width])
    made = []
    for term, val in zip(terms, vals):
        count = val.rank - len(term.replace("...", ""))
        made.append(term.replace("...", letters[width - count:] if count else ""))
    if right is None:
        flat = "".join(terms).replace("...", "")
        right = "..." + "".join(sorted(c for c in set(flat) if flat.count(c) == 1))
    return made, right.replace("...", letters)


@handles("scaled_dot_product_attention")
def attention(call: Call) -> Val:
    q, k, v = call.val("query"), call.val("key"), call.val("value")
    if float(call.raw("dropout_p")) != 0:
        raise Untraceable("dropout inside attention is live: the output is random")
    if call.raw("enable_gqa", False):
        raise Untraceable("attention with grouped queries")
    writer, mask = call.writer, call.maybe("attn_mask")
    causal = bool(call.raw("is_causal"))
    same = 2 <= q.rank <= 4 and q.rank == k.rank == v.rank and all(
        a.same(b) and a.same(c) for a, b, c in zip(q.shape[:-2], k.shape[:-2], v.shape[:-2]))
    if same and mask is None and not call.has("scale"):
        names = [writer.tensor(x, f"{call.name}_{w}") for x, w in ((q, "q"), (k, "k"), (v, "v"))]
        return writer.operator(call, f"attention({', '.join(names)}"
                                     f"{', causal = true' if causal else ''})")
    return masked_attention(call, q, k, v, mask, causal)


def masked_attention(call: Call, q: Val, k: Val, v: Val, mask: Val | None, causal: bool) -> Val:
    writer = call.writer
    scale = call.operand("scale") if call.has("scale") else f"rsqrt({q.shape[-1].inner})"
    out = call.out_shape()
    shape = [*out[:-1], k.shape[-2]]
    inner = writer.axes(len(shape) + 1)[-1]

    def front(val: Val, at: Sequence[str]) -> list[str]:
        return stretched(Val(val.shape[:-2], "f"), out[:-2], list(at[:-2]))

    dots = writer.statement(
        call.name + "_dot", shape, lambda at: f"sum[{inner} < {q.shape[-1].text}] "
        f"{q.read([*front(q, at), at[-2], inner])} * {k.read([*front(k, at), at[-1], inner])}")

    def score(at: Sequence[str]) -> str:
        text = f"{dots.read(at)} * {scale}"
        if causal:
            text = f"select({at[-1]} <= {at[-2]}, {text}, -inf)"
        if mask is None:
            return text
        place = stretched(mask, shape, at)
        if mask.kind == "f":
            return f"{text} + {mask.read(place)}"
        return f"select({mask.truth(place)}, {text}, -inf)"

    scores = writer.statement(call.name + "_score", shape, score)
    name = writer.fresh(call.name + "_weight")
    weight = writer.line(name, f"{name} = softmax({scores.name})", shape)
    return writer.statement(call.name, out, lambda at: f"sum[{inner} < {k.shape[-2].text}] "
                            f"{weight.read([*at[:-1], inner])} * "
                            f"{v.read([*front(v, at), inner, at[-1]])}")


# Convolutions.

def listing(values: Sequence[Any]) -> str:
    texts = [v.text if isinstance(v, Dim) else str(v) for v in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


def literal_taps(call: Call, w: Val, n: int) -> list[int]:
    from quern.importer.dims import Frozen
    for dim in w.shape[-n:]:
        if dim.constant is None:
            raise Frozen(f"a kernel extent of {call.op}", dim.values)
    return [int(d.constant or 0) for d in w.shape[-n:]]


def windowed(call: Call, x: Dim, taps: int, stride: int, padding: int, dilation: int,
             axis: int) -> Dim:
    """Places of a window along an axis, with a name of its own where it is a new extent."""
    lit = call.writer.fitter.literal
    slack = 2 * padding - dilation * (taps - 1) - 1
    inner = combine("+", x, lit(slack)) if slack else x
    made = combine("+", combine("/", inner, lit(stride)), lit(1)) if stride != 1 else \
        combine("+", x, lit(slack + 1))
    return call.writer.named_extent(made, f"{'tdhw'[axis]}_out")


AXIS_LETTERS = {1: [0], 2: [2, 3], 3: [1, 2, 3]}


@handles("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def convolution(call: Call) -> Val:
    x, w, b = call.val("input"), call.val("weight"), call.maybe("bias")
    n = w.rank - 2
    if call.raw("transposed", False):
        return transposed(call, x, w, b)
    taps = literal_taps(call, w, n)
    stride, dilation = call.spread("stride", n), call.spread("dilation", n)
    padding = call.raw("padding")
    if isinstance(padding, str):
        total = [0 if padding == "valid" else d * (k - 1) for d, k in zip(dilation, taps)]
        if any(t % 2 for t in total):
            from quern.importer.ops_shape import padded
            lit = call.writer.fitter.literal
            front = [lit(0), lit(0), *[lit(t // 2) for t in total]]
            shape = [*x.shape[:2], *[combine("+", d, lit(t)) for d, t in zip(x.shape[2:], total)]]
            x, total = padded(call, x, front, shape, "0"), [0] * n
        padding = [t // 2 for t in total]
    padding = [padding] * n if isinstance(padding, int) else list(padding)
    padding = padding * n if len(padding) == 1 else padding
    return _convolve(call, x, w, b, n, stride, padding, dilation, taps)


def _convolve(call: Call, x: Val, w: Val, b: Val | None, n: int, stride: list[int],
              padding: list[int], dilation: list[int], taps: list[int]) -> Val:
    writer = call.writer
    writer.convolves = True
    groups = call.dim("groups")
    unbatched = x.rank == n + 1
    if unbatched:
        x = writer.reshaped(x, [writer.fitter.literal(1), *x.shape])
    shape = [x.shape[0], w.shape[0]]
    for d in range(n):
        shape.append(windowed(call, x.shape[d + 2], taps[d], stride[d], padding[d], dilation[d],
                              AXIS_LETTERS[n][d]))
    parts = [writer.tensor(x, call.name + "_in"), writer.tensor(w, call.name + "_w")]
    parts += [writer.tensor(b, call.name + "_b")] if b is not None else []
    for word, values, default in (("stride", stride, 1), ("padding", padding, 0),
                                  ("dilation", dilation, 1)):
        if any(v != default for v in values):
            parts.append(f"{word} = {listing(values)}")
    if groups.constant != 1:
        parts.append(f"groups = {groups.text}")
    made = writer.operator(call, f"conv{n}d({', '.join(parts)})", shape)
    return writer.reshaped(made, shape[1:]) if unbatched else made


@handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(call: Call) -> Val:
    return transposed(call, call.val("input"), call.val("weight"), call.maybe("bias"))


def transposed(call: Call, x: Val, w: Val, b: Val | None) -> Val:
    writer, n = call.writer, w.rank - 2
    writer.convolves = True
    taps = literal_taps(call, w, n)
    groups = call.dim("groups")
    options = {name: call.spread(name, n)
               for name in ("stride", "padding", "output_padding", "dilation")}
    lit = writer.fitter.literal
    unbatched = x.rank == n + 1
    if unbatched:
        x = writer.reshaped(x, [lit(1), *x.shape])
    shape = [x.shape[0], combine("*", w.shape[1], groups)]
    for d in range(n):
        s, p, o, g = (options[k][d] for k in ("stride", "padding", "output_padding", "dilation"))
        grown = combine("*", x.shape[d + 2], lit(s))
        made = combine("+", grown, lit(g * (taps[d] - 1) + 1 - s - 2 * p + o))
        shape.append(writer.named_extent(made, f"{'tdhw'[AXIS_LETTERS[n][d]]}_out"))
    parts = [writer.tensor(x, call.name + "_in"), writer.tensor(w, call.name + "_w")]
    parts += [writer.tensor(b, call.name + "_b")] if b is not None else []
    for name, values in options.items():
        if any(v != (1 if name in ("stride", "dilation") else 0) for v in values):
            parts.append(f"{name} = {listing(values)}")
    if groups.constant != 1:
        parts.append(f"groups = {groups.text}")
    made = writer.operator(call, f"conv_transpose{n}d({', '.join(parts)})", shape)
    return writer.reshaped(made, shape[1:]) if unbatched else made


# Pooling.

def pool_inputs(call: Call, n: int) -> tuple[Val, bool]:
    x = call.val("self")
    if x.rank == n + 2:
        return x, False
    return call.writer.reshaped(x, [call.writer.fitter.literal(1), *x.shape]), True


@handles("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
         "max_pool3d_with_indices", "max_pool1d_with_indices", "avg_pool1d", "avg_pool2d",
         "avg_pool3d")
def pool(call: Call) -> Any:
    name = call.op._schema.name.split("::")[-1]
    n = int(name[8])
    x, unbatched = pool_inputs(call, n)
    taps = call.spread("kernel_size", n)
    stride = call.spread("stride", n) or taps
    padding = call.spread("padding", n)
    dilation = call.spread("dilation", n) if "dilation" in call.bound else [1] * n
    most = name.startswith("max")
    ceil = bool(call.raw("ceil_mode"))
    counted = bool(call.raw("count_include_pad", True)) or not any(padding)
    divisor = call.raw("divisor_override", None)
    writer = call.writer
    shape = x.shape[:2]
    exact = not ceil or all(_ceil_is_floor(x.shape[d + 2], taps[d], stride[d], padding[d],
                                           dilation[d]) for d in range(n))
    if exact:
        shape = shape + [windowed(call, x.shape[d + 2], taps[d], stride[d], padding[d],
                                  dilation[d], AXIS_LETTERS[n][d]) for d in range(n)]
    else:
        shape = shape + [writer.named_extent(
            ceiled(call, x.shape[d + 2], taps[d], stride[d], padding[d], dilation[d]),
            f"{'tdhw'[AXIS_LETTERS[n][d]]}_out") for d in range(n)]
    if exact and (most or (counted and divisor is None)):
        parts = [writer.tensor(x, call.name + "_in"), f"kernel = {listing(taps)}"]
        if stride != taps:
            parts.append(f"stride = {listing(stride)}")
        if any(padding):
            parts.append(f"padding = {listing(padding)}")
        if any(d != 1 for d in dilation):
            parts.append(f"dilation = {listing(dilation)}")
        made = writer.operator(call, f"{name[:10]}({', '.join(parts)})", shape)
    else:
        made = _pool_by_hand(call, x, shape, taps, stride, padding, dilation, most, counted,
                             divisor)
    if unbatched:
        made = writer.reshaped(made, shape[1:])
    return (made, None) if "indices" in name else made


def ceiled(call: Call, x: Dim, taps: int, stride: int, padding: int, dilation: int) -> Dim:
    """Places of a window that may stick out at the end, but must begin before the padding there."""
    lit = call.writer.fitter.literal

    def quotient(more: int) -> Dim:
        return combine("/", combine("+", x, lit(more)), lit(stride))

    slack = padding - dilation * (taps - 1) - 1 + stride
    most, begun = quotient(padding + stride - 1 + slack), quotient(padding + stride - 1)
    if slack <= 0:
        return most
    values = tuple(min(a, b) for a, b in zip(most.values, begun.values, strict=True))
    return Dim(f"min({most.text}, {begun.text})", values, False)


def _ceil_is_floor(x: Dim, taps: int, stride: int, padding: int, dilation: int) -> bool:
    return all((v + 2 * padding - dilation * (taps - 1) - 1) % stride == 0 for v in x.values)


def _pool_by_hand(call: Call, x: Val, shape: list[Dim], taps: list[int], stride: list[int],
                  padding: list[int], dilation: list[int], most: bool, counted: bool,
                  divisor: int | None) -> Val:
    """Windows that stick out of the padded input, or averages over what is inside only."""
    writer = call.writer
    name = writer.tensor(x, call.name + "_in")
    n = len(taps)
    inner = writer.axes(len(shape) + n)[len(shape):]

    def body(at: Sequence[str]) -> str:
        places = [plus(f"{a} * {s} + {r} * {d}", f"-{p}" if p else "0") for a, s, r, d, p in
                  zip(at[2:], stride, inner, dilation, padding)]
        over = ", ".join(f"{r} < {t}" for r, t in zip(inner, taps))
        whole = f"{'max' if most else 'sum'}[{over}] ({name}[{', '.join([*at[:2], *places])}] " \
                f"else {'-inf' if most else '0'})"
        if most:
            return whole
        if divisor is not None:
            return f"({whole}) / {divisor}"
        counts = []
        for a, s, p, t, dim in zip(at[2:], stride, padding, taps, x.shape[2:]):
            far = dim.text if not counted else plus(dim.text, str(p))
            start = plus(f"{a} * {s}", f"-{p}" if p else "0")
            low = start if counted else f"max({start}, 0)"
            counts.append(f"(min({start} + {t}, {far}) - {wrap(low)})")
        return f"({whole}) / index({' * '.join(counts)})"

    return writer.statement(call.name, shape, body)


@handles("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
         "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool1d",
         "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_pool(call: Call) -> Any:
    name = call.op._schema.name.split("::")[-1].lstrip("_")
    n, most = int(name[-2]), "max" in name
    x, unbatched = pool_inputs(call, n)
    out = [call.writer.fitter.fit([o.shape[-n + d] for o in
                                   (c[0] if isinstance(c, (tuple, list)) else c
                                    for c in call.outs)], "a pooled extent", x.shape)
           for d in range(n)]
    shape = [*x.shape[:2], *out]
    made = _adaptive(call, x, shape, n, most)
    if unbatched:
        made = call.writer.reshaped(made, shape[1:])
    return (made, None) if most else made


def _adaptive(call: Call, x: Val, shape: list[Dim], n: int, most: bool) -> Val:
    writer, word = call.writer, "max" if most else "sum"
    spatial, out = x.shape[2:], shape[2:]
    if all(o.constant == 1 for o in out):
        name = writer.tensor(x, call.name + "_in")
        axes = ", ".join(str(2 + d) for d in range(n))
        text = f"{'max' if most else 'mean'}({name}, axis = {f'({axes})' if n > 1 else axes})"
        if not most and x.rank >= 3:
            text = f"global_avg_pool({name})"
        return writer.reshaped(writer.operator(call, text, x.shape[:2]), shape)
    if all(v % o == 0 for s, d in zip(spatial, out) for v, o in zip(s.values, d.values)):
        taps = [combine("/", s, d) for s, d in zip(spatial, out)]
        name = writer.tensor(x, call.name + "_in")
        pooled = "max" if most else "avg"
        return writer.operator(call, f"{pooled}_pool{n}d({name}, kernel = {listing(taps)})", shape)
    inner = writer.axes(len(shape) + n)[len(shape):]
    name = writer.tensor(x, call.name + "_in")

    def body(at: Sequence[str]) -> str:
        starts = [f"{a} * {s.inner} / {o.inner}" for a, s, o in zip(at[2:], spatial, out)]
        ends = [f"(({a} + 1) * {s.inner} + {o.inner} - 1) / {o.inner}"
                for a, s, o in zip(at[2:], spatial, out)]
        over = ", ".join(f"{r} < ({s.inner} + {o.inner} - 1) / {o.inner} + 1"
                         for r, s, o in zip(inner, spatial, out))
        inside = " and ".join(f"{b} + {r} < {e}" for b, r, e in zip(starts, inner, ends))
        places = [f"{b} + {r}" for b, r in zip(starts, inner)]
        empty = "-inf" if most else "0"
        text = (f"{word}[{over}] select({inside}, ({name}[{', '.join([*at[:2], *places])}] "
                f"else {empty}), {empty})")
        if most:
            return text
        count = " * ".join(f"({e} - {b})" for b, e in zip(starts, ends))
        return f"({text}) / index({count})"

    return writer.statement(call.name, shape, body)
