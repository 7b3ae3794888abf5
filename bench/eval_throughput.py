#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluations per second on a GPU, and how far they can be trusted. Every candidate has machine code
of its own, and every cache is cold.

  small      ReLU on 64 MB
  published  ReLU at its published size, 6.4 GB
  mixed      starter tasks at their full sizes, three candidates in ten bad
  faults     ReLU on 64 MB: one candidate in ten faults, one in forty hangs
  repeat     the same kernel 100 times, at 2, 35 and 140 microseconds: spread of the medians
  aa         duels of a kernel with itself: how many are called different
  gpus       the stream `small`, and ReLU at a quarter of its published size, on one GPU and on several, in turn

usage: eval_throughput.py [--stream NAME]... [--count 200]
"""
import json
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

import quern

RELU = """// quern: target = cuda
// quern: launch relu grid (ceil_div(batch * dim, {items})) block {threads} args (x, y, batch * dim)
extern "C" __global__ void __launch_bounds__({threads}) relu(const float* x, float* y, long n) {{
  if (n == -{mark}l) return;
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


def relu(threads, items, mark):
    body = VECTOR.format(items=items, threads=threads)
    return RELU.format(items=items, threads=threads, body=body, mark=mark)


def candidate(number, salt):
    """A ReLU whose machine code no cache knows, of 64 shapes."""
    threads = 64 * (1 + number % 8)
    return relu(threads, threads * 4 * (1 + number // 8 % 8), salt + number + 1)


def bad_candidate(kind, mark):
    return RELU.format(items=1024, threads=256, body=BAD[kind].format(), mark=mark)


def with_bad(good, salt, kinds, every):
    """One of `every` candidates replaced by a bad one."""
    return [bad_candidate(kinds[i // every % len(kinds)], salt + i) if i % every == every - 1
            else source for i, source in enumerate(good)]


def stream(binary, task, sources, folder, timeout, devices="0"):
    """(evaluations, seconds from the first answer to the last, seconds in all)."""
    lines = "".join(json.dumps({"id": i, "source": source}) + "\n"
                    for i, source in enumerate(sources))
    began = time.monotonic()
    process = subprocess.Popen(
        [str(pathlib.Path(binary).resolve()), "eval", str(task), "--size", "full", "--target",
         "cuda", "--no-speedup", "--stream", "--devices", devices],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
    # Answers come before all candidates are taken: writing must not keep us from reading.
    def feed():
        with process.stdin:
            process.stdin.write(lines)
    threading.Thread(target=feed, daemon=True).start()
    answers, first, last = [], None, None
    for line in process.stdout:
        last = time.monotonic()
        first = first or last
        answers.append(json.loads(line))
        if time.monotonic() - began > timeout:
            process.kill()
    process.wait()
    return answers, last - first if answers else 0, time.monotonic() - began


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
        "judge_ms": {verdict: round(statistics.median(
            e["stages_ms"]["total"] - e["stages_ms"].get("compile", 0)
            for e in answers if e["verdict"] == verdict), 2) for verdict in verdicts},
        "median_ns": statistics.median([e["timing"]["median_ns"] for e in answers if e["timing"]] or [0])}


def run(options, name, batch, dim, sources, what, devices="0"):
    with tempfile.TemporaryDirectory() as folder:
        task = pathlib.Path(folder) / "relu_throughput.task"
        task.write_text(TASK.format(what=what, batch=batch, dim=dim))
        answers, seconds, total = stream(options.quern, task, sources, folder, options.timeout, devices)
    found = figures_of(answers, seconds, total)
    found["lost"] = len(sources) - len(answers)
    print(name, json.dumps(found), flush=True)
    return found, answers


MIXED = {"relu": "relu", "gelu": "gelu", "softmax_online": "softmax", "layer_norm": "layer_norm",
         "sum_inner": "sum_inner", "matmul_tiled": "matmul"}  # examples, and their tasks


def marked(source, statement):
    """A statement at the beginning of the last kernel."""
    head, kernel, rest = source.rpartition('extern "C"')
    at = rest.index("{", rest.index(")")) + 1
    return f"{head}{kernel}{rest[:at]} {statement}{rest[at:]}"


def mixed(options, salt):
    """Starter tasks at full size. Three candidates of ten fail: one leaves elements unwritten, one
    faults, one has an error of syntax."""
    found, count, seconds = {}, 0, 0.0
    for name, task in MIXED.items():
        text = (quern.ROOT / f"examples/cuda/{name}.cu").read_text()
        sources = []
        for i in range(options.count // len(MIXED)):
            mark = f"if (gridDim.y == {salt + i}u) return;"
            bad = {3: "if (blockIdx.x == 0) return;", 6: "__trap();", 9: "int x = ;"}.get(i % 10, "")
            sources.append(marked(text, mark + bad))
        with tempfile.TemporaryDirectory() as folder:
            answers, spent, _ = stream(options.quern, task, sources, folder, options.timeout)
        found[name] = figures_of(answers, spent, spent)
        count, seconds = count + len(answers) - 1, seconds + spent
        print("mixed", name, json.dumps(found[name]), flush=True)
    return {"per_s": round(count / seconds, 2) if seconds else None, "tasks": found}


def repeat(options, salt):
    """The spread of 100 medians of one kernel, each evaluated by itself."""
    found = {}
    for name, batch in (("2 us", 256), ("35 us", 4096), ("140 us", 16384)):
        sources = [relu(256, 4096, salt + i + 1) for i in range(100)]
        _, answers = run(options, f"repeat {name}", batch, 4096, sources, name)
        medians = [e["timing"]["median_ns"] for e in answers if e["timing"]]
        if len(medians) < 2:
            continue
        mean = statistics.mean(medians)
        found[name] = {"evaluations": len(medians), "median_ns": round(statistics.median(medians), 1),
                       "sd_percent": round(100 * statistics.stdev(medians) / mean, 3)}
        print("repeat", name, json.dumps(found[name]), flush=True)
    return found


def aa(options, salt):
    """Duels of a kernel with itself."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "t.task").write_text(TASK.format(what="64 MB", batch=4096, dim=4096))
        for side in (0, 1):
            (folder / f"{side}.cu").write_text(relu(256, 4096, salt + side + 1))
        answer = quern.call(options.quern, "compare", folder / "t.task", folder / "0.cu",
                            folder / "1.cu", "--size", "full", "--target", "cuda", "--repeat", 100)
    duels = answer["duels"]
    return {"duels": len(duels), "called_different": sum(d["different"] for d in duels),
            "largest_ratio": max(max(d["speedup"], 1 / d["speedup"]) for d in duels)}


def judged_on(answers):
    """How many evaluations each device has made."""
    devices = {}
    for e in answers:
        for note in e["notes"]:
            if note.startswith("judged on "):
                devices[note[10:]] = devices.get(note[10:], 0) + 1
    return devices


def gpus(options, salt):
    """Evaluations per second on one GPU and on several: fresh candidates every time, in turn."""
    found = {}
    for name, batch, dim, count in (("small", 4096, 4096, 3 * options.count),
                                    ("quarter", 4096, 98304, max(20, 3 * options.count // 4))):
        rates = {"0": [], options.devices: []}
        for _ in range(options.rounds):
            for devices, list_ in rates.items():
                salt += 10_000
                sources = [candidate(i, salt) for i in range(count)]
                figures, answers = run(options, f"{name} on {devices}", batch, dim, sources, name, devices)
                list_.append({**figures, "judged_on": judged_on(answers)})
        ratios = [many["per_s"] / one["per_s"] for one, many in zip(*rates.values())]
        found[name] = {"rounds": rates, "speedups": [round(r, 3) for r in ratios],
                       "speedup": round(statistics.median(ratios), 3)}
        print("gpus", name, json.dumps(found[name]["speedups"]), flush=True)
    return found


def main():
    parser = quern.parser(__doc__, "eval_throughput")
    names = ["small", "published", "mixed", "faults", "repeat", "aa"]
    parser.add_argument("--devices", default="0,1", help="for the stream gpus: which share the work")
    parser.add_argument("--rounds", default=3, type=int, help="of the stream gpus")
    parser.add_argument("--stream", action="append", choices=names + ["gpus"])
    parser.add_argument("--count", default=200, type=int)
    parser.add_argument("--timeout", default=500, type=float, help="seconds a stream may take")
    options = parser.parse_args()
    salt = 1000 * (int(time.time()) % 1_000_000)
    good = [candidate(i, salt) for i in range(options.count)]
    figures = {}
    for name in options.stream or names:
        if name == "small":
            figures[name], _ = run(options, name, 4096, 4096, good, "64 MB")
        elif name == "published":
            figures[name], _ = run(options, name, 4096, 393216, good[:max(20, options.count // 4)],
                                   "6.4 GB, as published")
        elif name == "faults":
            kinds = ["rejected", "crashed", "rejected", "crashed", "timed_out"]
            figures[name], _ = run(options, name, 4096, 4096, with_bad(good, salt, kinds, 8),
                                   "64 MB, one in ten faults, one in forty hangs")
        else:
            figures[name] = {"mixed": mixed, "repeat": repeat, "aa": aa, "gpus": gpus}[name](options, salt)
    quern.save(options.out, figures)


if __name__ == "__main__":
    main()
