# SPDX-License-Identifier: Apache-2.0
"""A model server for tests: speaks OpenAI chat completions, OpenAI responses and Anthropic messages
over HTTP, streaming, with scripted faults. What it says depends on each request alone, never on the
order in which requests come.

usage: server.py [--port 0] [--mind echo] [--faults FILE] [--key KEY] [--cached 0.5] [--host NAME]

Prints `port N` once it listens. GET /stats says what it did: requests, attempts that were billed and
what they truly used, the most streams at once. Minds: minds/__init__.py. Faults: faults.py.
"""
import argparse
import asyncio
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402
import minds  # noqa: E402
import wires  # noqa: E402

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error"}


class Cut(Exception):
    """Ends the connection without a proper end of the reply."""


class Server:
    def __init__(self, options):
        self.mind = minds.load(options.mind)
        self.rules = faults.load(options.faults) if options.faults else []
        self.key = options.key
        self.cached = options.cached
        self.attempts, self.answered = {}, {}
        self.streams = 0
        self.another_stream = asyncio.Condition()
        self.stats = {"requests": 0, "billed": 0, "tokens": 0, "most_streams": 0,
                      "input": 0, "cache_read": 0, "cache_write": 0, "output": 0, "faults": {}}

    async def connection(self, reader, writer):
        try:
            while await self.exchange(reader, writer):
                pass
        except (Cut, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader, writer):
        """One request and its reply; False when the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {k.strip().lower(): v.strip() for k, _, v in (l.partition(":") for l in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if (method, path) == ("GET", "/stats"):
            return await self.plain(writer, 200, self.stats)
        wire = next((w for w in wires.WIRES if path.removeprefix("/v1") == w.path), None)
        if method != "POST" or wire is None:
            return await self.plain(writer, 404, {"error": {"message": f"no {method} {path}"}})
        return await self.post(writer, wire, headers, body)

    async def post(self, writer, wire, headers, raw):
        self.stats["requests"] += 1
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and key != self.key:
            return await self.refuse(writer, 401, "invalid key")
        try:
            body = json.loads(raw)
        except ValueError:
            return await self.refuse(writer, 400, "the body is not JSON")
        if missing := wire.check(body):
            return await self.refuse(writer, 400, f"missing: {', '.join(missing)}")
        request = wire.read(body)
        name = hashlib.sha256(wire.path.encode() + raw).hexdigest()
        attempt = self.attempts[name] = self.attempts.get(name, -1) + 1
        rule = faults.find(self.rules, request["prompt"], name, attempt) or {"do": None}
        if rule["do"]:
            self.stats["faults"][rule["do"]] = self.stats["faults"].get(rule["do"], 0) + 1
        if rule["do"] == "refuse":
            raise Cut
        if rule["do"] == "status":
            return await self.refuse(writer, rule["status"], rule.get("message", "scripted"), rule)
        if rule["do"] == "echo_key":
            return await self.refuse(writer, 401, f"Incorrect API key provided: {key}.")
        if rule["do"] == "garbage":
            return await self.send(writer, 200, {"Content-Type": "text/html"}, rule["body"].encode())
        request["nth"] = self.answered[name] = self.answered.get(name, -1) + 1
        request["seed"] = int(hashlib.sha256(f"{name} {request['nth']}".encode()).hexdigest()[:12], 16)
        self.streams += 1
        self.stats["most_streams"] = max(self.stats["most_streams"], self.streams)
        try:
            if rule["do"] == "gather":
                await self.gather(rule["count"])
            return await self.stream(writer, wire, request, rule)
        finally:
            self.streams -= 1

    async def gather(self, count):
        async with self.another_stream:
            self.another_stream.notify_all()
            await self.another_stream.wait_for(lambda: self.stats["most_streams"] >= count)

    def answer(self, request, wire):
        """The mind's reply in full, cut to the limit on output, and what it truly used."""
        said = self.mind(request)
        reply = {"text": "", "reasoning": "", "tool_calls": [], "finish": "stop",
                 **({"text": said} if isinstance(said, str) else said)}
        reply["tool_calls"] = [
            {"id": f"call_{i}", "name": c["name"], "arguments": c["arguments"] if isinstance(
                c["arguments"], str) else json.dumps(c["arguments"])}
            for i, c in enumerate(reply["tool_calls"])]
        body = request["body"]
        limit = next((body[k] for k in ("max_completion_tokens", "max_output_tokens", "max_tokens")
                      if k in body), None)
        if limit is not None and wires.tokens(reply["text"] + reply["reasoning"]) > limit:
            reply["text"] = reply["text"].encode()[:limit * 4].decode("utf-8", "ignore")
            reply["reasoning"], reply["finish"] = "", "length"
        reasoning = wires.tokens(reply["reasoning"])
        entire = wires.tokens(request["prompt"] + json.dumps(request["tools"]))
        cached = int(entire * self.cached)
        written = min(entire - cached, 7) if wire is wires.Anthropic else 0
        return reply, {"input": entire - cached - written, "cache_read": cached,
                       "cache_write": written, "reasoning": reasoning,
                       "output": reasoning + max(1, wires.tokens(reply["text"] + "".join(
                           c["arguments"] for c in reply["tool_calls"])))}

    async def stream(self, writer, wire, request, rule):
        reply, usage = self.answer(request, wire)
        self.stats["billed"] += 1
        for kind in ("input", "cache_read", "cache_write", "output"):
            self.stats[kind] += usage[kind]
            self.stats["tokens"] += usage[kind]
        do, said = rule["do"], usage
        if do == "usage":
            said = None if rule.get("usage") is None else {**usage, **rule["usage"]}
        if do == "silence" and rule.get("events", 0) < 0:
            await asyncio.sleep(rule.get("seconds", 3600))
            raise Cut
        events = list(wire.events(request, reply, said))
        if do == "no_done":
            events.pop()
            if wire is wires.Chat:  # which also ends with its finish_reason
                events = [e for e in events if b'"finish_reason": null' in e]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        await self.events(writer, wire, events, rule)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return do != "close"

    async def events(self, writer, wire, events, rule):
        do = rule["do"]
        if do == "cut":
            at = min(rule.get("events", 2), len(events) - 1)
            await self.pieces(writer, b"".join(events[:at]) + events[at][:len(events[at]) // 2])
            raise Cut
        if do == "malformed":
            at = min(rule.get("event", 1), len(events) - 1)
            events[at] = b'data: {"half": [1, \n\n'
        if do == "error_event":
            at = rule.get("events", 1)
            events = events[:at] + [wire.error(rule.get("type", "overloaded_error"), "scripted")]
        if do == "silence":
            await self.pieces(writer, b"".join(events[:rule.get("events", 0)]))
            await asyncio.sleep(rule.get("seconds", 3600))
            raise Cut
        if do in ("split", "trickle"):
            await self.pieces(writer, b"".join(events), rule.get("bytes", 1), rule.get("seconds", 0))
            return
        for data in events:
            await self.pieces(writer, data)
            await asyncio.sleep(0)  # let other streams in between

    @staticmethod
    async def pieces(writer, data, size=None, wait=0):
        for at in range(0, len(data), size or max(1, len(data))):
            piece = data[at:at + size] if size else data
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            if wait:
                await asyncio.sleep(wait)

    async def refuse(self, writer, status, message, rule=None):
        rule = rule or {}
        headers = {"Content-Type": "application/json", **rule.get("headers", {})}
        if "retry_after" in rule:
            headers["Retry-After"] = str(rule["retry_after"])
        body = {"type": "error", "error": {"type": "scripted_error", "message": message}}
        return await self.send(writer, status, headers, json.dumps(body).encode())

    async def plain(self, writer, status, value):
        return await self.send(writer, status, {"Content-Type": "application/json"},
                               json.dumps(value).encode())

    @staticmethod
    async def send(writer, status, headers, body):
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Scripted')}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)
        await writer.drain()
        return True


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--mind", default="echo", help="NAME or NAME:ARGUMENT")
    parser.add_argument("--faults", help="a JSON file, see faults.py")
    parser.add_argument("--key", default="", help="the only key that is let in")
    parser.add_argument("--cached", type=float, default=0.5, help="share of the input said to be cached")
    options = parser.parse_args()
    listener = await asyncio.start_server(Server(options).connection, options.host, options.port,
                                          backlog=1024, limit=1 << 26)
    print("port", listener.sockets[0].getsockname()[1], flush=True)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
