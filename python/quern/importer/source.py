# SPDX-License-Identifier: Apache-2.0
"""Module files as people write them, and the whole numbers in them that are sizes.

A file defines a module (`Model`, or its only nn.Module class, or an instance `model`) and example
inputs (`get_inputs()`, or `example_inputs`, a function or a tuple), optionally `get_init_inputs()`.
Whole numbers in assignments of the file's top level and in those functions can be set to other
values: running the file with them gives the same module at another size.
"""
from __future__ import annotations

import ast
import copy
import dataclasses
import enum
import re
from typing import Any

INPUT_FUNCTIONS = ("get_inputs", "get_init_inputs", "example_inputs")


class BadModule(Exception):
    """The file cannot be loaded or run; the message says where and what to do."""


@dataclasses.dataclass
class Knob:
    """A whole number of the file that may become a size of the task, and where it stands."""

    name: str
    value: int
    nodes: list[ast.Constant]


@dataclasses.dataclass
class Item:
    """One module to import: its source, and what a benchmark says of it."""

    name: str
    code: str
    level: int | None = None
    problem_id: int | None = None
    origin: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)  # for the head of the task file
    workloads: list[dict[str, int]] = dataclasses.field(default_factory=list)  # further size sets
    adapters: dict[str, str] = dataclasses.field(default_factory=dict)  # for Solutions in Python
    unsupported: str = ""  # why it is no module; "" where it is one
    failed: str = ""  # why it cannot be read; "" where it can


def whole(node: ast.AST) -> int | None:
    """The value of an expression of whole literals (`16 * 1024`), else nothing."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult,
                                                            ast.FloorDiv, ast.Pow)):
        a, b = whole(node.left), whole(node.right)
        if a is None or b is None or (isinstance(node.op, ast.Pow) and not 0 <= b < 64):
            return None
        if isinstance(node.op, ast.FloorDiv):
            return a // b if b else None
        return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}.get(type(node.op), a ** max(b, 0))
    return None


class _Folder(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        value = whole(node)
        return self.generic_visit(node) if value is None else ast.copy_location(
            ast.Constant(value), node)


class _Ungraded(ast.NodeTransformer):
    """Takes away `@torch.no_grad()`, `with torch.no_grad():` and the like."""

    MODES = ("no_grad", "inference_mode", "enable_grad", "set_grad_enabled")
    found = False

    def _is_mode(self, node: ast.expr) -> bool:
        node = node.func if isinstance(node, ast.Call) else node
        return isinstance(node, ast.Attribute) and node.attr in self.MODES and \
            isinstance(node.value, ast.Name) and node.value.id == "torch"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        kept = [one for one in node.decorator_list if not self._is_mode(one)]
        self.found |= len(kept) < len(node.decorator_list)
        node.decorator_list = kept
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        node.items = [i for i in node.items if not self._is_mode(i.context_expr)] or node.items
        if not all(self._is_mode(i.context_expr) for i in node.items):
            return node
        self.found = True
        return node.body


def without_grad_modes(code: str) -> str:
    """The file without its gradient modes, which change no value: a trace says them as operations
    of their own. As it is where it has none."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return code
    change = _Ungraded()
    tree = change.visit(tree)
    return ast.unparse(ast.fix_missing_locations(tree)) if change.found else code


def _separate(tree: ast.Module) -> None:
    """`height = width = 64` becomes two assignments: two sizes that happen to be equal."""
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) > 1:
            body += [ast.copy_location(ast.Assign([target], copy.deepcopy(node.value)), node)
                     for target in node.targets]
        else:
            body.append(node)
    tree.body = body


class Literals(enum.Enum):
    """What numbers without a name, in `get_inputs` and the like, become."""

    EACH = "each a size of its own"
    EQUAL = "one size with all numbers of their value"
    FIXED = "literals of the task; so do numbers with a name"


class Module:
    """A module file whose sizes can be set."""

    def __init__(self, code: str, name: str, literals: Literals = Literals.EACH) -> None:
        self.name, self.literals = name, literals
        try:
            self.tree = ast.parse(code)
        except (SyntaxError, ValueError) as error:
            raise BadModule(f"{name}: not Python: {error}") from error
        _separate(self.tree)
        self.tree = ast.fix_missing_locations(_Folder().visit(self.tree))
        self.knobs: list[Knob] = []
        self._names: dict[str, int] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                self._assigned(node.targets[0], node.value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self._assigned(node.target, node.value)
            elif isinstance(node, ast.FunctionDef) and node.name in INPUT_FUNCTIONS:
                self._literals(node, "size", literals is Literals.EQUAL)
        if literals is Literals.FIXED:
            self.knobs = []
        self.initial = {knob.name: knob.value for knob in self.knobs}

    def _add(self, name: str, node: ast.Constant, join: bool = False) -> None:
        if type(node.value) is not int or node.value < 2 or len(self.knobs) >= 40:
            return
        equal = next((knob for knob in self.knobs if join and knob.value == node.value), None)
        if equal is not None:
            equal.nodes.append(node)
            return
        name = re.sub(r"\W", "_", name).strip("_") or "size"
        count = self._names[name] = self._names.get(name, 0) + 1
        self.knobs.append(Knob(name if count == 1 else f"{name}_{count}", node.value, [node]))

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, (ast.Tuple, ast.List)) and \
                len(target.elts) == len(value.elts):
            for one, item in zip(target.elts, value.elts, strict=True):
                self._assigned(one, item)
            return
        name = target.id if isinstance(target, ast.Name) else "size"
        if isinstance(value, ast.Constant):
            self._add(name, value)
        elif isinstance(value, (ast.Tuple, ast.List)):
            for place, item in enumerate(value.elts):
                if isinstance(item, ast.Constant):
                    self._add(f"{name}_{place}", item)
                else:
                    self._literals(item, name)
        else:
            self._literals(value, name)

    def _literals(self, node: ast.AST, name: str, join: bool = False) -> None:
        skipped = {id(sub) for call in ast.walk(node) if isinstance(call, ast.keyword)
                   and call.arg in ("dim", "dtype", "diagonal") for sub in ast.walk(call)}
        for sub in ast.walk(node):
            if isinstance(sub, ast.Constant) and id(sub) not in skipped:
                self._add(name, sub, join)

    def namespace(self, values: dict[str, int]) -> dict[str, Any]:
        """The file's names after running it with these sizes."""
        for knob in self.knobs:
            for node in knob.nodes:
                node.value = values.get(knob.name, knob.value)
        space: dict[str, Any] = {"__name__": "imported_module", "__builtins__": __builtins__}
        exec(compile(self.tree, self.name, "exec"), space)  # noqa: S102  the user's own file
        return space

    def build(self, values: dict[str, int]) -> tuple[Any, list[Any]]:
        """The module and its example inputs, as the file makes them."""
        import torch

        space = self.namespace(values)
        inputs = space.get("get_inputs", space.get("example_inputs"))
        if inputs is None:
            raise BadModule(f"{self.name}: no example inputs; define get_inputs()")
        inputs = list(inputs()) if callable(inputs) else list(inputs)
        model = space.get("model")
        if isinstance(model, torch.nn.Module):
            return model, inputs
        kind = space.get("Model")
        if kind is None:
            own = [v for v in space.values() if isinstance(v, type)
                   and issubclass(v, torch.nn.Module) and v.__module__ == "imported_module"]
            if len(own) != 1:
                raise BadModule(f"{self.name}: {len(own)} module classes; name one `Model`")
            kind = own[0]
        start = space.get("get_init_inputs", list)()
        args, kwargs = list(start), {}
        if len(args) == 2 and isinstance(args[0], list) and isinstance(args[1], dict):
            args, kwargs = args
        return kind(*args, **kwargs), inputs
