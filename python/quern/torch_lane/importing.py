# SPDX-License-Identifier: Apache-2.0
"""A module made a task, in a process of its own, with where the task's inputs are in the module."""
from __future__ import annotations

import os

from quern.torch_lane.channel import Channel, Message


def task_of(source: str, name: str) -> Message:
    """{"name", "text", "sources", "input_names"}, or {"reason"}."""
    from quern.importer.convert import Converter
    from quern.importer.source import BadModule, Item
    from quern.importer.trace import Untraceable

    item = Item(name=name.removesuffix(".py"), code=source)
    try:
        task = Converter(item).convert()
    except (Untraceable, BadModule) as reason:
        return {"reason": str(reason)}
    return {"name": task.name, "text": task.text, "input_names": list(task.input_names),
            "sources": [list(map(str, source)) for source in task.sources]}


def serve(settings: Message, channel: Channel, output_fd: int) -> None:
    """Sends one answer. Never returns to its caller's stack."""
    try:
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        channel.send(task_of(settings["source"], settings["name"]))
    except Exception as error:  # noqa: BLE001  anything a module may raise
        channel.send({"reason": f"{type(error).__name__}: {error}"[:400]})
    finally:
        os._exit(0)
