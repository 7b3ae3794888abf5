# SPDX-License-Identifier: Apache-2.0
"""Orders and answers between the processes of the lane: JSON in frames over a socket pair.

JSON and not pickle: whoever reads must be safe from whoever writes. Descriptors of shared memory
travel beside a frame.
"""
from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from typing import Any

Message = dict[str, Any]
_HEADER = struct.Struct("<II")  # bytes of the frame, descriptors beside it
_LIMIT = 64 << 20
_MOST_FDS = 200


class Gone(Exception):
    """The other process ended."""


class Late(Exception):
    """No answer in time."""


class Channel:
    """One end of a pair. Not thread-safe."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    @staticmethod
    def pair() -> tuple["Channel", "Channel"]:
        ours, theirs = socket.socketpair()
        return Channel(ours), Channel(theirs)

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        body = json.dumps(message).encode()
        fds = fds or []
        try:
            socket.send_fds(self.end, [_HEADER.pack(len(body), len(fds))], fds[:_MOST_FDS])
            for first in range(_MOST_FDS, len(fds), _MOST_FDS):
                socket.send_fds(self.end, [b"+"], fds[first:first + _MOST_FDS])
            self.end.sendall(body)
        except OSError as error:
            raise Gone(str(error)) from error

    def _take(self, count: int, until: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            if until is not None:
                left = until - time.monotonic()
                if left <= 0 or not select.select([self.end], [], [], left)[0]:
                    raise Late
            try:
                part = self.end.recv(min(count - len(parts), 1 << 20))
            except OSError as error:
                raise Gone(str(error)) from error
            if not part:
                raise Gone("end of stream")
            parts += part
        return bytes(parts)

    def receive(self, limit_s: float | None = None) -> Message:
        """The next message. Raises Late after `limit_s`, Gone at the end of the stream or where
        what came is no message of ours."""
        message, fds = self.receive_with(limit_s, 0)
        for fd in fds:
            os.close(fd)
        return message

    def receive_with(self, limit_s: float | None, most: int = _MOST_FDS) -> tuple[Message,
                                                                                 list[int]]:
        until = None if limit_s is None else time.monotonic() + limit_s
        if until is not None and not select.select([self.end], [], [], limit_s)[0]:
            raise Late
        fds: list[int] = []
        if most:
            try:
                header, fds, _, _ = socket.recv_fds(self.end, _HEADER.size, most)
            except OSError as error:
                raise Gone(str(error)) from error
            if len(header) < _HEADER.size:
                header += self._take(_HEADER.size - len(header), until) if header else b""
            if not header:
                raise Gone("end of stream")
        else:
            header = self._take(_HEADER.size, until)
        size, count = _HEADER.unpack(header)
        if size > _LIMIT:
            raise Gone("a message of more than 64 MiB")
        while most and len(fds) < count:
            fds += socket.recv_fds(self.end, 1, most)[1]
        try:
            message = json.loads(self._take(size, until))
        except ValueError as error:
            raise Gone("not a message") from error
        if not isinstance(message, dict):
            raise Gone("not a message")
        return message, fds

    def close(self) -> None:
        self.end.close()
