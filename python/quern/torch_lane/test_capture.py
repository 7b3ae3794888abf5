# SPDX-License-Identifier: Apache-2.0
"""Recorded calls made into plans: what is a pointer, what is a number, and what has no plan."""
import base64
import shutil
import subprocess

import pytest

from quern.torch_lane import certify, cubin
from quern.torch_lane.recorder import plain_name
from quern.torch_lane.resolve import Cannot, Run, Tensor, capture_text, resolve

IMAGES = [b"first cubin", b"second cubin"]
X, Y, WORK, OLD = 0x7F0000000000, 0x7F0000010000, 0x7F0000020000, 0x7F0000030000
MOVED = 0x100000000


def word(value, size=8):
    return value.to_bytes(size, "little").hex()


def launch(*values, moved=0, **more):
    """One launch with the temporary buffer WORK alive beside the output."""
    step = {"kind": "launch", "kernel": "f", "image": 0, "grid": [4, 1, 1], "block": [256, 1, 1],
            "shared": 0, "cluster": [], "programmatic": False, "cooperative": False,
            "values": list(values),
            "blocks": [(Y + moved, 64), (WORK + moved, 512), (OLD, 1024)]}
    return {**step, **more}


def run(*steps, moved=0):
    tensors = {"x": Tensor(X + moved, 4096, 4), "y": Tensor(Y + moved, 64, 4)}
    return Run(list(steps), tensors, ["y"], {(OLD, 1024)})


def plan(make):
    """Plan lines of a call whose steps `make(moved)` gives, recorded at two places."""
    made = resolve(run(*make(0)), run(*make(MOVED), moved=MOVED), IMAGES)
    return [line for line in capture_text(made, IMAGES).splitlines() if line.startswith("//")]


def reason(make):
    with pytest.raises(Cannot) as caught:
        plan(make)
    return str(caught.value)


def test_what_moves_with_a_buffer_is_a_pointer_and_the_rest_are_numbers():
    lines = plan(lambda moved: [launch(word(X + moved + 16), word(WORK + moved + 8),
                                       word(Y + moved), word(7, 4), word(0x40490FDB, 4), word(0),
                                       word(2 ** 64 - 1), moved=moved)])
    assert lines == ["// quern: target = cuda", "// quern: code = cubin",
                     "// quern: scratch made_0 : u8[512]",
                     "// quern: launch f cubin 0 grid (4, 1, 1) block (256, 1, 1) args (x[4], "
                     "made_0[8], y, 7, 1078530011, 0, -1)"]


def test_a_number_is_no_pointer_because_it_looks_like_one():
    # The same value in both calls, where no buffer of either lies.
    lines = plan(lambda moved: [launch(word(X + 0x50000000), word(X + moved), moved=moved)])
    assert f"args ({X + 0x50000000}, x)" in lines[-1]


def test_structs_are_taken_apart_into_pointers_and_numbers():
    def make(moved):
        return [launch(word(X + moved) + word(3, 4) + word(5, 4) + word(1, 2), moved=moved)]

    assert plan(make)[-1].endswith(f"args (struct (x, i64({3 + (5 << 32)}), u16(1)))")


def test_bytes_of_a_struct_that_differ_are_taken_as_padding_and_said_so():
    first = run(launch(word(X) + word(1)))
    second = run(launch(word(X + MOVED) + word(2), moved=MOVED), moved=MOVED)
    made = resolve(first, second, IMAGES)
    assert "args (struct (x, i64(1)))" in capture_text(made, IMAGES)
    assert made.notes == ["f: bytes of a struct that differ between calls are taken as padding"]


def test_sets_and_copies_of_whole_buffers_are_steps():
    def make(moved):
        blocks = launch(moved=moved)["blocks"]
        return [{"kind": "set", "to": WORK + moved, "value": 0xA5A5A5A5, "width": 4, "bytes": 512,
                 "blocks": blocks},
                {"kind": "copy", "to": Y + moved, "source": WORK + moved, "bytes": 64,
                 "blocks": [(Y + moved, 64), (WORK + moved, 64)]}]

    assert plan(make)[-2:] == ["// quern: memset made_0 165", "// quern: copy y made_1"]


@pytest.mark.parametrize("value, wanted", [
    (0xA5A5A500, "a pattern of several bytes"), (0, "a part of a buffer")])
def test_sets_that_no_plan_can_say_are_refused(value, wanted):
    def make(moved):
        return [{"kind": "set", "to": WORK + moved, "value": value, "width": 4,
                 "bytes": 512 if value else 256, "blocks": launch(moved=moved)["blocks"]}]

    assert wanted in reason(make)


def test_arguments_that_depend_on_the_inputs_are_refused():
    assert "depends on values of the inputs" in reason(
        lambda moved: [launch(word(X + moved), word(5 + (moved > 0), 4), moved=moved)])
    assert "two calls differ" in reason(
        lambda moved: [launch(word(X + moved), moved=moved, grid=[4 + (moved > 0), 1, 1])])
    assert "two calls differ" in reason(
        lambda moved: [launch(word(X + moved), moved=moved)] * (1 + (moved > 0)))


def test_memory_that_the_module_keeps_is_refused():
    assert "made before the call" in reason(lambda moved: [launch(word(OLD + 8), moved=moved)])


def test_the_address_of_an_earlier_call_is_refused():
    # Only the second recording's tensors lie elsewhere; the argument stayed.
    assert "from an earlier call" in reason(lambda moved: [launch(word(X), moved=moved)])


def test_an_output_in_a_larger_buffer_is_refused():
    def make(moved):
        return [launch(word(Y + moved + 100), moved=moved,
                       blocks=[(Y + moved, 4096), (WORK + moved, 512)])]

    assert "part of a larger buffer" in reason(make)


def test_code_that_is_not_known_is_refused():
    assert "machine code of f is not known" in reason(
        lambda moved: [launch(word(X + moved), moved=moved, image=-1)])


def test_kernels_of_one_name_are_told_apart_by_their_cubins():
    made = resolve(run(launch(), launch(image=1), launch()),
                   run(launch(moved=MOVED), launch(moved=MOVED, image=1), launch(moved=MOVED),
                       moved=MOVED), IMAGES)
    text = capture_text(made, IMAGES)
    assert [line.split()[5] for line in text.splitlines() if "launch" in line] == ["0", "1", "0"]
    body = [line for line in text.splitlines() if not line.startswith("//")]
    assert body == ["cubin", base64.b64encode(IMAGES[0]).decode(),
                    "cubin", base64.b64encode(IMAGES[1]).decode()]


def test_driver_calls_are_known_by_their_plain_names():
    assert plain_name("cuMemcpyDtoDAsync_v2_ptsz") == "cuMemcpyDtoD"
    assert plain_name("cuMemsetD8Async") == "cuMemsetD8"
    assert plain_name("cuLaunchKernelEx_ptsz") == "cuLaunchKernelEx"


def test_names_of_the_task_are_those_of_the_modules_tensors():
    task = {"sources": [["w", "PARAMETER", "fc.weight"], ["x", "USER_INPUT", "arg_1"]],
            "input_names": ["arg_0", "arg_1"], "text": "input x : f32[n]\noutput y[i] = x[i]\n"}
    assert certify.names_of(task, 2) == {"inputs": [None, "x"], "state": {"fc.weight": "w"},
                                         "outputs": ["y"]}


def test_evaluations_are_told_as_certified_refused_or_impossible():
    assert certify.verdict_of({"error": "no GPU"})["status"] == "cannot"
    wrong = {"verdict": "wrong_result", "reason": "differs", "evidence": ""}
    assert certify.verdict_of(wrong)["status"] == "refused"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc")
def test_the_parameters_of_a_cubin_are_those_of_its_source(tmp_path):
    source = tmp_path / "f.cu"
    source.write_text('struct S { float* p; int n; };\n'
                      'extern "C" __global__ void f(const float* x, S s, short k, double d) '
                      '{ s.p[k] = x[s.n] * d; }\nextern "C" __global__ void g() {}\n')
    subprocess.run(["nvcc", "-cubin", "-arch=sm_90", "-o", str(tmp_path / "f.cubin"), str(source)],
                   check=True, capture_output=True)
    image = (tmp_path / "f.cubin").read_bytes()
    assert cubin.parameters(image, "f") == [(0, 8), (8, 16), (24, 2), (32, 8)]
    assert cubin.parameters(image, "g") == []
    assert cubin.parameters(image, "h") is None
    assert sorted(cubin.kernels(image)) == ["f", "g"]
    assert cubin.parameters(image[:200], "f") is None
