# SPDX-License-Identifier: Apache-2.0
"""The lane on CPU: every quick candidate of tests/torch_lane gets the verdict it deserves."""
from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).resolve().parents[3]


def load_candidates():
    path = ROOT / "tests" / "torch_lane" / "candidates.py"
    spec = importlib.util.spec_from_file_location("torch_lane_candidates", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CANDIDATES = load_candidates()
QUICK = [sample for sample in CANDIDATES.SAMPLES if sample.quick and sample.device != "cuda"]

DRIVER = """
import os
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
import json, sys
from quern.torch_lane.lane import Lane, Options
rows = json.load(sys.stdin)
lanes = {}
for row in rows["rows"]:
    name = row["module"]
    if name not in lanes:
        lanes[name] = Lane(rows["modules"][name], name, Options(
            rounds=4, timing_s=0.3, cache=rows["cache"]))
    report = lanes[name].evaluate(row["source"])
    if row["theirs"]:
        report["kernelbench"] = lanes[name].kernelbench(row["source"], timed_trials=3)
    print(json.dumps({**report, "name": row["name"]}), flush=True)
for lane in lanes.values():
    lane.close()
"""


def judge(rows, modules, cache, limit_s=300):
    """Reports by name; in a process of its own, which must not have used PyTorch before it forks."""
    given = {"rows": rows, "modules": modules, "cache": str(cache)}
    made = subprocess.run([sys.executable, "-c", DRIVER], input=json.dumps(given), text=True,
                          capture_output=True, timeout=limit_s,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    assert made.returncode == 0, made.stderr[-3000:]
    return {row["name"]: row for row in map(json.loads, made.stdout.splitlines())}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    rows = [{"name": s.name, "module": s.module, "source": CANDIDATES.source_of(s),
             "theirs": s.kernelbench is not None} for s in QUICK]
    return judge(rows, CANDIDATES.modules(), tmp_path_factory.mktemp("cache"))


def spelled(report):
    return report["verdict"] + (f"/{report['breach']}" if report["breach"] else "")


@pytest.mark.parametrize("sample", QUICK, ids=lambda sample: sample.name)
def test_a_candidate_gets_the_verdict_it_deserves(reports, sample):
    report = reports[sample.name]
    assert spelled(report) in sample.strict, (report["reason"], report["evidence"][-600:])
    assert ("timing" in report) == (report["verdict"] == "passed")


@pytest.mark.parametrize("sample", [s for s in QUICK if s.kernelbench], ids=lambda s: s.name)
def test_kernelbench_mode_gives_their_verdict_holes_included(reports, sample):
    theirs = reports[sample.name]["kernelbench"]["result"]
    assert (theirs["compiled"], theirs["correctness"]) == sample.kernelbench, theirs["metadata"]


def test_a_kernel_for_one_size_passes_and_is_called_so(reports):
    assert reports["linear_one_size_only"]["any_size"] is False
    assert reports["linear_as_it_is"]["any_size"] is True


def test_parameters_are_the_reference_s_where_names_agree(reports):
    assert reports["linear_as_it_is"]["parameters"] == "loaded"
    assert reports["linear_renamed"]["parameters"] == "seeded"


def test_a_random_module_judges_nobody(tmp_path):
    source = CANDIDATES.modules()["relu"].replace("torch.relu(x)", "F.dropout(x, 0.5)")
    made = subprocess.run([sys.executable, "-m", "quern.torch_lane", "module.py", "module.py"],
                          cwd=tmp_path, text=True, capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python"),
                               "QUERN_NOTHING": (tmp_path / "module.py").write_text(source) and ""})
    assert made.returncode == 2
    assert "random" in made.stderr or "differently" in made.stderr
