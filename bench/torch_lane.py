# SPDX-License-Identifier: Apache-2.0
"""Runs every candidate of tests/torch_lane through the PyTorch lane, and KernelBench's protocol.

With --kernelbench DIR (its src folder, obtained separately), KernelBench's own evaluator judges the
same candidates, each in a fresh process as its scripts do, and our protocol beside it: a batch of
both brings everything to where it would time, then the two of each candidate time in turns.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import dataclasses
import json
import pathlib
import random
import re
import sys
import tempfile
import time

import kernelbench_evaluator
import quern

# The package of the same name is python/quern.
del sys.modules["quern"]
sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != quern.ROOT / "bench"]
sys.path[:0] = [str(quern.ROOT / "python"), str(quern.ROOT / "tests" / "torch_lane")]
import candidates  # noqa: E402

def spelled(report):
    return report["verdict"] + (f"/{report['breach']}" if report["breach"] else "")


def pair_of(result):
    return None if not result else [result["compiled"], result["correctness"]]


def strictly(lane, sample, text):
    """The row of a candidate's verdict by our rules."""
    began = time.monotonic()
    report = lane.evaluate(text)
    return {"strict": spelled(report), "wall_s": time.monotonic() - began,
            "expected": spelled(report) in sample.strict, "reason": report["reason"][:200],
            "evidence": report["evidence"][-700:],
            "stages_ms": {k: round(v) for k, v in report["stages_ms"].items()},
            "orders_ms": {k: round(v) for k, v in report["orders_ms"].items()},
            "notes": report["notes"], "speedup": report.get("speedup"),
            "median_ns": report.get("timing", {}).get("median_ns"),
            "built": lane.builder.how[-1:] if report["stages_ms"].get("build", 0) > 1 else [],
            "any_size": report.get("any_size"),
            "baselines": {name: [values["median_ns"], values["speedup"]] for name, values in
                          report.get("baselines", {}).items()}}


def by_their_rules(lane, sample, text):
    """The row of what our kernelbench protocol says."""
    began = time.monotonic()
    made = {"result": None} if sample.kernelbench is None else lane.kernelbench(text)
    result = made["result"]
    row = {"kernelbench": pair_of(result), "kernelbench_wall_s": time.monotonic() - began,
           "kernelbench_expected": sample.kernelbench is None or
           list(sample.kernelbench) == pair_of(result)}
    if result:
        row.update(kernelbench_ms=result["runtime"],
                   kernelbench_reference_ms=result["ref_runtime"],
                   kernelbench_baselines_ms=made["baselines_ms"],
                   kernelbench_excessive=result["metadata"].get("excessive_speedup", False))
    if not row["kernelbench_expected"]:
        row["kernelbench_said"] = str(made)[:600]
    return row


def ours(samples, references, options, arguments, figures):
    from quern.torch_lane.lane import Lane

    lanes, rows = {}, figures.setdefault("candidates", {})
    for sample in samples:
        text = candidates.source_of(sample, arguments.batch, options.device)
        row = rows[sample.name] = {}
        try:
            if sample.module not in lanes:
                lanes[sample.module] = Lane(references[sample.module], sample.module, options)
            for name, judge in (("strict", strictly), ("kernelbench", by_their_rules)):
                if name in arguments.protocols:
                    row.update(judge(lanes[sample.module], sample, text))
        except Exception as error:  # noqa: BLE001  one candidate must not end the run
            row.update(strict="error", expected=False, reason=repr(error)[:600])
            if sample.module in lanes:
                lanes.pop(sample.module).close()
        good = row.get("expected", True) and row.get("kernelbench_expected", True)
        print("ok " if good else "BAD", f"{sample.name:<30}", row.get("strict"),
              f"{row.get('wall_s', 0):.2f} s", row.get("stages_ms"), "kb", row.get("kernelbench"),
              row.get("kernelbench_ms"), f"{row.get('kernelbench_wall_s', 0):.2f} s",
              "" if good else json.dumps(row), flush=True)
        quern.save(arguments.out, figures, quietly=True)
    for lane in lanes.values():
        lane.close()


def batches(samples, jobs):
    """Those that build extensions, which takes theirs a minute; then the others, `jobs` each."""
    building = [sample for sample in samples if "load_inline" in sample.source]
    others = [sample for sample in samples if sample not in building]
    others.sort(key=lambda sample: "triton" not in sample.source)
    parts = [others[first:first + jobs] for first in range(0, len(others), jobs)]
    return ([building] if building else []) + parts


class Pairs:
    """The samples by KernelBench's evaluator and by our protocol, timed in turns."""

    def __init__(self, arguments, options, figures):
        from quern.torch_lane import builder

        self.options = dataclasses.replace(options, baselines=())
        self.arguments, self.figures = arguments, figures
        self.folder = pathlib.Path(arguments.kernelbench).resolve()
        self.references = candidates.modules(*arguments.pair_size)
        builder.warm_up(options.device)
        self.builder = builder.Builder(options.cache)
        self.order = random.Random(0)
        self.base = tempfile.TemporaryDirectory()
        self.rows = figures.setdefault("pairs", {})

    def start(self, batch):
        """(theirs, ours) at work."""
        from quern.torch_lane.kernelbench_run import KernelbenchRun

        texts = {sample.name: candidates.source_of(sample, self.arguments.pair_size[0], "cuda:0")
                 for sample in batch}
        references = {sample.name: self.references[sample.module] for sample in batch}
        ours = {name: KernelbenchRun(self.options, self.builder, references[name], text,
                                     each_trial=True) for name, text in texts.items()}
        theirs = kernelbench_evaluator.started(
            self.folder, [(name, references[name], text) for name, text in texts.items()],
            self.base.name)
        return theirs, ours

    def finish(self, batch, theirs, ours):
        samples = {sample.name: sample for sample in batch}
        kernelbench_evaluator.pairs(theirs, ours, self.order, lambda name, *made: self._told(
            samples[name], *made))

    def _told(self, sample, theirs, ours):
        theirs_result, ours_result = theirs["result"], ours["result"]
        row = {"expected": list(sample.kernelbench), "theirs": pair_of(theirs_result),
               "ours": pair_of(ours_result),
               "theirs_build_s": theirs["build_s"], "theirs_judge_s": theirs["judge_s"]}
        if theirs_result and ours_result:
            row.update(theirs_ms=theirs_result["runtime"], ours_ms=ours_result["runtime"],
                       theirs_reference_ms=theirs_result["ref_runtime"],
                       ours_reference_ms=ours_result["ref_runtime"],
                       theirs_medians_ms=theirs["medians_ms"],
                       ours_medians_ms=[ours_result[kind]["median"] for kind in
                                        ("runtime_stats", "ref_runtime_stats")
                                        if ours_result[kind]])
        row["same"] = row["theirs"] == row["ours"]
        if not row["same"]:
            row["said"] = [str(theirs)[-500:], str(ours)[-500:]]
        self.rows[sample.name] = row
        print("pair" if row["same"] else "DIFFERENT", sample.name, json.dumps(row), flush=True)
        quern.save(self.arguments.out, self.figures, quietly=True)

    def summarise(self):
        """Prints how many agree; times of those that take 20 us or more, candidates and references
        alike."""
        rows = self.rows.values()
        found = {"pairs": len(rows), "same": sum(row["same"] for row in rows)}
        ratios = {"means": [row[f"ours{kind}_ms"] / row[f"theirs{kind}_ms"] for row in rows
                            for kind in ("", "_reference") if row.get(f"theirs{kind}_ms", 0) >= 0.02
                            and row[f"ours{kind}_ms"] > 0],
                  "medians": [mine / other for row in rows for mine, other in zip(
                      row.get("ours_medians_ms", []), row.get("theirs_medians_ms", []))
                      if other >= 0.02]}
        for kind, values in ratios.items():
            found[kind] = {"times": len(values),
                           "within_3_percent": sum(abs(ratio - 1) <= 0.03 for ratio in values)}
            print(kind, [round(ratio, 3) for ratio in sorted(values)])
        self.figures["agreement"] = found
        print(found, flush=True)


def paired(samples, alone, references, options, arguments, figures):
    """Pairs of `samples`; their builds go on beside our verdicts on those `alone`."""
    judged = [sample for sample in samples if sample.kernelbench is not None]
    parts = batches(judged, arguments.jobs)
    made = Pairs(arguments, options, figures)
    running = made.start(parts[0])
    if arguments.protocols:
        ours(alone, references, options, arguments, figures)
    began = time.monotonic()
    made.finish(parts[0], *running)
    for part in parts[1:]:
        if time.monotonic() - began > arguments.pair_seconds:
            break
        made.finish(part, *made.start(part))
    made.summarise()


def arguments_of():
    parser = quern.parser(__doc__, "torch_lane")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--baselines", default="eager")
    parser.add_argument("--cache", default="")
    parser.add_argument("--kernelbench", default="", help="their src folder")
    parser.add_argument("--jobs", type=int, default=28, help="pairs prepared at once")
    parser.add_argument("--pair-size", type=int, nargs=2, default=[2048, 4096])
    parser.add_argument("--pair-seconds", type=float, default=600.0,
                        help="no batch begins after so long")
    parser.add_argument("--protocols", nargs="*", default=["strict", "kernelbench"],
                        help="of ours, each alone; none: pairs alone")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--part", default="1/1",
                        help="I/N: the I-th of N parts of the candidates, of those judged alone")
    return parser.parse_args()


def main():
    arguments = arguments_of()
    from quern.torch_lane.lane import Options

    kind = arguments.device.split(":")[0]
    samples = [sample for sample in candidates.SAMPLES if sample.device in ("any", kind)
               and (not arguments.only or any(re.search(word, sample.name)
                                              for word in arguments.only))
               and not any(re.search(word, sample.name) for word in arguments.skip)]
    which, parts = map(int, arguments.part.split("/"))
    alone = samples[which - 1::parts]
    references = candidates.modules(arguments.batch, arguments.n)
    figures = {"device": arguments.device, "batch": arguments.batch, "n": arguments.n}
    options = Options(device=arguments.device, rounds=arguments.rounds,
                      cache=arguments.cache or tempfile.mkdtemp(),
                      baselines=tuple(arguments.baselines.split(",")))
    began = time.monotonic()
    if arguments.kernelbench:
        paired(samples, alone, references, options, arguments, figures)
    elif arguments.protocols:
        ours(alone, references, options, arguments, figures)
    figures["wall_s"] = time.monotonic() - began
    quern.save(arguments.out, figures)


if __name__ == "__main__":
    main()
