# SPDX-License-Identifier: Apache-2.0
"""KernelBench's published evaluation, holes included, for numbers that the field can compare.

What it does, in which order and with which constants, follows ScalingIntelligence/KernelBench at
commit 423217d (src/kernelbench/eval.py and timing.py; MIT), as scripts/run_and_check.py calls it:
reference and candidate share one process and, but for Triton, one namespace; the same inputs go to
both, not cloned; five draws; allclose; CUDA events around each of 100 calls with a cold cache;
mean of times, rounded to three digits. Its verdict is theirs, not ours. Without CUDA, which they
require, the clock is the host's and no cache is emptied.
"""
from __future__ import annotations

import importlib.util
import os
import statistics
import time
import traceback
from typing import Any, Callable

import torch

from quern.torch_lane import build, runner, sandbox, triton_builds
from quern.torch_lane.channel import Channel, Gone, Message

SEED = 42
CORRECTNESS_TRIALS, TIMED_TRIALS, WARM_UP, REFERENCE_WARM_UP = 5, 100, 3, 5
EXCESSIVE_SPEEDUP = 10.0
LIMIT_S = 180.0
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-2}
PRECISION = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_CACHE_CELLS = 32 << 20  # of 8 bytes: 256 MiB written before each timed call


def backend_of(source: str) -> str:
    """"triton" where the source defines a Triton kernel, else "cuda": how it is loaded."""
    return "triton" if "@triton.jit" in source or "@triton.autotune" in source else "cuda"


def _error_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


class Evaluation:
    """One evaluation in this process. `result` has KernelBench's fields, and medians."""

    def __init__(self, settings: Message, quiet: Callable[[], None] = lambda: None) -> None:
        self.quiet = quiet  # returns once nothing else runs; called before anything is timed,
        self.each_trial: bool = settings["each_trial"]  # or before each timed call besides
        self.output: Any = None
        self.reference: str = settings["reference"]
        self.candidate: str = settings["source"]
        self.device = torch.device(settings["device"])
        self.cuda = self.device.type == "cuda"
        self.precision = PRECISION[settings["precision"]]
        self.backend: str = settings["backend"] or backend_of(self.candidate)
        self.trials: int = settings["timed_trials"]
        self.scratch: str = settings["scratch"]
        self.metadata: dict[str, Any] = {"backend": self.backend, "hardware": self._hardware()}

    def _hardware(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.cuda else "cpu"

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(device=self.device)

    @staticmethod
    def _seed(seed: int) -> None:
        torch.manual_seed(seed)
        torch.cuda.manual_seed(seed)

    def _result(self, compiled: bool, correct: bool = False) -> dict[str, Any]:
        return {"compiled": compiled, "correctness": correct, "metadata": self.metadata,
                "runtime": -1.0, "runtime_stats": {}, "ref_runtime": -1.0, "ref_runtime_stats": {}}

    def _moved(self, values: list[Any]) -> list[Any]:
        return [value.to(dtype=self.precision).to(device=self.device)
                if isinstance(value, torch.Tensor) else value for value in values]

    def _load_candidate(self, space: dict[str, Any]) -> Any:
        if self.backend == "triton":
            path = os.path.join(self.scratch, "candidate_module.py")
            with open(path, "w") as file:
                file.write(self.candidate)
            spec = importlib.util.spec_from_file_location("temp_module", path)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            return module.ModelNew
        space["BUILD_DIRECTORY"] = self.scratch
        source = f"import os\nos.environ['TORCH_EXTENSIONS_DIR'] = {self.scratch!r}\n"
        try:
            exec(compile(source + self.candidate, "<string>", "exec"), space)  # noqa: S102
        except SyntaxError:
            return None
        return space.get("ModelNew")

    def run(self) -> dict[str, Any] | None:
        """KernelBench's record; None where it gives none (its caller would try again)."""
        space: dict[str, Any] = {}
        exec(compile(self.reference, "<string>", "exec"), space)  # noqa: S102
        make, start, inputs = space["Model"], space["get_init_inputs"], space["get_inputs"]
        self._seed(SEED)
        arguments = self._moved(start())
        with torch.no_grad():
            self._seed(SEED)
            original = make(*arguments)
        try:
            os.environ["TORCH_USE_CUDA_DSA"] = "1"
            make_new = self._load_candidate(space)
            self._synchronize()
        except Exception as error:  # noqa: BLE001
            if "lock" in str(error) or "No such file or directory" in str(error):
                self._synchronize()
                return None
            self.metadata.update(compilation_error_name=_error_name(error),
                                 compilation_error=str(error))
            self._synchronize()
            return self._result(False)
        if make_new is None:
            self.metadata["compilation_error_name"] = "SyntaxError"
            return self._result(False)
        try:
            with torch.no_grad():
                self._seed(SEED)
                new = make_new(*arguments)
                assert hasattr(new, "forward")
                original = original.to(device=self.device, dtype=self.precision)
                new = new.to(device=self.device, dtype=self.precision)
                self._synchronize()
        except RuntimeError as error:
            self._synchronize()
            self.metadata.update(runtime_error=str(error), runtime_error_name=_error_name(error))
            return self._result(True)
        result = self._correctness(original, new, inputs)
        self._performance(result, original, new, inputs)
        self._synchronize()
        return result

    def _correctness(self, original: Any, new: Any, inputs: Callable[[], Any]) -> dict[str, Any]:
        try:
            return self._trials(original, new, inputs)
        except Exception as error:  # noqa: BLE001
            self.metadata.update(runtime_error=str(error), runtime_error_name=_error_name(error))
            return self._result(True)

    def _trials(self, original: Any, new: Any, inputs: Callable[[], Any]) -> dict[str, Any]:
        passed = 0
        torch.manual_seed(SEED)
        seeds = [int(torch.randint(0, 2 ** 32 - 1, (1,)).item())
                 for _ in range(CORRECTNESS_TRIALS)]
        with torch.no_grad():
            for seed in seeds:
                self._seed(seed)
                given = self._moved(inputs())
                self._seed(seed)
                model = original.to(device=self.device, dtype=self.precision)
                self._seed(seed)
                model_new = new.to(device=self.device, dtype=self.precision)
                want = model(*given)
                self._synchronize()
                try:
                    got = model_new(*given)
                    self._synchronize()
                    if want.shape != got.shape:
                        self.metadata["correctness_issue"] = (
                            f"Output shape mismatch: Expected {want.shape}, got {got.shape}")
                        return self._result(True)
                    tolerance = TOLERANCE[self.precision]
                    if torch.allclose(want, got, atol=tolerance, rtol=tolerance):
                        passed += 1
                    else:
                        worst = torch.max(torch.abs(want - got)).item()
                        self.metadata.setdefault("max_difference", []).append(f"{worst:.6f}")
                        self.metadata["correctness_issue"] = "Output mismatch"
                except Exception as error:  # noqa: BLE001
                    self.metadata.update(runtime_error=str(error)[:200],
                                         runtime_error_name=_error_name(error))
                    return self._result(True)
        self.metadata["correctness_trials"] = f"({passed} / {CORRECTNESS_TRIALS})"
        return self._result(True, passed == CORRECTNESS_TRIALS)

    def _given(self, inputs: Callable[[], Any]) -> list[Any]:
        self._synchronize()
        self._seed(SEED)
        return self._moved(inputs())

    def _performance(self, result: dict[str, Any], original: Any, new: Any,
                     inputs: Callable[[], Any]) -> None:
        try:
            if result["correctness"]:
                given = self._given(inputs)
                self.quiet()
                stats = self._stats(self._times(new.to(device=self.device, dtype=self.precision),
                                                given, WARM_UP))
                result.update(runtime=stats["mean"], runtime_stats=stats)
        except Exception as error:  # noqa: BLE001
            self.metadata["error_during_performance"] = str(error)
        given = self._given(inputs)
        if not result["correctness"]:
            self.quiet()
        stats = self._stats(self._times(original, given, WARM_UP))
        result.update(ref_runtime=stats["mean"], ref_runtime_stats=stats)
        if result["ref_runtime"] / result["runtime"] > EXCESSIVE_SPEEDUP:
            self.metadata["excessive_speedup"] = True

    def _times(self, function: Any, arguments: list[Any], warm_up: int) -> list[float]:
        """Milliseconds a call; the first is thrown away. Gradients stay on, as in theirs; and as in
        theirs an output lives until the next one is there, so that the allocator places the two,
        and what empties the cache, apart."""
        for _ in range(warm_up):
            function(*arguments)
            self._synchronize()
        if self.cuda:
            torch.cuda.empty_cache()
        clock = self._event_time if self.cuda else self._host_time
        times = []
        for _ in range(self.trials + 1):
            if self.each_trial:
                self.quiet()
            times.append(clock(function, arguments))
        self.output = None
        return times[1:]

    def _event_time(self, function: Any, arguments: list[Any]) -> float:
        self._synchronize()
        first = torch.cuda.Event(enable_timing=True)
        last = torch.cuda.Event(enable_timing=True)
        torch.empty((_CACHE_CELLS,), dtype=torch.int64, device=self.device).fill_(42)
        first.record()
        self.output = function(*arguments)
        last.record()
        self._synchronize()
        return float(first.elapsed_time(last))

    def _host_time(self, function: Any, arguments: list[Any]) -> float:
        began = time.perf_counter()
        self.output = function(*arguments)
        return (time.perf_counter() - began) * 1000

    @staticmethod
    def _stats(times: list[float]) -> dict[str, float]:
        def digits(value: float) -> float:
            return float(f"{value:.3g}")

        return {"mean": digits(statistics.fmean(times)), "std": digits(statistics.pstdev(times)),
                "min": digits(min(times)), "max": digits(max(times)), "median": digits(statistics.median(times)),
                "num_trials": len(times)}

    def baseline_ms(self, mode: str) -> float:
        """Their time of the reference program: eager (""), or under torch.compile."""
        space: dict[str, Any] = {}
        exec(compile(self.reference, "<string>", "exec"), space)  # noqa: S102
        with torch.no_grad():
            self._synchronize()
            self._seed(SEED)
            given = self._moved(space["get_inputs"]())
            self._seed(SEED)
            model = space["Model"](*self._moved(space["get_init_inputs"]()))
            model = model.to(device=self.device, dtype=self.precision)
            if mode:
                model = torch.compile(model, backend="inductor", mode=mode)
            return self._stats(self._times(model, given, REFERENCE_WARM_UP))["mean"]


def evaluate(settings: Message, quiet: Callable[[], None]) -> Message:
    """Their record with the speedup over eager; {"result": None} where theirs is none."""
    evaluation = Evaluation(settings, quiet)
    try:
        result = evaluation.run()
    except Exception as error:  # noqa: BLE001  what their caller makes of it
        kind = "cuda_error" if "CUDA error" in str(error) else "other_error"
        evaluation.metadata[kind] = str(error)[:2000]
        result = evaluation._result(False)
    answer: Message = {"result": result, "baselines_ms": {}}
    if result is not None and result["correctness"]:
        for name in settings["baselines"]:
            mode = {"eager": "", "compile": "default"}.get(name, name)
            try:
                answer["baselines_ms"][name] = evaluation.baseline_ms(mode)
            except Exception as error:  # noqa: BLE001
                answer.setdefault("notes", []).append(f"no {name} baseline: {error}"[:300])
        eager = answer["baselines_ms"].get("eager")
        if eager and result["runtime"] > 0:
            answer["speedup"] = eager / result["runtime"]
    return answer


def serve(settings: Message, channel: Channel, output_fd: int) -> None:
    """One evaluation, confined as candidates are. Never returns to its caller's stack."""
    try:
        notes = runner.enter(settings, channel, output_fd)
        if settings["confined"]:
            notes += [note for note in [sandbox.filter_calls(settings["may_compile"])] if note]
        if settings["fast_builds"]:
            build.intercept(channel, settings["device"])
            triton_builds.intercept(channel)

        def quiet() -> None:
            channel.send({"quiet": True})
            channel.receive(None)

        channel.send({**evaluate(settings, quiet), "notes": notes})
    except Gone:
        pass
    except BaseException:  # noqa: BLE001  the parent reads what was printed
        traceback.print_exc()
    finally:
        os._exit(0)
