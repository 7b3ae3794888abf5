#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluations per second on a GPU: streams of distinct candidates, verified and timed, with every
cache cold. Streams: a small kernel on 64 MB of data; the same at the published ReLU size; candidates
of which some fault, hang or are wrong.

usage: eval_throughput.py [--stream small|published|faults]... [--count 200]
"""
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import quern

RELU = """// quern: target = cuda
// quern: launch relu grid (ceil_div(batch * dim, {items})) block {threads} args (x, y, batch * dim)
extern "C" __global__ void __launch_bounds__({threads}) relu(const float* x, float* y, long n) {{
  const long first = blockIdx.x * {items}l + threadIdx.x * 4l;
  {body}
}}
"""
VECTOR = """#pragma unroll
  for (long i = first; i < first + {items}l - threadIdx.x * 4l; i += {threads} * 4l) {{
    if (i + 3 < n) {{
      float4 v = *(const float4*)(x + i);
      v.x = fmaxf(v.x, 0.f); v.y = fmaxf(v.y, 0.f); v.z = fmaxf(v.z, 0.f); v.w = fmaxf(v.w, 0.f);
      *(float4*)(y + i) = v;
    }} else {{
      for (long j = i; j < n; ++j) y[j] = fmaxf(x[j], 0.f);
    }}
  }}"""
BAD = {
    "rejected": "y[first + (1l << 40)] = x[first < n ? first : 0];",
    "wrong_result": "for (long i = first; i < n && i < first + 4; ++i) y[i] = x[i];",
    "timed_out": "volatile float* z = y; while (z[0] != 3e38f) {{ }}",
    "crashed": "if (first >= 0) __trap();",
    "compile_failed": "y[first] = x[first]",
}
TASK = """# ReLU on {what}.
task relu_throughput(batch = {batch}, dim = {dim})
input x : f32[batch, dim] ~ normal(0, 1)
output y[i, j] = relu(x[i, j])
"""


def candidate(number, salt):
    """A ReLU whose source no cache knows, with machine code of 64 kinds."""
    threads = 64 * (1 + number % 8)
    items = threads * 4 * (1 + number // 8 % 8)
    body = VECTOR.format(items=items, threads=threads)
    return RELU.format(items=items, threads=threads, body=body) + f"// {salt + number}\n"


def bad_candidate(kind):
    return RELU.format(items=1024, threads=256, body=BAD[kind].format())


def stream(binary, task, sources, folder, timeout):
    """(evaluations, seconds from the first answer to the last, seconds in all)."""
    lines = "".join(json.dumps({"id": i, "source": source}) + "\n"
                    for i, source in enumerate(sources))
    began = time.monotonic()
    process = subprocess.Popen(
        [str(pathlib.Path(binary).resolve()), "eval", str(task), "--size", "full", "--target",
         "cuda", "--no-speedup", "--stream"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
    process.stdin.write(lines)
    process.stdin.close()
    answers, first = [], None
    for line in process.stdout:
        first = first or time.monotonic()
        answers.append(json.loads(line))
        if time.monotonic() - began > timeout:
            process.kill()
    process.wait()
    end = time.monotonic()
    return answers, end - (first or end), end - began


def figures_of(answers, seconds, total):
    stages = sorted({stage for e in answers for stage in e["stages_ms"]})
    verdicts = {}
    for e in answers:
        verdicts[e["verdict"]] = verdicts.get(e["verdict"], 0) + 1
    return {
        "candidates": len(answers), "verdicts": verdicts,
        "per_s": round((len(answers) - 1) / seconds, 2) if seconds > 0 else None,
        "seconds": round(total, 2),
        "stages_ms": {stage: round(statistics.median(e["stages_ms"].get(stage, 0) for e in answers), 3)
                      for stage in stages},
        "median_ns": statistics.median([e["timing"]["median_ns"] for e in answers if e["timing"]] or [0])}


def run(options, name, batch, dim, sources, what):
    with tempfile.TemporaryDirectory() as folder:
        task = pathlib.Path(folder) / "relu_throughput.task"
        task.write_text(TASK.format(what=what, batch=batch, dim=dim))
        answers, seconds, total = stream(options.quern, task, sources, folder, options.timeout)
    found = figures_of(answers, seconds, total)
    found["lost"] = len(sources) - len(answers)
    print(name, json.dumps(found), flush=True)
    return found


def main():
    parser = quern.parser(__doc__, "eval_throughput")
    parser.add_argument("--stream", action="append", choices=["small", "published", "faults"])
    parser.add_argument("--count", default=200, type=int)
    parser.add_argument("--timeout", default=500, type=float, help="seconds a stream may take")
    options = parser.parse_args()
    salt = int(time.time()) % 1_000_000
    good = [candidate(i, salt) for i in range(options.count)]
    figures = {}
    for name in options.stream or ["small", "published", "faults"]:
        if name == "small":
            figures[name] = run(options, name, 4096, 4096, good, "64 MB")
        elif name == "published":
            figures[name] = run(options, name, 4096, 393216, good[:max(20, options.count // 10)],
                                "6.4 GB, as published")
        else:
            kinds = list(BAD)
            mixed = [bad_candidate(kinds[i // 10 % len(kinds)]) + f"// {i}\n" if i % 10 == 9 else source
                     for i, source in enumerate(good)]
            figures[name] = run(options, name, 4096, 4096, mixed, "64 MB, one in ten bad")
    quern.save(options.out, figures)


main()
