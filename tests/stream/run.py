#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Feeds a stream of candidates, one in five hostile, to `quern eval TASK --stream`.

Every candidate must get its right verdict, no process may be left over, and no file outside of the
run's own directory may be touched.

With --simulate the target is cuda, and its driver the one of tests/cuda_driver, which runs no kernel.

usage: run.py [--quern BINARY] [--target cpu|opencl] [--bad-share S] [--count N] [--seed N] [--json FILE] [--watch DIR]... [--ignore PREFIX]...
              [--simulate LIBRARY [--devices N] [--lose DEVICE] [--guard USE] [--kill-workers] [--interrupt]]
"""
import argparse
import collections
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import candidates
import cuda_candidates
import opencl_candidates

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STREAMS = {"cpu": candidates.stream, "opencl": opencl_candidates.stream, "cuda": cuda_candidates.stream}
SKIPPED = 77  # what CTest takes for "skipped"
INTERRUPTED = 130
AFTER = 5  # answers, after which it is interrupted, or workers are killed
WATCHED = [ROOT, pathlib.Path.home(), "/etc", "/usr", "/var/tmp", "/dev/shm", tempfile.gettempdir()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quern", default=ROOT / "build/release/apps/quern", type=pathlib.Path)
    parser.add_argument("--target", default="cpu", choices=STREAMS)
    parser.add_argument("--bad-share", default=0.2, type=float, help="share of broken candidates")
    parser.add_argument("--count", default=1000, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures there")
    parser.add_argument("--watch", action="append", metavar="DIR", help="where to look for touched files")
    parser.add_argument("--ignore", action="append", default=[], metavar="PREFIX",
                        help="paths that something else writes on this machine")
    parser.add_argument("--simulate", type=pathlib.Path, metavar="LIBRARY", help="the simulated CUDA driver")
    parser.add_argument("--devices", default=1, type=int, help="so many simulated devices share the work")
    parser.add_argument("--lose", default=-1, type=int, metavar="DEVICE", help="a device that does not open")
    parser.add_argument("--guard", default="auto", choices=["auto", "always", "never"])
    parser.add_argument("--kill-workers", action="store_true", help="kill all device workers in the middle")
    parser.add_argument("--interrupt", action="store_true", help="press Ctrl-C in the middle")
    options = parser.parse_args()
    options.target = "cuda" if options.simulate else options.target
    return options


def feed(process, wanted):
    try:
        for candidate in wanted:
            process.stdin.write(json.dumps({key: candidate[key] for key in ("id", "source")}) + "\n")
        process.stdin.close()
    except BrokenPipeError:  # it was interrupted
        pass


def simulation(options, folder, environment):
    """What makes quern find the simulated driver and its devices; the arguments that choose them."""
    (folder / "libcuda.so.1").symlink_to(options.simulate.resolve())
    (folder / "simulation.conf").write_text(f"devices {options.devices}\nlost_device {options.lose}\n")
    (folder / "simulated.task").write_text(cuda_candidates.TASK)
    environment["LD_LIBRARY_PATH"] = str(folder)
    devices = ",".join(map(str, range(options.devices)))
    return ["simulated.task", "--size", "full", "--devices", devices, "--guard", options.guard, "--no-speedup"]


def compiler_is_missing(quern, environment):
    """Why the CUDA sources of a stream cannot be compiled here; "" where they can."""
    found = json.loads(subprocess.run([quern, "doctor", "--json"], env=environment, capture_output=True).stdout)
    return "".join(row["detail"] for row in found["findings"] if row["name"] == "nvrtc" and not row["ok"])


def device_workers(parent):
    """Pids of the device workers of a process, whichever of its threads started them."""
    for path in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in path.read_text().split():
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"quern-device-worker" in command:
                yield int(pid)


def disturb(options, process):
    """What happens in the middle; how many candidates it may cost a right verdict."""
    if options.interrupt:
        process.send_signal(signal.SIGINT)
    workers = list(device_workers(process.pid)) if options.kill_workers else []
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return len(workers)


def evaluate(quern, options, wanted, folder):
    """Evaluations in the order of arrival, with stderr, exit code, and how many workers were killed."""
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"),
                   "TMPDIR": str(folder)}
    task = ["relu", "--size", "tiny"]
    if options.simulate:
        task = simulation(options, folder, environment)
        if missing := compiler_is_missing(quern, environment):
            print("skipped:", missing)
            sys.exit(SKIPPED)
    evaluations, killed = [], 0
    with open(folder / "stderr.txt", "w+") as errors:
        process = subprocess.Popen(
            [quern, "eval", *task, "--target", options.target, "--stream"], text=True, cwd=folder,
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        threading.Thread(target=feed, args=(process, wanted), daemon=True).start()
        for line in process.stdout:
            evaluations.append(json.loads(line))
            if len(evaluations) == AFTER:
                killed = disturb(options, process)
        code = process.wait()
        errors.seek(0)
        return evaluations, code, errors.read(), killed


def left_over_processes():
    mine = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [f"process left over: {pid} " + pathlib.Path(f"/proc/{pid}/cmdline").read_text()
            for pid in mine]


def touched_files(stamp, folder, watched, ignored):
    """Files outside the run's directory whose content or entry changed since the stamp."""
    skipped = [folder, ROOT / "build", ROOT / ".git", ROOT / ".venv", *ignored]
    prune = [word for path in skipped for word in ("-path", str(path), "-o")][:-1]
    found = subprocess.run(
        ["find", *map(str, dict.fromkeys(watched)), "-xdev", "(", *prune, ")", "-prune", "-o",
         "-type", "f", "-cnewer", str(stamp), "-print"], capture_output=True, text=True).stdout
    return [f"file touched: {path}" for path in found.splitlines()
            if not any(path.startswith(prefix) for prefix in ignored)]


def verdict_faults(wanted, evaluations):
    got = {evaluation["id"]: evaluation for evaluation in evaluations}
    if len(got) != len(evaluations) or len(got) != len(wanted):
        yield f"{len(wanted)} candidates, {len(evaluations)} evaluations, {len(got)} ids"
    for candidate in wanted:
        evaluation = got.get(candidate["id"], {"verdict": "none"})
        both = f"{evaluation['verdict']} {evaluation.get('breach') or ''}".strip()
        if not {both, evaluation["verdict"]} & set(candidate["expect"]):
            yield (f"{candidate['id']} {candidate['kind']}: expected {' or '.join(candidate['expect'])},"
                   f" got {both}: {evaluation.get('reason')}")


def simulation_faults(options, wanted, evaluations, code):
    """Beside verdicts: the order of answers, who judged, and whether guards named what faulted."""
    if [e["id"] for e in evaluations] != sorted(e["id"] for e in evaluations):
        yield "answers are not in the order of their candidates"
    judges = {note for e in evaluations for note in e["notes"] if note.startswith("judged on")}
    there = options.devices - (options.lose >= 0)
    if options.devices > 1 and not options.interrupt and len(judges) != there:
        yield f"{there} devices, and {judges or 'none'} judged"
    kinds = {candidate["id"]: candidate["kind"] for candidate in wanted}
    named = {"always": True, "never": False}.get(options.guard)
    for e in evaluations:
        if kinds[e["id"]] == "faults" and named not in (None, "thread (" in e["evidence"]):
            yield f"{e['id']} faulted with guards {options.guard}: {e['evidence']}"
    if options.interrupt and code != INTERRUPTED:
        yield f"exit code {code} after an interrupt"


def main():
    options = arguments()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us
    wanted = list(STREAMS[options.target](options.count, options.seed, options.bad_share))
    with tempfile.TemporaryDirectory(prefix="quern-stream-") as name:
        folder = pathlib.Path(name)
        stamp = folder / "stamp"
        stamp.touch()
        began = time.monotonic()
        evaluations, code, errors, killed = evaluate(options.quern.resolve(), options, wanted, folder)
        wall_s = time.monotonic() - began
        asked = wanted[:len(evaluations)] if options.interrupt else wanted
        wrong = list(verdict_faults(asked, evaluations))
        # A worker that is killed while it has a candidate is that candidate's end.
        found = wrong if len(wrong) > killed or any("got none" in line for line in wrong) else []
        found += [*left_over_processes(),
                  *touched_files(stamp, folder, options.watch or WATCHED, options.ignore)]
        if options.simulate:
            found += simulation_faults(options, wanted, evaluations, code)
        if code != (INTERRUPTED if options.interrupt else 0):
            found.append(f"exit code {code}: {errors[-1000:]}")
    figures = {"target": options.target, "candidates": len(wanted), "evaluations": len(evaluations), "wall_s": round(wall_s, 1),
               "per_s": round(len(evaluations) / wall_s, 2), "faults": len(found),
               "kinds": collections.Counter(candidate["kind"] for candidate in wanted),
               "verdicts": collections.Counter(e["verdict"] for e in evaluations)}
    print("\n".join(found[:50]))
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps({**figures, "first_faults": found[:50]}, indent=1) + "\n")
    sys.exit(1 if found else 0)


main()
