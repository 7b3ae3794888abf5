# SPDX-License-Identifier: Apache-2.0
"""A module file at a size that a CPU judges in seconds: published sizes are those of a GPU."""
from __future__ import annotations

import ast
import math
import os
import traceback
from typing import Any

from quern.torch_lane.channel import Channel, Gone, Message
from quern.torch_lane.process import Died, Process

LEAST = 2  # of a size that is halved
MOST_BYTES, MOST_FLOPS = 32e6, 1e9  # of one call, parameters left out
LIMIT_S = 120.0


Shapes = list[tuple[int, ...]]


def _parameters(module: Any, values: dict[str, int]) -> Shapes | None:
    """Shapes of the module's parameters and constants at these sizes; None where it does not run."""
    import torch

    from quern.importer.trace import build_fake

    try:
        model, inputs, _, fake = build_fake(module, values)
        with fake, torch.no_grad():
            model(*inputs)
        return [tuple(value.shape) for value in model.state_dict().values()]
    except Exception:  # noqa: BLE001  anything a module may raise
        return None


def _fits(module: Any, values: dict[str, int], shapes: Shapes) -> bool:
    from quern.importer.sizes import cost

    found = cost(module, values)
    held = 4 * sum(math.prod(shape) for shape in shapes)
    return found is None or (found.bytes - held <= MOST_BYTES and found.flops <= MOST_FLOPS)


def smaller(source: str, name: str) -> tuple[str, str]:
    """The file with its greatest sizes halved until one call fits a CPU, and what was changed.

    Only whole numbers that leave the parameters as they are, so that the operation stays the same:
    batches, lengths, images. The file itself where it fits, or where nothing of it can be halved."""
    from quern.importer.source import Module

    module = Module(source, name)
    values = dict(module.initial)
    shapes = _parameters(module, values)
    stuck: set[str] = set()
    while shapes is not None and not _fits(module, values, shapes):
        loose = [knob for knob in values if knob not in stuck and values[knob] // 2 >= LEAST]
        if not loose:
            break
        knob = max(loose, key=lambda one: values[one])
        halved = {**values, knob: values[knob] // 2}
        if _parameters(module, halved) != shapes:
            stuck.add(knob)
        else:
            values = halved
    changed = {knob: value for knob, value in values.items() if value != module.initial[knob]}
    if not changed:
        return source, "full"
    for knob in module.knobs:
        for node in knob.nodes:
            node.value = values[knob.name]
    return ast.unparse(module.tree), ", ".join(f"{k} = {v}" for k, v in changed.items())


def _serve(settings: Message, channel: Channel) -> None:
    try:
        text, changed = smaller(settings["source"], settings["name"])
        channel.send({"source": text, "size": changed})
    except Gone:
        pass
    except BaseException:  # noqa: BLE001  the parent then judges at the published size
        traceback.print_exc()
    finally:
        os._exit(0)


def to_cpu(source: str, name: str) -> tuple[str, str]:
    """`smaller` in a process of its own: whoever starts others must not use PyTorch itself."""
    process = Process(_serve, {"source": source, "name": name}, capture=False)
    try:
        answer, _ = process.receive(LIMIT_S)
        return answer["source"], answer["size"]
    except Died:
        return source, "full"
    finally:
        process.close()
