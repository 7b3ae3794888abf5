# SPDX-License-Identifier: Apache-2.0
"""Operations element by element: arithmetic, activations, comparisons, selections."""
from __future__ import annotations

import functools
from typing import Any

from quern.importer.call import Call, handles
from quern.importer.recorder import Untraceable
from quern.importer.values import Val, stretched

UNARY = {
    "abs": "abs({0})", "exp": "exp({0})", "log": "log({0})", "log1p": "log1p({0})",
    "expm1": "expm1({0})", "sqrt": "sqrt({0})", "rsqrt": "rsqrt({0})", "tanh": "tanh({0})",
    "erf": "erf({0})", "sin": "sin({0})", "cos": "cos({0})", "floor": "floor({0})",
    "sign": "sign({0})", "sgn": "sign({0})", "neg": "-{0}", "relu": "relu({0})",
    "sigmoid": "sigmoid({0})", "silu": "silu({0})", "mish": "mish({0})", "selu": "selu({0})",
    "hardswish": "hardswish({0})", "hardsigmoid": "hardsigmoid({0})",
    "log_sigmoid": "log_sigmoid({0})", "relu6": "clamp({0}, 0, 6)", "square": "square({0})",
    "reciprocal": "1 / {0}", "log2": "log({0}) * 1.4426950408889634",
    "log10": "log({0}) * 0.4342944819032518", "exp2": "exp({0} * 0.6931471805599453)",
    "tan": "sin({0}) / cos({0})", "sinh": "(exp({0}) - exp(-{0})) / 2",
    "cosh": "(exp({0}) + exp(-{0})) / 2", "ceil": "-floor(-{0})", "erfc": "1 - erf({0})",
    "trunc": "sign({0}) * floor(abs({0}))", "frac": "{0} - sign({0}) * floor(abs({0}))",
    "asinh": "sign({0}) * log(abs({0}) + sqrt({0} * {0} + 1))",
    "acosh": "log({0} + sqrt({0} * {0} - 1))", "atanh": "log((1 + {0}) / (1 - {0})) / 2",
    "tanhshrink": "{0} - tanh({0})", "positive": "{0}", "deg2rad": "{0} * 0.017453292519943295",
    "rad2deg": "{0} * 57.29577951308232", "sinc":
    "select({0} == 0, 1, sin({0} * 3.141592653589793) / ({0} * 3.141592653589793))",
    # Half goes to the even neighbour.
    "round": "floor({0} + 0.5) - select({0} + 0.5 == floor({0} + 0.5) and "
             "floor(({0} + 0.5) / 2) * 2 != {0} + 0.5, 1, 0)",
}
COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
SIGNS = {"add": "+", "sub": "-", "mul": "*"}


def _unary(template: str, call: Call) -> Val:
    x = call.val("self")
    if x.kind != "f" and call.kind == "i":
        if call.op._schema.name in ("aten::floor", "aten::ceil", "aten::trunc", "aten::round"):
            return x
        index = x.index
        if call.op._schema.name == "aten::neg" and x.indexer is not None:
            return Val(x.shape, "i", indexer=lambda at: f"0 - ({index(at)})")
    return call.writer.pointwise(call, template, [x], "i" if call.kind == "i" else "f")


for _name, _template in UNARY.items():
    handles(_name)(functools.partial(_unary, _template))


def _whole(call: Call, sign: str, a: Any, b: Any) -> Val | None:
    """Arithmetic of whole numbers that stays an index expression, so that it may index."""
    def text(operand: Any) -> Any:
        if isinstance(operand, str):
            return (lambda at: operand) if operand.strip("()-").isalnum() else None
        if operand.kind != "i" or operand.index(["0"] * operand.rank) is None:
            return None
        return lambda at: operand.index(stretched(operand, shape, at))

    shape = call.out_shape()
    left, right = text(a), text(b)
    if left is None or right is None:
        return None
    return Val(shape, "i", indexer=lambda at: f"({left(at)}) {sign} ({right(at)})")


@handles("add", "sub", "mul", "rsub", "multiply", "subtract")
def arithmetic(call: Call) -> Val | str:
    name = call.op._schema.name.split("::")[-1]
    name = {"multiply": "mul", "subtract": "sub"}.get(name, name)
    a, b = call.operand("self"), call.operand("other")
    if name == "rsub":
        a, b, name = b, a, "sub"
    if call.kind == "b":
        sign = "and" if name == "mul" else "or"
        return logical(call, sign, a, b)
    alpha = call.operand("alpha") if call.has("alpha") else "1"
    if call.kind == "i" and alpha == "1":
        made = _whole(call, SIGNS[name], a, b)
        if made is not None:
            return made
    scaled = "{1}" if alpha == "1" else f"{alpha} * {{1}}"
    return call.writer.pointwise(call, f"{{0}} {SIGNS[name]} {scaled}", [a, b],
                                 "i" if call.kind == "i" else "f")


@handles("div", "true_divide", "floor_divide", "remainder", "fmod")
def divide(call: Call) -> Val | str:
    name = call.op._schema.name.split("::")[-1]
    mode = "floor" if name == "floor_divide" else call.raw("rounding_mode")
    a, b = call.operand("self"), call.operand("other")
    if call.kind == "i" and (mode == "floor" or name == "remainder"):
        made = _whole(call, "/" if mode == "floor" else "%", a, b)
        if made is not None:
            return made
    quotient = "{0} / {1}"
    if name == "remainder":
        text = "{0} - {1} * floor({0} / {1})"
    elif name == "fmod":
        text = "{0} - {1} * sign({0} / {1}) * floor(abs({0} / {1}))"
    elif mode == "floor":
        text = f"floor({quotient})"
    elif mode == "trunc":
        text = f"sign({quotient}) * floor(abs({quotient}))"
    else:
        text = quotient
    return call.writer.pointwise(call, text, [a, b], "i" if call.kind == "i" else "f")


@handles("pow")
def power(call: Call) -> Val | str:
    a, b = call.operand("self"), call.operand("exponent")
    forms = {"2": "{0} * {0}", "3": "{0} * {0} * {0}", "4": "({0} * {0}) * ({0} * {0})",
             "0.5": "sqrt({0})", "(-1)": "1 / {0}", "(-0.5)": "rsqrt({0})", "1": "{0}",
             "(-2)": "1 / ({0} * {0})"}
    form = forms.get(b) if isinstance(b, str) else None
    return call.writer.pointwise(call, form or "pow({0}, {1})", [a, b])


@handles("maximum", "minimum", "fmax", "fmin")
def extreme(call: Call) -> Val | str:
    word = "max" if "max" in call.op._schema.name else "min"
    return call.writer.pointwise(call, f"{word}({{0}}, {{1}})",
                                 [call.val("self"), call.val("other")])


@handles("clamp", "clamp_min", "clamp_max", "clip", "hardtanh")
def clamp(call: Call) -> Val | str:
    low = next((call.operand(n) for n in ("min", "min_val") if call.has(n)), None)
    high = next((call.operand(n) for n in ("max", "max_val") if call.has(n)), None)
    if low is not None and high is not None:
        return call.writer.pointwise(call, "clamp({0}, {1}, {2})", [call.val("self"), low, high])
    word, bound = ("max", low) if low is not None else ("min", high)
    assert bound is not None
    return call.writer.pointwise(call, f"{word}({{0}}, {{1}})", [call.val("self"), bound])


@handles("gelu")
def gelu(call: Call) -> Val | str:
    word = "gelu_tanh" if call.raw("approximate") == "tanh" else "gelu"
    return call.writer.pointwise(call, f"{word}({{0}})", [call.val("self")])


@handles("elu")
def elu(call: Call) -> Val | str:
    alpha, scale = call.operand("alpha"), call.operand("scale")
    inner = call.operand("input_scale")
    text = f"elu({{0}}, alpha = {alpha})"
    if inner != "1":
        text = f"select({{0}} > 0, {{0}}, {alpha} * expm1({{0}} * {inner}))"
    return call.writer.pointwise(call, text if scale == "1" else f"{scale} * {text}",
                                 [call.val("self")])


@handles("celu")
def celu(call: Call) -> Val | str:
    alpha = call.operand("alpha")
    return call.writer.pointwise(
        call, f"max({{0}}, 0) + min(0, {alpha} * expm1({{0}} / {alpha}))", [call.val("self")])


@handles("leaky_relu")
def leaky_relu(call: Call) -> Val | str:
    return call.writer.pointwise(
        call, f"leaky_relu({{0}}, slope = {call.operand('negative_slope')})", [call.val("self")])


@handles("prelu")
def prelu(call: Call) -> Val | str:
    x, weight = call.val("self"), call.val("weight")
    if weight.rank == 1 and x.rank > 1:
        one = call.writer.fitter.literal(1)
        shape = [weight.shape[0] if d == 1 else one for d in range(x.rank)]
        single = weight.shape[0].constant == 1
        weight = weight.through(shape, lambda at: ["0" if single else at[1]])
    return call.writer.pointwise(call, "select({0} > 0, {0}, {1} * {0})", [x, weight])


@handles("softplus")
def softplus(call: Call) -> Val | str:
    beta, limit = call.operand("beta"), call.operand("threshold")
    inner = "{0}" if beta == "1" else f"{{0}} * {beta}"
    text = f"softplus({inner})" + ("" if beta == "1" else f" / {beta}")
    # Beyond the threshold the framework returns x itself, which differs by less than exp(-20).
    if limit != "20":
        text = f"select({inner} > {limit}, {{0}}, {text})"
    return call.writer.pointwise(call, text, [call.val("self")])


@handles("hardshrink", "softshrink")
def shrink(call: Call) -> Val | str:
    edge = call.operand("lambd")
    soft = "soft" in call.op._schema.name
    text = (f"select({{0}} > {edge}, {{0}} - {edge}, select({{0}} < -{edge}, {{0}} + {edge}, 0))"
            if soft else f"select(abs({{0}}) > {edge}, {{0}}, 0)")
    return call.writer.pointwise(call, text, [call.val("self")])


@handles("threshold")
def threshold(call: Call) -> Val | str:
    return call.writer.pointwise(
        call, f"select({{0}} > {call.operand('threshold')}, {{0}}, {call.operand('value')})",
        [call.val("self")])


@handles("logit")
def logit(call: Call) -> Val | str:
    x = "{0}"
    if call.has("eps"):
        eps = call.operand("eps")
        x = f"clamp({{0}}, {eps}, 1 - {eps})"
    return call.writer.pointwise(call, f"log({x} / (1 - {x}))", [call.val("self")])


@handles("xlogy")
def xlogy(call: Call) -> Val | str:
    return call.writer.pointwise(call, "select({0} == 0, 0, {0} * log({1}))",
                                 [call.operand("self"), call.operand("other")])


@handles("lerp")
def lerp(call: Call) -> Val | str:
    return call.writer.pointwise(call, "{0} + {2} * ({1} - {0})",
                                 [call.val("self"), call.val("end"), call.operand("weight")])


@handles("addcmul", "addcdiv")
def add_product(call: Call) -> Val | str:
    sign = "*" if "mul" in call.op._schema.name else "/"
    return call.writer.pointwise(
        call, f"{{0}} + {call.operand('value')} * {{1}} {sign} {{2}}",
        [call.val("self"), call.val("tensor1"), call.val("tensor2")])


@handles("hypot", "logaddexp")
def pair(call: Call) -> Val | str:
    text = ("sqrt({0} * {0} + {1} * {1})" if "hypot" in call.op._schema.name else
            "max({0}, {1}) + log1p(exp(-abs({0} - {1})))")
    return call.writer.pointwise(call, text, [call.val("self"), call.val("other")])


def _compare(sign: str, call: Call) -> Val:
    return call.writer.condition(call, f"{{0}} {sign} {{1}}",
                                 [call.operand("self"), call.operand("other")])


for _name, _sign in COMPARE.items():
    handles(_name)(functools.partial(_compare, _sign))


def logical(call: Call, sign: str, a: Val | str, b: Val | str) -> Val:
    shape = call.out_shape()

    def truth(operand: Val | str, at: Any) -> str:
        if isinstance(operand, str):
            return f"{operand} != 0"
        return operand.truth(stretched(operand, shape, at))

    def text(at: Any) -> str:
        left, right = truth(a, at), truth(b, at)
        if sign == "xor":
            return f"(({left}) and not ({right})) or (not ({left}) and ({right}))"
        return f"({left}) {sign} ({right})"

    return Val(shape, "b", condition=text)


@handles("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor",
         "__and__", "__or__", "__xor__")
def logical_pair(call: Call) -> Val:
    if call.kind != "b":
        raise Untraceable("the task language has no operations on bits")
    name = call.op._schema.name
    sign = "xor" if "xor" in name else "and" if "and" in name else "or"
    return logical(call, sign, call.operand("self"), call.operand("other"))


@handles("logical_not", "bitwise_not")
def logical_not(call: Call) -> Val:
    x = call.val("self")
    if call.kind != "b":
        raise Untraceable("the task language has no operations on bits")
    return Val(x.shape, "b", condition=lambda at: f"not ({x.truth(at)})")


@handles("where", "masked_fill")
def where(call: Call) -> Val | str:
    shape = call.out_shape()
    if "masked_fill" in call.op._schema.name:
        mask, a, b = call.val("mask"), call.operand("value"), call.operand("self")
    else:
        mask, a, b = call.val("condition"), call.operand("self"), call.operand("other")

    def text(operand: Val | str, at: Any) -> str:
        return operand if isinstance(operand, str) else operand.read(stretched(operand, shape, at))

    def body(at: Any) -> str:
        return (f"select({mask.truth(stretched(mask, shape, at))}, {text(a, at)}, "
                f"{text(b, at)})")

    return call.writer.statement(call.name, shape, body, "i" if call.kind != "f" else "f")


@handles("isnan", "isinf", "isfinite")
def classify(call: Call) -> Val:
    x, name = call.val("self"), call.op._schema.name
    form = {"aten::isnan": "{0} != {0}", "aten::isinf": "abs({0}) == inf",
            "aten::isfinite": "abs({0}) < inf"}[name]
    return Val(x.shape, "b", condition=lambda at: form.format(x.read(at)))


@handles("nan_to_num")
def nan_to_num(call: Call) -> Val | str:
    return call.writer.pointwise(call, "select({0} != {0}, 0, {0})", [call.val("self")])


@handles("_to_copy", "to", "type_as", "float", "double", "long", "int", "bool")
def convert(call: Call) -> Val:
    x, kind = call.val("self"), call.kind
    if kind == x.kind or (kind == "f" and x.kind in "fib"):
        if kind == "f" and x.kind != "f":
            return Val(x.shape, "f", reader=x.read)
        return x
    if kind == "b":
        return Val(x.shape, "b", condition=lambda at: f"{x.read(at)} != 0")
    if x.kind == "b":
        return Val(x.shape, "i", reader=lambda at: f"select({x.truth(at)}, 1, 0)")
    return call.writer.statement(
        call.name, x.shape, lambda at: f"sign({x.read(at)}) * floor(abs({x.read(at)}))", "i")


@handles("clone", "contiguous", "detach", "alias", "lift_fresh_copy", "lift_fresh", "lift",
         "copy", "detach_", "requires_grad_", "resolve_conj", "resolve_neg", "view_as_real")
def same(call: Call) -> Val:
    name = call.op._schema.name
    if name == "aten::copy":
        source, shape = call.val("src"), call.val("self").shape
        return source.through(shape, lambda at: stretched(source, shape, at))
    return call.val("self")


@handles("dropout", "alpha_dropout", "feature_dropout", "native_dropout")
def dropout(call: Call) -> Any:
    x = call.val("input")
    if call.raw("p") != 0 and call.raw("train") is not False:
        raise Untraceable(f"dropout (p = {call.raw('p'):g}) is live: the output is random, as the "
                          "module runs in training mode")
    if "native" in call.op._schema.name:
        return [x, None]
    return x

