# SPDX-License-Identifier: Apache-2.0
"""Modules of every family become tasks that compute what the modules compute, in double precision.

The binary is the environment's QUERN_BIN.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from quern.importer import convert, samples  # noqa: E402
from quern.importer.__main__ import try_larger, verify_fitness  # noqa: E402
from quern.importer.check import Binary, disagreement  # noqa: E402
from quern.importer.convert import Converter  # noqa: E402
from quern.importer.source import Item  # noqa: E402
from quern.importer.trace import Untraceable, trace  # noqa: E402

BINARY = os.environ.get("QUERN_BIN")
pytestmark = pytest.mark.skipif(not BINARY, reason="QUERN_BIN names no binary")


def converted(code: str, **options):
    return Converter(Item("sample", code, origin="test"), **options).convert()


def agree(task, folder: pathlib.Path, mixes=("published", "normal")):
    path = folder / f"{task.name}.task"
    path.write_text(task.text)
    binary = Binary(BINARY)
    assert binary.refusal(path) == "", task.text
    assert disagreement(task, path, binary, mixes=mixes) == "", task.text


@pytest.mark.parametrize("name", sorted(samples.SAMPLES))
def test_a_module_of_this_family_means_the_same_as_a_task(name, tmp_path):
    agree(converted(samples.source(name)), tmp_path)


def module(forward: str, inputs: str, init: str = "pass", head: str = "n, c = 8, 12") -> str:
    return (f"import torch\nimport torch.nn as nn\n{head}\nclass Model(nn.Module):\n"
            f"    def __init__(self):\n        super().__init__()\n        {init}\n"
            f"    def forward(self, x):\n        return {forward}\n"
            f"def get_inputs():\n    return [{inputs}]\n")


def test_sizes_of_the_file_become_sizes_of_the_task():
    task = converted(module("self.a(x)", "torch.rand(n, c)", "self.a = nn.Linear(c, 4 * c)"))
    assert "task sample(n = 8, c = 12)" in task.text
    assert "param a_weight : f32[c * 4, c]" in task.text
    assert set(task.sets) == {"full", "cpu", "tiny"}


def test_parameters_keep_their_initialisers():
    task = converted(module("self.a(x) * self.gain", "torch.randn(n, c)", "self.a = nn.Linear(c, 3"
                            "); self.gain = nn.Parameter(torch.randn(3) * 0.02)"))
    assert "~ uniform(-0.288675135, 0.288675135)" in task.text  # 1 / sqrt(12)
    assert "param gain : f32[3] ~ normal(0, 0.02)" in task.text
    assert "input x : f32[n, c] ~ normal(0, 1)" in task.text


@pytest.mark.parametrize(("made", "structure"), [
    ("torch.tril(torch.rand(n, n))", "lower"), ("torch.triu(torch.rand(n, n))", "upper"),
    ("(lambda a: (a + a.T) / 2)(torch.rand(n, n))", "symmetric")])
def test_structured_inputs_keep_their_structure(made, structure):
    task = converted(module("x @ x", made))
    assert f"input x : f32[n, n] ~ uniform(0, 1), {structure}" in task.text


def test_a_convolution_has_the_precision_of_its_reference():
    task = converted(module("self.a(x)", "torch.rand(n, 3, c, c)", "self.a = nn.Conv2d(3, 4, 3)"))
    assert "precision as_reference" in task.text
    assert "precision" not in converted(module("x @ x.T", "torch.rand(n, c)")).text


def test_a_batch_norm_uses_the_batch_in_training_and_its_statistics_in_evaluation(tmp_path):
    code = module("self.a(x)", "torch.rand(n, c)", "self.a = nn.BatchNorm1d(c)")
    assert "batch_norm(x" in converted(code).text
    still = converted(code, training=False)
    assert "running_mean" in still.text
    agree(still, tmp_path)


def test_a_live_dropout_makes_a_module_opaque_and_a_dead_one_does_not(tmp_path):
    code = module("self.a(x) * 2", "torch.rand(n, c)", "self.a = nn.Dropout({})")
    with pytest.raises(Untraceable, match="dropout"):
        converted(code.format(0.5))
    agree(converted(code.format(0.0)), tmp_path)
    agree(converted(code.format(0.5), training=False), tmp_path)


@pytest.mark.parametrize(("forward", "reason"), [
    ("x + torch.rand_like(x)", "random"), ("torch.sort(x.repeat(1, 500))[0]", "order"),
    ("x[x > 0.5]", "traced|mask"), ("torch.fft.rfft(x).abs()", "form|complex|no ")])
def test_what_cannot_be_said_is_opaque_with_the_reason(forward, reason):
    with pytest.raises(Untraceable, match=reason):
        converted(module(forward, "torch.rand(n, c)"))


def test_a_number_that_changes_the_graph_stays_a_literal():
    task = converted(module("self.a(x)", "torch.rand(n, c)",
                            "self.a = nn.Sequential(*[nn.Tanh() for _ in range(layers)])",
                            "n, c, layers = 8, 12, 3"))
    assert "layers" not in task.text
    assert task.text.count("tanh(") == 3


def run_importer(*arguments: str) -> tuple[int, dict]:
    done = subprocess.run([sys.executable, "-m", "quern.importer", *arguments],
                          capture_output=True, text=True, timeout=120,
                          cwd=pathlib.Path(__file__).parents[2])
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def test_the_command_reports_each_module_and_marks_what_a_wrong_kernel_passes(tmp_path):
    rows = [{"name": "1_ReLU", "level": 9, "problem_id": 1,
             "code": module("torch.relu(x)", "torch.rand(n, c)")},
            {"name": "2_Nothing", "level": 9, "problem_id": 2,
             "code": module("torch.relu(x) * 0", "torch.rand(n, c)")},
            {"name": "3_Sort", "level": 9, "problem_id": 3,
             "code": module("torch.sort(x.repeat(1, 500))[0]", "torch.rand(n, c)")},
            {"name": "4_Broken", "level": 9, "problem_id": 4, "code": "def ("}]
    file = tmp_path / "four.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    code, report = run_importer(str(file), "--out", str(tmp_path / "out"), "--quern", BINARY)
    assert code == 0
    relu, nothing, sort, broken = report["tasks"]
    assert (relu["status"], relu["fit"], relu["redrawn"]) == ("imported", True, True)
    assert "~ normal(0, 1)" in pathlib.Path(relu["path"]).read_text() or \
        "~" not in pathlib.Path(relu["path"]).read_text().split("input", 1)[1].splitlines()[0]
    assert (nothing["status"], nothing["fit"]) == ("imported", False)
    assert "unfit" in nothing["reason"] and "zeros" in nothing["reason"]
    assert sort["status"] == "opaque" and "in order" in sort["reason"]
    assert broken["status"] == "failed" and "not Python" in broken["reason"]


@pytest.mark.parametrize(("forward", "inputs", "sizes"), [
    ("torch.gather(x, 1, y)", "torch.rand(6, 9), torch.randint(0, 9, (6, 4))",
     "size = 6, size_2 = 9, size_3 = 4"),
    ("torch.tril(x @ y)", "torch.tril(torch.rand(8, 8)), torch.rand(8, 8)", "size = 8")])
def test_literals_that_must_be_equal_become_one_size(forward, inputs, sizes, tmp_path):
    code = module(forward, inputs, head="").replace("self, x", "self, x, y")
    file = tmp_path / "sample.py"
    file.write_text(code)
    done, report = run_importer(str(file), "--out", str(tmp_path / "out"), "--quern", BINARY)
    (row,) = report["tasks"]
    assert (done, row["status"], row["reason"]) == (0, "imported", "")
    assert f"({sizes})" in pathlib.Path(row["path"]).read_text()


def test_a_table_rounded_by_the_module_agrees_with_its_formula(tmp_path):
    agree(converted(module("x * torch.outer(torch.arange(n).float(), self.a).cos()",
                           "torch.rand(n, c)", "self.register_buffer('a', "
                           "1.0 / (100 ** (torch.arange(c).float() / c)))")), tmp_path)


def test_a_module_that_refuses_other_values_is_compared_on_its_own(tmp_path):
    agree(converted(module("nn.functional.binary_cross_entropy(x, x * 0.5)",
                           "torch.rand(n, c)")), tmp_path)


def test_reparametrised_weights_are_inputs(tmp_path):
    task = converted(module("self.a(x)", "torch.rand(n, c)",
                            "self.a = nn.utils.parametrizations.weight_norm(nn.Linear(c, 5))"))
    assert "original1 : f32[5, " in task.text
    agree(task, tmp_path)


def test_writing_a_task_once_more_traces_nothing_again(monkeypatch):
    traced = []
    monkeypatch.setattr(convert, "trace", lambda *a: traced.append(a) or trace(*a))
    converter = Converter(Item("sample", module("x @ x.T", "torch.rand(n, c)"), origin="test"))
    converter.convert()
    once = len(traced)
    converter.convert(explicit=True)
    assert len(traced) == once > 1


def test_small_sizes_grow_as_far_as_the_published_ones():
    converter = Converter(Item("sample", module("x @ x.T", "torch.rand(n, c)"), origin="test"))
    before = converter.convert().sets
    assert converter.grow()
    after = converter.convert().sets
    assert after["tiny"] == {name: min(before["full"][name], convert.GROWTH * small)
                             for name, small in before["tiny"].items()}
    while converter.grow():
        pass
    assert converter.convert().sets["tiny"] == before["full"]


def test_larger_sizes_are_kept_where_they_tell_wrong_kernels(tmp_path):
    converter = Converter(Item("sample", module("x @ x.T", "torch.rand(n, c)"), origin="test"))
    path, row = tmp_path / "sample.task", {"fit": False, "reason": "unfit", "redrawn": True}

    class Referee:
        caught = False

        def refusal(self, path):
            return "" if self.caught else "refused"

        def compute(self, path, size, inputs):
            return (inputs[0].double() @ inputs[0].double().T).flatten()

        def wrong_kernels_accepted(self, path):
            return []

    path.write_text(converter.convert().text)
    small = path.read_text()
    try_larger(row, path, lambda: converter.convert() if converter.grow() else None, Referee())
    assert path.read_text() == small and row["fit"] is False
    Referee.caught = True
    try_larger(row, path, converter.convert, Referee())
    assert path.read_text() != small and row["fit"] and not row["reason"]
    assert row["sizes"]["tiny"] == {"n": 8, "c": 12} and "redrawn" not in row


def test_a_check_of_wrong_kernels_that_takes_too_long_is_said(tmp_path):
    class Slow:
        def wrong_kernels_accepted(self, path):
            return None

    row, path = {}, tmp_path / "sample.task"
    verify_fitness(row, path, "task sample(n = 4)\n", Slow())
    assert row["fit"] is None and "too long" in row["unchecked"]
    assert path.read_text().startswith("# wrong kernels were not tried")


def test_the_import_ends_where_its_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    source = tmp_path / "m.py"
    source.write_text(module("torch.relu(x)", "torch.rand(n, c)"))
    code, report = run_importer(str(source), "--out", str(tmp_path / "file" / "x"), "--list")
    assert (code, report) == (5, {})
