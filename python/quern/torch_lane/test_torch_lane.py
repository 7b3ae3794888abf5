# SPDX-License-Identifier: Apache-2.0
"""The lane on CPU: every quick candidate of tests/torch_lane gets the verdict it deserves."""
from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

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


STEPS = """
import sys
from quern.torch_lane import builder
from quern.torch_lane.kernelbench_run import KernelbenchRun
from quern.torch_lane.lane import Options
builder.warm_up("cpu")
cache, reference, source = sys.argv[1:]
run = KernelbenchRun(Options(cache=cache, baselines=()), builder.Builder(cache), reference, source,
                     timed_trials=3, each_trial=True)
run.until_timing()
steps = 0
while run.answer is None:
    run.step(1 if steps < 3 else 4)
    steps += 1
print(steps, run.finish()["result"]["correctness"])
"""


def test_a_run_by_their_rules_stops_before_each_timed_call(tmp_path):
    sample = next(one for one in QUICK if one.name == "relu_clamp")
    ran = subprocess.run([sys.executable, "-c", STEPS, str(tmp_path),
                          CANDIDATES.modules()[sample.module], CANDIDATES.source_of(sample)],
                         text=True, capture_output=True, timeout=120,
                         env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    # The candidate's three calls after one that is thrown away, then the reference's, which only
    # the single steps tell apart.
    assert ran.stdout.split() == ["5", "True"], ran.stderr[-2000:]


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


def run_lane(folder, module, candidate):
    (folder / "module.py").write_text(module)
    (folder / "candidate.py").write_text(candidate)
    return subprocess.run([sys.executable, "-m", "quern.torch_lane", "module.py", "candidate.py"],
                          cwd=folder, text=True, capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")})


def test_a_random_module_judges_nobody(tmp_path):
    source = CANDIDATES.modules()["relu"].replace("torch.relu(x)", "F.dropout(x, 0.5)")
    made = run_lane(tmp_path, source, source)
    assert made.returncode == 2
    assert "answers differently each time" in made.stderr


def test_a_module_without_inputs_is_an_error_that_says_so(tmp_path):
    made = run_lane(tmp_path, "class Model: pass\n", "")
    assert made.returncode == 2
    assert "get_inputs" in made.stderr


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_outlives_a_lane_that_is_killed(tmp_path):
    hangs = next(s for s in QUICK if s.name == "hangs").source
    (tmp_path / "module.py").write_text(CANDIDATES.modules()["relu"])
    (tmp_path / "candidate.py").write_text(hangs)
    lane = subprocess.Popen([sys.executable, "-m", "quern.torch_lane", "module.py",
                             "candidate.py"], cwd=tmp_path, stdout=subprocess.DEVNULL,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    until = time.monotonic() + 60
    while len(children := children_of(lane.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    lane.kill()
    lane.wait()
    assert len(children) >= 2
    while any(map(runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, children))


def test_the_same_extension_is_built_once(tmp_path):
    sample = next(s for s in QUICK if s.name == "cpp_matmul")
    rows = [{"name": str(n), "module": sample.module, "source": sample.source, "theirs": False}
            for n in range(2)]
    reports = judge(rows, CANDIDATES.modules(), tmp_path)
    assert [reports[name]["verdict"] for name in ("0", "1")] == ["passed", "passed"]
    assert len(list(tmp_path.glob("*/cpp_matmul.so"))) == 1
