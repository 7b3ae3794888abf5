# SPDX-License-Identifier: Apache-2.0
"""Parts of the lane by themselves: source checks, draws, comparison, intervals, memory."""
from __future__ import annotations

import time

import pytest

torch = pytest.importorskip("torch")

from quern.torch_lane import (block, compare, draws, judge, light, nvcc,  # noqa: E402
                              runner,
                              static_checks, timing, triton_builds)
from quern.torch_lane.kernelbench_run import KernelbenchRun  # noqa: E402
from quern.torch_lane.lane import (CONFIRMATIONS, CONFIRMING_ROUNDS, Batches,  # noqa: E402
                                   Lane, Options)
from quern.torch_lane.process import Died  # noqa: E402
from quern.torch_lane.verdicts import Stop  # noqa: E402


@pytest.mark.parametrize("line, breach", [
    ("torch.allclose = f", "patched_torch"),
    ("setattr(torch, 'equal', f)", "patched_torch"),
    ("F.relu = f", "patched_torch"),
    ("del torch.equal", "patched_torch"),
    ("torch.cuda.synchronize = f", "patched_timer"),
    ("time.perf_counter = f", "patched_timer"),
    ("gc.get_objects()", "inspects_harness"),
    ("f.__globals__", "inspects_harness"),
    ("sys.modules['torch'] = f", "patched_torch"),
])
def test_an_attempt_to_deceive_is_named(line, breach):
    source = f"import torch, time, gc, sys\nimport torch.nn.functional as F\n{line}\n"
    assert [found.breach for found in static_checks.findings(source)] == [breach]


@pytest.mark.parametrize("line", [
    "torch.backends.cudnn.benchmark = True", "x = torch.relu", "model.weight = torch.ones(2)",
    "self.torch = 1", "torch._inductor.config.max_autotune = True", "time.sleep(1)",
    "try:\n    import triton\nexcept ImportError:\n    triton = None",
])
def test_what_kernels_do_is_no_breach(line):
    assert static_checks.findings(f"import torch, time\n{line}\n") == []


def test_draws_keep_zeros_symmetry_and_few_values():
    def inputs():
        lower = torch.tril(torch.rand(8, 8))
        symmetric = torch.rand(8, 8)
        return [lower, symmetric + symmetric.t(), torch.randint(0, 2, (64,)).float()]

    for name in draws.DISTRIBUTIONS:
        lower, symmetric, few = draws.draw(inputs, name, 3, "cpu")
        assert torch.equal(torch.tril(lower), lower)
        assert torch.equal(symmetric, symmetric.t())
        assert set(few.unique().tolist()) == {0.0, 1.0}


def test_a_uniform_draw_becomes_normal():
    drawn = draws.draw(lambda: [torch.rand(100_000)], "normal", 3, "cpu")[0]
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02


def test_comparison_allows_rounding_and_refuses_less_precision():
    a, b = torch.randn(64, 256), torch.randn(256, 64)
    exact, own = a.double() @ b.double(), a @ b
    assert judge.compare(own, exact, own)["ok"]
    assert judge.compare((a[:, :128] @ b[:128]) + (a[:, 128:] @ b[128:]), exact, own)["ok"]
    assert not judge.compare((a.bfloat16() @ b.bfloat16()).float(), exact, own)["ok"]
    spoilt = own.clone()
    spoilt[3, 5] = float("nan")
    assert judge.compare(spoilt, exact, own)["nan"]


def test_infinities_must_be_the_reference_s():
    own = torch.tensor([1.0, float("inf"), 2.0])
    assert judge.compare(own.clone(), own.double(), own)["ok"]
    assert not judge.compare(torch.tensor([1.0, -float("inf"), 2.0]), own.double(), own)["ok"]


def test_the_interval_of_a_median_has_its_coverage():
    # Of 12 values, the 3rd and the 10th enclose the median with 96 %, the 4th and 9th with 85 %.
    assert timing.median_interval(12) == (2, 9)
    assert timing.median_interval(2) == (0, 1)
    paired = timing.paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert paired["speedup"] == paired["speedup_low"] == paired["speedup_high"] == 2


def test_a_block_gives_back_dense_strides():
    tensors = [torch.randn(3, 5).t(), torch.arange(4), torch.empty(0, 2)]
    places, size = block.lay_out(tensors)
    made = block.Block.make(size, "cpu")
    for place, tensor in zip(places, tensors):
        made.tensor(place).copy_(tensor)
    again = block.Block.attach(made.shared, made.fd)
    for place, tensor in zip(places, tensors):
        assert torch.equal(again.tensor(place), tensor)
        assert again.tensor(place).stride() == tensor.stride()


def test_values_travel_as_a_tree():
    given = [torch.ones(2), (1, 2.5, None), {"a": [torch.zeros(1), "x"]}, torch.float16]
    tree, tensors = block.flatten(given)
    made = block.unflatten(tree, tensors)
    assert made[1:2] + made[3:] == [(1, 2.5, None), torch.float16]
    assert made[2]["a"][1] == "x" and made[0] is given[0]
    with pytest.raises(TypeError, match="cannot be passed"):
        block.flatten([object()])


def test_only_errors_that_speak_of_pytorch_are_the_light_header_s():
    assert light.explains("unit.cpp:3: error: 'matmul' is not a member of 'torch'")
    assert light.explains("unit.cpp:3: error: 'cout' is not a member of 'std'")
    assert not light.explains("unit.cpp:3: error: 'y' was not declared in this scope")


def test_comparison_in_pieces_finds_one_wrong_value_and_says_where(monkeypatch):
    monkeypatch.setattr(compare.pieces, "__defaults__", (64,))
    own = torch.randn(10, 33)
    given = own.clone()
    given[7, 5] += 1
    found = judge.compare(given, own.double(), own)
    assert not found["ok"] and "[7, 5]" in found["detail"] and "1 of 330 wrong" in found["detail"]
    assert judge.compare(own, own.double(), own)["ok"]


def test_infinities_of_the_reference_must_be_met():
    own = torch.tensor([1.0, float("inf"), float("nan"), 2.0])
    assert judge.compare(own.clone(), own.double(), own)["ok"]
    for place, value in ((0, float("nan")), (1, 5.0), (1, -float("inf")), (2, 0.0)):
        given = own.clone()
        given[place] = value
        found = judge.compare(given, own.double(), own)
        assert not found["ok"] and found["nan"]


def test_a_fingerprint_tells_any_change_and_swapped_places():
    prints = compare.Fingerprint("cpu")
    data = torch.randint(0, 256, (3 * 4096,), dtype=torch.uint8)
    before = prints.of(data)
    assert prints.of(data.clone()) == before
    for place in (0, 7, 4096, 3 * 4096 - 1):
        changed = data.clone()
        changed[place] ^= 1
        assert prints.of(changed) != before
    assert prints.of(data.roll(4096)) != before
    assert prints.of(data.view(-1, 8).flip(0).reshape(-1).contiguous()) != before


def test_flattened_tensors_are_freed_without_a_collection():
    import gc
    import weakref

    gc.disable()
    try:
        tensor = torch.zeros(4)
        alive = weakref.ref(tensor)
        tree = [tensor, {"a": (1, tensor)}]
        assert len(block.flatten(tree)[1]) == 2
        del tensor, tree
        assert alive() is None
    finally:
        gc.enable()


def test_ptxas_takes_only_flags_that_change_its_code():
    assert triton_builds.flags_are_plain(["-lineinfo", "-v", "--fmad=false", "--gpu-name=sm_90a"])
    for flag in ("--output-file=/etc/passwd", "@file", "-I/", "--gpu-name=sm_90 -o x"):
        assert not triton_builds.flags_are_plain([flag])


PASSES = """#$ TOP=/cuda/..
#$ gcc -E -x c++ "a.cu" -o "p/a.cpp4.ii"
#$ cudafe++ --gen_module_id_file --module_id_file_name "p/a.module_id" "p/a.cpp4.ii"
#$ gcc -D__CUDA_ARCH__=900 -E -x c++ "a.cu" -o "p/a.cpp1.ii"
#$ "$CICC_PATH/cicc" --orig_src_file_name "a.cu" "p/a.cpp1.ii" -o "p/a.ptx"
#$ ptxas -arch=sm_90 "p/a.ptx" -o "p/a.cubin"
#$ fatbinary --embedded-fatbin="p/a.fatbin.c"
#$ gcc -c -x c++ "p/a.cudafe1.cpp" -o "a.o"
"""


def fake_nvcc(folder, text):
    program = folder / "nvcc"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{text}END\n")
    program.chmod(0o755)
    (folder / "p").mkdir()
    (folder / "a.cu").write_text("")
    return nvcc.script([str(program), "-c", "a.cu"], folder, folder / "a.cu")


def test_both_passes_of_nvcc_run_beside_each_other(tmp_path):
    made = fake_nvcc(tmp_path, PASSES).splitlines()
    assert made[0] == "export TOP='/cuda/..'"
    assert "cudafe++" in made[1] and made[1].endswith("& host=$!")
    assert "cicc" in made[2] and "cudafe++" not in made[2]
    assert "--gen_module_id_file" not in "".join(made)
    assert (tmp_path / "p" / "a.module_id").read_text()


def test_passes_that_are_not_known_are_left_to_nvcc(tmp_path):
    assert fake_nvcc(tmp_path, PASSES.replace("ptxas", "other")) == ""


def test_inputs_that_come_late_come_whole():
    made = runner.Runner.__new__(runner.Runner)
    made.device, made.model = "cpu", lambda x, i: x + i
    inputs = [torch.randn(5, 3), torch.arange(15).view(3, 5).t()]
    made.inputs = [inputs]
    expected = inputs[0] + inputs[1]
    made.run({"slots": [0], "ordered": True}, [])
    assert torch.equal(made.outputs[0], expected)
    assert torch.equal(inputs[0] + inputs[1], expected)


def test_a_uniform_value_becomes_the_normal_one_of_its_rank():
    drawn = torch.rand(10_000)
    assert torch.allclose(draws._normal(drawn, True), torch.special.ndtri(drawn), atol=1e-5)


def lane_with_late(measured_ms):
    """A lane whose candidate takes 1 ms where PyTorch takes 10, and whose outputs come so late in
    the measurements of whether its work is put off, one after the other."""
    made = Lane.__new__(Lane)
    made.slots, made.options = 1, Options()

    def measure(report, batches, number, whole):
        batches.samples["candidate"].append(0.001)
        batches.samples["eager"].append(0.010)
        batches.late["eager"].append(0.002)
        batches.late["candidate"].append(0.001 * measured[0])
        if len(batches.late["candidate"]) == CONFIRMING_ROUNDS:
            measured.pop(0)

    measured, made._round = list(measured_ms), measure
    first = Batches({"candidate": None, "eager": None}, 0.0)
    for number in range(CONFIRMING_ROUNDS):
        measure({}, first, number, True)
    return made, first


def test_work_that_is_late_each_time_is_put_off():
    made, first = lane_with_late([12] * (1 + CONFIRMATIONS))
    with pytest.raises(Stop, match="put off") as stop:
        made._refuse_put_off({}, first)
    assert stop.value.report["breach"] == "early_done"


@pytest.mark.parametrize("measured_ms", [[2], [12, 2], [12, 12, 2]])
def test_an_honest_candidate_that_a_busy_machine_delays_once_is_not_refused(measured_ms):
    made, first = lane_with_late(measured_ms)
    made._refuse_put_off({}, first)


class Talker:
    """A process that says the same again and again."""

    def __init__(self, message):
        self.message, self.closed = message, False

    def receive(self, limit_s):
        return self.message, []

    def send(self, order):
        pass

    def too_late(self):
        return Died(0, True, "")

    def close(self):
        self.closed = True


@pytest.mark.parametrize("message, reason", [
    ({"quiet": True}, "no answer in time"), ({"anything": 1}, "its process sent something else")])
def test_a_run_by_their_rules_ends_whatever_its_process_says(message, reason):
    run = KernelbenchRun.__new__(KernelbenchRun)
    run.process, run.answer, run.until = Talker(message), None, time.monotonic() + 0.05
    run.until_timing()
    assert run.finish() == {"result": None, "reason": reason} and run.process.closed
