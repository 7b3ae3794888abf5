# SPDX-License-Identifier: Apache-2.0
"""Scripted faults: which attempt of which request fails, and how.

A script is a JSON list of rules. For each attempt the first rule that fits holds:

    {"when": "text in the prompt",    default: any prompt
     "attempts": [0, 1],              which attempts of one request, counted from 0; default: all
     "chance": 0.3, "seed": 7,        a share of the attempts, chosen by hash; default: all
     "do": KIND, …}                   see KINDS, with the parameters of each
"""
import hashlib
import json

KINDS = {
    "status": "answers `status` (with `retry_after`, `headers`, `message`)",
    "cut": "ends the stream after `events` events (2), in the middle of one",
    "split": "sends the stream in pieces of `bytes` bytes (1), so that UTF-8 sequences break",
    "malformed": "sends half an object as event number `event` (1)",
    "error_event": "sends an error event after `events` events (1), of type `type`",
    "silence": "sends `events` events (0; -1: not even the headers) and then nothing for `seconds`",
    "refuse": "closes the connection without a word",
    "usage": "reports the counts `usage` ({\"output\": …}), or none at all when that is null",
    "trickle": "waits `seconds` between pieces of `bytes` bytes",
    "gather": "holds the stream until `count` streams are open at once",
    "no_done": "leaves out what ends the stream",
    "garbage": "answers 200 with `body`, which is no event stream",
    "echo_key": "answers 401 and quotes the key it was given",
    "close": "as usual, but closes the connection afterwards",
}


def load(path):
    with open(path, encoding="utf-8") as file:
        rules = json.load(file)
    for rule in rules:
        if rule.get("do") not in KINDS:
            raise SystemExit(f"unknown fault {rule.get('do')!r}; known: {', '.join(KINDS)}")
    return rules


def share(*parts):
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def find(rules, prompt, key, attempt):
    """The fault of attempt number `attempt` of the request with hash `key`, or None."""
    for number, rule in enumerate(rules):
        if rule.get("when", "") not in prompt:
            continue
        if "attempts" in rule and attempt not in rule["attempts"]:
            continue
        if share(rule.get("seed", 0), number, key, attempt) >= rule.get("chance", 1):
            continue
        return rule
    return None
