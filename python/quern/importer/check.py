# SPDX-License-Identifier: Apache-2.0
"""Whether an imported task means what the module computes, and refuses wrong kernels."""
from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import warnings
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from quern.importer.convert import Task
from quern.importer.sizes import Cost, cost

MIXES = ("published", "normal", "offset")
NUDGE, LOOSEST = 1e-15, 1e-5
HALF_ULP = 2.0 ** -24  # of an f32
TRIALS = 4  # of other roundings of a module's tables
MUTANT_SECONDS = 300.0  # a network that cannot shrink may take minutes, with error bounds
MANY_FLOPS = 1e9  # a network beyond it is compared on one draw
MOST_BYTES = 4e9  # of all that a module computes, in double precision
TOLERANCE = 1e-9  # of the greatest magnitude (at least 0.001); both sides compute in double


class Binary:
    """The command `quern`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.path, *arguments], capture_output=True, text=True,
                              timeout=timeout, check=False)

    def refusal(self, task: pathlib.Path) -> str:
        """Why the task file does not parse, or nothing."""
        done = self.run("tasks", str(task), "--json")
        return "" if done.returncode == 0 else done.stderr.strip()

    def wrong_kernels_accepted(self, task: pathlib.Path,
                               seconds: float = MUTANT_SECONDS) -> list[str] | None:
        """Their names; nothing where the check takes longer than `seconds`."""
        try:
            done = self.run("tasks", "--check", str(task), "--json", timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        rows = json.loads(done.stdout).get("tasks", []) if done.stdout else []
        if not rows:
            raise RuntimeError(f"the check of wrong kernels did not run: {done.stderr.strip()}")
        return [m["name"] for m in rows[0]["mutants"] if not m["caught"]]

    def compute(self, task: pathlib.Path, size: str, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Every output in one row."""
        with tempfile.TemporaryDirectory() as folder:
            given, made = pathlib.Path(folder, "inputs"), pathlib.Path(folder, "outputs")
            with given.open("wb") as file:
                for tensor in inputs:
                    file.write(tensor.detach().double().contiguous().numpy().tobytes())
            done = self.run("tasks", "--compute", str(task), "--size", size, "--inputs",
                            str(given), "--outputs", str(made))
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip())
            return torch.frombuffer(bytearray(made.read_bytes()), dtype=torch.float64)


def redrawn(tensor: torch.Tensor, mix: str, is_param: bool) -> torch.Tensor:
    """Other values for a tensor of reals; zeros of a triangle and symmetry stay."""
    if not tensor.is_floating_point() or mix == "published":
        return tensor
    made = torch.randn_like(tensor) if mix == "normal" else torch.randn_like(tensor) * 0.5 + 3
    if is_param:
        made = torch.randn_like(tensor) * 0.3 + (0.0 if mix == "normal" else 0.2)
    if tensor.dim() >= 2 and tensor.shape[-1] == tensor.shape[-2] and not is_param:
        for part in (torch.tril, torch.triu):
            if torch.equal(part(tensor), tensor):
                made = part(made)
        if torch.equal(tensor.mT, tensor):
            made = torch.tril(made) + torch.tril(made, -1).mT
    return made


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    """In double precision, at values that the task's element type has."""
    return tensor.float().double() if tensor.is_floating_point() else tensor


class _InDouble(TorchFunctionMode):
    """Where a module asks for 32-bit floats by name, it gets 64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def wide(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        kwargs = dict(kwargs or {})
        if func in (torch.rms_norm, torch.nn.functional.rms_norm):  # by default the type's own
            args, given = args[:3], args[3] if len(args) > 3 else kwargs.get("eps")
            kwargs["eps"] = torch.finfo(torch.float32).eps if given is None else given
        return func(*map(wide, args), **{k: wide(v) for k, v in kwargs.items()})


def reference(task: Task, size: str, mix: str, seed: int, nudge: float = 0.0,
              table_nudge: float = 0.0, trial: int = 0) -> tuple[list[torch.Tensor], Any]:
    """The task's inputs, and what the module makes of them in double precision. `nudge`: a random
    relative change of every value; `table_nudge`: of the buffers that the task computes itself;
    another `trial` is another change."""
    given_to_task = {key for _, kind, key in task.sources if kind != "USER_INPUT"}
    torch.manual_seed(seed)
    model, inputs = task.module.build(task.sets[size])
    if not task.training:
        model.eval()
    tensors: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            is_state = name not in dict(model.named_parameters())
            fresh = value.data if is_state else redrawn(value.data, mix, True)
            by = table_nudge if name not in given_to_task else nudge
            tensors[name] = value.data = nudged(rounded(fresh.data), by, trial)
        for part in model.modules():  # tensors that are no parameters and no buffers
            for name, value in list(vars(part).items()):
                if isinstance(value, torch.Tensor):
                    prefix = next(n for n, p in model.named_modules() if p is part)
                    tensors[f"{prefix}.{name}".lstrip(".")] = fixed = rounded(value.data.clone())
                    setattr(part, name, fixed.clone())
        inputs = [nudged(rounded(redrawn(x, mix, False)), nudge, trial)
                  if isinstance(x, torch.Tensor) else x for x in inputs]
        given = dict(zip(task.input_names, inputs, strict=False))
        order = [given[key] if kind == "USER_INPUT" else tensors[key].clone()
                 for _, kind, key in task.sources]
        order = [x.clone() for x in order]
        torch.set_default_dtype(torch.float64)
        try:
            with _InDouble():
                made = model(*inputs)
        finally:
            torch.set_default_dtype(torch.float32)
    return order, made


def flat(made: Any) -> torch.Tensor:
    if isinstance(made, torch.Tensor):
        return made.detach().double().reshape(-1)
    if isinstance(made, dict):
        made = list(made.values())
    return torch.cat([flat(m) for m in made if m is not None])


def nudged(tensor: torch.Tensor, by: float, trial: int = 0) -> torch.Tensor:
    if by == 0 or not tensor.is_floating_point():
        return tensor
    noise = torch.Generator().manual_seed(tensor.numel() + trial)
    return tensor * (1 + by * torch.randn(tensor.shape, generator=noise, dtype=tensor.dtype))


def largest_gap(a: torch.Tensor, b: torch.Tensor) -> float:
    gap = (a - b).abs()
    gap = gap[torch.isfinite(gap)]
    return gap.max().item() if gap.numel() else 0.0


def difference(found: torch.Tensor, wanted: torch.Tensor, slack: float = 0.0) -> str:
    """What differs, or nothing. Where the module yields no number, anything will do."""
    if found.numel() != wanted.numel():
        return f"{found.numel()} elements instead of {wanted.numel()}"
    known = ~torch.isnan(wanted)
    found, wanted = found[known], wanted[known]
    finite = torch.isfinite(wanted)
    if not torch.equal(found[~finite], wanted[~finite]):
        return "infinities in other places"
    found, wanted = found[finite], wanted[finite]
    if not wanted.numel():
        return ""
    gap = (found - wanted).abs()
    scale = max(1e-3, wanted.abs().max().item())
    worst = gap.max().item()
    if not worst <= max(TOLERANCE * scale, slack):  # also where it is no number
        return f"off by {worst:.3g} where the greatest magnitude is {scale:.3g}"
    return ""


def checked_at(task: Task) -> tuple[str, Cost]:
    """The smallest size set, and what the module takes there."""
    size = next(name for name in ("tiny", "cpu", "full") if name in task.sets)
    found = cost(task.module, task.sets[size])
    if found is None or 2 * found.bytes > MOST_BYTES:
        raise RuntimeError(f"at its smallest size set ({size}) the module takes more than "
                           f"{MOST_BYTES / 1e9:.0f} GB: it cannot be compared with the task")
    return size, found


def disagreement(task: Task, path: pathlib.Path, binary: Binary,
                 mixes: tuple[str, ...] = MIXES) -> str:
    """How the task differs from the module on some distribution, or nothing."""
    size, found = checked_at(task)
    if found.flops > MANY_FLOPS:
        mixes = mixes[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, mix in enumerate(mixes):
            try:
                inputs, made = reference(task, size, mix, seed)
            except Exception:  # noqa: BLE001  a module may refuse values, such as no probabilities
                if mix == "published":
                    raise
                continue
            computed, wanted = binary.compute(path, size, inputs), flat(made)
            gap = difference(computed, wanted)
            if gap and computed.numel() == wanted.numel():
                # Deep networks of normalised layers amplify rounding: how much, a nudge tells.
                # Tables that the module rounds when it is built, the task has in double precision.
                moved = flat(reference(task, size, mix, seed, NUDGE)[1])
                # One change may cancel: the greatest effect of several.
                turned = max(largest_gap(flat(reference(
                    task, size, mix, seed, 0.0, HALF_ULP, trial)[1]), wanted)
                    for trial in range(TRIALS))
                slack = 100 * largest_gap(moved, wanted) + 4 * turned
                limit = LOOSEST * max(1e-3, wanted.abs().max().item())
                gap = difference(computed, wanted, min(slack, limit))
            if gap:
                return f"{gap} (inputs: {mix}, size set {size})"
    return ""
