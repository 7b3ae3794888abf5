# SPDX-License-Identifier: Apache-2.0
"""What a candidate's source says by itself: attempts to deceive whoever measures it.

These findings are policy, not proof. A candidate without any is judged by what it does.
"""
from __future__ import annotations

import ast
import dataclasses

TIMER_NAMES = {"Event", "synchronize", "elapsed_time", "record", "perf_counter", "perf_counter_ns",
               "monotonic", "monotonic_ns", "time", "process_time", "sleep"}
# Modules whose attributes a kernel has no reason to set; settings of theirs are free.
WATCHED = {"torch", "time", "gc", "builtins", "sys", "triton", "numpy", "os", "inspect"}
SETTINGS = ("torch.backends", "torch._dynamo.config", "torch._inductor.config", "sys.path")
INSPECTING = {"gc.get_objects": "inspects_harness", "gc.get_referrers": "inspects_harness",
              "sys._getframe": "inspects_harness", "inspect.currentframe": "inspects_harness",
              "inspect.stack": "inspects_harness", "sys.settrace": "inspects_harness",
              "sys.setprofile": "inspects_harness", "ctypes.pythonapi": "inspects_harness"}


@dataclasses.dataclass
class Finding:
    """A named breach, and the line that shows it."""

    breach: str
    reason: str


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """`F.relu` as "torch.nn.functional.relu", by what the file imports; "" for other things."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])


def _imports(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _patch(path: str, line: int) -> Finding | None:
    if path.split(".")[0] not in WATCHED or path.startswith(SETTINGS) or "." not in path:
        return None
    timer = path.startswith("time.") or path.split(".")[-1] in TIMER_NAMES
    return Finding("patched_timer" if timer else "patched_torch",
                   f"line {line} replaces {path}")


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        return [node.target]
    return node.targets if isinstance(node, ast.Delete) else []


def _call(node: ast.Call, names: dict[str, str]) -> Finding | None:
    path = _dotted(node.func, names)
    if path in INSPECTING:
        return Finding(INSPECTING[path], f"line {node.lineno} calls {path}")
    if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr") and node.args:
        owner = _dotted(node.args[0], names)
        name = node.args[1].value if len(node.args) > 1 and \
            isinstance(node.args[1], ast.Constant) else "?"
        return _patch(f"{owner}.{name}", node.lineno) if owner else None
    return None


def _computes(node: ast.AST, names: dict[str, str]) -> bool:
    """Whether a handler answers with PyTorch or with another method of the module."""
    for sub in ast.walk(node):
        if isinstance(sub, ast.Call):
            path = _dotted(sub.func, names)
            if path.startswith("torch.") or (isinstance(sub.func, ast.Attribute) and isinstance(
                    sub.func.value, ast.Name) and sub.func.value.id == "self"):
                return True
        if isinstance(sub, ast.BinOp) and isinstance(sub.op, ast.MatMult):
            return True
    return False


def _fallback(tree: ast.Module, names: dict[str, str]) -> Finding | None:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Try) and any(_computes(h, names) for h in node.handlers):
                return Finding("fallback", f"line {node.lineno} falls back to PyTorch where the "
                               "kernel fails: say which of the two is offered")
    return None


def findings(source: str) -> list[Finding]:
    """Every finding, in the order of the file. Raises SyntaxError."""
    tree = ast.parse(source)
    names = _imports(tree)
    found: list[Finding] = []
    for node in ast.walk(tree):
        finding: Finding | None = None
        for target in _targets(node):
            where = target.value if isinstance(target, ast.Subscript) else target
            path = _dotted(where, names) if isinstance(where, ast.Attribute) else ""
            finding = finding or (_patch(path, target.lineno) if path else None)
        if isinstance(node, ast.Call):
            finding = finding or _call(node, names)
        if isinstance(node, ast.Attribute) and node.attr in ("__globals__", "__code__",
                                                             "__closure__"):
            finding = Finding("inspects_harness", f"line {node.lineno} reads {node.attr}")
        if finding:
            found.append(finding)
    fallback = _fallback(tree, names)
    return [*found, *([fallback] if fallback else [])]


def starts_compilers(source: str) -> bool:
    """Whether it says so itself that it compiles while it runs (Triton, torch.compile)."""
    return "triton" in source or "torch.compile" in source or "torch._inductor" in source
