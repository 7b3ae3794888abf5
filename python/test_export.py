# SPDX-License-Identifier: Apache-2.0
"""What `quern export` writes for PyTorch: each artefact's own tests pass.

The binary is the environment's QUERN_BIN.
"""
import os
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
