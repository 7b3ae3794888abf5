# SPDX-License-Identifier: Apache-2.0
"""Are these the right values? In pieces, so that tensors of gigabytes fit beside each other."""
from __future__ import annotations

import math
import sys
from typing import Any, Iterator

import torch

Message = dict[str, Any]

# A candidate may err by so many times what the reference errs by in its own precision, and by this
# share of the largest value anyway: a sum in another order is no fault, TF32 in place of FP32 is.
ERROR_FACTOR = 24.0
FLOOR = {"float32": 2.0 ** -20, "float64": 2.0 ** -46, "float16": 2.0 ** -9, "bfloat16": 2.0 ** -6}
PIECE = 1 << 26  # elements


_fused: Any = None  # device_passes, where `use_fused` has tried it
_SAMPLES = (4_099, 9_500_003)  # elements: one program of a pass, and more than one round of all


def use_fused(device: str, dtypes: set[torch.dtype]) -> str:
    """From here on compares tensors of a device in one pass each, where Triton is loaded and says
    of samples of these types what PyTorch says. Returns "" or why it does not."""
    global _fused
    _fused = None
    if not device.startswith("cuda") or "triton" not in sys.modules:
        return "Triton is not loaded"
    try:
        from quern.torch_lane import device_passes

        samples = [torch.randn(size, dtype=torch.float64, device=device) for size in _SAMPLES]
        plain = _answers(samples, dtypes, Fingerprint(device))
        _fused = device_passes
        same = plain[1:] == _answers(samples, dtypes, plain[0])[1:]
    except Exception as error:  # noqa: BLE001  of any version's inside; nothing depends on it
        _fused = None
        return f"{type(error).__name__}: {error}"[:300]
    if not same:
        _fused = None
        return "Triton's passes differ from PyTorch's"
    return ""


def _answers(samples: list[torch.Tensor], dtypes: set[torch.dtype],
             prints: "Fingerprint") -> list[Any]:
    """`prints`, then what is found in samples, and in them with one value changed, here and there."""
    found: list[Any] = [prints]
    for sample in samples:
        flat = sample.view(torch.uint8)
        found.append(prints.of(flat[:flat.numel() // 4096 * 4096]))
        for dtype in dtypes:
            own = sample.to(dtype)
            found.append(_measured(own * 1.01, sample, own))
            for place in range(0, len(sample), max(1, len(sample) // 7)):
                other = own.clone()
                other[-1 - place] += 1
                found.append(_measured(other, sample, own))
    return found


def _measured(got: torch.Tensor, want: torch.Tensor, own: torch.Tensor) -> list[float]:
    found = _Measured()
    found.add_all(got, want, own)
    return [found.scale, found.rounding, found.error]


def pieces(*tensors: torch.Tensor, size: int = PIECE) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same stretches of tensors of one shape, in the order of their indices."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    for first in range(0, flat[0].numel(), size):
        yield tuple(part[first:first + size] for part in flat)


def close_enough(a: torch.Tensor, b: torch.Tensor) -> bool:
    """The same but for rounding: atomics may add in another order, random numbers differ more."""
    return all(torch.allclose(x.double(), y.double(), rtol=1e-3, atol=1e-3, equal_nan=True)
               for x, y in pieces(a, b))


def is_finite(tensor: torch.Tensor) -> bool:
    return all(bool(part.isfinite().all()) for part, in pieces(tensor))


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The largest absolute value, or NaN where there is one."""
    low, high = torch.aminmax(values)
    return torch.maximum(-low, high)


class _Measured:
    """Largest values over pieces seen so far."""

    def __init__(self) -> None:
        self.scale = self.rounding = self.error = 0.0
        self.unlike = 0

    def add(self, got: torch.Tensor, want: torch.Tensor, own: torch.Tensor) -> None:
        exact = want.double()
        worst = torch.stack([_largest(exact), _largest(own - exact),
                             _largest(got - exact)]).tolist()
        if not all(map(math.isfinite, worst)):
            worst = self._beside_special(got.double(), exact, own.double())
        self.scale, self.rounding = max(self.scale, worst[0]), max(self.rounding, worst[1])
        self.error = max(self.error, worst[2])

    def add_all(self, got: torch.Tensor, want: torch.Tensor, own: torch.Tensor) -> None:
        """`add` of every piece; on a device at once, where that can be."""
        worst = _fused.extremes(got, want, own) if _fused and got.is_cuda else None
        if worst is not None:
            self.scale, self.rounding, self.error = worst
            return
        for part in pieces(got, want, own):
            self.add(*part)

    def _beside_special(self, given: torch.Tensor, exact: torch.Tensor,
                        plain: torch.Tensor) -> list[float]:
        """The same where the reference is finite; elsewhere values must be equal."""
        special = ~plain.isfinite()
        unlike = special != ~given.isfinite()
        same = given[special].nan_to_num(1, 2, 3) == plain[special].nan_to_num(1, 2, 3)
        self.unlike += int(unlike.sum()) or int((~same).sum())
        keep = ~(special | unlike)
        if not bool(keep.any()):
            return [0.0, 0.0, 0.0]
        return [float(exact[keep].abs().max()), float((plain - exact)[keep].abs().max()),
                float((given - exact)[keep].abs().max())]


def _worst(got: torch.Tensor, want: torch.Tensor, allowed: float) -> str:
    """Where `got` errs most, and how often too much."""
    greatest, place, wrong, seen = -1.0, 0, 0, 0
    for given, exact in pieces(got, want):
        error = (given.double() - exact.double()).abs_().nan_to_num_(0.0)
        wrong += int((error > allowed).sum())
        if float(error.max()) > greatest:
            greatest, place = float(error.max()), seen + int(error.argmax())
        seen += given.numel()
    at = _index(place, got.shape)
    return f"; at {list(at)}: {float(got[at]):.9g} instead of {float(want[at]):.9g}; " \
           f"{wrong} of {got.numel()} wrong"


def compare(got: torch.Tensor, want: torch.Tensor, own: torch.Tensor) -> Message:
    """`got` with the exact `want`, allowing what the reference's `own` precision explains."""
    if not got.is_floating_point():
        wrong = int((got != own).sum())
        return {"ok": wrong == 0, "max_error": float(wrong), "allowed": 0.0,
                "detail": f"{wrong} of {got.numel()} differ" if wrong else "equal"}
    if got.numel() == 0:
        return {"ok": True, "max_error": 0.0, "allowed": 0.0, "detail": "empty"}
    found = _Measured()
    found.add_all(got, want, own)
    if found.unlike:
        return {"ok": False, "max_error": math.inf, "allowed": 0.0, "nan": True,
                "detail": f"{found.unlike} values are NaN or infinite where the reference's are "
                          "not, or the other way round"}
    name = str(got.dtype).split(".")[1]
    allowed = max(ERROR_FACTOR * found.rounding, FLOOR.get(name, 2.0 ** -6) * found.scale, 1e-30)
    detail = f"greatest error {found.error:.3g}, allowed {allowed:.3g}"
    if not found.error <= allowed:
        detail += _worst(got, want, allowed)
    return {"ok": found.error <= allowed, "max_error": found.error, "allowed": allowed,
            "detail": detail}


def _index(place: int, shape: torch.Size) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        index.append(place % size)
        place //= size
    return tuple(index[::-1])


class Fingerprint:
    """A number for what bytes hold, under weights that nobody else knows: equal numbers mean equal
    bytes but for one chance in 2^60 or so. It stands for a copy, which gigabytes have no room for."""

    _ROW = 512  # words of 8 bytes

    def __init__(self, device: str) -> None:
        self.weights = torch.randint(-2 ** 62, 2 ** 62, (self._ROW,), device=device) | 1
        self.step = int(torch.randint(2 ** 61, 2 ** 62, (1,)).item()) | 1

    def of(self, flat: torch.Tensor) -> int:
        """Of bytes whose number is a multiple of 4096."""
        rows = flat.view(torch.int64).view(-1, self._ROW)
        if flat.is_cuda and _fused:
            return int(_fused.fingerprint(rows, self.weights, self.step))
        total = torch.zeros((), dtype=torch.int64, device=flat.device)
        for first in range(0, len(rows), PIECE // self._ROW):
            part = rows[first:first + PIECE // self._ROW]
            places = torch.arange(first + 1, first + 1 + len(part), device=flat.device)
            sums = (part * self.weights).sum(1)
            total += ((sums ^ (sums >> 29)) * ((places * self.step) | 1)).sum()
        return int(total)
