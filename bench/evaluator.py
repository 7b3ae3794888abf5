#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast the evaluator is: distinct header-free candidates per second on a one-megabyte task, its
own cost beyond compiling and running, and the time to answer a candidate that it knows.

usage: evaluator.py [--count 200]
"""
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import quern

SOURCE = """extern "C" void one_megabyte(long batch, long dim, const float* x, float* y) {{
  const long n = batch * dim, block = {block};
  for (long i = 0; i < n; i += block) {{
    const long end = i + block < n ? i + block : n;
    for (long j = i; j < end; ++j) y[j] = x[j] > 0 ? x[j] : 0;
  }}
}}
"""


def stream(binary, task, sources, folder):
    """(evaluations, seconds) of one process that is sent all the sources."""
    lines = "".join(json.dumps({"id": str(i), "source": source}) + "\n"
                    for i, source in enumerate(sources))
    began = time.monotonic()
    result = subprocess.run(
        [str(pathlib.Path(binary).resolve()), "eval", str(task), "--size", "cpu", "--stream"],
        input=lines, capture_output=True, text=True, cwd=folder, check=True, timeout=3000)
    seconds = time.monotonic() - began
    return [json.loads(line) for line in result.stdout.splitlines()], seconds


def main():
    parser = quern.parser(__doc__, "evaluator")
    parser.add_argument("--count", default=200, type=int)
    options = parser.parse_args()
    task = quern.ROOT / "bench/one_megabyte.task"
    # Blocks that no earlier call of this driver used: the caches must know none of them.
    first = 1000 + int(time.time()) % 1_000_000 * 1000
    sources = [SOURCE.format(block=first + i) for i in range(options.count)]
    with tempfile.TemporaryDirectory() as folder:
        stream(options.quern, task, sources[:1], folder)  # builds the oracle once
        fresh, fresh_s = stream(options.quern, task, sources[1:], folder)
        # The cache of evaluations lives as long as its process: send some sources again in one.
        again, _ = stream(options.quern, task, sources[1:9] * 8, folder)
        known = again[8:]
    overhead = [e["stages_ms"]["overhead"] for e in fresh]
    cached = [e["stages_ms"]["total"] for e in known if e.get("cached")]
    stages = sorted({stage for e in fresh for stage in e["stages_ms"]})
    figures = {
        "candidates": len(fresh), "passed": sum(e["verdict"] == "passed" for e in fresh),
        "per_s": round(len(fresh) / fresh_s, 2),
        "stages_ms": {stage: round(statistics.median(e["stages_ms"].get(stage, 0) for e in fresh), 3)
                      for stage in stages},
        "overhead_ms": {"median": round(statistics.median(overhead), 3), "max": round(max(overhead), 3)},
        # Of the whole stream, its start included: nothing can hide beside the compiler.
        "beyond_ms": round(1000 * fresh_s / len(fresh) - statistics.mean(
            e["stages_ms"]["compile"] + e["stages_ms"].get("kernel", 0) for e in fresh), 3),
        "cached": len(cached),
        "cached_ms": {"median": round(statistics.median(cached), 4), "max": round(max(cached), 4)}
        if cached else None}
    print(json.dumps(figures, indent=1))
    quern.save(options.out, figures)


main()
