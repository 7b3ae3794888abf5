# SPDX-License-Identifier: Apache-2.0
"""From provisional to certified: the launches of a candidate that has passed, as device code that
the referee of its task judges like any other (class A; docs/torch_lane.md, "Certified").
"""
from __future__ import annotations

import hashlib
import json
import pathlib
import re
import subprocess
from typing import TYPE_CHECKING, Any

from quern.torch_lane import importing
from quern.torch_lane.process import Died, Process
from quern.torch_lane.verdicts import Stop, died

if TYPE_CHECKING:
    from quern.torch_lane.lane import Lane

Report = dict[str, Any]

CAPTURE_LIMIT_S, IMPORT_LIMIT_S, REFEREE_LIMIT_S = 120.0, 300.0, 900.0


def output_names(task: str) -> list[str]:
    """Of a task's text, in order."""
    return re.findall(r"^output\s+(\w+)", task, re.MULTILINE)


def names_of(task: Report, inputs: int) -> Report:
    """What `capture.record` is told of the task's names. `inputs`: tensors that forward takes."""
    by_argument = {key: name for name, kind, key in task["sources"] if kind == "USER_INPUT"}
    arguments = [*task["input_names"], *[""] * inputs][:inputs]
    return {"inputs": [by_argument.get(argument) for argument in arguments],
            "state": {key: name for name, kind, key in task["sources"] if kind != "USER_INPUT"},
            "outputs": output_names(task["text"])}


class Certifier:
    """Captures candidates of one lane, and has them judged by `program` (quern); captures and the
    task stay in `folder`."""

    def __init__(self, lane: "Lane", program: str, folder: str) -> None:
        self.lane, self.program, self.folder = lane, program, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.task = self._import()

    def _import(self) -> Report:
        """The module as a task; {"reason"} where it is none."""
        process = Process(importing.serve, {"source": self.lane.source, "name": self.lane.name},
                          capture=True)
        try:
            made, _ = process.receive(IMPORT_LIMIT_S)
        except Died as death:
            made = {"reason": died(death).report["reason"]}
        finally:
            process.close()
        if "text" in made:
            made["path"] = str(self.folder / f"{made['name']}.task")
            pathlib.Path(made["path"]).write_text(made["text"])
        return made

    def capture(self, source: str, measure: dict[str, float] | None = None) -> Report:
        """{"path"} of the candidate's capture, or {"cannot"}: why it has none. With `measure`
        ({"samples", "batch_ns"}) `times` of the candidate as it is are added."""
        from quern.torch_lane.lane import ReferenceUnfit

        if "reason" in self.task:
            return {"cannot": f"its module is no task: {self.task['reason']}"}
        lane = self.lane
        process = lane._fork("candidate", capture=True)
        try:
            lane._ready(process)
            lane._load(process, source, "ModelNew", CAPTURE_LIMIT_S)
            lane._draw_all("published", 7)
            names = names_of(self.task, len(lane.facts["places"]))
            made = lane._answer(process, "capture", CAPTURE_LIMIT_S, names=names)
            made["notes"] = process.notes + made.get("notes", [])
            if measure:
                made["times"] = lane._answer(process, "measure", CAPTURE_LIMIT_S, **measure)
        except ReferenceUnfit as error:
            return {"cannot": str(error)}
        except Stop as stop:
            return {"cannot": "its process: " + str(stop.report["reason"])[:400]}
        except Died as death:
            return {"cannot": "its process: " + died(death).report["reason"]}
        finally:
            process.close()
            lane._ask_judge("restore")
        text = made.pop("capture", None)
        if isinstance(text, str):
            digest = hashlib.sha256(text.encode()).hexdigest()
            path = self.folder / f"{digest[:16]}.capture"
            path.write_text(text)
            made["path"] = str(path)
        return made

    def judge(self, path: str) -> Report:
        """What the referee says of a capture."""
        command = [self.program, "eval", self.task["path"], path, "--target", "cuda", "--size",
                   "full", "--seed", str(self.lane.options.seed), "--no-speedup", "--json"]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=REFEREE_LIMIT_S)
            return dict(json.loads(ran.stdout))
        except subprocess.TimeoutExpired:
            return {"error": f"the referee took more than {REFEREE_LIMIT_S:.0f} s"}
        except ValueError:
            return {"error": (ran.stderr or ran.stdout).strip()[-400:]}

    def certify(self, source: str) -> Report:
        """{"status", "reason", …}: `certified`, with the referee's time and level; `cannot`: the
        candidate cannot be replayed; `refused`: replayed, it does not pass."""
        made = self.capture(source)
        if "path" not in made:
            return {"status": "cannot", "reason": str(made.get("cannot", "it gave no capture")),
                    "notes": made.get("notes", [])}
        return {**verdict_of(self.judge(made["path"])), "task": self.task["path"],
                "capture": made["path"], "kernels": made["kernels"], "notes": made["notes"]}


def verdict_of(evaluation: Report) -> Report:
    """How an evaluation of the referee is told."""
    if "verdict" not in evaluation:
        why = evaluation.get("error", "no evaluation")
        return {"status": "cannot", "reason": f"the referee does not start: {why}"}
    if evaluation["verdict"] != "passed":
        return {"status": "refused", "verdict": evaluation["verdict"],
                "reason": evaluation["reason"], "evidence": evaluation["evidence"][:2000]}
    return {"status": "certified", "reason": "", "level": evaluation["verification_level"],
            "method": evaluation["method"], "timing": evaluation["timing"]}
