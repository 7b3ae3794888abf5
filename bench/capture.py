# SPDX-License-Identifier: Apache-2.0
"""Capture and replay of 40 honest candidates (tests/torch_lane/capture_candidates.py).

Each is judged by the lane, captured, and judged by the referee as device code; the referee's time
is compared with the candidate's own, read just before and just after: batches between CUDA events,
a graph where one can hold it, and CUPTI's records of the kernels. Needs a CUDA device.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import multiprocessing
import pathlib
import re
import select
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

SAMPLES, BATCH_NS, TOGETHER, REFEREE_LIMIT_S = 5, 2e6, 5, 60.0
HALF = "with half of its blocks"  # a capture that is not what was launched


def make_lane(module, arguments):
    from quern.torch_lane.lane import Lane, Options

    sources = capture_candidates.modules(arguments.rows, arguments.cols, arguments.n)
    return Lane(sources[module], module, Options(
        device="cuda:0", cache=arguments.cache, baselines=(), rounds=5, timing_s=0.3))


def captures(module, arguments):
    """The rows of one module's candidates: lane's verdict, capture; in a process of its own."""
    from quern.torch_lane.certify import Certifier

    rows = {}
    lane = make_lane(module, arguments)
    certifier = Certifier(lane, arguments.quern, os.path.join(arguments.folder, module))
    task = certifier.task.get("path", "")
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
    lane.close()
    return rows


class Referee:
    """A session of the referee for one task."""

    def __init__(self, arguments, task):
        self.process = subprocess.Popen(
            [arguments.quern, "eval", task, "--stream", "--target", "cuda", "--size", "full"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def judge(self, text):
        try:
            self.process.stdin.write(json.dumps({"id": "it", "source": text}) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], REFEREE_LIMIT_S)[0]:
                self.process.kill()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            return {"error": f"the referee gave no evaluation: {error}"}

    def close(self):
        self.process.kill()
        self.process.wait()


def judged(module, arguments, rows, ready, alone):
    """The referee's evaluations and the candidates' own times: everything is loaded and has run
    before `ready`; then each is measured, judged and measured again while it is `alone`."""
    captured = {name: row for name, row in rows.items() if "path" in row}
    texts = {name: pathlib.Path(row["path"]).read_text() for name, row in captured.items()}
    lane = make_lane(module, arguments)
    processes, found = {}, {name: {} for name in texts}
    lane._draw_all("published", 7)

    def ask(name, samples):
        try:
            return lane._answer(processes[name], "measure", 60.0, samples=samples,
                                batch_ns=BATCH_NS)
        except Exception as error:  # noqa: BLE001  one candidate must not end the run
            return {"error": repr(error)[:300]}

    for sample in chosen(arguments, module):
        if sample.name in texts:
            processes[sample.name] = lane._fork("candidate")
            try:
                lane._ready(processes[sample.name])
                lane._load(processes[sample.name], sample.source, "ModelNew", 120.0)
                ask(sample.name, 0)
            except Exception as error:  # noqa: BLE001
                found[sample.name]["times"] = [{"error": repr(error)[:300]}]
    if texts:
        session = Referee(arguments, next(iter(captured.values()))["task"])
        first = next(iter(texts))
        found[first][HALF] = session.judge(re.sub(
            r"grid \((\d+)", lambda grid: f"grid ({int(grid[1]) // 2}", texts[first], count=1)
        ).get("verdict", "none")
    ready.wait(120)
    for name, text in texts.items():
        with alone:
            before = ask(name, SAMPLES)
            evaluation = session.judge(text)
            found[name] = {"times": [before, ask(name, SAMPLES)], "evaluation": evaluation,
                           **found[name]}
    lane.close()
    for process in processes.values():
        process.close()
    if texts:
        session.close()
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


def summary(sample, row):
    from quern.torch_lane.certify import verdict_of

    made = {key: row.get(key) for key in ("lane", "lane_reason", "lane_s", "capture_s", "kernels",
                                          "notes", "lane_ns")}
    if row.get("lane") != "passed":
        made.update(status="not passed", lane_evidence=row.get("lane_evidence"))
    elif "path" not in row:
        made.update(status="cannot", reason=row.get("cannot"))
    else:
        verdict = verdict_of(row.get("evaluation", {}))
        made.update({key: verdict.get(key) for key in ("status", "reason", "level", "evidence")})
        made["capture_bytes"] = os.path.getsize(row["path"])
        if verdict["status"] == "certified":
            made["replayed_ns"] = verdict["timing"]["median_ns"]
            own = row.get("times", [])
            made["times_error"] = [one["error"] for one in own if "error" in one]
            for kind in ("events", "graph", "cupti"):
                medians = [statistics.median(one[kind]) for one in own if one.get(kind)]
                if medians:
                    made[f"{kind}_before_and_after_ns"] = medians
                    made[f"replayed_by_{kind}"] = made["replayed_ns"] / statistics.fmean(medians)
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
    builder.warm_up("cuda:0")
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
    fork = multiprocessing.get_context("fork")
    for group in groups:
        ready, alone = fork.Barrier(len(group)), fork.Lock()
        own = in_children(
            lambda module: judged(module, arguments, rows[module], ready, alone), group)
        for module, found in own.items():
            for name, made in found.items():
                rows[module][name].update(made)
        told("judged and measured " + ", ".join(group))
        write(arguments, modules, rows)
    report(arguments, modules, rows)


def write(arguments, modules, rows):
    """The figures so far."""
    candidates = {sample.name: summary(sample, rows[module].get(sample.name, {}))
                  for module in modules for sample in chosen(arguments, module)}
    quern.save(arguments.out, {
        "rows": arguments.rows, "cols": arguments.cols, "n": arguments.n,
        "certified": sum(row["status"] == "certified" for row in candidates.values()),
        "half_of_the_blocks": {name: row[HALF] for found in rows.values()
                               for name, row in found.items() if HALF in row},
        "candidates": candidates}, quietly=True)
    return candidates


def report(arguments, modules, rows):
    figures = write(arguments, modules, rows)
    for name, row in figures.items():
        print(f"{'ok ' if row['expected'] else 'BAD'} {name:<32} {row['status']:<10} "
              f"{row.get('replayed_ns') or 0:>10.0f} ns, by events "
              f"{row.get('replayed_by_events') or 0:.4f}, by graph "
              f"{row.get('replayed_by_graph') or 0:.4f}, by CUPTI "
              f"{row.get('replayed_by_cupti') or 0:.4f} lane {row['lane_s'] or 0:.1f} s "
              f"capture {row['capture_s'] or 0:.1f} s {(row.get('reason') or '')[:300]}"
              f"{'' if row['expected'] else str(row)[:900]}", flush=True)
    certified = sum(row["status"] == "certified" for row in figures.values())
    for kind in ("events", "graph", "cupti"):
        ratios = [row["replayed_by_" + kind] for row in figures.values()
                  if row.get("replayed_by_" + kind)]
        off = [abs(ratio - 1) for ratio in ratios]
        print(f"{len(ratios)} times by {kind}: the greatest differs by {max(off, default=0):.4f}, "
              f"{sum(one > 0.02 for one in off)} by more than 2 %")
    agreeing = sum(any(abs(row.get("replayed_by_" + kind, 9) - 1) <= 0.02
                       for kind in ("graph", "cupti")) for row in figures.values())
    print(f"{certified} of {len(figures)} certified, {agreeing} agree with a graph or CUPTI, "
          f"{sum(row['expected'] for row in figures.values())} as expected")


if __name__ == "__main__":
    main()
