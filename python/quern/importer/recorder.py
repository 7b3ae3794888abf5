# SPDX-License-Identifier: Apache-2.0
"""What fills a module's tensors while it is built: every operation is remembered, so that the way
inputs, parameters and tables are made is known, not only their values."""
from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

RANDOM = {"rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "normal",
          "uniform", "uniform_", "normal_", "random_", "bernoulli", "bernoulli_", "randperm",
          "multinomial", "exponential_", "cauchy_", "geometric_", "log_normal_",
          "rrelu_with_noise"}
ALIASES = {"detach", "alias", "lift_fresh", "_to_copy", "clone", "lift_fresh_copy"}
# Of a view: what makes the whole anew where the view was written to.
SCATTERS = {"select": "select_scatter", "slice": "slice_scatter"}


class Untraceable(Exception):
    """The module has no graph that the task language can say; the message is the reason."""


@dataclasses.dataclass(eq=False)
class Made:
    """One recorded operation: what a tensor was made by."""

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    part: int | None = None  # where the operation makes several tensors
    sources: dict[int, Made] = dataclasses.field(default_factory=dict)  # of `args`, by their id

    @property
    def name(self) -> str:
        return self.op._schema.name.split("::")[-1]

    @property
    def before(self) -> Made | None:
        """Of an operation in place: what was there."""
        return self.source(self.args[0]) if self.op._schema.is_mutable and self.args else None

    def source(self, arg: Any) -> Made | None:
        """What made an argument, at the time of the operation."""
        return self.sources.get(id(arg))

    def resolved(self, arg: Any) -> Any:
        """An argument with what made them in place of tensors, as far as that is known."""
        if isinstance(arg, (tuple, list)):
            return [self.resolved(one) for one in arg]
        return self.source(arg) or arg if isinstance(arg, torch.Tensor) else arg


def functional(op: Any) -> Any:
    """The operation that yields what `op` writes in place; `op` itself where there is none."""
    name = op._schema.name.split("::")[-1]
    packet = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") else None
    return getattr(packet, op._overloadname, op) if packet is not None else op


def _key(tensor: torch.Tensor) -> tuple[Any, ...]:
    return (tensor.untyped_storage()._cdata, tuple(tensor.shape), tuple(tensor.stride()),
            tensor.storage_offset())


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for one in value for t in _tensors(one)] if isinstance(value, (tuple, list)) else []


class Recorder(TorchDispatchMode):
    """Remembers what each tensor was made by, while a module and its inputs are built."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[tuple[Any, ...], Made] = {}
        self.views: dict[tuple[Any, ...], Made] = {}  # as they were first taken
        self.kept: list[torch.Tensor] = []  # a storage's number is only its own while it lives

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1]
        if name in ("item", "_local_scalar_dense"):
            known = self.concrete(args[0])
            with _disable_current_modes():
                return known.item()
        sources = self._sources(args)
        out = func(*args, **kwargs)
        if isinstance(out, (tuple, list)):
            for place, one in enumerate(out):
                if isinstance(one, torch.Tensor):
                    self.kept.append(one)
                    self._remember(one, Made(func, args, kwargs, one, place, sources))
        if not isinstance(out, torch.Tensor):
            return out
        self.kept.append(out)
        made = Made(func, args, kwargs, out, None, sources)
        if func._schema.is_mutable:
            self._write(out, made)
        elif name in ALIASES and isinstance(args[0], torch.Tensor) and \
                out.dtype == args[0].dtype and id(args[0]) in sources:
            if _key(out) != _key(args[0]):
                self.made[_key(out)] = sources[id(args[0])]
        else:
            self._remember(out, made)
        return out

    def _sources(self, args: Any) -> dict[int, Made]:
        found = {id(tensor): self.find(tensor) for tensor in _tensors(args)}
        return {key: made for key, made in found.items() if made is not None}

    def _remember(self, out: torch.Tensor, made: Made) -> None:
        """A view of something known is derived from it whenever somebody asks."""
        key = _key(out)
        if not made.op.is_view or not isinstance(made.args[0], torch.Tensor):
            self.made[key] = made
        elif key not in self.made and key not in self.views:
            known = id(made.args[0]) in made.sources
            (self.views if known else self.made)[key] = made

    def _write(self, tensor: torch.Tensor, made: Made) -> None:
        """`tensor` holds what `made` says; so does its place in whatever it is a view of."""
        view = self.views.get(_key(tensor))
        if view is None:
            self.made[_key(tensor)] = made
            return
        parent = view.args[0]
        whole, word = self.find(parent), SCATTERS.get(view.name)
        if whole is None or word is None:
            self._forget(parent)
            return
        arguments = (parent, tensor, *view.args[1:])
        self._write(parent, Made(getattr(torch.ops.aten, word).default, arguments, {}, parent, None,
                                 {id(parent): whole, id(tensor): made}))

    def _forget(self, tensor: torch.Tensor) -> None:
        view = self.views.get(_key(tensor))
        if view is not None:
            self._forget(view.args[0])
        self.made.pop(_key(tensor), None)

    def find(self, tensor: torch.Tensor) -> Made | None:
        """What made a tensor's present values, where that is known."""
        key = _key(tensor)
        view = self.views.get(key)
        if view is None:
            return self.made.get(key)
        parent = view.args[0]
        now = self.find(parent)
        if now is None:
            return None
        if now is not view.source(parent):
            view = Made(view.op, view.args, view.kwargs, view.out, view.part, {id(parent): now})
            self.views[key] = view
        return view

    def concrete(self, value: Any) -> Any:
        """A tensor's numbers, where a few operations make them of nothing but constants."""
        if isinstance(value, (tuple, list)):
            return [self.concrete(one) for one in value]
        if isinstance(value, torch.Tensor):
            made = self.find(value)
            if made is None:
                return _plain(value)
            value = made
        if not isinstance(value, Made):
            return value
        if value.name in RANDOM:
            raise Untraceable("a random number is read from a tensor while the module is built")
        arguments = [self.concrete(value.resolved(arg)) for arg in value.args]
        with _disable_current_modes():
            out = functional(value.op)(*arguments, **value.kwargs)
        return out if value.part is None else out[value.part]


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that holds numbers, be it for tracing or not."""
    known = getattr(tensor, "constant", None)
    known = tensor if known is None and not hasattr(tensor, "fake_mode") else known
    if known is None:
        raise Untraceable("a number that is read from a tensor while the module is built")
    return known
