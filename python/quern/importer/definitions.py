# SPDX-License-Identifier: Apache-2.0
"""Definition and Workload JSON of FlashInfer-Bench and SOL-ExecBench as module files.

A Definition names axes, inputs and outputs, and holds a PyTorch function `run`; a Workload gives the
axes values and says where each input comes from. Together they say what a module file says.
Formats: docs/flashinfer_trace/{definition,workload}.md of FlashInfer-Bench; SOL-ExecBench adds axes
that are expressions, and inputs made by a function of the Definition.
"""
from __future__ import annotations

import ast
import builtins
import keyword
import re
from typing import Any

from quern.importer.source import BadModule, Item

MOST_WORKLOADS = 8  # that become size sets of their own
DEFAULT_AXIS = 64  # of a variable axis without a workload
NARROW = ("float16", "bfloat16")
FOREIGN = ("float4_e2m1", "float4_e2m1fn_x2")  # of the formats, without arithmetic in PyTorch
FLOATS = ("float64", "float32", *NARROW, "float8_e4m3fn", "float8_e5m2")
INTEGERS = {"int64": (-1024, 1024), "int32": (-1024, 1024), "int16": (-1024, 1024),
            "int8": (-128, 128), "uint8": (0, 256), "bool": (0, 2)}  # SOL-ExecBench, bench/io.py


class Unsupported(BadModule):
    """The Definition is right, and cannot be a module."""


def is_definition(value: Any) -> bool:
    """Whether it is meant as one: `check_definition` says what it lacks."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and \
        {"axes", "inputs"} <= value.keys() and "spec" not in value


def _check_axes(axes: dict[str, Any]) -> None:
    for name, axis in axes.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise BadModule(f"axis `{name}`: its name is no Python name")
        kind = axis.get("type") if isinstance(axis, dict) else None
        if kind not in ("const", "var", "expr"):
            raise BadModule(f"axis `{name}`: its type is {kind!r}; it is const, var or expr")
        if kind == "const" and type(axis.get("value")) is not int:
            raise BadModule(f"axis `{name}`: a const axis needs a whole number as `value`")
        if kind == "expr":
            _check_expression(name, axis.get("expression"), axes)


def _check_expression(name: str, text: Any, axes: dict[str, Any]) -> None:
    """An expression counts on axes that stand before it: they are made in that order."""
    try:
        names = [n.id for n in ast.walk(ast.parse(str(text or ""), mode="eval"))
                 if isinstance(n, ast.Name)]
    except SyntaxError as error:
        raise BadModule(f"axis `{name}`: {text!r} is no expression") from error
    order = [n for n, a in axes.items() if isinstance(a, dict) and a.get("type") != "expr"]
    order += [n for n in list(axes)[:list(axes).index(name)] if n not in order]
    for used in names:
        if used not in order and used != "math" and not hasattr(builtins, used):
            raise BadModule(f"axis `{name}`: its expression {text!r} counts on `{used}`, which is "
                            f"no axis before it ({', '.join(order)})")


def _check_tensors(where: str, specs: dict[str, Any], axes: dict[str, Any]) -> None:
    known = (*FLOATS, *INTEGERS)
    for name, spec in specs.items():
        if not isinstance(spec, dict) or "dtype" not in spec or "shape" not in spec:
            raise BadModule(f"{where} `{name}`: it needs `shape` and `dtype`")
        if spec["dtype"] in FOREIGN:
            raise Unsupported(f"{where} `{name}`: PyTorch cannot make a tensor of {spec['dtype']}")
        if spec["dtype"] not in known:
            raise BadModule(f"{where} `{name}`: dtype {spec['dtype']!r} is none of "
                            + ", ".join(known))
        if spec["shape"] is not None and not isinstance(spec["shape"], list):
            raise BadModule(f"{where} `{name}`: its shape is a list of axes, or null for a scalar")
        for axis in spec["shape"] or ():
            if type(axis) is not int and axis not in axes:
                raise BadModule(f"{where} `{name}`: its shape names `{axis}`, which is no axis of "
                                f"the Definition ({', '.join(axes)})")


def _check_workload(definition: dict[str, Any], workload: Any, place: int) -> None:
    where = f"workload {place}"
    if not isinstance(workload, dict) or not isinstance(workload.get("axes", {}), dict) or \
            not isinstance(workload.get("inputs", {}), dict):
        raise BadModule(f"{where}: it is no object with `axes` and `inputs`")
    for name, axis in definition["axes"].items():
        if axis["type"] != "var":
            continue
        value = workload.get("axes", {}).get(name)
        if type(value) is not int or value < 1:
            raise BadModule(f"{where}: axis `{name}` needs a whole number of at least 1, and "
                            + ("none is given" if value is None else f"has {value!r}"))
    for name, source in workload.get("inputs", {}).items():
        if not isinstance(source, dict) or "type" not in source:
            raise BadModule(f"{where}: input `{name}` needs a `type`")
        if source["type"] == "scalar" and not isinstance(source.get("value"), (int, float)):
            raise BadModule(f"{where}: the scalar `{name}` needs a number as `value`")


def check_definition(definition: dict[str, Any], workloads: list[Any]) -> None:
    """Raises BadModule with what, of which part, is not as the formats have it."""
    for key, kind, word in (("axes", dict, "an object"), ("inputs", dict, "an object"),
                            ("reference", str, "the text of a Python file")):
        if not isinstance(definition.get(key), kind):
            raise BadModule(f"its `{key}` must be {word}")
    _check_axes(definition["axes"])
    _check_tensors("input", definition["inputs"], definition["axes"])
    _check_tensors("output", definition.get("outputs") or {}, definition["axes"])
    if all(spec["shape"] is None for spec in definition["inputs"].values()):
        raise BadModule("none of its inputs is a tensor")
    if not re.search(r"\bdef\s+run\b|\brun\s*=", definition["reference"]):
        raise BadModule("its reference defines no function `run`")
    for place, workload in enumerate(workloads, 1):
        _check_workload(definition, workload, place)


def _sizes(definition: dict[str, Any], workload: dict[str, Any]) -> dict[str, int]:
    given = workload.get("axes", {})
    return {name: int(axis["value"]) if axis["type"] == "const" else
            int(given.get(name, DEFAULT_AXIS))
            for name, axis in definition["axes"].items() if axis["type"] != "expr"}


def _dtype(name: str, widen: bool) -> str:
    return "float32" if widen and name in NARROW else name


def _drawn(name: str, spec: dict[str, Any], source: dict[str, Any], widen: bool) -> str:
    """The expression of one input, as the benchmarks' own `random` draws it."""
    if source.get("type") == "scalar":
        return repr(source["value"])
    if spec["shape"] is None:
        raise BadModule(f"input `{name}` is a scalar, and no workload gives its value")
    dtype = _dtype(spec["dtype"], widen)
    shape = "(" + "".join(f"{axis}, " for axis in spec["shape"]) + ")"
    if dtype in INTEGERS:
        if source.get("type") == "safetensors":
            raise BadModule(f"input `{name}` is a file of whole numbers, whose range is not known")
        low, high = INTEGERS[dtype]
        return f"torch.randint({low}, {high}, {shape}, dtype=torch.{dtype})"
    drawn = f"torch.randn({shape})"
    return drawn if dtype == "float32" else f"{drawn}.to(torch.{dtype})"


def _reference(text: str, widen: bool) -> str:
    return re.sub(r"\btorch\.(float16|bfloat16|half)\b", "torch.float32", text) if widen else text


def code_of(definition: dict[str, Any], workload: dict[str, Any], widen: bool = False) -> str:
    """A module file: the axes as whole numbers, the reference, its inputs."""
    sources = workload.get("inputs", {})
    lines = ["import math", "import torch", *(f"{n} = {v}" for n, v in _sizes(definition, workload).items())]
    for name, axis in definition["axes"].items():
        if axis["type"] == "expr":  # in a function, whose numbers are no sizes of their own
            lines += [f"def _{name}():", f"    return int({axis['expression']})",
                      f"{name} = _{name}()"]
    lines += [_reference(definition["reference"], widen), ""]
    specs = definition["inputs"]
    scalars = {n: _drawn(n, s, sources.get(n, {}), widen) for n, s in specs.items()
               if s["shape"] is None}
    tensors = [name for name in specs if name not in scalars]
    passed = ", ".join(scalars.get(name, name) for name in specs)
    lines += ["class Model(torch.nn.Module):",
              f"    def forward(self, {', '.join(tensors)}):",
              f"        return run({passed})", "def get_inputs():"]
    maker = definition.get("custom_inputs_entrypoint")
    if maker and any(s.get("type") == "custom" for s in sources.values()):
        axes = ", ".join(f"{name!r}: {name}" for name in definition["axes"])
        lines += [f"    made = {maker}({{{axes}}}, torch.device('cpu'))",
                  f"    return [made[name] for name in {tensors!r}]"]
    else:
        drawn = ", ".join(_drawn(n, specs[n], sources.get(n, {}), widen) for n in tensors)
        lines.append(f"    return [{drawn}]")
    return "\n".join(lines) + "\n"


def adapters_of(definition: dict[str, Any], workload: dict[str, Any],
                widen: bool = False) -> dict[str, str]:
    """What makes a Solution in Python a candidate for the module of `code_of`: the text to append to
    it, where ENTRY stands for its function. `call`: it returns the outputs; `fill`: it is given them
    (destination-passing style). Axes come from the inputs' shapes, which may not be those of the
    Definition."""
    sources, specs = workload.get("inputs", {}), definition["inputs"]
    tensors = [name for name, spec in specs.items() if spec["shape"] is not None]
    passed = ", ".join(name if name in tensors else _drawn(name, spec, sources.get(name, {}), widen)
                       for name, spec in specs.items())
    head = ["", "import math", "import torch", "class ModelNew(torch.nn.Module):",
            f"    def forward(self, {', '.join(tensors)}):"]
    axes = {axis: f"{name}.shape[{place}]" for name in reversed(tensors)
            for place, axis in enumerate(specs[name]["shape"])}
    known = {**{n: str(v) for n, v in _sizes(definition, workload).items()}, **axes}
    lines = [f"        {axis} = {known[axis]}" for axis in definition["axes"] if axis in known]
    lines += [f"        {name} = int({axis['expression']})"
              for name, axis in definition["axes"].items() if axis["type"] == "expr"]
    outputs = definition.get("outputs", {})
    for name, spec in outputs.items():
        shape = "(" + "".join(f"{axis}, " for axis in spec["shape"] or ()) + ")"
        lines.append(f"        {name} = torch.empty({shape}, dtype=torch."
                     f"{_dtype(spec['dtype'], widen)}, device={tensors[0]}.device)")
    filled = ", ".join([passed, *outputs])
    return {"call": "\n".join([*head, f"        return ENTRY({passed})", ""]),
            "fill": "\n".join([*head, *lines, f"        ENTRY({filled})",
                               f"        return {', '.join(outputs)}", ""])}


def item_of(definition: dict[str, Any], workloads: list[dict[str, Any]], origin: str,
            widen: bool = False) -> Item:
    """The module of a Definition. Its first workload gives the published size, the others become
    size sets."""
    item = Item(definition["name"], "", origin=origin)
    try:
        check_definition(definition, workloads)
        first = workloads[0] if workloads else {}
        item.code = code_of(definition, first, widen)
        item.adapters = adapters_of(definition, first, widen)
    except Unsupported as error:
        item.unsupported = f"{origin}: {error}"
        return item
    except BadModule as error:
        item.failed = f"{origin}: {error}"
        return item
    published = _sizes(definition, first)
    free = [name for name, axis in definition["axes"].items() if axis["type"] == "var"]
    if free and not workloads:
        item.notes.append(f"no workload says {', '.join(free)}: {DEFAULT_AXIS} here")
    if widen and any(s["dtype"] in NARROW for s in definition["inputs"].values()):
        item.notes.append("16-bit floats of the Definition are 32-bit here")
    for workload in workloads[1:]:
        sizes = _sizes(definition, workload)
        if sizes != published and sizes not in item.workloads:
            item.workloads.append(sizes)
    item.workloads = item.workloads[:MOST_WORKLOADS]
    return item
