# SPDX-License-Identifier: Apache-2.0
"""Recorded launches of one call as a launch plan (docs/plan_format.md) with its machine code.

Two recordings of the same call are compared, in which every buffer lies elsewhere: what moved with
a buffer is a pointer to it, what stayed is a number. Nothing is taken for a pointer because it
looks like one. What comes out is a proposal: the referee judges it like any other candidate.
"""
from __future__ import annotations

import base64
import dataclasses
from typing import Any, Union

Step = dict[str, Any]  # as recorder.Recorder makes it

_LINE = 3072  # bytes of machine code a line of base64 stands for
_MOST_STEPS, _MOST_SCRATCH, _MOST_CUBINS, _MOST_BYTES = 256, 64, 64, 44 << 20


class Cannot(Exception):
    """The call cannot be replayed; the message says why."""


@dataclasses.dataclass
class Tensor:
    """An input or output of the task at the addresses of one recording."""

    start: int
    bytes: int
    element: int  # bytes of one


@dataclasses.dataclass
class Run:
    """One recorded call. `tensors` by their names in the task; `kept`: allocations from before the
    call, as (address, bytes)."""

    steps: list[Step]
    tensors: dict[str, Tensor]
    outputs: list[str]
    kept: set[tuple[int, int]]
    scratch: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pointer:
    """To a byte of a tensor, by name, or of scratch, by number."""

    buffer: Union[str, int]
    offset: int


@dataclasses.dataclass(frozen=True)
class Number:
    value: int
    bytes: int


Argument = Union[Pointer, Number, list[Union[Pointer, Number]]]


def _find(run: Run, step: Step, address: int) -> Pointer | None:
    """What an address in the parameters of a step points to. Raises Cannot where it is memory that
    no plan can name."""
    for name, tensor in run.tensors.items():
        if tensor.start <= address < tensor.start + tensor.bytes:
            return Pointer(name, address - tensor.start)
    for start, size in step["blocks"]:
        if not start <= address < start + size:
            continue
        if (start, size) in run.kept:
            raise Cannot("it reads memory that was made before the call: a tensor that the module "
                         "keeps and that is no parameter of the reference")
        for name in run.outputs:
            if start <= run.tensors[name].start < start + size:
                raise Cannot(f"output {name} is part of a larger buffer")
        number = run.scratch.setdefault((start, size), len(run.scratch))
        return Pointer(number, address - start)
    return None


class _Pairs:
    """The steps of two recordings, one beside the other."""

    def __init__(self, first: Run, second: Run) -> None:
        self.first, self.second = first, second
        self.notes: list[str] = []

    def pointer(self, steps: tuple[Step, Step], one: int, two: int) -> Pointer | None:
        """What both values point to; None where they are no pointers that moved together."""
        here, there = _find(self.first, steps[0], one), _find(self.second, steps[1], two)
        if one == two and (here or there):
            raise Cannot("it keeps the address of a buffer from an earlier call")
        return here if here is not None and here == there else None

    def word(self, steps: tuple[Step, Step], one: bytes, two: bytes,
             alone: bool) -> Pointer | Number:
        values = [int.from_bytes(word, "little") for word in (one, two)]
        if len(one) == 8:
            found = self.pointer(steps, values[0], values[1])
            if found is not None:
                return found
        if one != two and alone:
            raise Cannot(f"an argument of {steps[0]['kernel']} depends on values of the inputs or "
                         f"on state: {values[0]} and {values[1]} in two calls")
        if one != two:
            self.notes.append(f"{steps[0]['kernel']}: bytes of a struct that differ between calls "
                              "are taken as padding")
        return Number(values[0], len(one))

    def argument(self, steps: tuple[Step, Step], one: bytes, two: bytes) -> Argument:
        if len(one) != len(two):
            raise Cannot(f"two calls pass {steps[0]['kernel']} other arguments")
        if len(one) in (1, 2, 4, 8):
            return self.word(steps, one, two, True)
        members, at = [], 0
        while at < len(one):
            size = next(n for n in (8, 4, 2, 1) if at % n == 0 and at + n <= len(one))
            members.append(self.word(steps, one[at:at + size], two[at:at + size], False))
            at += size
        return members

    def whole(self, steps: tuple[Step, Step], key: str) -> Union[str, int]:
        """The buffer that a step sets or copies all of."""
        found = self.pointer(steps, steps[0][key], steps[1][key])
        if found is None:
            raise Cannot(("it copies" if steps[0]["kind"] == "copy" else "it sets")
                         + " memory that is none of its buffers: the host's, or a device symbol")
        if found.offset != 0 or self.size(found.buffer) != steps[0]["bytes"]:
            raise Cannot(f"it {steps[0]['kind']}s a part of a buffer")
        return found.buffer

    def size(self, buffer: Union[str, int]) -> int:
        if isinstance(buffer, str):
            return self.first.tensors[buffer].bytes
        return list(self.first.scratch)[buffer][1]


@dataclasses.dataclass
class Replay:
    """What to launch. `steps`: ("launch", step, arguments), ("set", buffer, byte), ("copy", to,
    from)."""

    steps: list[tuple[Any, ...]]
    scratch: list[int]  # bytes of each
    elements: dict[str, int]  # of tensors, by name: bytes of one
    notes: list[str]


def _same_launch(one: Step, two: Step, images: list[bytes]) -> bool:
    keys = ("kind", "kernel", "grid", "block", "shared", "cluster", "programmatic", "cooperative",
            "bytes", "value", "width")
    return all(one.get(key) == two.get(key) for key in keys) and (
        one["kind"] != "launch" or one["image"] == two["image"] or
        (min(one["image"], two["image"]) >= 0 and images[one["image"]] == images[two["image"]]))


def _set_byte(step: Step) -> int:
    value = step["value"].to_bytes(step["width"], "little")
    if len(set(value)) != 1:
        raise Cannot("it sets a buffer to a pattern of several bytes")
    return value[0]


def resolve(first: Run, second: Run, images: list[bytes]) -> Replay:
    """The call of two recordings. Raises Cannot."""
    if not first.steps:
        raise Cannot("it launches nothing")
    if len(first.steps) != len(second.steps) or not all(
            _same_launch(a, b, images) for a, b in zip(first.steps, second.steps)):
        raise Cannot("its launches depend on values of the inputs or on state: two calls differ")
    if len(first.steps) > _MOST_STEPS:
        raise Cannot(f"a call has {len(first.steps)} launches; a plan has {_MOST_STEPS} at most")
    pairs, steps = _Pairs(first, second), []
    for both in zip(first.steps, second.steps):
        step = both[0]
        if step["kind"] == "set":
            steps.append(("set", pairs.whole(both, "to"), _set_byte(step)))
        elif step["kind"] == "copy":
            steps.append(("copy", pairs.whole(both, "to"), pairs.whole(both, "source")))
        else:
            if step["image"] < 0:
                raise Cannot(f"the machine code of {step['kernel']} is not known: several kernels "
                             "have its name, or it was loaded before the recording")
            values = [[bytes.fromhex(text) for text in one["values"]] for one in both]
            steps.append(("launch", step, [pairs.argument(both, one, two)
                                           for one, two in zip(*values)]))
    sizes = [size for _, size in first.scratch]
    if sizes != [size for _, size in second.scratch]:
        raise Cannot("its scratch memory differs between two calls")
    if len(sizes) > _MOST_SCRATCH:
        raise Cannot(f"{len(sizes)} temporary buffers; a plan has {_MOST_SCRATCH} at most")
    return Replay(steps, sizes, {name: t.element for name, t in first.tensors.items()},
                  sorted(set(pairs.notes)))


# The text of a capture ---------------------------------------------------------------------

def _name(buffer: Union[str, int]) -> str:
    return buffer if isinstance(buffer, str) else f"made_{buffer}"


def _text(argument: Argument, replay: Replay, member: bool = False) -> str:
    if isinstance(argument, list):
        return "struct (" + ", ".join(_text(one, replay, True) for one in argument) + ")"
    if isinstance(argument, Number):
        if member:
            signed = argument.value - (1 << 64) if argument.value >> 63 else argument.value
            return f"i64({signed})" if argument.bytes == 8 else f"u{8 * argument.bytes}" \
                                                                f"({argument.value})"
        over = argument.bytes == 8 and argument.value >> 63
        return str(argument.value - (1 << 64) if over else argument.value)
    name = _name(argument.buffer)
    if argument.offset == 0:
        return name
    size = replay.elements.get(name, 1)
    if argument.offset % size != 0:
        raise Cannot(f"a pointer into {name} is not at an element")
    return f"{name}[{argument.offset // size}]"


def _launch(step: Step, arguments: list[Argument], cubin: int, replay: Replay) -> str:
    def triple(values: list[int]) -> str:
        return "(" + ", ".join(map(str, values)) + ")"

    line = f"launch {step['kernel']} cubin {cubin} grid {triple(step['grid'])} " \
           f"block {triple(step['block'])}"
    if step["shared"]:
        line += f" shared ({step['shared']})"
    if step["cluster"] and step["cluster"] != [1, 1, 1]:
        line += f" cluster {triple(step['cluster'])}"
    line += " cooperative" * step["cooperative"] + " programmatic" * step["programmatic"]
    return line + " args (" + ", ".join(_text(one, replay) for one in arguments) + ")"


def capture_text(replay: Replay, images: list[bytes]) -> str:
    """A candidate for the referee: plan lines, then every cubin that a launch is from, in base64.
    Raises Cannot where that is too much."""
    cubins: list[bytes] = []
    lines = ["target = cuda", "code = cubin"]
    lines += [f"scratch made_{i} : u8[{size}]" for i, size in enumerate(replay.scratch)]
    for step in replay.steps:
        if step[0] == "set":
            lines.append(f"memset {_name(step[1])} {step[2]}")
        elif step[0] == "copy":
            lines.append(f"copy {_name(step[1])} {_name(step[2])}")
        else:
            image = images[step[1]["image"]]
            if image not in cubins:
                cubins.append(image)
            lines.append(_launch(step[1], step[2], cubins.index(image), replay))
    if len(cubins) > _MOST_CUBINS or sum(map(len, cubins)) > _MOST_BYTES:
        raise Cannot(f"{len(cubins)} cubins of {sum(map(len, cubins)) >> 20} MiB are too many")
    text = ["// quern: " + line for line in lines]
    for cubin in cubins:
        text.append("cubin")
        text += [base64.b64encode(cubin[at:at + _LINE]).decode()
                 for at in range(0, len(cubin), _LINE)]
    return "\n".join(text) + "\n"
