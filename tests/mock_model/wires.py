# SPDX-License-Identifier: Apache-2.0
"""The three protocols: a request's body to the request that minds see, a reply to stream events."""
import json

CHUNK = 24  # characters a delta


def tokens(text):
    """As many as this mock says that a text has; never more than its bytes."""
    return (len(text.encode()) + 3) // 4


def all_input(usage):
    """The sum of the kinds; scripted usage may hold things that are no numbers."""
    return sum(usage[kind] for kind in ("input", "cache_read", "cache_write")
               if isinstance(usage[kind], int))


def text_of(content):
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n\n".join(part.get("text") or "" for part in content or [] if isinstance(part, dict))


def chunks(text):
    return [text[at:at + CHUNK] for at in range(0, len(text), CHUNK)]


def event(data, name=None):
    head = f"event: {name}\n" if name else ""
    return (head + "data: " + (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
            + "\n\n").encode()


def normal(messages, system, tools, schema, body):
    return {"model": body["model"], "system": system, "messages": messages,
            "prompt": "\n\n".join([system] + [m["text"] for m in messages]),
            "last": messages[-1]["text"] if messages else "",
            "tools": tools, "schema": schema, "body": body}


class Chat:
    path = "/chat/completions"

    @staticmethod
    def check(body):
        return [key for key in ("model", "messages") if key not in body]

    @staticmethod
    def read(body):
        system, messages = "", []
        for message in body["messages"]:
            text = text_of(message.get("content"))
            if message["role"] == "system":
                system += text
                continue
            calls = [{"id": c["id"], "name": c["function"]["name"],
                      "arguments": c["function"]["arguments"]} for c in message.get("tool_calls", [])]
            messages.append({"role": message["role"], "text": text, "tool_calls": calls})
        tools = [{"name": t["function"]["name"], "description": t["function"]["description"],
                  "schema": t["function"]["parameters"]} for t in body.get("tools", [])]
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return normal(messages, system, tools, schema, body)

    @staticmethod
    def events(request, reply, usage):
        def chunk(delta, finish=None):
            return event({"id": "c", "object": "chat.completion.chunk", "model": request["model"],
                          "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        yield chunk({"role": "assistant", "content": ""})
        for piece in chunks(reply["text"]):
            yield chunk({"content": piece})
        for index, call in enumerate(reply["tool_calls"]):
            yield chunk({"tool_calls": [{"index": index, "id": call["id"], "type": "function",
                                         "function": {"name": call["name"], "arguments": ""}}]})
            for piece in chunks(call["arguments"]):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield chunk({}, {"length": "length", "filtered": "content_filter"}.get(
            reply["finish"], "tool_calls" if reply["tool_calls"] else "stop"))
        if usage is not None and request["body"].get("stream_options", {}).get("include_usage"):
            yield event({"id": "c", "model": request["model"], "choices": [], "usage": {
                "prompt_tokens": all_input(usage),
                "completion_tokens": usage["output"],
                "prompt_tokens_details": {"cached_tokens": usage["cache_read"]},
                "completion_tokens_details": {"reasoning_tokens": usage["reasoning"]}}})
        yield event("[DONE]")

    @staticmethod
    def error(kind, message):
        return event({"error": {"type": kind, "message": message}})


class Responses:
    path = "/responses"

    @staticmethod
    def check(body):
        return [key for key in ("model", "input") if key not in body]

    @staticmethod
    def read(body):
        messages = []
        for item in body["input"]:
            if item["type"] == "message":
                messages.append({"role": item["role"], "text": text_of(item["content"]),
                                 "tool_calls": []})
            elif item["type"] == "function_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "text": "", "tool_calls": []})
                messages[-1]["tool_calls"].append({"id": item["call_id"], "name": item["name"],
                                                   "arguments": item["arguments"]})
            else:
                messages.append({"role": "tool", "text": item["output"], "tool_calls": []})
        tools = [{"name": t["name"], "description": t["description"], "schema": t["parameters"]}
                 for t in body.get("tools", [])]
        schema = body.get("text", {}).get("format", {}).get("schema")
        return normal(messages, body.get("instructions", ""), tools, schema, body)

    @staticmethod
    def events(request, reply, usage):
        number = -1

        def typed(kind, **fields):
            nonlocal number
            number += 1
            return event({"type": kind, "sequence_number": number, **fields}, kind)
        yield typed("response.created", response={"model": request["model"], "status": "in_progress"})
        yield typed("response.output_item.added", output_index=0,
                    item={"type": "message", "role": "assistant", "content": []})
        for piece in chunks(reply["text"]):
            yield typed("response.output_text.delta", output_index=0, content_index=0, delta=piece)
        yield typed("response.output_text.done", output_index=0, text=reply["text"])
        for index, call in enumerate(reply["tool_calls"], 1):
            item = {"type": "function_call", "call_id": call["id"], "name": call["name"]}
            yield typed("response.output_item.added", output_index=index,
                        item={**item, "arguments": ""})
            for piece in chunks(call["arguments"]):
                yield typed("response.function_call_arguments.delta", output_index=index, delta=piece)
            yield typed("response.output_item.done", output_index=index,
                        item={**item, "arguments": call["arguments"]})
        reason = {"length": "max_output_tokens", "filtered": "content_filter"}.get(reply["finish"])
        response = {"model": request["model"], "status": "incomplete" if reason else "completed",
                    "incomplete_details": {"reason": reason} if reason else None}
        if usage is not None:
            response["usage"] = {
                "input_tokens": all_input(usage),
                "input_tokens_details": {"cached_tokens": usage["cache_read"]},
                "output_tokens": usage["output"],
                "output_tokens_details": {"reasoning_tokens": usage["reasoning"]}}
        yield typed("response.incomplete" if reason else "response.completed", response=response)

    @staticmethod
    def error(kind, message):
        return event({"type": "response.failed",
                      "response": {"status": "failed", "error": {"code": kind, "message": message}}},
                     "response.failed")


class Anthropic:
    path = "/messages"

    @staticmethod
    def check(body):
        missing = [key for key in ("model", "messages", "max_tokens") if key not in body]
        roles = [m["role"] for m in body.get("messages", [])]
        if roles and (roles[0] != "user" or any(a == b for a, b in zip(roles, roles[1:]))):
            missing.append("roles that take turns, the user's first")
        return missing

    @staticmethod
    def read(body):
        messages = []
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            calls = [{"id": b["id"], "name": b["name"], "arguments": json.dumps(b["input"])}
                     for b in content if b["type"] == "tool_use"]
            results = [text_of(b["content"]) for b in content if b["type"] == "tool_result"]
            text = "\n\n".join(results + [b["text"] for b in content if b["type"] == "text"])
            messages.append({"role": "tool" if results else message["role"], "text": text,
                             "tool_calls": calls})
        tools = [{"name": t["name"], "description": t.get("description", ""),
                  "schema": t["input_schema"]} for t in body.get("tools", [])]
        forced = body.get("tool_choice", {}).get("name")
        gives = [t for t in tools if t["name"] == forced and t["description"] == "Gives the reply."]
        tools = [t for t in tools if t not in gives]
        request = normal(messages, text_of(body.get("system", "")), tools,
                         gives[0]["schema"] if gives else None, body)
        request["reply_tool"] = forced if gives else None
        return request

    @staticmethod
    def events(request, reply, usage):
        def typed(kind, **fields):
            return event({"type": kind, **fields}, kind)
        start = {"id": "m", "role": "assistant", "model": request["model"], "content": []}
        if usage is not None:
            start["usage"] = {"input_tokens": usage["input"],
                              "cache_read_input_tokens": usage["cache_read"],
                              "cache_creation_input_tokens": usage["cache_write"],
                              "output_tokens": 1}
        yield typed("message_start", message=start)
        yield typed("ping")
        index = 0
        if reply["text"]:
            if request.get("reply_tool"):
                block = {"type": "tool_use", "id": "t", "name": request["reply_tool"], "input": {}}
                kind, field = "input_json_delta", "partial_json"
            else:
                block, kind, field = {"type": "text", "text": ""}, "text_delta", "text"
            yield typed("content_block_start", index=index, content_block=block)
            for piece in chunks(reply["text"]):
                yield typed("content_block_delta", index=index, delta={"type": kind, field: piece})
            yield typed("content_block_stop", index=index)
            index += 1
        for index, call in enumerate(reply["tool_calls"], index):
            yield typed("content_block_start", index=index, content_block={
                "type": "tool_use", "id": call["id"], "name": call["name"], "input": {}})
            for piece in chunks(call["arguments"]):
                yield typed("content_block_delta", index=index,
                            delta={"type": "input_json_delta", "partial_json": piece})
            yield typed("content_block_stop", index=index)
        reason = {"length": "max_tokens", "filtered": "refusal"}.get(
            reply["finish"], "tool_use" if reply["tool_calls"] else "end_turn")
        end = {"delta": {"stop_reason": reason}}
        if usage is not None:
            end["usage"] = {"output_tokens": usage["output"]}
        yield typed("message_delta", **end)
        yield typed("message_stop")

    @staticmethod
    def error(kind, message):
        return event({"type": "error", "error": {"type": kind, "message": message}}, "error")


WIRES = (Chat, Responses, Anthropic)
