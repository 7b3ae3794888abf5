# SPDX-License-Identifier: Apache-2.0
"""Passes in Triton beside PyTorch's operators; on a device alone."""
from __future__ import annotations

import importlib.util
import math

import pytest

torch = pytest.importorskip("torch")

from quern.torch_lane import compare  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("triton") is None,
    reason="needs a CUDA device and Triton")


@pytest.fixture
def passes():
    import triton  # noqa: F401  the lane has it imported

    assert compare.use_fused("cuda", {torch.float32, torch.bfloat16}) == ""
    return compare._fused


@pytest.mark.parametrize("count", [1, 7, 2048, 2049, 1_000_003])
def test_extremes_are_those_of_the_operators(passes, count):
    want = torch.randn(count, dtype=torch.float64, device="cuda")
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        own, got = want.to(dtype), (want * 1.001).to(dtype)
        found = compare._Measured()
        found.add(got, want, own)
        assert passes.extremes(got, want, own) == [found.scale, found.rounding, found.error]


def test_values_that_are_not_finite_are_left_to_the_operators(passes):
    want = torch.randn(5000, dtype=torch.float64, device="cuda")
    for special in (math.nan, math.inf):
        got = want.float()
        got[-1] = special
        assert passes.extremes(got, want, want.float()) is None


def test_a_pass_that_leaves_out_the_end_is_not_used(passes, monkeypatch):
    whole = passes.extremes
    monkeypatch.setattr(passes, "extremes",
                        lambda *tensors: whole(*(tensor[:-1000] for tensor in tensors)))
    assert compare.use_fused("cuda", {torch.float32}) == "Triton's passes differ from PyTorch's"
    assert compare._fused is None
