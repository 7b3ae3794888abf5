# SPDX-License-Identifier: Apache-2.0
"""What `quern export` writes for PyTorch: each artefact's own tests pass.

The binary is the environment's QUERN_BIN.
"""
import json
import os
import pathlib
import sqlite3
import subprocess
import sys

import pytest

pytest.importorskip("torch")

BINARY = os.environ.get("QUERN_BIN")
pytestmark = pytest.mark.skipif(not BINARY, reason="QUERN_BIN names no binary")


# Integer inputs and a scalar result; parameters.
@pytest.mark.parametrize("task", ["cross_entropy", "conv_transpose2d"])
def test_an_exported_operator_passes_its_own_tests(task, tmp_path):
    run = tmp_path / "run"
    # The exit code says whether the simulated times improved, which does not matter here.
    subprocess.run([BINARY, "optimize", task, "--size", "tiny", "--clock", "simulated", "--budget", "2",
                    "--out", run], capture_output=True, timeout=300)
    subprocess.run([BINARY, "export", run], check=True, capture_output=True, timeout=300)
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                             run / "export" / "test"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "5 passed" in result.stdout


EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples" / "cuda"
RULES = '''title = "A search that asks nobody"
source = "none"
faithful = "all"
[select]
use = "best"
[[operator]]
name = "rules"
when = "any"
sub = "rules"
attempts = 4
'''


def recorded_cuda_run(task, source, folder):
    """A run whose best kernel is `source`, though no GPU is here."""
    (folder / "rules.toml").write_text(RULES)
    run = folder / "run"
    subprocess.run([BINARY, "optimize", task, "--target", "cuda", "--size", "tiny", "--clock", "pretend",
                    "--recipe", folder / "rules.toml", "--budget", "4", "--out", run],
                   capture_output=True, timeout=300)
    with sqlite3.connect(run / "run.db") as base:
        best = json.loads(base.execute("SELECT summary FROM runs").fetchone()[0])["best"]["candidate_id"]
        base.execute("UPDATE attempts SET source = ? WHERE candidate_id = ?", (source, best))
    return run


# Clusters; tensor maps and scratch.
@pytest.mark.parametrize("task, example", [("softmax", "softmax_cluster"), ("matmul", "matmul_wgmma")])
def test_an_exported_kernel_for_a_gpu_is_tested_where_one_is(task, example, tmp_path):
    run = recorded_cuda_run(task, (EXAMPLES / f"{example}.cu").read_text(), tmp_path)
    made = subprocess.run([BINARY, "export", run, "--json"], capture_output=True, text=True, timeout=300)
    if "NVRTC" in made.stderr:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    assert not json.loads(made.stdout)["measured_binary"]
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                             run / "export" / "test"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:]
    import torch
    if torch.cuda.is_available():
        assert "skipped" not in result.stdout or "one input is on one device" in result.stdout
    else:
        assert "2 passed, 8 skipped" in result.stdout and "no CUDA device" in result.stdout
    built = subprocess.run(f"cmake -S {run}/export/test -B {tmp_path}/build && cmake --build {tmp_path}/build && "
                           f"ctest --test-dir {tmp_path}/build", shell=True, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert torch.cuda.is_available() or "Skipped" in built.stdout
