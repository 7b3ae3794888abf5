# SPDX-License-Identifier: Apache-2.0
"""usage: python -m quern.torch_lane MODULE.py [CANDIDATE.py ...] [--stream] [options]
       python -m quern.torch_lane --serve [--machine FILE] [options]

Judges candidates for a PyTorch module; one JSON value a candidate on stdout (docs/torch_lane.md).
With --stream, candidates come as lines {"id", "source"} on descriptor 3, answers go to 4. With
--serve so do requests for any module (service.py); FILE is locked while calls are timed.
"""
from __future__ import annotations

import os

# Threads that wait must not spin: several processes of the lane share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import glob  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402
from typing import Any, TextIO  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="quern eval")
    parser.add_argument("module", nargs="?", type=pathlib.Path)
    parser.add_argument("candidates", nargs="*", type=pathlib.Path)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--machine", default="")
    parser.add_argument("--device", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocol", default="strict", choices=("strict", "kernelbench"))
    parser.add_argument("--baselines", default="eager")
    parser.add_argument("--cache", default="")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--plain-builds", action="store_true")
    parser.add_argument("--certify", default="", metavar="DIR",
                        help="judge captures of those that pass; keep them there")
    parser.add_argument("--quern", default="quern", help="the program that judges captures")
    given = parser.parse_args()
    if (given.module is None) != given.serve:
        parser.error("give a module file, or --serve")
    return given


def has_device() -> bool:
    """Without asking CUDA: a process that did could not fork users of it."""
    import torch

    return bool(torch.version.cuda and glob.glob("/dev/nvidia[0-9]*"))


def make_options(given: argparse.Namespace) -> Any:
    from quern.torch_lane.lane import Options

    device = given.device or ("cuda" if has_device() else "cpu")
    if device.startswith("cuda"):
        if not has_device():
            sys.exit("quern: no CUDA device that PyTorch can use; give --device cpu")
        device = "cuda:0" if device == "cuda" else device
    names = () if given.no_baselines else tuple(given.baselines.split(","))
    return Options(device=device, seed=given.seed, cache=given.cache, baselines=names,
                   fast_builds=not given.plain_builds)


def make_certifier(lane: Any, given: argparse.Namespace) -> Any:
    """None where nothing is to be certified."""
    if not given.certify:
        return None
    from quern.torch_lane.certify import Certifier

    return Certifier(lane, given.quern, given.certify)


def judge_one(lane: Any, source: str, protocol: str, certifier: Any) -> dict[str, Any]:
    report = lane.evaluate(source)
    if certifier is not None and report["verdict"] == "passed":
        report["certified"] = certifier.certify(source)
    if protocol == "kernelbench":
        report["kernelbench"] = lane.kernelbench(source)
    return report


def stream(lane: Any, protocol: str, certifier: Any, lines: TextIO, out: TextIO) -> None:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            source = row["source"]
        except (ValueError, TypeError, KeyError):
            sys.exit(f'stdin, line {number}: expected {{"id": …, "source": "…"}}')
        answer = {"id": row.get("id", number), **judge_one(lane, str(source), protocol, certifier)}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def main() -> int:
    given = arguments()
    options = make_options(given)
    if given.certify and not options.device.startswith("cuda"):
        print("--certify captures CUDA launches; it needs a device, and --target cuda",
              file=sys.stderr)
        return 2
    from quern.importer.source import BadModule
    from quern.torch_lane.lane import Lane, ReferenceUnfit
    from quern.torch_lane.service import Machine, Service, serve

    try:
        if given.serve:
            serve(Service(options, Machine(given.machine)), os.fdopen(3), os.fdopen(4, "w"))
            return 0
        source = given.module.read_text()
        with Lane(source, given.module.name, options) as lane:
            certifier = make_certifier(lane, given)
            if given.stream:
                stream(lane, given.protocol, certifier, os.fdopen(3), os.fdopen(4, "w"))
            for path in given.candidates:
                report = judge_one(lane, path.read_text(errors="replace"), given.protocol,
                                   certifier)
                print(json.dumps({"module": given.module.name, "candidate": path.name, **report}),
                      flush=True)
    except (ReferenceUnfit, BadModule) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
