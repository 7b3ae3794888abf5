# SPDX-License-Identifier: Apache-2.0
"""One candidate through KernelBench's own evaluator, in a process of its own.

usage: kernelbench_process.py FOLDER GIVEN MADE READY_FD GO_FD

FOLDER holds their package `kernelbench`. The process stops before it times anything, and before each
timed call, until it is told to go on: calls must not meet the work of others.
"""
import json
import os
import statistics
import sys


def gated(function, ready, go):
    """`function`, before which this process waits for whoever started it."""
    def call(*args, **options):
        os.write(ready, b"r")
        os.read(go, 1)
        return function(*args, **options)

    return call


def evaluate(given, theirs, timing, torch, samples):
    stats = timing.get_timing_stats

    def remember(elapsed, device=None):
        samples.append(statistics.median(elapsed))
        return stats(elapsed, device=device)

    timing.get_timing_stats = remember
    return theirs.eval_kernel_against_ref(
        given["reference"], given["source"], num_correct_trials=5, num_perf_trials=100,
        measure_performance=True, timing_method="cuda_event", build_dir=given["build"],
        device=torch.device(given.get("device", "cuda:0")), backend=given["backend"], precision=torch.float32)


def main():
    folder, given_path, made_path, ready, go = sys.argv[1:]
    sys.path.insert(0, folder)
    with open(given_path) as file:
        given = json.load(file)
    import torch
    from kernelbench import eval as theirs
    from kernelbench import timing

    for name in ("get_timing_function", "clear_l2_cache"):
        setattr(timing, name, gated(getattr(timing, name), int(ready), int(go)))
    samples = []
    try:
        made = evaluate(given, theirs, timing, torch, samples)
        out = None if made is None else {
            "compiled": made.compiled, "correctness": made.correctness, "runtime": made.runtime,
            "ref_runtime": made.ref_runtime,
            "excessive": bool(made.metadata.get("excessive_speedup")),
            "error": str(made.metadata.get("runtime_error", made.metadata.get(
                "compilation_error", "")))[-300:]}
    except Exception as error:  # noqa: BLE001  what their scripts make of it
        out = {"compiled": False, "correctness": False, "runtime": -1.0, "ref_runtime": -1.0,
               "error": repr(error)[-300:]}
    with open(made_path, "w") as file:
        json.dump({"result": out, "medians_ms": samples}, file)
    os._exit(0)  # the interpreter would take a while to end


if __name__ == "__main__":
    main()
