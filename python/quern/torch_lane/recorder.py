# SPDX-License-Identifier: Apache-2.0
"""What a process asks of the CUDA driver: machine code it loads, kernels it launches.

CUPTI's callback interface (cupti_callbacks.h, generated_cuda_meta.h of CUDA 13) tells of every
call, whoever makes it: Triton, a library, the runtime under `load_inline`. It is asked for before the
first use of CUDA, or code that is loaded earlier stays unknown.
"""
from __future__ import annotations

import ctypes
import glob
import os
import struct
import sys
from typing import Any, Callable

_DRIVER_API, _RESOURCE = 1, 3  # domains
_MODULE_LOADED = 6
_MODULE_LOADS = (18, 19, 20, 21)  # cuModuleLoad, …Data, …DataEx, …FatBinary
_ENTER, _EXIT = 0, 1
_COOPERATIVE, _CLUSTER, _PROGRAMMATIC = 2, 4, 6  # CUlaunchAttributeID
_ATTRIBUTE_BYTES = 72

# Names of driver calls without their suffixes, and what is at the head of their parameters.
_SETS = {"cuMemsetD8": 1, "cuMemsetD16": 2, "cuMemsetD32": 4}
_COPIES = ("cuMemcpyDtoD", "cuMemcpy")
_ALLOCATIONS = ("cuMemAlloc", "cuMemAllocFromPool")
_REFUSED = {"cuGraphLaunch": "it launches a CUDA graph",
            "cuLaunchHostFunc": "it calls the host from a stream",
            "cuMemcpyHtoD": "it copies from the host", "cuMemcpyDtoH": "it copies to the host",
            "cuMemcpy2D": "it copies a matrix", "cuMemcpy3D": "it copies a volume",
            "cuMemsetD2D8": "it sets a matrix", "cuMemsetD2D32": "it sets a matrix",
            "cuMemcpyBatch": "it copies a batch", "cuMemcpyPeer": "it copies between devices"}


class NoRecorder(Exception):
    """CUPTI is not there or refuses; the message says which."""


class _CallbackData(ctypes.Structure):
    _fields_ = [("site", ctypes.c_int), ("function", ctypes.c_char_p),
                ("parameters", ctypes.c_void_p), ("result", ctypes.c_void_p),
                ("symbol", ctypes.c_char_p)]


class _ResourceData(ctypes.Structure):
    _fields_ = [("context", ctypes.c_void_p), ("handle", ctypes.c_void_p),
                ("descriptor", ctypes.c_void_p)]


class _ModuleData(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("size", ctypes.c_size_t), ("image", ctypes.c_void_p)]


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)


def _library() -> Any:
    names = ["libcupti.so.13", "libcupti.so.12", "libcupti.so"]
    for path in sys.path:
        names += glob.glob(os.path.join(path, "nvidia", "*", "lib", "libcupti.so.*"))
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NoRecorder("there is no libcupti")


def plain_name(function: str) -> str:
    """A driver function without the suffixes of its variants."""
    changed = True
    while changed:
        changed = False
        for end in ("_ptsz", "_ptds", "_v2", "_v3", "Async"):
            if function.endswith(end):
                function, changed = function.removesuffix(end), True
    return function


def _u64(at: int) -> int:
    return int.from_bytes(ctypes.string_at(at, 8), "little")


class Recorder:
    """One a process. `images` are the cubins loaded so far; between `start` and `stop`, `steps`
    are what was asked of the device, in order, each with what `blocks(allocated)` said then: the
    live allocations as (address, bytes), where `allocated` are those of the driver. `reasons` say
    why a recording cannot be replayed."""

    def __init__(self, blocks: Callable[[dict[int, int]], list[tuple[int, int]]],
                 parameters: Callable[[bytes, str], list[tuple[int, int]] | None]) -> None:
        self.blocks, self.parameters = blocks, parameters
        self.images: list[bytes] = []
        self.image_of: dict[int, int] = {}  # a module's handle: index in `images`
        self.steps: list[dict[str, Any]] = []
        self.reasons: list[str] = []
        self.allocated: dict[int, int] = {}
        self.recording = False
        self._library = _library()
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._subscriber = ctypes.c_void_p()
        self._keep = _CALLBACK(self._called)
        self._check(self._library.cuptiSubscribe(ctypes.byref(self._subscriber), self._keep, None))
        self._enable(1, _RESOURCE, _MODULE_LOADED)
        for number in _MODULE_LOADS:
            self._enable(1, _DRIVER_API, number)

    def _check(self, code: int) -> None:
        if code != 0:
            raise NoRecorder(f"CUPTI refuses: error {code}")

    def _enable(self, on: int, domain: int, number: int) -> None:
        self._check(self._library.cuptiEnableCallback(on, self._subscriber, domain, number))

    def start(self) -> None:
        self.steps, self.reasons, self.recording = [], [], True
        self._check(self._library.cuptiEnableDomain(1, self._subscriber, _DRIVER_API))

    def stop(self) -> None:
        self.recording = False
        self._check(self._library.cuptiEnableDomain(0, self._subscriber, _DRIVER_API))
        for number in _MODULE_LOADS:
            self._enable(1, _DRIVER_API, number)

    def _called(self, _: Any, domain: int, number: int, data: int) -> None:
        try:
            if domain == _RESOURCE:
                self._loaded(data)
            else:
                self._driver_call(_CallbackData.from_address(data))
        except Exception as error:  # noqa: BLE001  nothing may pass through C
            self.reasons.append(f"recording failed: {type(error).__name__}: {error}")

    def _loaded(self, data: int) -> None:
        descriptor = _ResourceData.from_address(data).descriptor
        module = _ModuleData.from_address(descriptor)
        if module.image and module.size:
            self.images.append(ctypes.string_at(module.image, module.size))

    def _driver_call(self, data: _CallbackData) -> None:
        name = plain_name((data.function or b"").decode())
        if name.startswith("cuModuleLoad"):
            if data.site == _EXIT and self.images and data.parameters:
                self.image_of[_u64(_u64(data.parameters))] = len(self.images) - 1
            return
        if not self.recording:
            return
        if data.site == _EXIT:
            if name in _ALLOCATIONS:
                where, size = struct.unpack("<QQ", ctypes.string_at(data.parameters, 16))
                self.allocated[_u64(where)] = size
            return
        if name in ("cuLaunchKernel", "cuLaunchKernelEx", "cuLaunchCooperativeKernel"):
            self._launch(name, data)
        elif name in _SETS:
            width = _SETS[name]
            to, value, count = struct.unpack("<QI4xQ", ctypes.string_at(data.parameters, 24))
            self._step(kind="set", to=to, value=value & (256 ** width - 1), width=width,
                       bytes=count * width)
        elif name in _COPIES:
            to, source, count = struct.unpack("<QQQ", ctypes.string_at(data.parameters, 24))
            self._step(kind="copy", to=to, source=source, bytes=count)
        else:
            self.reasons += [why for begin, why in _REFUSED.items() if name.startswith(begin)]

    def _step(self, **step: Any) -> None:
        self.steps.append({**step, "blocks": self.blocks(self.allocated)})

    def _launch(self, name: str, data: _CallbackData) -> None:
        kernel = (data.symbol or b"").decode()
        step: dict[str, Any] = {"kind": "launch", "kernel": kernel, "cluster": [],
                                "programmatic": False, "cooperative": "Cooperative" in name}
        if name == "cuLaunchKernelEx":
            config, function, values, extra = struct.unpack(
                "<QQQQ", ctypes.string_at(data.parameters, 32))
            numbers = struct.unpack("<7I", ctypes.string_at(config, 28))
            _, attributes, count = struct.unpack("<QQI", ctypes.string_at(config + 32, 20))
            self._attributes(step, attributes, count)
        else:
            function = _u64(data.parameters)
            numbers = struct.unpack("<7I", ctypes.string_at(data.parameters + 8, 28))
            values = _u64(data.parameters + 48)
            extra = _u64(data.parameters + 56) if name == "cuLaunchKernel" else 0
        step.update(grid=list(numbers[:3]), block=list(numbers[3:6]), shared=numbers[6])
        step["image"] = self._image(function, kernel)
        step["values"] = self._values(step, values, extra)
        self._step(**step)

    def _attributes(self, step: dict[str, Any], at: int, count: int) -> None:
        for place in range(at, at + count * _ATTRIBUTE_BYTES, _ATTRIBUTE_BYTES):
            number, *value = struct.unpack("<I4x3I", ctypes.string_at(place, 20))
            if number == _CLUSTER:
                step["cluster"] = value
            elif number == _COOPERATIVE:
                step["cooperative"] = value[0] != 0
            elif number == _PROGRAMMATIC:
                step["programmatic"] = value[0] != 0

    def _image(self, function: int, kernel: str) -> int:
        """Index of the cubin that a function is from; -1 where that is not known."""
        module = ctypes.c_void_p()
        if self._driver.cuFuncGetModule(ctypes.byref(module), ctypes.c_void_p(function)) == 0 and \
                module.value in self.image_of:
            return self.image_of[module.value]
        owners = [index for index, image in enumerate(self.images)
                  if b"\0" + kernel.encode() + b"\0" in image]
        distinct = {self.images[index] for index in owners}
        return owners[-1] if len(distinct) == 1 else -1

    def _values(self, step: dict[str, Any], values: int, extra: int) -> list[str]:
        if extra:
            self.reasons.append(f"{step['kernel']} takes its arguments as one buffer")
            return []
        if step["image"] < 0:
            return []
        layout = self.parameters(self.images[step["image"]], step["kernel"])
        if layout is None:
            return []
        return [ctypes.string_at(_u64(values + 8 * place), size).hex()
                for place, (_, size) in enumerate(layout)]


_ACTIVITIES = (1, 2, 10)  # CUpti_ActivityKind: MEMCPY, MEMSET, CONCURRENT_KERNEL
_BUFFER_BYTES = 4 << 20
_REQUESTED = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_void_p),
                              ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t))
_COMPLETED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p,
                              ctypes.c_size_t, ctypes.c_size_t)


class KernelClock:
    """When kernels, copies and sets began and ended, by CUPTI's activity records, all of which have
    that at the same place (cupti_activity.h)."""

    def __init__(self) -> None:
        self._library = _library()
        self._buffers: dict[int, Any] = {}
        self._spans: list[tuple[int, int]] = []
        self._keep = (_REQUESTED(self._requested), _COMPLETED(self._completed))
        for code in (self._library.cuptiActivityRegisterCallbacks(*self._keep),
                     *map(self._library.cuptiActivityEnable, _ACTIVITIES)):
            if code != 0:
                raise NoRecorder(f"CUPTI refuses activity records: error {code}")

    def _requested(self, buffer: Any, size: Any, most: Any) -> None:
        made = ctypes.create_string_buffer(_BUFFER_BYTES + 8)
        at = -(-ctypes.addressof(made) // 8) * 8
        self._buffers[at] = made
        buffer[0], size[0], most[0] = at, _BUFFER_BYTES, 0

    def _completed(self, _: Any, stream: int, buffer: int, size: int, valid: int) -> None:
        record = ctypes.c_void_p()
        while self._library.cuptiActivityGetNextRecord(
                ctypes.c_void_p(buffer), ctypes.c_size_t(valid), ctypes.byref(record)) == 0:
            kind, = struct.unpack("<I", ctypes.string_at(record.value or 0, 4))
            if kind in _ACTIVITIES:
                self._spans.append(struct.unpack("<QQ", ctypes.string_at(
                    (record.value or 0) + 16, 16)))
        self._buffers.pop(buffer, None)

    def take(self) -> list[tuple[int, int]]:
        """(start, end) in ns of everything that ended since the last call; the device is idle."""
        self._library.cuptiActivityFlushAll(1)
        spans, self._spans = self._spans, []
        return spans

    def close(self) -> None:
        for kind in _ACTIVITIES:
            self._library.cuptiActivityDisable(kind)
