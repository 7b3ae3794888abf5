# SPDX-License-Identifier: Apache-2.0
"""Definitions with their Workloads become tasks that compute what their references compute."""
import json
import os
import pathlib
import re

import pytest

from quern.importer.definitions import adapters_of, code_of, is_definition, item_of
from quern.importer.items import read_items
from quern.importer.names import task_name
from quern.importer.source import BadModule, Module

NORM = {
    "name": "rmsnorm_d48", "op_type": "rmsnorm",
    "axes": {"rows": {"type": "var"}, "width": {"type": "const", "value": 48},
             "half": {"type": "expr", "expression": "width // 2"}},
    "inputs": {"x": {"shape": ["rows", "width"], "dtype": "float32"},
               "weight": {"shape": ["width"], "dtype": "float32"},
               "eps": {"shape": None, "dtype": "float32"}},
    "outputs": {"y": {"shape": ["rows", "half"], "dtype": "float32"}},
    "reference": "import torch\n\ndef run(x, weight, eps):\n"
                 "    scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)\n"
                 "    y = x * scale * weight\n    return y[:, :x.shape[1] // 2]\n",
}


def workload(rows: int, source: str = "random") -> dict:
    return {"uuid": f"w{rows}", "axes": {"rows": rows},
            "inputs": {"x": {"type": source}, "weight": {"type": "random"},
                       "eps": {"type": "scalar", "value": 1e-6}}}


def write_set(folder: pathlib.Path, definition: dict, workloads: list[dict]) -> pathlib.Path:
    """The layout of a trace set."""
    made = folder / "definitions" / "rmsnorm" / f"{definition['name']}.json"
    made.parent.mkdir(parents=True)
    made.write_text(json.dumps(definition))
    lines = folder / "workloads" / "rmsnorm" / f"{definition['name']}.jsonl"
    lines.parent.mkdir(parents=True)
    lines.write_text("\n".join(json.dumps({"definition": definition["name"], "workload": w,
                                           "solution": None}) for w in workloads))
    return made


def test_axes_are_whole_numbers_of_the_module_and_expressions_follow_them():
    module = Module(code_of(NORM, workload(30)), "test")
    assert module.initial == {"rows": 30, "width": 48}
    space = module.namespace({"width": 64})
    assert space["half"] == 32


def test_a_set_is_read_with_its_workloads_and_the_others_become_size_sets(tmp_path):
    write_set(tmp_path, NORM, [workload(30), workload(7), workload(30), workload(99)])
    (item,) = read_items(tmp_path)
    assert item.name == "rmsnorm_d48"
    assert "rows = 30" in item.code and "eps" not in item.code.split("def get_inputs")[1]
    assert item.workloads == [{"rows": 7, "width": 48}, {"rows": 99, "width": 48}]


def test_a_workload_file_beside_the_definition_is_found(tmp_path):
    (tmp_path / "definition.json").write_text(json.dumps(NORM))
    (tmp_path / "workload.jsonl").write_text(json.dumps(workload(12)))
    (tmp_path / "reference.py").write_text("raise SystemExit")
    (item,) = read_items(tmp_path)
    assert "rows = 12" in item.code


def test_inputs_of_the_definitions_own_function_are_taken_from_it():
    definition = {**NORM, "custom_inputs_entrypoint": "make",
                  "reference": NORM["reference"] + "\ndef make(axes, device):\n"
                  "    return {'weight': torch.ones(axes['width']),\n"
                  "            'x': torch.rand(axes['rows'], axes['width']) + 5}\n"}
    given = workload(3)
    for source in ("x", "weight"):
        given["inputs"][source] = {"type": "custom"}
    code = code_of(definition, given)
    assert "made = make({'rows': rows, 'width': width, 'half': half}" in code
    assert "for name in ['x', 'weight']" in code


def test_what_a_workload_leaves_open_is_said():
    assert "`eps` is a scalar" in item_of(NORM, [], "norm.json").failed
    indices = {**NORM, "inputs": {**NORM["inputs"], "at": {"shape": ["rows"], "dtype": "int32"}}}
    given = workload(3)
    given["inputs"]["at"] = {"type": "safetensors", "path": "a", "tensor_key": "at"}
    assert "`at` is a file" in item_of(indices, [given], "norm.json").failed


def changed(*keys, value):
    """NORM with one value changed."""
    definition = json.loads(json.dumps(NORM))
    place = definition
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return definition


@pytest.mark.parametrize(("definition", "said"), [
    (changed("axes", value=[]), "its `axes` must be an object"),
    (changed("reference", value=None), "its `reference` must be the text"),
    (changed("reference", value="def go(x): pass"), "defines no function `run`"),
    (changed("axes", "rows", value={"type": "free"}), "axis `rows`: its type is 'free'"),
    (changed("axes", "width", "value", value="48"), "axis `width`: a const axis needs a whole"),
    (changed("axes", "half", "expression", value="wide // 2"), "`half`: .* counts on `wide`"),
    (changed("axes", "half", "expression", value="width //"), "`half`: 'width //' is no expr"),
    (changed("inputs", "x", "dtype", value="float33"), "input `x`: dtype 'float33' is none of"),
    (changed("inputs", "x", "shape", value=["rows", "K"]), "input `x`: its shape names `K`"),
    (changed("outputs", "y", "shape", value=["cols"]), "output `y`: its shape names `cols`"),
    (changed("inputs", "x", value={"dtype": "float32"}), "input `x`: it needs `shape` and"),
    (changed("inputs", value={"eps": NORM["inputs"]["eps"]}), "none of its inputs is a tensor"),
])
def test_what_is_wrong_with_a_definition_is_said_with_its_part(definition, said):
    item = item_of(definition, [workload(3)], "norm.json")
    assert re.search(f"norm.json: .*{said}", item.failed), item.failed


@pytest.mark.parametrize(("given", "said"), [
    ([3], "workload 1: it is no object"),
    ([{"axes": {}}], "workload 1: axis `rows` needs a whole number .* none is given"),
    ([workload(3), {"axes": {"rows": "7"}}], "workload 2: axis `rows` .* has '7'"),
    ([{"axes": {"rows": 0}}], "axis `rows` .* has 0"),
    ([{"axes": {"rows": 1}, "inputs": {"x": "random"}}], "input `x` needs a `type`"),
    ([{"axes": {"rows": 1}, "inputs": {"eps": {"type": "scalar"}}}], "scalar `eps` needs a number"),
])
def test_what_is_wrong_with_a_workload_is_said_with_its_place(given, said):
    item = item_of(NORM, given, "norm.json")
    assert re.search(said, item.failed), item.failed


def test_a_type_without_arithmetic_in_pytorch_is_unsupported_and_no_fault():
    item = item_of(changed("inputs", "x", "dtype", value="float4_e2m1"), [workload(3)], "n.json")
    assert item.failed == "" and "float4_e2m1" in item.unsupported


def test_a_free_axis_without_a_workload_is_noted():
    scalarless = changed("inputs", value={"x": NORM["inputs"]["x"]})
    assert item_of(scalarless, [], "n.json").notes == ["no workload says rows: 64 here"]


def test_a_file_that_cannot_be_read_stops_no_other_of_its_folder(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text(json.dumps({"name": "b", "axes": {}, "inputs": {}}))
    (tmp_path / "c.json").write_text(json.dumps({"strict": True}))
    (tmp_path / "d.py").write_text("import torch\n")
    items = read_items(tmp_path)
    assert [(i.name, bool(i.failed)) for i in items] == [("a", True), ("b", True), ("d", False)]
    assert "not JSON" in items[0].failed and "`reference`" in items[1].failed


def test_modules_of_the_same_name_get_files_of_their_own(tmp_path):
    for place in ("a/net.py", "b/net.py", "c/Net.py"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text("import torch\n")
    names = [task_name(item) for item in read_items(tmp_path)]
    assert names == ["net", "net_2", "net_3"]


def test_what_is_no_definition_is_refused_with_its_name(tmp_path):
    assert not is_definition({"name": "s", "definition": "d", "spec": {}})
    file = tmp_path / "other.json"
    file.write_text("{}")
    with pytest.raises(BadModule, match="other.json: not a Definition"):
        read_items(file)
    with pytest.raises(BadModule, match="no module and no Definition"):
        read_items(tmp_path)


def test_modules_in_folders_of_levels_know_their_place(tmp_path):
    for place in ("level1/19_ReLU.py", "level1/3_Matmul.py", "level2/1_Conv.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("import torch\n")
    items = read_items(tmp_path)
    assert [(i.level, i.problem_id, i.name) for i in items] == [
        (1, 3, "3_Matmul"), (1, 19, "19_ReLU"), (2, 1, "1_Conv")]


@pytest.mark.skipif(not os.environ.get("QUERN_BIN"), reason="QUERN_BIN names no binary")
@pytest.mark.parametrize("narrow", [False, True])
def test_a_definition_becomes_a_task_that_means_the_same(narrow, tmp_path):
    pytest.importorskip("torch")
    from quern.importer.check import Binary, disagreement
    from quern.importer.convert import Converter
    from quern.importer.trace import Untraceable

    definition = json.loads(json.dumps(NORM))
    if narrow:
        definition["reference"] = definition["reference"].replace(
            "return y[", "return y.to(torch.bfloat16)[")
        for name in ("x", "weight"):
            definition["inputs"][name]["dtype"] = "bfloat16"
        with pytest.raises(Untraceable, match="bfloat16"):
            Converter(item_of(definition, [workload(30)], "norm.json")).convert()
    task = Converter(item_of(definition, [workload(30), workload(9)], "norm.json",
                             widen=narrow)).convert()
    assert "rmsnorm_d48(rows = 30, width = 48)" in task.text
    assert "sizes workload2: rows = 9" in task.text
    assert ("32-bit here" in task.text) == narrow
    path = tmp_path / "norm.task"
    path.write_text(task.text)
    binary = Binary(os.environ["QUERN_BIN"])
    assert binary.refusal(path) == "", task.text
    assert disagreement(task, path, binary) == "", task.text


def solution(kind: str, body: str, rows: int):
    """Outputs of a Solution in Python at other sizes than its Definition's, and the reference's."""
    torch = pytest.importorskip("torch")
    space: dict = {}
    adapter = adapters_of(NORM, workload(30))[kind].replace("ENTRY", "mine")
    exec(NORM["reference"].replace("def run", "def right") + body + adapter, space)
    x, weight = torch.rand(rows, 64), torch.rand(64)
    return space["ModelNew"]()(x, weight), space["right"](x, weight, 1e-6)


def test_a_solution_that_returns_its_outputs_becomes_a_module():
    made, right = solution("call", "\n\ndef mine(x, w, e):\n    return right(x, w, e)\n", 5)
    assert (made == right).all()


def test_a_solution_that_fills_its_outputs_gets_them_in_the_size_of_the_inputs():
    made, right = solution("fill", "\n\ndef mine(x, w, e, y):\n    y.copy_(right(x, w, e))\n", 7)
    assert made.shape == (7, 32) and (made == right).all()


def test_a_program_that_tests_whole_solutions_is_listed_with_the_reason(tmp_path):
    row = {"task_id": "CUDA/1", "prompt": "write it", "build_command": "nvcc -o t solution.cu",
           "test_command": "./t", "test_files": []}
    (tmp_path / "problems.jsonl").write_text(json.dumps(row) + "\n")
    (item,) = read_items(tmp_path / "problems.jsonl")
    assert item.name == "CUDA/1" and "nvcc and a CUDA device" in item.unsupported
