# SPDX-License-Identifier: Apache-2.0
"""Runs every candidate of tests/torch_lane through the PyTorch lane, and KernelBench's protocol.

With --kernelbench DIR (its src folder, obtained separately), KernelBench's own evaluator judges the
same candidates, each in a fresh process as its scripts do, and the two verdicts are compared.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import quern

# The package of the same name is python/quern.
del sys.modules["quern"]
sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != quern.ROOT / "bench"]
sys.path[:0] = [str(quern.ROOT / "python"), str(quern.ROOT / "tests" / "torch_lane")]
import candidates  # noqa: E402

THEIRS = """
import json, sys
sys.path.insert(0, sys.argv[1])
rows = json.load(open(sys.argv[2]))
import torch
from kernelbench.eval import eval_kernel_against_ref
out = {}
try:
    made = eval_kernel_against_ref(rows["reference"], rows["source"], num_correct_trials=5,
        num_perf_trials=100, measure_performance=True, timing_method="cuda_event",
        build_dir=rows["build"], device=torch.device("cuda:0"), backend=rows["backend"],
        precision=torch.float32)
    out = None if made is None else {"compiled": made.compiled, "correctness": made.correctness,
        "runtime": made.runtime, "ref_runtime": made.ref_runtime,
        "excessive": bool(made.metadata.get("excessive_speedup")),
        "error": str(made.metadata.get("runtime_error", made.metadata.get("compilation_error", "")))[-300:]}
except Exception as error:
    out = {"compiled": False, "correctness": False, "runtime": -1.0, "error": str(error)[-300:]}
open(sys.argv[3], "w").write(json.dumps(out))
"""


def theirs(source_folder, references, sample, text):
    """Verdict and wall seconds of KernelBench's evaluator in a process of its own."""
    from quern.torch_lane.kernelbench import backend_of

    with tempfile.TemporaryDirectory() as work:
        given, made = os.path.join(work, "given"), os.path.join(work, "made")
        with open(given, "w") as file:
            json.dump({"reference": references[sample.module], "source": text,
                       "build": os.path.join(work, "build"), "backend": backend_of(text)}, file)
        began = time.monotonic()
        try:
            subprocess.run([sys.executable, "-c", THEIRS, source_folder, given, made],
                           capture_output=True, timeout=180, cwd=work)
        except subprocess.TimeoutExpired:
            pass
        wall = time.monotonic() - began
        result = json.loads(open(made).read()) if os.path.exists(made) else None
    return {"result": result, "wall_s": wall}


def spelled(report):
    return report["verdict"] + (f"/{report['breach']}" if report["breach"] else "")


def pair_of(result):
    return None if not result else [result["compiled"], result["correctness"]]


def ours(samples, references, options, arguments):
    from quern.torch_lane.lane import Lane

    lanes, rows = {}, {}
    for sample in samples:
        if sample.module not in lanes:
            lanes[sample.module] = Lane(references[sample.module], sample.module, options)
        lane = lanes[sample.module]
        text = candidates.source_of(sample, arguments.batch, options.device)
        began = time.monotonic()
        try:
            report = lane.evaluate(text)
        except Exception as error:  # noqa: BLE001  one candidate must not end the run
            print(f"  {sample.name}: the lane failed: {error!r}"[:600], flush=True)
            lanes.pop(sample.module).close()
            rows[sample.name] = {"strict": "error", "expected": False, "reason": repr(error)[:300]}
            continue
        row = {"strict": spelled(report), "wall_s": time.monotonic() - began,
               "expected": spelled(report) in sample.strict, "reason": report["reason"][:200],
               "stages_ms": {k: round(v) for k, v in report["stages_ms"].items()},
               "notes": report["notes"], "speedup": report.get("speedup"),
               "median_ns": report.get("timing", {}).get("median_ns"),
               "built": lane.builder.how[-1:] if report["stages_ms"].get("build", 0) > 1 else [],
               "baselines": {name: [values["median_ns"], values["speedup"]] for name, values in
                             report.get("baselines", {}).items()}}
        began = time.monotonic()
        made = {"result": None} if sample.kernelbench is None else lane.kernelbench(text)
        row.update(kernelbench=pair_of(made["result"]), kernelbench_wall_s=time.monotonic() - began)
        if made["result"]:
            row.update(kernelbench_ms=made["result"]["runtime"],
                       kernelbench_reference_ms=made["result"]["ref_runtime"],
                       kernelbench_excessive=made["result"]["metadata"].get("excessive_speedup",
                                                                           False))
        wanted = sample.kernelbench
        row["kernelbench_expected"] = wanted is None or list(wanted) == row["kernelbench"]
        rows[sample.name] = row
        mark = "ok " if row["expected"] and row["kernelbench_expected"] else "BAD"
        print(f"{mark} {sample.name:<30} {row['strict']:<32} {row['wall_s']:6.2f} s "
              f"{row['stages_ms']} kb {row['kernelbench']} {row.get('kernelbench_ms')} "
              f"{row['kernelbench_wall_s']:.2f} s x{row['speedup'] or 0:.2f}"
              + ("" if mark == "ok " else f"\n      {report['reason'][:300]} "
                 f"{report['evidence'][-700:]} {str(made)[:400]}"), flush=True)
    for lane in lanes.values():
        lane.close()
    return rows


def main():
    parser = quern.parser(__doc__, "torch_lane")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--baselines", default="eager")
    parser.add_argument("--cache", default="")
    parser.add_argument("--kernelbench", default="", help="their src folder")
    parser.add_argument("--jobs", type=int, default=8, help="of their processes at once")
    parser.add_argument("--alone", nargs="*", default=[], help="theirs timed one at a time")
    parser.add_argument("--no-ours", action="store_true")
    arguments = parser.parse_args()
    from quern.torch_lane.lane import Options

    kind = arguments.device.split(":")[0]
    samples = [sample for sample in candidates.SAMPLES if sample.device in ("any", kind)
               and (not arguments.only or any(word in sample.name for word in arguments.only))]
    references = candidates.modules(arguments.batch, arguments.n)
    figures = {"device": arguments.device, "batch": arguments.batch, "n": arguments.n}
    if not arguments.no_ours:
        options = Options(device=arguments.device, cache=arguments.cache or tempfile.mkdtemp(),
                          baselines=tuple(arguments.baselines.split(",")))
        began = time.monotonic()
        figures["candidates"] = ours(samples, references, options, arguments)
        figures["wall_s"] = time.monotonic() - began
        quern.save(arguments.out, figures)
    if arguments.kernelbench:
        folder = str(pathlib.Path(arguments.kernelbench).resolve())

        def run(sample):
            return theirs(folder, references, sample, candidates.source_of(
                sample, arguments.batch, arguments.device))

        figures["alone"] = {s.name: run(s) for s in samples if s.name in arguments.alone}
        for name, made in figures["alone"].items():
            print("alone", name, made, flush=True)
        quern.save(arguments.out, figures)
        if arguments.jobs:
            with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
                figures["theirs"] = dict(zip([s.name for s in samples], pool.map(run, samples)))
            for name, made in figures["theirs"].items():
                print("theirs", name, made, flush=True)
            quern.save(arguments.out, figures)


if __name__ == "__main__":
    main()
