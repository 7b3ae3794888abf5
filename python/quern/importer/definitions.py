# SPDX-License-Identifier: Apache-2.0
"""Definition and Workload JSON of FlashInfer-Bench and SOL-ExecBench as module files.

A Definition names axes, inputs and outputs, and holds a PyTorch function `run`; a Workload gives the
axes values and says where each input comes from. Together they say what a module file says.
Formats: docs/flashinfer_trace/{definition,workload}.md of FlashInfer-Bench; SOL-ExecBench adds axes
that are expressions, and inputs made by a function of the Definition.
"""
from __future__ import annotations

import re
from typing import Any

from quern.importer.source import BadModule, Item

MOST_WORKLOADS = 8  # that become size sets of their own
DEFAULT_AXIS = 64  # of a variable axis without a workload
NARROW = ("float16", "bfloat16")
INTEGERS = {"int64": (-1024, 1024), "int32": (-1024, 1024), "int16": (-1024, 1024),
            "int8": (-128, 128), "uint8": (0, 256), "bool": (0, 2)}  # SOL-ExecBench, bench/io.py


def is_definition(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), kind) for key, kind in
        (("name", str), ("axes", dict), ("inputs", dict), ("reference", str)))


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
    lines = ["import torch", *(f"{n} = {v}" for n, v in _sizes(definition, workload).items())]
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
    head = ["", "import torch", "class ModelNew(torch.nn.Module):",
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
    first = workloads[0] if workloads else {}
    published = _sizes(definition, first)
    item = Item(definition["name"], "", origin=origin)
    if widen and any(s["dtype"] in NARROW for s in definition["inputs"].values()):
        item.notes.append("16-bit floats of the Definition are 32-bit here")
    try:
        item.code = code_of(definition, first, widen)
        item.adapters = adapters_of(definition, first, widen)
    except (BadModule, KeyError, IndexError) as error:
        item.code = f"raise ValueError({f'{error}'!r})\n"
    for workload in workloads[1:]:
        sizes = _sizes(definition, workload)
        if sizes != published and sizes not in item.workloads:
            item.workloads.append(sizes)
    item.workloads = item.workloads[:MOST_WORKLOADS]
    return item
