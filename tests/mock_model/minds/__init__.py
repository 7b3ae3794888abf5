# SPDX-License-Identifier: Apache-2.0
"""What answers for the models: a mind is a module of this folder.

A mind has `reply(request)`, and may have `setup(argument)`, told what follows the colon of
`--mind NAME:ARGUMENT` (a file's name, a number, …). `reply` returns the text, or

    {"text": …, "reasoning": …, "tool_calls": [{"name": …, "arguments": {…} or "raw text"}],
     "finish": "stop" | "length" | "filtered"}

`request` is the same for every protocol:

    model      what the model was called
    system     text
    messages   [{"role": "user" | "assistant" | "tool", "text": …, "tool_calls": […]}]
    prompt     the texts of system and messages, one after the other
    last       text of the last message
    tools      [{"name", "description", "schema"}]
    schema     the JSON schema asked for, or None
    nth        how often this very request was asked before, failed attempts not counted
    seed       an integer that depends on the request and `nth` alone: the source of randomness
    body       the request as it came

A mind must not depend on anything else: the order in which requests come is not the client's to say.
"""
import importlib


def load(spec):
    """The `reply` of "NAME" or "NAME:ARGUMENT"."""
    name, _, argument = spec.partition(":")
    module = importlib.import_module(f"minds.{name}")
    if hasattr(module, "setup"):
        module.setup(argument)
    return module.reply
