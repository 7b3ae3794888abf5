# SPDX-License-Identifier: Apache-2.0
"""A module as a graph of ATen operations, without computing anything: shapes only.

The module is built and run on fake tensors. What fills them (random draws, constants) is recorded
as operations too (recorder.py).
"""
from __future__ import annotations

import contextlib
import dataclasses
import operator
from typing import Any
from unittest import mock

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from quern.importer.recorder import Recorder, Untraceable
from quern.importer.recurrent import kept_whole
from quern.importer.rolling import (
    AllSteps,
    AtStep,
    Loop,
    Step,
    complete_results,
    rolled,
    select_steps,
)
from quern.importer.source import Module


@dataclasses.dataclass
class Trace:
    """One module at one assignment of its sizes."""

    values: dict[str, int]
    nodes: list[Any]  # call_function nodes that the outputs need, in order
    sources: list[tuple[str, str, Any, torch.Tensor]]  # placeholder, kind, target, fake tensor
    outputs: list[Any]
    input_names: list[str]
    recorder: Recorder
    constants: dict[str, torch.Tensor]
    placeholders: dict[str, Any]  # by name

    def signature(self) -> tuple[Any, ...]:
        """Equal for traces of the same graph at other sizes."""
        flat = [one for node in self.nodes
                for one in (node.before + node.body if isinstance(node, Loop) else [node])]
        number = {node: place for place, node in enumerate(flat)}

        def shape(arg: Any) -> Any:
            if isinstance(arg, torch.fx.Node):
                return ("node", number.get(arg, arg.name))
            if isinstance(arg, (list, tuple)):
                return tuple(shape(item) for item in arg)
            if isinstance(arg, (AtStep, AllSteps)):
                return (type(arg).__name__, arg.loop, arg.place)
            if isinstance(arg, (int, float, Step)) and not isinstance(arg, bool):
                return type(arg).__name__
            return str(arg)

        def word(node: Any) -> Any:
            if isinstance(node, Loop):
                return ("loop", tuple(word(one) for one in node.body),
                        shape(sorted(node.initial.items())), tuple(sorted(node.used)))
            return (str(node.target), shape(node.args), shape(tuple(sorted(node.kwargs.items()))))

        return (tuple(word(n) for n in self.nodes), tuple(s[:2] for s in self.sources),
                tuple(len(getattr(s[3], "shape", ())) for s in self.sources), shape(self.outputs))

    @property
    def loops(self) -> list[Loop]:
        return [node for node in self.nodes if isinstance(node, Loop)]


def _plainly_truncated(tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                       b: float = 2.0, generator: Any = None) -> torch.Tensor:
    """In place of `trunc_normal_`, which draws until all values lie inside: fakes have none."""
    with torch.no_grad():
        return tensor.normal_(mean, std, generator=generator).clamp_(a, b)


def build_fake(module: Module, values: dict[str, int]) -> tuple[Any, list[Any], Recorder, Any]:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder()
    with fake, recorder, mock.patch("torch.nn.init.trunc_normal_", _plainly_truncated):
        model, inputs = module.build(values)
    for part in model.modules():  # plain tensor attributes take part in the graph as buffers do
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor):
                delattr(part, name)
                part.register_buffer(name, value)
    return model, inputs, recorder, kept_whole(fake)


class _NothingDegenerate(TorchDispatchMode):
    """Refuses sizes at which a normalisation has a single element: nothing is left of it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name == "aten::native_group_norm" and args[4] * args[5] == args[6]:
            raise ValueError("groups of one element")
        if name == "aten::native_layer_norm" and torch.Size(args[1]).numel() == 1:
            raise ValueError("rows of one element")
        if name == "aten::_softmax" and args[0].dim() and args[0].shape[args[1]] == 1:
            raise ValueError("a softmax of one element")
        return func(*args, **(kwargs or {}))


def runs(module: Module, values: dict[str, int], strict: bool = True) -> bool:
    """Whether the module works at these sizes; `strict`: and normalises more than one element."""
    try:
        model, inputs, _, fake = build_fake(module, values)
        with fake, torch.no_grad(), _NothingDegenerate() if strict else contextlib.nullcontext():
            model(*inputs)
    except Exception:  # noqa: BLE001  anything a module may raise
        return False
    return True


def _program(model: Any, inputs: list[Any], keep: Any) -> Any:
    program = torch.export.export(model, tuple(inputs), strict=False)
    calls = [node for node in program.graph.nodes if node.op == "call_function"
             and hasattr(node.target, "_schema")
             and not str(node.args[:1]).endswith("num_batches_tracked,)")]
    if any(not keep(n.target) or n.target._schema.is_mutable for n in calls):
        table = torch.export.default_decompositions()
        for op in list(table):
            if keep(op):
                table.pop(op)
        program = program.run_decompositions(table)
    return program


def trace(module: Module, values: dict[str, int], keep: Any, training: bool,
          roll: bool = True) -> Trace:
    """`keep`: says which operations stay whole; the others are taken apart. `roll`: steps that
    repeat become a loop."""
    model, inputs, recorder, fake = build_fake(module, values)
    if not training:
        model.eval()
    with fake:
        program = _program(model, inputs, keep)
    graph = program.graph
    if roll:
        select_steps(graph)
        complete_results(graph)
    spec = program.graph_signature
    kinds = {s.arg.name: (s.kind.name, s.target) for s in spec.input_specs}
    sources, names = [], []
    wanted = {s.arg.name for s in spec.output_specs if s.kind.name == "USER_OUTPUT"
              if hasattr(s.arg, "name")}
    (end,) = [node for node in graph.nodes if node.op == "output"]
    outputs = [node for node in end.args[0] if getattr(node, "name", None) in wanted]
    if not outputs:
        raise Untraceable("the module returns no tensor")
    alive: set[Any] = set()
    todo = list(outputs)
    while todo:
        node = todo.pop()
        if node not in alive:
            alive.add(node)
            todo.extend(node.all_input_nodes)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for node in graph.nodes:
        if node.op != "placeholder":
            continue
        kind, target = kinds[node.name]
        if kind == "USER_INPUT":
            names.append(node.name)
        if node not in alive:
            continue
        tensor = node.meta.get("val")
        if kind in ("PARAMETER", "BUFFER"):
            tensor = state.get(target, program.state_dict.get(target, tensor))
        sources.append((node.name, kind, target, tensor))
    tensors = iter(t for t in inputs)
    by_input = {name: tensor for name, tensor in zip(names, tensors)}
    sources = [(n, k, t, by_input.get(n, v) if k == "USER_INPUT" else v)
               for n, k, t, v in sources]
    nodes = [n for n in graph.nodes if n.op == "call_function" and (
        n in alive or n.target is operator.getitem and n.args[0] in alive)]
    if roll:
        nodes, outputs = rolled(nodes, outputs)
    return Trace(values, nodes, sources, outputs, names, recorder, dict(program.constants),
                 {n.name: n for n in graph.nodes if n.op == "placeholder"})
