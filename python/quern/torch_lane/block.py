# SPDX-License-Identifier: Apache-2.0
"""Tensors in memory that two processes share: a memfd on the CPU, an IPC allocation on CUDA.

A block is made by the process that judges and mapped by those that run. Its layout is a list of
`Place`s, which travels as JSON; the memory travels as a descriptor or as a CUDA IPC handle.
"""
from __future__ import annotations

import ctypes
import dataclasses
import functools
import mmap
import os
from typing import Any

import torch

_ALIGN = 4096
_WHOLE = 2 << 20  # bytes that CUDA allocates and shares at least


@dataclasses.dataclass
class Place:
    """Where a tensor lies in a block: bytes from its start, and its layout in elements."""

    offset: int
    shape: list[int]
    strides: list[int]
    dtype: str

    @property
    def size(self) -> int:
        """Elements from the first to the last, all of which the tensor owns."""
        return 0 if 0 in self.shape else 1 + sum(
            (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))

    @property
    def nbytes(self) -> int:
        return self.size * dtype_named(self.dtype).itemsize


def dtype_named(name: str) -> torch.dtype:
    made = getattr(torch, name, None)
    if not isinstance(made, torch.dtype):
        raise ValueError(f"{name!r} is no element type")
    return made


def _dense(tensor: torch.Tensor) -> bool:
    return torch.ops.aten.is_non_overlapping_and_dense(tensor)


def lay_out(tensors: list[torch.Tensor]) -> tuple[list[Place], int]:
    """Places for tensors like these, and the block's size. Dense strides are kept."""
    places, offset = [], 0
    for tensor in tensors:
        strides = list(tensor.stride() if _dense(tensor) else
                       torch.empty(tensor.shape, device="meta").stride())
        place = Place(offset, list(tensor.shape), strides, str(tensor.dtype).split(".")[1])
        places.append(place)
        offset += -(-max(place.nbytes, 1) // _ALIGN) * _ALIGN
    return places, max(offset, _ALIGN)


@functools.cache
def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


class _IpcHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 64)]


class _DeviceBytes:
    """Device memory as PyTorch takes it in."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1",
                                         "data": (pointer, False), "version": 3}


def _cuda_check(code: int, what: str) -> None:
    if code != 0:
        raise OSError(f"{what}: CUDA error {code}")


class Block:
    """Shared bytes; `share()` is what another process passes to `attach`."""

    def __init__(self, size: int, flat: torch.Tensor, shared: dict[str, Any], fd: int) -> None:
        self.size, self.flat, self.shared, self.fd = size, flat, shared, fd

    @staticmethod
    def make(size: int, device: str) -> "Block":
        if device.startswith("cuda"):
            return Block._make_cuda(size)
        fd = os.memfd_create("quern-block", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return Block(size, _map(fd, size), {"size": size}, fd)

    @staticmethod
    def _make_cuda(size: int) -> "Block":
        torch.empty(1, device="cuda")  # there is a context from here on
        size = -(-size // _WHOLE) * _WHOLE  # smaller allocations share what can be mapped
        pointer = ctypes.c_uint64()
        _cuda_check(_driver().cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)),
                    f"cannot allocate {size} bytes")
        handle = (ctypes.c_char * 64)()
        _cuda_check(_driver().cuIpcGetMemHandle(ctypes.byref(handle), pointer),
                    "this memory cannot be shared")
        flat = torch.as_tensor(_DeviceBytes(pointer.value or 0, size), device="cuda")
        return Block(size, flat, {"size": size, "ipc": handle.raw.hex()}, -1)

    @staticmethod
    def attach(shared: dict[str, Any], fd: int) -> "Block":
        """The block another process made. Raises OSError."""
        size = int(shared["size"])
        if "ipc" not in shared:
            return Block(size, _map(fd, size), shared, fd)
        torch.empty(1, device="cuda")
        handle = (ctypes.c_char * 64).from_buffer_copy(bytes.fromhex(shared["ipc"]))
        pointer = ctypes.c_uint64()
        opened = _driver().cuIpcOpenMemHandle_v2
        by_value = _IpcHandle.from_buffer_copy(handle)
        _cuda_check(opened(ctypes.byref(pointer), by_value, 1), "cannot map shared memory")
        flat = torch.as_tensor(_DeviceBytes(pointer.value or 0, size), device="cuda")
        return Block(size, flat, shared, -1)

    def tensor(self, place: Place) -> torch.Tensor:
        """The tensor at a place, without a copy."""
        dtype = dtype_named(place.dtype)
        part = self.flat[place.offset:place.offset + place.size * dtype.itemsize]
        return part.view(dtype).as_strided(place.shape, place.strides)

    def whole(self, place: Place) -> torch.Tensor:
        """The bytes that nothing but this place has."""
        return self.flat[place.offset:place.offset + -(-max(place.nbytes, 1) // _ALIGN) * _ALIGN]

    def tensors(self, places: list[Place]) -> list[torch.Tensor]:
        return [self.tensor(place) for place in places]


def _map(fd: int, size: int) -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(fd, size), dtype=torch.uint8)


def flatten(tree: Any) -> tuple[Any, list[torch.Tensor]]:
    """A tree of lists, tuples, dicts and plain values as JSON, and its tensors in order."""
    tensors: list[torch.Tensor] = []
    return _walk(tree, tensors), tensors


def _walk(node: Any, tensors: list[torch.Tensor]) -> Any:
    # No closure: one that calls itself is a cycle, which keeps its tensors until it is collected.
    if isinstance(node, torch.Tensor):
        tensors.append(node)
        return {"tensor": len(tensors) - 1}
    if isinstance(node, (list, tuple)):
        return {"tuple" if isinstance(node, tuple) else "list": [_walk(item, tensors)
                                                                 for item in node]}
    if isinstance(node, dict):
        return {"dict": [[str(key), _walk(value, tensors)] for key, value in node.items()]}
    if node is None or isinstance(node, (bool, int, float, str)):
        return {"value": node}
    if isinstance(node, torch.dtype):
        return {"dtype": str(node).split(".")[1]}
    raise TypeError(f"a value of type {type(node).__name__} cannot be passed on")


def unflatten(tree: Any, tensors: list[torch.Tensor]) -> Any:
    kind, value = next(iter(tree.items()))
    if kind == "tensor":
        return tensors[value]
    if kind in ("list", "tuple"):
        items = [unflatten(item, tensors) for item in value]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {key: unflatten(item, tensors) for key, item in value}
    return dtype_named(value) if kind == "dtype" else value
