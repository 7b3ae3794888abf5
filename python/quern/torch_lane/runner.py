# SPDX-License-Identifier: Apache-2.0
"""The process that runs one module: a candidate, confined, or a baseline of ours.

It takes orders until it is killed. Nothing that it says is believed: what counts are the bytes it
leaves in the output blocks, and when it answers, by the clock of whoever gave the order.
"""
from __future__ import annotations

import builtins
import gc
import importlib.util
import os
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

import torch

from quern.torch_lane import build, capture, sandbox, triton_builds
from quern.torch_lane.block import Block, Place, flatten, lay_out, unflatten
from quern.torch_lane.channel import Channel, Gone, Message


_LATE_CYCLES = 20_000_000  # of a device's clock, some 10 ms


def watched_functions() -> dict[str, Any]:
    """What a candidate would replace to deceive whoever measures it in its own process."""
    names = {
        "torch": ["allclose", "equal", "isclose", "empty", "empty_like", "rand", "randn", "matmul",
                  "manual_seed", "compile", "no_grad", "zeros", "abs", "max"],
        "torch.cuda": ["synchronize", "Event", "Stream", "current_stream", "manual_seed"],
        "torch.testing": ["assert_close"],
        "torch.nn.functional": ["relu", "linear", "softmax", "gelu", "conv2d", "layer_norm"],
        "time": ["time", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "sleep"],
        "gc": ["collect"],
    }
    found: dict[str, Any] = {}
    for module, functions in names.items():
        for name in functions:
            found[f"{module}.{name}"] = getattr(sys.modules[module], name)
    for owner, name in ((torch.nn.Module, "__call__"), (torch.nn.Module, "to"),
                        (torch.Tensor, "data_ptr"), (torch.Tensor, "copy_"),
                        (torch.Tensor, "__eq__"), (torch.Tensor, "item"), (torch.Tensor, "to"),
                        (torch.cuda.Event, "record"), (torch.cuda.Event, "elapsed_time")):
        found[f"{owner.__module__}.{owner.__name__}.{name}"] = getattr(owner, name)
    for name in ("id", "isinstance", "type", "getattr", "len", "print", "open"):
        found[f"builtins.{name}"] = getattr(builtins, name)
    return found


def replaced(before: dict[str, Any]) -> list[str]:
    after = watched_functions()
    return [name for name, value in before.items()
            if after[name] is not value and not _of_torch(after[name])]


def _of_torch(function: Any) -> bool:
    """torch.compile, once used, wraps some of PyTorch's functions itself."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(os.path.dirname(torch.__file__))


def failure(stage: str, error: BaseException) -> Message:
    """What a candidate raised, for its verdict."""
    text = "".join(traceback.format_exception(error))
    return {"raised": type(error).__name__, "stage": stage, "text": str(error)[:4000],
            "trace": text[-8000:], "errno": getattr(error, "errno", None),
            "build_failed": isinstance(error, build.BuildFailed)}


class Runner:
    """State of this process. Orders are methods whose names are in `ORDERS`."""

    ORDERS = ("adopt", "load", "bind", "reshape", "confine", "run", "deliver", "probe", "capture",
              "measure")

    def __init__(self, channel: Channel, settings: Message) -> None:
        self.channel, self.settings = channel, settings
        self.device = settings["device"]
        self.model: Any = None
        self.blocks: list[Block] = []
        self.inputs: list[list[Any]] = []
        self.input_ranges: list[tuple[int, int]] = []
        self.out_blocks: list[Block] = []
        self.outputs: list[Any] = []
        self.threads = threading.active_count()
        self.functions = watched_functions()

    def adopt(self, message: Message, fds: list[int]) -> Message:
        """Takes the module that this process is for, of which nothing has been known here; gives
        up what it may not do."""
        self.settings.update(message)
        if not self.settings["confined"]:
            return {"notes": []}
        return {"notes": [note for note in [sandbox.filter_calls(message["may_compile"])] if note]}

    def load(self, message: Message, fds: list[int]) -> Message:
        """Runs the source and makes its module, with the parameters of the reference's draw."""
        module = _module_of(self.settings["source"], self.settings["scratch"])
        entry = self.settings["entry"]
        kind = getattr(module, entry, None)
        if kind is None:
            return {"missing": entry}
        torch.manual_seed(message["seed"])
        args = unflatten(message["init"], [])
        args, kwargs = args if len(args) == 2 and isinstance(args[0], list) and \
            isinstance(args[1], dict) else (args, {})
        with torch.no_grad():
            model = kind(*args, **kwargs)
            model = model.to(self.device) if hasattr(model, "to") else model
            state = "seeded"
            if message.get("state"):
                block = Block.attach(message["state"]["block"], fds[0] if fds else -1)
                state = _take_state(model, message["state"]["places"], block)
        mode = self.settings.get("compile")
        self.model = torch.compile(model, mode=None if mode == "default" else mode) if mode else \
            model
        return {"state": state, "replaced": replaced(self.functions)}

    def bind(self, message: Message, fds: list[int]) -> Message:
        """Maps the inputs of every slot, and the blocks for outputs."""
        take = iter(fds)
        for shared in message["inputs"]:
            block = Block.attach(shared, -1 if "ipc" in shared else next(take))
            start = block.flat.data_ptr()
            self.input_ranges.append((start, start + block.size))
            self.blocks.append(block)
        for shared in message["outputs"]:
            self.out_blocks.append(Block.attach(shared, -1 if "ipc" in shared else next(take)))
        return self.reshape(message, [])

    def reshape(self, message: Message, fds: list[int]) -> Message:
        """What the input blocks hold from now on."""
        places = [Place(**place) for place in message["places"]]
        self.inputs = [unflatten(message["tree"], block.tensors(places)) for block in self.blocks]
        return {}

    def confine(self, message: Message, fds: list[int]) -> Message:
        """Gives up starting programs, once everything has been compiled."""
        if "torch._inductor.async_compile" in sys.modules:  # torch.compile keeps threads of its own
            self.threads = threading.active_count()
        return {"notes": [note for note in [sandbox.filter_calls(False)] if note]}

    def _synchronize(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def run(self, message: Message, fds: list[int]) -> Message:
        """One call a slot, in order; keeps the outputs. With `ordered`, the inputs come and the
        outputs go by the current stream alone, as they do for a caller who waits for nothing."""
        self.outputs = []
        kept = self.outputs
        with torch.no_grad():
            for slot in message["slots"]:
                if message.get("ordered"):
                    self._bring_late(flatten(self.inputs[slot])[1])
                output = self.model(*self.inputs[slot])
                kept.append(_clone(output) if message.get("ordered") else output)
            self._synchronize()
        return {}

    def _bring_late(self, inputs: list[torch.Tensor]) -> None:
        """Has the current stream wait before it brings the inputs in. Who works on another stream
        without waiting for this one finds something else, and who is not waited for is late."""
        fresh = [tensor.clone() for tensor in inputs]
        for tensor in inputs:
            tensor.fill_(1)
        self._synchronize()
        if self.device.startswith("cuda"):
            torch.cuda._sleep(_LATE_CYCLES)
        for tensor, value in zip(inputs, fresh, strict=True):
            tensor.copy_(value)

    def deliver(self, message: Message, fds: list[int]) -> Message:
        """Copies the outputs of some calls of the last run into blocks, laid out as the
        reference's are; says what they are."""
        told, wanted = [], [Place(**place) for place in message["places"]]
        for index, number in message["copies"]:
            tree, tensors = flatten(self.outputs[index])
            places, _ = lay_out([tensor.detach() for tensor in tensors])
            if [(p.shape, p.dtype) for p in places] == [(p.shape, p.dtype) for p in wanted]:
                for place, tensor in zip(wanted, tensors, strict=True):
                    self.out_blocks[number].tensor(place).copy_(tensor.detach())
            told.append({"tree": tree, "places": [vars(place) for place in places],
                         "types": [type(tensor).__name__ for tensor in tensors],
                         "devices": [tensor.device.type for tensor in tensors],
                         "aliases_input": self._aliased(tensors)})
        self._synchronize()
        return {"outputs": told}

    def capture(self, message: Message, fds: list[int]) -> Message:
        return capture.record(self, message)

    def measure(self, message: Message, fds: list[int]) -> Message:
        return capture.measure(self, message)

    def _aliased(self, tensors: list[torch.Tensor]) -> bool:
        return any(low <= tensor.data_ptr() < high and tensor.numel()
                   for tensor in tensors for low, high in self.input_ranges)

    def probe(self, message: Message, fds: list[int]) -> Message:
        """What this process looks like from inside: replaced functions, threads, reused memory."""
        spans = []
        for output in self.outputs:
            spans += [(t.data_ptr(), t.data_ptr() + max(1, t.nbytes)) for t in flatten(output)[1]]
        spans.sort()
        overlap = any(a[1] > b[0] for a, b in zip(spans, spans[1:]))
        return {"replaced": replaced(self.functions), "overlap": overlap,
                "threads": threading.active_count() - self.threads}


def _clone(output: Any) -> Any:
    tree, tensors = flatten(output)
    return unflatten(tree, [tensor.clone() for tensor in tensors])


def _module_of(source: str, scratch: str) -> Any:
    """The source as a module with a file, which Triton and inspect need."""
    path = os.path.join(scratch, f"quern_module_{os.getpid()}.py")
    with open(path, "w") as file:
        file.write(source)
    name = os.path.basename(path)[:-3]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _take_state(model: Any, places: list[Message], block: Block) -> str:
    """The reference's parameters and buffers, where the candidate's have the same names and
    shapes; else it keeps its own, drawn from the same seed."""
    theirs = model.state_dict() if hasattr(model, "state_dict") else {}
    if [(place["key"], place["shape"]) for place in places] != \
            [(key, list(value.shape)) for key, value in theirs.items()]:
        return "seeded"
    model.load_state_dict({place.pop("key"): block.tensor(Place(**place)).clone()
                           for place in map(dict, places)})
    return "loaded"


def enter(settings: Message, channel: Channel, output_fd: int) -> list[str]:
    """Makes the calling process, just forked, a runner: descriptors, environment, confinement but
    for system calls."""
    os.setpgid(0, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    sandbox.close_descriptors({channel.end.fileno()})
    for name, value in settings.get("environment", {}).items():
        os.environ[name] = value.replace("{scratch}", settings["scratch"])
    os.chdir(settings["scratch"])
    tempfile.tempdir = None
    on_device = settings["device"].startswith("cuda")
    if on_device:  # the driver opens what nobody needs afterwards
        torch.zeros(1, device=settings["device"]).item()
    if not settings["confined"]:
        return []
    notes = [sandbox.remove_network(),
             sandbox.restrict_files(sandbox.candidate_rules(settings["scratch"],
                                                            settings["readable"]))]
    sandbox.limit(0 if on_device else settings["memory_bytes"])
    return [note for note in notes if note]


def serve(settings: Message, channel: Channel, output_fd: int) -> None:
    """Takes orders until the other end closes. Never returns to its caller's stack."""
    code = 0
    try:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        notes = [capture.attach()] if settings.get("capture") else []
        notes = [note for note in notes if note] + enter(settings, channel, output_fd)
        if settings["role"] == "candidate":
            build.intercept(channel, settings["device"])
            triton_builds.intercept(channel)
            if settings["device"].startswith("cuda"):
                triton_builds.prepare()
        runner = Runner(channel, settings)
        gc.disable()
        channel.send({"ready": True, "notes": notes, "at": time.monotonic()})
        while True:
            message, fds = channel.receive_with(None)
            order = message.pop("order")
            try:
                answer = getattr(runner, order)(message, fds) if order in Runner.ORDERS else {}
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                answer = failure(order, error)
            channel.send(answer)
    except Gone:
        pass
    except BaseException:  # noqa: BLE001  the parent reads what was printed
        traceback.print_exc()
        code = 70
    finally:
        os._exit(code)
