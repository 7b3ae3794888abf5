#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands for an interpreter with PyTorch. The importer's list is the real one; of the lane there are
only its answers, which a candidate's own comment gives: `# ours SPEEDUP theirs SPEEDUP`, where 0 is
a wrong answer; `# dies` ends the process. Each request is a line of $HOME/asked.txt."""
import json
import os
import re
import sys

if "quern.importer" in sys.argv:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


def strict(speedup):
    report = {"verdict": "passed" if speedup else "wrong_result", "breach": None, "provisional": True,
              "reason": "" if speedup else "wrong values"}
    if speedup:
        report["timing"] = {"median_ns": 1e6 / speedup}
        report["baselines"] = {
            name: {"speedup": speedup * share, "speedup_low": 0.9 * speedup * share,
                   "speedup_high": 1.1 * speedup * share}
            for name, share in (("eager", 1.0), ("compile", 0.5))}
    return report


def theirs(speedup):
    result = {"compiled": True, "correctness": bool(speedup), "runtime": 1.0 if speedup else -1.0,
              "runtime_stats": {}, "metadata": {} if speedup else {"correctness_issue": "differs"}}
    return {"result": result} | ({"speedup": speedup} if speedup else {})


answers = os.fdopen(4, "w")
for line in os.fdopen(3):
    request = json.loads(line)
    with open(os.path.expanduser("~/asked.txt"), "a") as log:
        print(request["size"], *request["protocols"], file=log)
    if "# dies" in request["source"]:
        sys.exit("killed by its candidate")
    ours, other = map(float, re.search(r"# ours (\S+) theirs (\S+)", request["source"]).groups())
    answer = {"size": request["size"]}
    if "no class" in open(request["module"]).read():
        answer = {"unfit": "it has no class Model"}
    elif "strict" in request["protocols"]:
        answer["strict"] = strict(ours)
    if "kernelbench" in request["protocols"]:
        answer["kernelbench"] = theirs(other)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
