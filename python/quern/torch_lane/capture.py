# SPDX-License-Identifier: Apache-2.0
"""A candidate's call recorded in its own process, for replay by the referee.

Nothing that comes out of here is believed: it is a proposal of device code with a launch plan.
"""
from __future__ import annotations

import ctypes
import time
from typing import Any

import torch

from quern.torch_lane import cubin, recorder, resolve
from quern.torch_lane.block import flatten
from quern.torch_lane.channel import Message

_attached: list[recorder.Recorder] = []


def live_blocks(allocated: dict[int, int]) -> list[tuple[int, int]]:
    """(address, bytes) of PyTorch's live allocations, and of those that are not PyTorch's."""
    found, segments = [], set()
    for segment in torch.cuda.memory_snapshot():
        segments.add(segment["address"])
        found += [(block["address"], block.get("requested_size") or block["size"])
                  for block in segment["blocks"] if block["state"] == "active_allocated"]
    return found + [(at, size) for at, size in allocated.items() if at not in segments]


def attach() -> str:
    """Before this process uses CUDA. Returns "" or why nothing can be recorded."""
    try:
        _attached.append(recorder.Recorder(live_blocks, cubin.parameters))
    except (recorder.NoRecorder, OSError) as error:
        return f"launches cannot be recorded: {error}"
    return ""


def _relocate(model: Any) -> list[torch.Tensor]:
    """Moves parameters and buffers elsewhere; what they were, to be kept."""
    if not isinstance(model, torch.nn.Module):
        return []
    old = []
    for value in [*model.parameters(), *model.buffers()]:
        old.append(value.data)
        value.data = value.data.clone()
    return old


def _tensor(name: str, value: torch.Tensor) -> resolve.Tensor:
    if not value.is_contiguous():
        raise resolve.Cannot(f"{name} is not contiguous: its strides are {list(value.stride())}")
    if not value.is_cuda:
        raise resolve.Cannot(f"{name} is not on the device")
    return resolve.Tensor(value.data_ptr(), value.nbytes, value.element_size())


def _tensors(model: Any, inputs: list[torch.Tensor], names: Message) -> dict[str, resolve.Tensor]:
    """The task's inputs that the module takes or keeps; parameters that the task does not have stay
    unknown."""
    found = {name: _tensor(name, value) for name, value in zip(names["inputs"], inputs)
             if name is not None}
    if isinstance(model, torch.nn.Module):
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        found.update({name: _tensor(name, state[key]) for key, name in names["state"].items()
                      if key in state})
    return found


def _record(runner: Any, slot: int, names: Message) -> tuple[resolve.Run, list[Any]]:
    """One call on the inputs of a slot, and what must stay alive beside the recording."""
    tool = _attached[0]
    inputs = flatten(runner.inputs[slot])[1]
    tensors = _tensors(runner.model, inputs, names)
    pool = torch.cuda.MemPool()
    torch.cuda.synchronize()
    kept = set(live_blocks(tool.allocated))
    tool.start()
    try:
        with torch.no_grad(), torch.cuda.use_mem_pool(pool):
            made = runner.model(*runner.inputs[slot])
    finally:
        tool.stop()
    torch.cuda.synchronize()
    if tool.reasons:
        raise resolve.Cannot(tool.reasons[0])
    outputs = [tensor.detach() for tensor in flatten(made)[1]]
    if len(outputs) != len(names["outputs"]):
        raise resolve.Cannot(f"{len(outputs)} outputs, and the task has {len(names['outputs'])}")
    for name, value in zip(names["outputs"], outputs):
        tensors[name] = _tensor(name, value)
    return resolve.Run(tool.steps, tensors, list(names["outputs"]), kept), [made, pool]


def record(runner: Any, message: Message) -> Message:
    """{"capture"}: the candidate's text for the referee; or {"cannot"}: why there is none.
    `message["names"]` has the task's names: of the flattened inputs in order (None: not the
    task's), of parameters by key, of the outputs."""
    if not _attached:
        return {"cannot": "launches cannot be recorded here"}
    names, alive = message["names"], []
    try:
        with torch.no_grad():
            for slot in (0, 1):  # what is compiled or tuned at first is so here
                runner.model(*runner.inputs[slot])
        first, more = _record(runner, 0, names)
        alive += [more, _relocate(runner.model)]
        second, more = _record(runner, 1, names)
        alive.append(more)
        replay = resolve.resolve(first, second, _attached[0].images)
        text = resolve.capture_text(replay, _attached[0].images)
    except resolve.Cannot as reason:
        return {"cannot": str(reason)}
    kernels = [step[1]["kernel"] for step in replay.steps if step[0] == "launch"]
    return {"capture": text, "notes": replay.notes, "kernels": kernels}


def _batch_ns(call: Any, calls: int, host_s: float) -> float:
    """Device time of one call in a batch that is queued while the device is kept busy."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(int(2.5e9 * host_s * calls) + 100_000)
    begin.record()
    for number in range(calls):
        call(number)
    end.record()
    torch.cuda.synchronize()
    return 1e6 * begin.elapsed_time(end) / calls


def measure(runner: Any, message: Message) -> Message:
    """Device times of a call, in ns: `events`, batches of calls one after the other between two
    events; `graph`, the same calls as a CUDA graph, empty where they cannot be captured; `cupti`,
    from the first start of a kernel, copy or set to the last end, by the device's records of a
    batch."""
    def call(number: int) -> Any:
        return runner.model(*runner.inputs[number % len(runner.inputs)])

    with torch.no_grad():
        calls = len(runner.inputs)
        for number in range(2 * calls):
            call(number)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for number in range(calls):
            call(number)
        host_s = (time.perf_counter() - began) / calls
        rough = _batch_ns(call, calls, host_s)
        # A device takes about a thousand launches before the host waits.
        batch = max(2, min(40, int(message["batch_ns"] / max(rough, 1))))
        batch = -(-batch // calls) * calls
        events = [_batch_ns(call, batch, host_s) for _ in range(message["samples"])]
        kernels, cupti = _recorded_times(call, batch, host_s, message["samples"])
        return {"events": events, "cupti": cupti,
                "graph": _graph_times(call, batch, kernels, message["samples"])}


def _recorded_times(call: Any, calls: int, host_s: float,
                    samples: int) -> tuple[int, list[float]]:
    """(kernels, copies and sets of a batch, times)."""
    times, kernels = [], calls
    try:
        clock = recorder.KernelClock()
    except (recorder.NoRecorder, OSError):
        return calls, []
    for _ in range(samples):
        clock.take()
        _batch_ns(call, calls, host_s)
        spans = sorted(clock.take())[1:]  # the first is what keeps the device busy
        kernels = len(spans)
        if kernels >= calls:
            times.append((spans[-1][1] - spans[0][0]) / calls)
    clock.close()
    return kernels, times


def _graph_times(call: Any, calls: int, kernels: int, samples: int) -> list[float]:
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for number in range(calls):
                call(number)
    except RuntimeError:
        return []
    nodes = ctypes.c_size_t()
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuGraphGetNodes(ctypes.c_void_p(graph.raw_cuda_graph()), None, ctypes.byref(nodes))
    if nodes.value < kernels:  # launched on a stream that was not captured
        return []
    graph.instantiate()
    graph.replay()
    return [_batch_ns(lambda _: graph.replay(), 1, 1e-4) / calls for _ in range(samples)]
