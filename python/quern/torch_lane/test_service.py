# SPDX-License-Identifier: Apache-2.0
"""Requests for many modules, their sizes on a CPU, and who has the machine when."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

pytest.importorskip("torch")

from quern.torch_lane import scale  # noqa: E402
from quern.torch_lane.service import Machine  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = """
import torch
batch, width = {batch}, 48

class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, width)

    def forward(self, x):
        return torch.relu(self.layer(x))

def get_inputs():
    return [torch.rand(batch, width)]

def get_init_inputs():
    return [width]
"""
HONEST = MODULE.replace("Model", "ModelNew").format(batch=8)


def test_batches_are_halved_and_parameters_are_left_as_they_are():
    text, changed = scale.smaller(MODULE.format(batch=1 << 24), "big.py")
    space = {}
    exec(text, space)
    assert changed == f"batch = {space['batch']}" and 2 <= space["batch"] < 1 << 20
    assert space["width"] == 48
    assert space["Model"](48)(*space["get_inputs"]()).shape == (space["batch"], 48)


def test_a_module_that_fits_is_judged_as_it_is():
    text = MODULE.format(batch=8)
    assert scale.smaller(text, "small.py") == (text, "full")


def test_a_module_that_does_not_run_is_left_to_the_lane():
    text = "def get_inputs():\n    return undefined\n"
    assert scale.smaller(text, "broken.py") == (text, "full")


def test_who_is_alone_waits_for_the_others_and_they_for_it(tmp_path):
    path = str(tmp_path / "machine")
    first, second = Machine(path), Machine(path)
    order = []

    def other():
        with second.shared():
            order.append("other begins")
            with second.alone():
                order.append("other alone")

    with first.shared():
        with first.alone():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(0.3)
            order.append("first done")
    thread.join(10)
    assert order == ["first done", "other begins", "other alone"]


def ask(tmp_path, requests):
    """Answers of one service to requests, in order."""
    down, up = os.pipe(), os.pipe()
    script = f"exec {sys.executable} -m quern.torch_lane --serve --device cpu --machine m " \
             f"3<&{down[0]} 4>&{up[1]}"
    child = subprocess.Popen(["bash", "-c", script], pass_fds=(down[0], up[1]), cwd=tmp_path,
                             env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    os.close(down[0])
    os.close(up[1])
    with os.fdopen(down[1], "w") as out:
        for request in requests:
            out.write(json.dumps(request) + "\n")
    with os.fdopen(up[0]) as lines:
        answers = [json.loads(line) for line in lines]
    assert child.wait(60) == 0
    return answers


def test_a_service_answers_for_one_module_after_the_other_and_survives_bad_ones(tmp_path):
    (tmp_path / "a.py").write_text(MODULE.format(batch=8))
    (tmp_path / "b.py").write_text("x = 1\n")
    both = ["strict", "kernelbench"]
    a = {"module": str(tmp_path / "a.py"), "size": "cpu", "protocols": both}
    wrong = HONEST.replace("torch.relu(self.layer(x))", "self.layer(x)")
    answers = ask(tmp_path, [
        {**a, "source": HONEST}, {**a, "source": wrong, "protocols": ["strict"]},
        {**a, "module": str(tmp_path / "b.py"), "source": HONEST},
        {**a, "module": str(tmp_path / "none.py"), "source": HONEST},
        {**a, "source": "x = 1", "protocols": ["kernelbench"]}])
    assert answers[0]["strict"]["verdict"] == "passed" and answers[0]["size"] == "full"
    assert answers[0]["kernelbench"]["result"]["compiled"]
    assert answers[1]["strict"]["verdict"] == "wrong_result" and "kernelbench" not in answers[1]
    assert "needs a class Model" in answers[2]["unfit"]
    assert "FileNotFoundError" in answers[3]["failed"]
    assert "strict" not in answers[4] and not (answers[4]["kernelbench"]["result"] or {}).get(
        "correctness")
