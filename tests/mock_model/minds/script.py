# SPDX-License-Identifier: Apache-2.0
"""Answers from a file (`--mind script:FILE`): a JSON list of rules, of which the first that fits holds.

    {"when": "text in the prompt", "last": "text in the last message", "nth": 0, "reply": "…"}

`when`, `last` and `nth` may be left out. `reply` is what minds return. `replies`, a list, gives one
for every time that this very request is asked, and the last one from then on.
"""
import json

RULES = []


def setup(argument):
    with open(argument, encoding="utf-8") as file:
        RULES[:] = json.load(file)


def fits(rule, request):
    return (rule.get("when", "") in request["prompt"] and rule.get("last", "") in request["last"]
            and rule.get("nth", request["nth"]) == request["nth"])


def reply(request):
    for rule in RULES:
        if fits(rule, request):
            replies = rule.get("replies") or [rule["reply"]]
            return replies[min(request["nth"], len(replies) - 1)]
    return "no rule of the script fits"
