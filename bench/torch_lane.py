# SPDX-License-Identifier: Apache-2.0
"""Runs every candidate of tests/torch_lane through the PyTorch lane, and KernelBench's protocol.

With --kernelbench DIR (its src folder, obtained separately), KernelBench's own evaluator judges the
same candidates, each in a fresh process as its scripts do, and the two verdicts are compared.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import pathlib
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


def main():
    parser = quern.parser(__doc__, "torch_lane")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--baselines", default="eager")
    parser.add_argument("--cache", default="")
    parser.add_argument("--kernelbench", default="", help="their src folder")
    parser.add_argument("--jobs", type=int, default=8, help="of their processes at once")
    parser.add_argument("--alone", nargs="*", default=[], help="theirs timed one at a time")
    parser.add_argument("--protocols", nargs="*", default=["strict", "kernelbench"],
                        help="of ours; none: theirs alone")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--part", default="", help="I/N: the I-th of N parts of the candidates")
    parser.add_argument("--judged-alike", action="store_true", help="only those both can judge")
    arguments = parser.parse_args()
    from quern.torch_lane.lane import Options

    kind = arguments.device.split(":")[0]
    samples = [sample for sample in candidates.SAMPLES if sample.device in ("any", kind)
               and (not arguments.only or any(re.search(word, sample.name)
                                              for word in arguments.only))
               and not any(re.search(word, sample.name) for word in arguments.skip)]
    references = candidates.modules(arguments.batch, arguments.n)
    figures = {"device": arguments.device, "batch": arguments.batch, "n": arguments.n}
    if arguments.judged_alike:
        samples = [sample for sample in samples if sample.kernelbench is not None]
    if arguments.part:
        which, parts = map(int, arguments.part.split("/"))
        samples = samples[which - 1::parts]
    if arguments.protocols:
        options = Options(device=arguments.device, rounds=arguments.rounds,
                          cache=arguments.cache or tempfile.mkdtemp(),
                          baselines=tuple(arguments.baselines.split(",")))
        began = time.monotonic()
        ours(samples, references, options, arguments, figures)
        figures["wall_s"] = time.monotonic() - began
        quern.save(arguments.out, figures)
    if arguments.kernelbench:
        folder = str(pathlib.Path(arguments.kernelbench).resolve())
        judged = [sample for sample in samples if sample.kernelbench is not None]
        # Those that compile first, so that each batch holds builds or none.
        judged.sort(key=lambda sample: "load_inline" not in sample.source)
        rows = [(s.name, references[s.module], candidates.source_of(s, arguments.batch, "cuda:0"))
                for s in judged]
        alone = [row for row in rows if row[0] in arguments.alone]
        figures["alone"] = kernelbench_evaluator.judge(folder, alone, 1)
        if arguments.jobs:
            figures["theirs"] = kernelbench_evaluator.judge(folder, rows, arguments.jobs)
        quern.save(arguments.out, figures)


if __name__ == "__main__":
    main()
