# SPDX-License-Identifier: Apache-2.0
"""The process that knows the answers: it draws inputs, computes what is right, and compares.

It runs the reference module, which is the user's own. No code of a candidate runs here, and no
answer leaves it before the candidate's is in.
"""
from __future__ import annotations

import copy
import math
import os
import time
import traceback
from typing import Any

import torch

from quern.importer.source import BadModule, Module
from quern.torch_lane import draws
from quern.torch_lane.block import Block, Place, dtype_named, flatten, lay_out, unflatten
from quern.torch_lane.channel import Channel, Gone, Message
from quern.torch_lane.compare import Fingerprint, close_enough, compare, is_finite, use_fused

POISON = 0xA5
_MOST_KEPT = 0.4  # of a device's memory: what the allocator may hold for later


class Judge:
    """State of this process. Orders are methods whose names are in `ORDERS`."""

    ORDERS = ("prepare", "reserve", "warm", "draw", "check", "poison", "resized", "restore")

    def __init__(self, settings: Message) -> None:
        self.settings = settings
        self.device: str = settings["device"]
        self.seed: int = settings["seed"]
        self.trees: dict[int, Any] = {}  # of the inputs in a slot, and what its bytes were
        self.pristine: dict[int, list[int]] = {}
        self.kept: dict[int, Any] = {}   # copies, of a module that changes its inputs
        self.drawn: dict[int, tuple[str, int]] = {}
        self.expected: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self.blocks: list[Block] = []
        self.outputs: list[Block] = []
        self.history: list[list[int]] = []

    def _build(self) -> None:
        source = Module(self.settings["source"], self.settings["name"])
        self.space = source.namespace({})
        kind = self.space.get("Model")
        get = self.space.get("get_inputs", self.space.get("example_inputs"))
        if not isinstance(kind, type) or not callable(get):
            raise BadModule(f"{self.settings['name']}: needs a class Model and get_inputs()")
        self.get_inputs = get
        start = self.space.get("get_init_inputs", list)
        torch.manual_seed(self.seed)
        self.init = list(start())
        args, kwargs = self.init, {}
        if len(args) == 2 and isinstance(args[0], list) and isinstance(args[1], dict):
            args, kwargs = args
        torch.manual_seed(self.seed)
        self.model = kind(*args, **kwargs).to(self.device)

    def prepare(self, message: Message) -> Message:
        """Makes the reference; says what inputs and outputs look like."""
        self._build()
        with torch.no_grad():
            first = draws.draw(self.get_inputs, "published", self.seed + 1, self.device)
            kept = copy.deepcopy(first)
            one = self._reference(first)
            self.changes_inputs = not _same(kept, first)
            torch.manual_seed(self.seed + 77)
            two = self._reference(copy.deepcopy(kept))
        random = not all(close_enough(x, y) for x, y in zip(
            flatten(one)[1], flatten(two)[1], strict=True))
        del two
        self._make_double(kept)
        self.fingerprint = Fingerprint(self.device)
        self.tree, tensors = flatten(first)
        self.places, size = lay_out(tensors)
        _, outputs = flatten(one)
        self.out_tree = flatten(one)[0]
        self.out_places, out_size = lay_out(outputs)
        self.published = (self.places, self.out_places)
        state = self.model.state_dict()
        state_places, state_size = lay_out(list(state.values()))
        self.state = Block.make(state_size, self.device)
        for place, value in zip(state_places, state.values(), strict=True):
            self.state.tensor(place).copy_(value)
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        init, stray = flatten(self.init)
        answer = {"init": init, "tree": self.tree, "size": size, "out_size": out_size,
                  "places": [vars(place) for place in self.places], "random": random,
                  "out_tree": self.out_tree,
                  "out_places": [vars(place) for place in self.out_places],
                  "changes_inputs": self.changes_inputs, "double": self.double is not None,
                  "stray_tensors": len(stray), "call_s": self._time(kept),
                  "state": {"block": self.state.shared, "places": [
                      {"key": key, **vars(place)}
                      for key, place in zip(state, state_places, strict=True)]}}
        del first, one, kept, outputs, tensors
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()  # runners need what comparing the largest tensors took
        return answer | {"fds": [self.state.fd] if self.state.fd >= 0 else []}

    def _make_double(self, inputs: list[Any]) -> None:
        """The reference in double precision; None where the module does not run in it."""
        self.double = None
        try:
            double = copy.deepcopy(self.model).double()
            with torch.no_grad():
                double(*_double(inputs))
            self.double = double
        except (RuntimeError, TypeError, ValueError):
            return

    def _reference(self, inputs: list[Any]) -> Any:
        return self.model(*inputs)

    def _time(self, inputs: list[Any]) -> float:
        """Seconds of one call, roughly: it only sizes batches."""
        best = math.inf
        with torch.no_grad():
            for _ in range(4):
                began = time.perf_counter()
                self.model(*inputs)
                if self.device.startswith("cuda"):
                    torch.cuda.synchronize()
                best = min(best, time.perf_counter() - began)
        return best

    def reserve(self, message: Message) -> Message:
        """Blocks for the inputs of so many slots, and for as many outputs."""
        self.blocks = [Block.make(message["size"], self.device) for _ in range(message["slots"])]
        self.outputs = [Block.make(message["out_size"], self.device)
                        for _ in range(message["outputs"])]
        fds = [block.fd for block in self.blocks + self.outputs if block.fd >= 0]
        return {"inputs": [block.shared for block in self.blocks],
                "outputs": [block.shared for block in self.outputs], "fds": fds}

    def warm(self, message: Message) -> Message:
        """Brings in what draws and comparisons run on a device; says why these take PyTorch's
        operators there, if they do."""
        if not self.device.startswith("cuda"):
            return {}
        dtypes = {dtype_named(place.dtype) for place in self.out_places}
        slow = use_fused(self.device, {dtype for dtype in dtypes if dtype.is_floating_point})
        for name in draws.DISTRIBUTIONS:
            draws.transform([torch.rand(64, device=self.device)], name)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return {"slow": slow}

    def draw(self, message: Message) -> Message:
        """Fresh inputs in some slots; false where the reference makes no finite answer of them."""
        finite = True
        for slot, name, seed in message["draws"]:
            inputs = draws.draw(self.get_inputs, name, seed, self.device)
            tensors = flatten(inputs)[1]
            if [list(t.shape) for t in tensors] != [place.shape for place in self.places]:
                return {"finite": False, "reason": "get_inputs() gives other shapes each time"}
            self._fill(slot, tensors)
            self._note(slot, inputs, (name, seed))
            del inputs, tensors
            if name != "published":
                finite &= all(map(is_finite, self._expect(slot)[0]))
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return {"finite": finite}

    def _fill(self, slot: int, tensors: list[torch.Tensor]) -> None:
        for place, tensor in zip(self.places, tensors, strict=True):
            self.blocks[slot].tensor(place).copy_(tensor)

    def _note(self, slot: int, inputs: list[Any], drawn: tuple[str, int]) -> None:
        """What a slot holds from now on."""
        self.trees[slot], self.drawn[slot] = flatten(inputs)[0], drawn
        self.pristine[slot] = self._prints(self.blocks[slot], self.places)
        if self.changes_inputs:
            self.kept[slot] = copy.deepcopy(inputs)
        self.expected.pop(slot, None)

    def _prints(self, block: Block, places: list[Place]) -> list[int]:
        return [self.fingerprint.of(block.whole(place)) for place in places]

    def poison(self, message: Message) -> Message:
        for block in self.outputs:
            block.flat.fill_(POISON)
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return {}

    def _expect(self, slot: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(in double where the module allows, in its own precision), of unchanged inputs."""
        if slot not in self.expected:
            inputs = self.kept[slot] if self.changes_inputs else unflatten(
                self.trees[slot], self.blocks[slot].tensors(self.places))
            own = copy.deepcopy if self.changes_inputs else (lambda given: given)
            with torch.no_grad():
                exact = plain = flatten(self._reference(own(inputs)))[1]
                if self.double is not None:
                    exact = flatten(self.double(*_double(own(inputs))))[1]
            self.expected[slot] = (exact, plain)
        return self.expected[slot]

    def check(self, message: Message) -> Message:
        """Is what block `output` holds the answer to what slot `slot` holds? Nothing that the
        candidate's process says of its output enters here."""
        slot, block = message["slot"], self.outputs[message["output"]]
        given = block.tensors(self.out_places)
        slots = range(len(self.blocks)) if message.get("all_inputs") else [slot]
        changed = [s for s in slots if s in self.pristine and
                   self._prints(self.blocks[s], self.places) != self.pristine[s]]
        told = {"changed_inputs": changed, "at": list(self.drawn[slot])}
        if slot in changed and slot not in self.expected and not self.changes_inputs:
            return {"ok": False, "max_error": math.inf, "allowed": 0.0,
                    "detail": "the inputs are no longer what they were", **told}
        exact, plain = self._expect(slot)
        worst: Message = {"ok": True, "max_error": 0.0, "allowed": 0.0, "detail": ""}
        for number, (got, want, own) in enumerate(zip(given, exact, plain, strict=True)):
            found = compare(got, want, own)
            if not found["ok"] or (worst["ok"] and found["max_error"] >= worst["max_error"]):
                worst = {**found, "detail": f"output {number}: {found['detail']}"}
                if not found["ok"]:
                    break
        del self.expected[slot]
        if not worst["ok"]:
            worst["stale"] = not _constant(given) and \
                self._prints(block, self.out_places) in self.history
        if message.get("remember"):
            self.history.append(self._prints(block, self.out_places))
            self.history = self.history[-4:]
        return {**worst, **told}

    def restore(self, message: Message) -> Message:
        """Back to the published sizes, and nothing remembered of the last candidate."""
        self.places, self.out_places = self.published
        self.pristine, self.drawn, self.expected, self.history = {}, {}, {}, []
        self.trees, self.kept = {}, {}
        if self.device.startswith("cuda"):
            whole = torch.cuda.get_device_properties(self.device).total_memory
            if torch.cuda.memory_reserved() > _MOST_KEPT * whole:
                torch.cuda.empty_cache()
        return {}

    def resized(self, message: Message) -> Message:
        """A smaller or odd leading size of the same module, drawn into slot 0's block, where one
        number of the file changes the inputs and not the module."""
        source = Module(self.settings["source"], self.settings["name"])
        base = flatten(self.init)[0]
        for knob in source.knobs:
            value = max(1, knob.value // 2 - 1) if knob.value > 3 else knob.value + 1
            try:
                space = source.namespace({knob.name: value})
                if flatten(list(space.get("get_init_inputs", list)()))[0] != base:
                    continue
                inputs = draws.draw(space["get_inputs"], "published", self.seed + 5, self.device)
                tensors = flatten(inputs)[1]
                places, size = lay_out(tensors)
                if [p.shape for p in places] == [p.shape for p in self.places] or \
                        size > self.blocks[0].size:
                    continue
                with torch.no_grad():
                    answer = flatten(self._reference(copy.deepcopy(inputs)))[1]
            except (RuntimeError, TypeError, ValueError, KeyError, IndexError):
                continue
            out_places, out_size = lay_out(answer)
            if out_size > self.outputs[0].size:
                continue
            self.places, self.out_places = places, out_places
            self._fill(0, tensors)
            self.pristine, self.expected = {}, {}
            self._note(0, inputs, ("resized", value))
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            return {"knob": knob.name, "value": value, "tree": flatten(inputs)[0],
                    "places": [vars(place) for place in places],
                    "out_places": [vars(place) for place in out_places]}
        return {"knob": ""}


def _double(inputs: list[Any]) -> list[Any]:
    tree, tensors = flatten(inputs)
    return unflatten(tree, [t.double() if t.is_floating_point() else t for t in tensors])


def _as_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _same_bits(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.equal(_as_bits(x), _as_bits(y)) for x, y in zip(a, b))


def _constant(tensors: list[torch.Tensor]) -> bool:
    return all(t.numel() < 2 or bool((t == t.flatten()[0]).all()) for t in tensors)


def _same(a: Any, b: Any) -> bool:
    return _same_bits(flatten(a)[1], flatten(b)[1])


def serve(settings: Message, channel: Channel) -> None:
    """Takes orders until the other end closes. Never returns to its caller's stack."""
    code = 0
    os.environ.update(settings["environment"])
    try:
        os.setpgid(0, 0)
        judge = Judge(settings)
        while True:
            message = channel.receive()
            order = message.pop("order")
            fds: list[int] = []
            try:
                answer = getattr(judge, order)(message) if order in Judge.ORDERS else {}
                fds = answer.pop("fds", [])
            except Exception as error:  # noqa: BLE001  reported to who asked
                answer = {"error": f"{type(error).__name__}: {error}"[:2000],
                          "trace": traceback.format_exc()[-4000:]}
            channel.send(answer, fds)
    except Gone:
        pass
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        code = 70
    finally:
        os._exit(code)
