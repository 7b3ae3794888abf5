# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures of the Python ring."""
import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--quern", default=str(ROOT / "build/dev/apps/quern"), help="the binary to test")


@pytest.fixture(scope="session")
def quern(request):
    """Calls the command line: `quern("tasks", "softmax", "--json")` gives the JSON value."""
    binary = request.config.getoption("--quern")

    def call(*args):
        result = subprocess.run([binary, *args], capture_output=True, text=True, timeout=300, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return call
