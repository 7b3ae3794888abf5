# SPDX-License-Identifier: Apache-2.0
"""Capture and replay of 40 honest candidates (tests/torch_lane/capture_candidates.py).

Each is judged by the lane, captured, and judged by the referee as device code; the referee's time
is compared with the candidate's own: batches between CUDA events, a graph where one can hold it,
and CUPTI's records of the kernels. Needs a CUDA device.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import multiprocessing
import pathlib
import re
import statistics
import subprocess
import sys
import time
import traceback

import quern

del sys.modules["quern"]  # the package of the same name is python/quern
sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != quern.ROOT / "bench"]
sys.path[:0] = [str(quern.ROOT / "python"), str(quern.ROOT / "tests" / "torch_lane")]
import capture_candidates  # noqa: E402
from quern.torch_lane import builder  # noqa: E402

SAMPLES, BATCH_NS, TOGETHER = 9, 2e6, 5
HALF = "with half of its blocks"
halves = {}  # verdicts on captures that are not what was launched


def make_lane(module, arguments):
    from quern.torch_lane.lane import Lane, Options

    sources = capture_candidates.modules(arguments.rows, arguments.cols, arguments.n)
    return Lane(sources[module], module, Options(
        device="cuda:0", cache=arguments.cache, baselines=(), rounds=5, timing_s=1.0))


def command(arguments, task):
    return [arguments.quern, "eval", task, "--stream", "--target", "cuda", "--size", "full"]


def captures(module, arguments):
    """The rows of one module's candidates: lane's verdict, capture; in a process of its own."""
    from quern.torch_lane.certify import Certifier

    rows = {}
    lane = make_lane(module, arguments)
    certifier = Certifier(lane, arguments.quern, os.path.join(arguments.folder, module))
    task = certifier.task.get("path", "")
    # Whatever the referee compiles for this task it finds when it is asked for times.
    warm = subprocess.Popen(command(arguments, task), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if task else None
    for sample in chosen(arguments, module):
        began = time.monotonic()
        report = lane.evaluate(sample.source)
        row = {"lane": report["verdict"], "lane_reason": report["reason"], "task": task,
               "lane_s": time.monotonic() - began, "lane_evidence": report["evidence"][-600:],
               "lane_ns": report.get("timing", {}).get("median_ns")}
        if report["verdict"] == "passed":
            began = time.monotonic()
            row.update(certifier.capture(sample.source))
            row["capture_s"] = time.monotonic() - began
        rows[sample.name] = row
    if warm is not None:
        warm.wait()
    return rows


def times(module, arguments, names, ready, alone):
    """The candidates' own times: everything is loaded and called before `ready`; then each measures
    while it is `alone`."""
    lane = make_lane(module, arguments)
    processes, found = {}, {}
    lane._draw_all("published", 7)

    def ask(name, samples):
        try:
            return lane._answer(processes[name], "measure", 60.0, samples=samples,
                                batch_ns=BATCH_NS)
        except Exception as error:  # noqa: BLE001  one candidate must not end the run
            return {"error": repr(error)[:300]}

    for sample in chosen(arguments, module):
        if sample.name not in names:
            continue
        processes[sample.name] = lane._fork("candidate")
        try:
            lane._ready(processes[sample.name])
            lane._load(processes[sample.name], sample.source, "ModelNew", 120.0)
            ask(sample.name, 0)
        except Exception as error:  # noqa: BLE001
            found[sample.name] = {"error": repr(error)[:300]}
            processes.pop(sample.name)
    ready.wait(90)
    for name in processes:
        with alone:
            found[name] = ask(name, SAMPLES)
    lane.close()
    return found


def chosen(arguments, module):
    return [sample for sample in capture_candidates.SAMPLES if sample.module == module
            and (not arguments.only or any(word in sample.name for word in arguments.only))]


def in_children(work, modules):
    """`work(module)` of each in a fork of its own, all at once; {} of those that failed."""
    pipes = {}
    for module in modules:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                os.close(read)
                with os.fdopen(write, "w") as out:
                    json.dump(work(module), out)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                code = 1
            os._exit(code)
        os.close(write)
        pipes[module] = (pid, os.fdopen(read))
    answers = {}
    for module, (pid, out) in pipes.items():
        text = out.read()
        os.waitpid(pid, 0)
        answers[module] = json.loads(text) if text else {}
    return answers


def referee(arguments, rows):
    """Judges the captures of one task in one session; adds `evaluation` to their rows."""
    captured = {name: row for name, row in rows.items() if "path" in row}
    if not captured:
        return
    texts = {name: pathlib.Path(row["path"]).read_text() for name, row in captured.items()}
    first = next(iter(texts))
    texts[HALF] = re.sub(r"grid \((\d+)", lambda found: f"grid ({int(found[1]) // 2}", texts[first],
                         count=1)
    lines = [json.dumps({"id": name, "source": text}) for name, text in texts.items()]
    ran = subprocess.run(command(arguments, next(iter(captured.values()))["task"]),
                         input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=120)
    for line in ran.stdout.splitlines():
        answer = json.loads(line)
        if answer["id"] == HALF:
            halves[first] = answer["verdict"]
            continue
        captured[answer.pop("id")]["evaluation"] = answer
    for name, row in captured.items():
        if "evaluation" not in row:
            row["evaluation"] = {"error": ran.stderr[-400:]}


def summary(sample, row):
    from quern.torch_lane.certify import verdict_of

    made = {key: row.get(key) for key in ("lane", "lane_reason", "lane_s", "capture_s", "kernels",
                                          "notes", "lane_ns")}
    if row.get("lane") != "passed":
        made.update(status="not passed", lane_evidence=row.get("lane_evidence"))
    elif "path" not in row:
        made.update(status="cannot", reason=row.get("cannot"))
    else:
        verdict = verdict_of(row["evaluation"])
        made.update({key: verdict.get(key) for key in ("status", "reason", "level", "evidence")})
        made["capture_bytes"] = os.path.getsize(row["path"])
        if verdict["status"] == "certified":
            made["replayed_ns"] = verdict["timing"]["median_ns"]
            own = row.get("times", {})
            made["times_error"] = own.get("error")
            for kind in ("events", "graph", "cupti"):
                if own.get(kind):
                    made[f"{kind}_ns"] = statistics.median(own[kind])
                    made[f"replayed_by_{kind}"] = made["replayed_ns"] / made[f"{kind}_ns"]
    made["expected"] = made["status"] == "cannot" and sample.cannot in (made["reason"] or "") \
        if sample.cannot else made["status"] == "certified"
    return made


def main():
    parser = quern.parser(__doc__, "capture")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--cols", type=int, default=8192)
    parser.add_argument("--n", type=int, default=2048)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--cache", default="/tmp/quern-capture/extensions")
    parser.add_argument("--folder", default="/tmp/quern-capture")
    arguments = parser.parse_args()
    arguments.quern = str(arguments.quern)
    builder.warm_up()
    began = time.monotonic()

    def told(what):
        print(f"[{time.monotonic() - began:6.1f} s] {what}", flush=True)

    modules = [module for module in capture_candidates.modules(4, 4, 4)
               if chosen(arguments, module)]
    groups = [modules[first:first + TOGETHER] for first in range(0, len(modules), TOGETHER)]
    rows = {}
    for group in groups:
        rows.update(in_children(lambda module: captures(module, arguments), group))
        told("captured " + ", ".join(group))
    for module in modules:
        try:
            referee(arguments, rows[module])
        except Exception:  # noqa: BLE001  one module must not end the run
            traceback.print_exc()
        told(f"judged {module}")
    fork = multiprocessing.get_context("fork")
    for group in groups:
        ready, alone = fork.Barrier(len(group)), fork.Lock()
        judged = {module: [name for name, row in rows[module].items() if "evaluation" in row]
                  for module in group}
        own = in_children(
            lambda module: times(module, arguments, judged[module], ready, alone), group)
        for module, found in own.items():
            for name, measured in found.items():
                rows[module][name]["times"] = measured
        told("measured " + ", ".join(group))
    for module in modules:
        made = {sample.name: summary(sample, rows[module].get(sample.name, {}))
                for sample in chosen(arguments, module)}
        for name, row in made.items():
            print(f"{'ok ' if row['expected'] else 'BAD'} {name:<32} {row['status']:<10} "
                  f"{row.get('replayed_ns') or 0:>10.0f} ns, by events "
                  f"{row.get('replayed_by_events') or 0:.4f}, by graph "
                  f"{row.get('replayed_by_graph') or 0:.4f}, by CUPTI "
                  f"{row.get('replayed_by_cupti') or 0:.4f} lane {row['lane_s'] or 0:.1f} s "
                  f"capture {row['capture_s'] or 0:.1f} s {(row.get('reason') or '')[:300]}"
                  f"{'' if row['expected'] else str(row)[:900]}", flush=True)
        figures.update(made)
    certified = sum(row["status"] == "certified" for row in figures.values())
    for kind in ("events", "graph", "cupti"):
        ratios = [row["replayed_by_" + kind] for row in figures.values()
                  if row.get("replayed_by_" + kind)]
        off = [abs(ratio - 1) for ratio in ratios]
        print(f"{len(ratios)} times by {kind}: the greatest differs by {max(off, default=0):.4f}, "
              f"{sum(one > 0.02 for one in off)} by more than 2 %")
    print(f"captures with half of the blocks: {halves}")
    print(f"{certified} of {len(figures)} certified, "
          f"{sum(row['expected'] for row in figures.values())} as expected")
    quern.save(arguments.out, {"rows": arguments.rows, "cols": arguments.cols, "n": arguments.n,
                               "certified": certified, "half_of_the_blocks": halves,
                               "candidates": figures})


figures = {}
if __name__ == "__main__":
    main()
