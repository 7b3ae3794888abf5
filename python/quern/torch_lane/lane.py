# SPDX-License-Identifier: Apache-2.0
"""The lane: one reference module, and the verdict on each candidate for it (docs/torch_lane.md).

Three kinds of process besides this one, all forked from it: a judge that knows the answers, a
confined runner a candidate, and runners of the baselines. The clock is here, where no module's code
runs; inputs and outputs pass through memory that the judge fills and compares.
"""
from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from quern.torch_lane import builder, judge, runner, static_checks
from quern.torch_lane.kernelbench_run import KernelbenchRun
from quern.torch_lane.process import Died, Process
from quern.torch_lane.timing import Batches, Stages, paired, settled, summary
from quern.torch_lane.verdicts import (Stop, died, judge_shape, put_off, raised,
                                       refuse_replaced)

Report = dict[str, Any]

VERIFIED = ("published", "published", "normal", "wide", "negative")
# Parameters are drawn under another seed than the one that KernelBench publishes.
PARAMETER_SEED = 20_011
MOST_SLOTS = 32
# Of the finding that a candidate puts its work off, and the rounds of each.
CONFIRMATIONS, CONFIRMING_ROUNDS = 2, 5
LOAD_LIMIT_S, CALL_LIMIT_S = 120.0, 60.0
METHOD = ("answers compared with the reference in double precision on fresh inputs of {} "
          "distributions; clock and comparison outside of the candidate's process; its host code "
          "ran, so the verdict is provisional")


class ReferenceUnfit(Exception):
    """The module cannot judge anything; the message says why and what to do."""


@dataclasses.dataclass
class Options:
    """How a lane judges. Times in seconds, sizes in bytes."""

    device: str = "cpu"
    seed: int = 0
    rounds: int = 12                 # of timing; each times every baseline beside the candidate
    timing_s: float = 1.0            # stop after so long, with 5 rounds at least
    memory_bytes: int = 4 << 30      # a candidate may take, on the CPU
    slot_bytes: int = 1 << 30        # for inputs and outputs in rotation
    baselines: tuple[str, ...] = ("eager",)   # and "compile", "max-autotune"
    fast_builds: bool = True
    cache: str = ""                  # of built extensions
    # Held while calls are timed, so that other lanes of the machine wait.
    alone: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


class Lane:
    """Evaluates candidates for one reference module. Not thread-safe."""

    def __init__(self, source: str, name: str, options: Options) -> None:
        self.options = options
        self.source, self.name = source, name
        builder.warm_up(options.device)
        self.builder = builder.Builder(options.cache, options.fast_builds)
        self.random = random.Random(options.seed)
        self.baselines: dict[str, Process] = {}
        self.baseline_notes: list[str] = []
        self.spare: Process | None = None   # confined, with a device context, without a candidate
        self.waiting: dict[str, Process] = {}   # for baselines, with a device context
        self.leaving: list[Process] = []    # told to end
        self.is_warming, self.slow = False, ""  # the judge; why it compares slower than it might
        self.orders_s: dict[str, float] = {}    # waited for answers to each order
        self.judge = Process(judge.serve, {"source": source, "name": name,
                                           "device": options.device,
                                           "seed": options.seed + PARAMETER_SEED,
                                           "environment": builder.environment(str(self.builder.cache),
                                                                              True)},
                             capture=False)
        if options.device.startswith("cuda"):  # contexts are made while the reference is
            self.spare = self._fork("candidate")
            self.waiting = {kind: self._fork("baseline") for kind in options.baselines}
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    # The reference -------------------------------------------------------------------------

    def _ask_judge(self, order: str, fds: list[int] | None = None, **fields: Any) -> Report:
        began = time.monotonic()
        if self.is_warming:
            self.is_warming = False
            answer, _ = self.judge.receive(600)
            self.slow = answer.get("slow", answer.get("error", ""))
        self.judge.send(order, fds, **fields)
        answer, received = self.judge.receive(600)
        self._spent(order, began)
        if "error" in answer:
            raise ReferenceUnfit(f"{self.name}: {answer['error']}")
        answer["fds"] = received
        return answer

    def _spent(self, order: str, began: float) -> None:
        self.orders_s[order] = self.orders_s.get(order, 0.0) + time.monotonic() - began

    def _prepare(self) -> None:
        try:
            self.facts = self._ask_judge("prepare")
            if self.facts["random"]:
                raise ReferenceUnfit(f"{self.name}: the module answers differently each time "
                                     "(live dropout?): no candidate can be compared with it")
            if self.facts["stray_tensors"]:
                raise ReferenceUnfit(f"{self.name}: get_init_inputs() gives tensors, which the "
                                     "lane does not pass on")
            each = self.facts["size"] + self.facts["out_size"]
            wanted = math.ceil(0.004 / max(self.facts["call_s"], 1e-6))
            fitting = self.options.slot_bytes // each
            self.slots = max(2, min(MOST_SLOTS, max(4, wanted), fitting))
            self.blocks = self._ask_judge("reserve", size=self.facts["size"], slots=self.slots,
                                          out_size=self.facts["out_size"], outputs=self.slots)
            self.judge.send("warm")  # beside whatever the first candidate has to build
            self.is_warming = True
        except Died as death:
            raise ReferenceUnfit(f"{self.name}: the reference ended with signal {death.signal}, "
                                 f"exit code {death.exit_code}") from None

    def _fork(self, role: str, capture: bool = False) -> Process:
        trusted = role == "baseline"
        return Process(runner.serve, {
            "role": role, "capture": capture, "device": self.options.device,
            "confined": not trusted,
            "memory_bytes": self.options.memory_bytes, "readable": [builder.PACKAGE],
            "environment": builder.environment(self.options.cache, trusted)}, capture=True)

    def _ready(self, process: Process) -> Process:
        """Once it takes orders. No module has run in it yet: where it ends, the machine is at
        fault."""
        try:
            if not process.is_ready:
                process.notes = self._answer(process, None, LOAD_LIMIT_S).get("notes", [])
                process.is_ready = True
        except Died as death:
            raise ReferenceUnfit(f"a process on {self.options.device} ended before any candidate "
                                 f"was in it: {death}: {death.output[-500:]}") from None
        return process

    def _candidate(self) -> Process:
        """A process for the next candidate: the spare one, and another to follow it."""
        process = self.spare or self._fork("candidate")
        self.spare = None
        self._ready(process)
        if self.options.device.startswith("cuda"):
            self.spare = self._fork("candidate")
        return process

    def _load(self, process: Process, source: str, entry: str, limit_s: float,
              compile_mode: str = "", may_compile: bool = True) -> Report:
        """Module made, memory mapped. Raises Died and Stop."""
        process.send("adopt", source=source, entry=entry, compile=compile_mode,
                     may_compile=may_compile)
        process.send("load", self.facts["fds"], seed=self.options.seed + PARAMETER_SEED,
                     init=self.facts["init"], state=self.facts["state"])
        process.notes += self._answer(process, None, CALL_LIMIT_S)["notes"]
        loaded = self._answer(process, None, limit_s)
        self._answer(process, "bind", CALL_LIMIT_S, fds=self.blocks["fds"],
                     places=self.facts["places"], tree=self.facts["tree"],
                     inputs=self.blocks["inputs"], outputs=self.blocks["outputs"])
        return loaded

    def _reap(self) -> None:
        """Waits until nothing of earlier candidates is there to write to shared memory."""
        while self.leaving:
            self.leaving.pop().close()

    def _be_quiet(self) -> None:
        """Waits for processes that are on their way, which timing would notice."""
        self._reap()
        for process in [*self.waiting.values(), *filter(None, [self.spare])]:
            self._ready(process)

    def _answer(self, process: Process, order: str | None, limit_s: float,
                fds: list[int] | None = None, **fields: Any) -> Report:
        """The answer to an order, or to an earlier one; builds what is asked for meanwhile. Raises
        Stop where the module raised."""
        began = time.monotonic()
        if order is not None:
            process.send(order, fds, **fields)
        while True:
            answer, _ = process.receive(limit_s)
            if "build" in answer:
                process.channel.send(self.builder.build(answer["build"], process.scratch))
                continue
            if "raised" in answer:
                raise raised(answer)
            if "missing" in answer:
                raise Stop("compile_failed", f"the file defines no class {answer['missing']}")
            self._spent(order or "load", began)
            return answer

    def baseline(self, kind: str) -> Process | None:
        """A runner of the reference, warm; None, with a note, where it cannot be made."""
        if kind in self.baselines:
            return self.baselines[kind]
        mode = {"eager": "", "compile": "default"}.get(kind, kind)
        process = self._ready(self.waiting.pop(kind, None) or self._fork("baseline"))
        try:
            self._load(process, self.source, "Model", LOAD_LIMIT_S, mode)
            self._draw_all("published", 3)
            for _ in range(2):
                self._answer(process, "run", 300.0, slots=list(range(self.slots)))
        except (Died, Stop) as error:
            reason = error.report["reason"] if isinstance(error, Stop) else str(error)
            self.baseline_notes.append(f"no {kind} baseline: {reason}"[:400])
            process.close()
            return None
        self.baselines[kind] = process
        return process

    def _draw_all(self, name: str, seed: int) -> bool:
        draws = [[slot, name, self._seed(seed, slot)] for slot in range(self.slots)]
        return bool(self._ask_judge("draw", draws=draws)["finite"])

    def _seed(self, *words: int) -> int:
        value = self.options.seed + 1009
        for word in words:
            value = (value * 1_000_003 + word) % (2 ** 62)
        return value

    # A candidate ---------------------------------------------------------------------------

    def evaluate(self, source: str) -> Report:
        """The verdict on one candidate, with its timing where it passed."""
        began = time.monotonic()
        report: Report = {"class": "C", "provisional": True, "checks": [], "notes": [],
                          "stages_ms": {}, "verdict": "passed", "breach": None, "reason": "",
                          "evidence": ""}
        process: Process | None = None
        self.orders_s = {}
        try:
            self._judge_source(source)
            process = self._candidate()
            self._evaluate(process, source, report)
        except Stop as stop:
            report.update(stop.report)
        except Died as death:
            report.update(died(death).report)
        finally:
            if process is not None:
                if report["verdict"] != "passed" and not report["evidence"]:
                    report["evidence"] = process.output()[-2000:]
                process.kill()
                self.leaving.append(process)
            self._ask_judge("restore")
        if report["verdict"] != "passed":
            for name in ("timing", "baselines", "speedup"):
                report.pop(name, None)
        report["stages_ms"]["total"] = 1000 * (time.monotonic() - began)
        report["orders_ms"] = {order: 1000 * spent for order, spent in self.orders_s.items()}
        report["notes"] += self.baseline_notes
        return report

    def _judge_source(self, source: str) -> None:
        try:
            found = static_checks.findings(source)
        except (SyntaxError, ValueError) as error:
            raise Stop("compile_failed", f"not Python: {error}") from None
        if found:
            raise Stop("rejected", found[0].reason, "\n".join(f.reason for f in found),
                       found[0].breach)

    def _evaluate(self, process: Process, source: str, report: Report) -> None:
        clock = Stages(report["stages_ms"])
        built = self.builder.spent_s
        compiles = static_checks.starts_compilers(source)
        loaded = self._load(process, source, "ModelNew", LOAD_LIMIT_S, may_compile=compiles)
        report["notes"] += process.notes
        report["parameters"] = loaded["state"]
        refuse_replaced(loaded["replaced"])
        clock.mark("load")
        self._reap()
        self._ask_judge("draw", draws=[[0, "published", self._seed(1)]])
        # Whatever compiles when first called does so here; the answer is only remembered.
        self._answer(process, "run", LOAD_LIMIT_S if compiles else 5 + self._limit_s(1), slots=[0])
        self._deliver(process, [(0, 0)])
        self._ask_judge("check", slot=0, output=0, remember=True)
        report["notes"] += self._answer(process, "confine", CALL_LIMIT_S)["notes"]
        clock.mark("warm_up")
        report["stages_ms"]["build"] = 1000 * (self.builder.spent_s - built)
        if self.slow:
            report["notes"].append("values are compared by PyTorch's operators: " + self.slow)
        self._verify(process, report)
        clock.mark("verify")
        with self.options.alone():
            self._time(process, report)
        clock.mark("time")
        self._try_other_size(process, report)
        report["method"] = METHOD.format(
            len({c["distribution"] for c in report["checks"] if "distribution" in c}))

    def _limit_s(self, calls: int) -> float:
        return 2.0 + 50 * calls * max(self.facts["call_s"], 1e-3)

    def _run(self, process: Process, slots: list[int], **fields: Any) -> float:
        """Seconds from the order to the answer."""
        began = time.perf_counter()
        self._answer(process, "run", self._limit_s(len(slots)), slots=slots, **fields)
        return time.perf_counter() - began

    def _deliver(self, process: Process, copies: list[tuple[int, int]],
                 places: list[Report] | None = None) -> tuple[float, Report]:
        began = time.perf_counter()
        answer = self._answer(process, "deliver", CALL_LIMIT_S, copies=copies,
                              places=places or self.facts["out_places"])
        return time.perf_counter() - began, answer

    def _verify(self, process: Process, report: Report) -> None:
        for number, name in enumerate(VERIFIED):
            answer = self._ask_judge("draw", draws=[[0, name, self._seed(2, number)]])
            if not answer["finite"]:
                report["notes"].append(f"distribution {name}: the reference gives no finite answer")
                continue
            self._check_slots(process, report, [0], name)
        if self.options.device.startswith("cuda"):
            # Inputs of its own: memory may still hold the last answer.
            self._ask_judge("draw", draws=[[0, "published", self._seed(4)]])
            self._check_slots(process, report, [0], "as the next operation sees it", ordered=True)
        self._draw_all("published", 5)
        self._check_slots(process, report, list(range(self.slots)), "several calls")
        self._refuse_remains(process)

    def _check_slots(self, process: Process, report: Report, slots: list[int], name: str,
                     ordered: bool = False) -> None:
        self._ask_judge("poison")
        self._run(process, slots, ordered=ordered)
        _, told = self._deliver(process, [(i, i) for i in range(len(slots))])
        judge_shape(told["outputs"][0], self.facts)
        for index, slot in enumerate(slots):
            found = self._ask_judge("check", slot=slot, output=index, remember=index == 0,
                                    all_inputs=index == 0)
            check = {"name": name, "level": "V1", "passed": found["ok"],
                     "max_error": found["max_error"] if math.isfinite(found["max_error"]) else -1.0,
                     "detail": found["detail"]}
            if name in judge.draws.DISTRIBUTIONS:
                check["distribution"] = name
            if index == 0 or not found["ok"]:
                report["checks"].append(check)
            self._refuse_changed(found)
            if not found["ok"]:
                self._refuse_answer(process, found, name, len(slots), ordered)

    def _refuse_changed(self, found: Report) -> None:
        if found["changed_inputs"] and not self.facts["changes_inputs"]:
            raise Stop("rejected", "the candidate changed its inputs", breach="modified_input")

    def _refuse_answer(self, process: Process, found: Report, name: str, calls: int,
                       ordered: bool) -> None:
        detail = f"{name}: {found['detail']}"
        if ordered:  # right on a device that was waited for: seen just before
            raise Stop("rejected", "right only after the whole device has been waited for: it "
                       "works on a stream that nobody waits for", detail, "unsynchronised_stream")
        if found.get("stale"):
            raise Stop("rejected", "the output is that of earlier inputs", detail, "stale_output")
        if calls > 1 and self._answer(process, "probe", CALL_LIMIT_S)["overlap"]:
            raise Stop("rejected", "outputs of several calls share memory: a later call overwrites "
                       "what an earlier one returned", detail, "overwritten_output")
        raise Stop("wrong_result", "NaN or infinite where the reference is not" if found.get("nan")
                   else f"wrong values on inputs drawn {name}", detail)

    def _refuse_remains(self, process: Process) -> None:
        """What calls leave behind: replaced functions, threads."""
        probe = self._answer(process, "probe", CALL_LIMIT_S)
        refuse_replaced(probe["replaced"])
        if probe["threads"] > 0:
            raise Stop("rejected", f"{probe['threads']} threads of the candidate are still there "
                       "after its call", breach="left_threads")

    def kernelbench(self, source: str, **settings: Any) -> Report:
        """What KernelBench's own evaluation says of it (docs/torch_lane.md)."""
        run = KernelbenchRun(self.options, self.builder, self.source, source, **settings)
        run.until_timing()
        self._be_quiet()
        with self.options.alone():
            return run.finish()

    # Timing --------------------------------------------------------------------------------

    def _time(self, process: Process, report: Report) -> None:
        runners = {"candidate": process}
        for kind in self.options.baselines:
            made = self.baseline(kind)
            if made is not None:
                runners[kind] = made
        self._be_quiet()
        batches = Batches(runners, min(self._run(process, []) for _ in range(5)))
        samples = batches.samples
        began = time.monotonic()
        for number in range(self.options.rounds):
            if number >= 5 and (time.monotonic() - began > self.options.timing_s
                                or settled(samples)):
                break
            self._round(report, batches, number, number % 2 == 0)
        self._refuse_put_off(report, batches)
        self._refuse_remains(process)
        report["timing"] = summary(samples["candidate"], self.slots)
        report["baselines"] = {
            name: {**summary(values, self.slots), **paired(values, samples["candidate"])}
            for name, values in samples.items() if name != "candidate"}
        for name in ("speedup", "speedup_low", "speedup_high"):
            report[name] = report["baselines"].get("eager", {}).get(name)

    def _round(self, report: Report, batches: Batches, number: int, whole: bool) -> None:
        """One batch of calls of everybody, on inputs of its own. `whole`: all outputs are brought,
        and the time of it counts."""
        self._draw_all("published", 100 + number)
        self._ask_judge("poison")
        order, slots = list(batches.runners), list(range(self.slots))
        self.random.shuffle(order)
        chosen = self.random.randrange(self.slots)
        for name in sorted(order, key=lambda name: name == "candidate" and number % 2 == 0):
            runner = batches.runners[name]
            spent = self._run(runner, slots) - batches.overhead
            batches.samples[name].append(max(spent, 1e-9) / self.slots)
            copies = [(slot, slot) for slot in slots] if whole else [(chosen, chosen)]
            delivered, _ = self._deliver(runner, copies)
            if whole:
                batches.late[name].append(delivered)
            if name == "candidate":
                self._check_timed(runner, report, chosen)

    def _refuse_put_off(self, report: Report, batches: Batches) -> None:
        """Work that is put off is late whenever it is measured; on a busy machine others are late,
        too, but not each time."""
        reason = put_off(batches.samples, batches.late, self.slots)
        for turn in range(1, CONFIRMATIONS + 1):
            if not reason:
                return
            again = Batches(batches.runners, batches.overhead)
            for number in range(CONFIRMING_ROUNDS):
                self._round(report, again, self.options.rounds * turn + number, True)
            reason = put_off(again.samples, again.late, self.slots)
        if reason:
            raise Stop("rejected", reason, breach="early_done")

    def _check_timed(self, process: Process, report: Report, slot: int) -> None:
        """The answer of one timed call, which the candidate could not know would be looked at."""
        found = self._ask_judge("check", slot=slot, output=slot, all_inputs=True)
        self._refuse_changed(found)
        if not found["ok"]:
            report["checks"].append({"name": "timed call", "level": "V1", "passed": False,
                                     "max_error": -1.0, "detail": found["detail"]})
            self._refuse_answer(process, found, "a timed call", self.slots, False)

    def _try_other_size(self, process: Process, report: Report) -> None:
        """Whether it also works at another size: knowledge, no condition."""
        size = self._ask_judge("resized")
        if not size["knob"]:
            return
        what = f"{size['knob']} = {size['value']}"
        check = {"name": f"other size, {what}", "level": "V1", "passed": False, "max_error": -1.0,
                 "detail": ""}
        try:
            self._ask_judge("poison")
            self._answer(process, "reshape", CALL_LIMIT_S, places=size["places"],
                         tree=size["tree"])
            self._run(process, [0])
            _, told = self._deliver(process, [(0, 0)], size["out_places"])
            shapes = [place["shape"] for place in told["outputs"][0]["places"]]
            if shapes == [place["shape"] for place in size["out_places"]]:
                found = self._ask_judge("check", slot=0, output=0)
                check.update(passed=found["ok"], detail=found["detail"])
            else:
                check["detail"] = f"shapes {shapes}"
        except (Stop, Died) as error:
            check["detail"] = error.report["reason"] if isinstance(error, Stop) else "it crashed"
        report["checks"].append(check)
        report["any_size"] = check["passed"]
        if not check["passed"]:
            report["notes"].append(f"right at the published sizes only: not at {what}")

    def close(self) -> None:
        self._reap()
        for process in [*self.baselines.values(), *self.waiting.values(), self.judge,
                        *filter(None, [self.spare])]:
            process.close()

    def __enter__(self) -> "Lane":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
