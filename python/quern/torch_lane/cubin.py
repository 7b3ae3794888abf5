# SPDX-License-Identifier: Apache-2.0
"""The little that is read of a cubin here: which parameters a kernel takes.

As src/device/cuda/cubin.cpp, which reads more: section .nv.info.<kernel> has an entry a parameter.
"""
from __future__ import annotations

import struct

_PARAMETER = 0x17
_SIZED = 4  # format of an attribute whose value follows its length


def _text(table: bytes, offset: int) -> str:
    return table[offset:table.find(b"\0", offset)].decode(errors="replace")


def _sections(image: bytes) -> dict[str, bytes]:
    """Sections by name; {} for what is no 64-bit ELF file."""
    if image[:5] != b"\x7fELF\x02" or len(image) < 64:
        return {}
    start, = struct.unpack_from("<Q", image, 0x28)
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    if size != 64 or names >= count or start + size * count > len(image):
        return {}
    headers = [struct.unpack_from("<IIQQQQ", image, start + size * i) for i in range(count)]

    def content(header: tuple[int, ...]) -> bytes:
        _, kind, _, _, offset, length = header
        return b"" if kind == 8 else image[offset:offset + length]  # 8: SHT_NOBITS

    table = content(headers[names])
    return {_text(table, header[0]): content(header) for header in headers}


def parameters(image: bytes, kernel: str) -> list[tuple[int, int]] | None:
    """(offset, bytes) of each parameter in order; None where the cubin has no such kernel."""
    sections = _sections(image)
    info = sections.get(".nv.info." + kernel)
    if info is None or ".text." + kernel not in sections:
        return None
    found: dict[int, tuple[int, int]] = {}
    at = 0
    while at + 4 <= len(info):
        form, attribute, length = struct.unpack_from("<BBH", info, at)
        at += 4
        if form != _SIZED:
            continue
        if attribute == _PARAMETER and length == 12:
            _, where, size = struct.unpack_from("<III", info, at)
            found[where & 0xFFFF] = (where >> 16, size >> 18)
        at += length
    return [found[place] for place in sorted(found)]


def kernels(image: bytes) -> list[str]:
    """Names of the kernels of a cubin."""
    sections = _sections(image)
    return [name.removeprefix(".nv.info.") for name in sections
            if name.startswith(".nv.info.") and ".text." + name.removeprefix(".nv.info.")
            in sections]
