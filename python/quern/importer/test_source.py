# SPDX-License-Identifier: Apache-2.0
import pathlib

import pytest

from quern.importer.items import read_items
from quern.importer.source import BadModule, Literals, Module, without_grad_modes

SOURCE = """
batch = 16
height = width = 8 * 4
shape = (3, 5)
depth, rows = 2, 9
flag = True
one = 1

class Model:
    hidden = 77

def get_inputs():
    return [make(batch, 12, dim=4)]

def helper():
    return 99
"""


def knobs(code):
    return {knob.name: knob.value for knob in Module(code, "test").knobs}


def test_whole_numbers_of_the_file_are_found_with_their_names():
    assert knobs(SOURCE) == {"batch": 16, "height": 32, "width": 32, "shape_0": 3, "shape_1": 5,
                             "depth": 2, "rows": 9, "size": 12}


def test_running_the_file_with_other_values_changes_only_those():
    space = Module(SOURCE, "test").namespace({"height": 5, "shape_1": 7})
    assert (space["height"], space["width"], space["shape"]) == (5, 32, (3, 7))


def test_names_that_follow_from_others_follow():
    space = Module("n = 4\nm = n * 2", "test").namespace({"n": 10})
    assert space["m"] == 20


def test_a_file_that_is_not_python_is_refused_with_its_name():
    with pytest.raises(BadModule, match="odd.py: not Python"):
        Module("def (", "odd.py")


def test_lines_of_a_jsonl_become_items(tmp_path: pathlib.Path):
    file = tmp_path / "two.jsonl"
    file.write_text('{"name": "a", "code": "x = 2", "level": 1, "problem_id": 5}\n\n'
                    '{"name": "b", "code": ""}\n')
    first, second = read_items(file)
    assert (first.name, first.level, first.problem_id) == ("a", 1, 5)
    assert first.origin == "KernelBench level1/5"
    assert second.origin == "two.jsonl:3"


def test_a_broken_line_is_refused_with_its_number(tmp_path: pathlib.Path):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"name": "a", "code": ""}\n{"name": 3}\n')
    with pytest.raises(BadModule, match="bad.jsonl:2"):
        read_items(file)


def test_a_missing_file_is_refused():
    with pytest.raises(BadModule, match="no such file"):
        read_items(pathlib.Path("nowhere.py"))


def test_gradient_modes_are_taken_away_and_nothing_else():
    code = ("import torch\n@torch.no_grad()\n@other\ndef run(x):\n    with torch.inference_mode(), "
            "lock:\n        y = x\n    with torch.no_grad():\n        y = y + 1\n    return y\n")
    text = without_grad_modes(code)
    assert "grad" not in text and "inference" not in text
    assert "@other" in text and "with lock" in text and "y = y + 1" in text
    assert without_grad_modes("x = 1  # kept") == "x = 1  # kept"
    assert without_grad_modes("def :") == "def :"


def test_equal_literals_can_be_one_number_with_the_name_of_their_like():
    code = "rows = 9\n\ndef get_inputs():\n    return [make(rows, 12), make(12, 9)]\n"
    equal = Module(code, "test", Literals.EQUAL)
    assert {knob.name: knob.value for knob in equal.knobs} == {"rows": 9, "size": 12}
    assert Module(code, "test", Literals.FIXED).knobs == []
