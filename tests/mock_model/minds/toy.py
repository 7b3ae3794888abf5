# SPDX-License-Identifier: Apache-2.0
"""Answers kernel prompts by applying the action table, sometimes wrongly (`--mind toy:QUERN`).

It asks the program QUERN which plans the rules begin with on the task in the prompt (`quern actions
TASK --json`), takes the one after the plan that the kernel in the prompt was made by, and writes its
source. One reply in six is wrong, one in twelve does not compile, one in twelve has no code. Prompts
that ask for advice get a list of it; those that ask for a choice, edits of a tree or a template get
what they ask for.
"""
import functools
import json
import re
import subprocess
import tempfile

QUERN = []
MARK = "// toy plan "


def setup(argument):
    QUERN[:] = [argument]


@functools.lru_cache(maxsize=64)
def plans(task):
    """Sources of the plans for a task's text, first those with the fewest actions."""
    with tempfile.NamedTemporaryFile("w", suffix=".task") as file:
        file.write(task)
        file.flush()
        answer = subprocess.run([*QUERN, "actions", file.name, "--json"], capture_output=True,
                                text=True, check=True)
    found = json.loads(answer.stdout)["plans"]
    return [plan["source"] for plan in sorted(found, key=lambda plan: len(plan["trace"]))]


def spoil(source, entry):
    """A kernel that computes something else."""
    return re.sub(r"(extern \"C\" void " + entry + r"\([^)]*\) \{)", r"\1\n  return;", source)


def advice(request):
    """What those get who want no code."""
    numbers = re.findall(r"^(\d+): [\d.]+ ms", request["last"], re.M)
    if "base: NUMBER" in request["last"]:
        experiments = [{"description": f"change {i}", "min": i, "max": 9 - i, "innovation": 7 * i % 5}
                       for i in range(5)]
        return f"base: {numbers[0]}\nreference: {numbers[-1]}\n{json.dumps(experiments)}"
    if "Edit the tree" in request["last"]:
        return json.dumps([{"parent": 0, "title": f"decision {request['seed'] % 100}",
                            "score": 0.7, "difficulty": 2}])
    return ("- The loops wait for memory.\n- Make the innermost one run over contiguous data.\n"
            "Expected: 1.2x")


def reply(request):
    if "No code" in request["last"]:
        return advice(request)
    prompt = request["prompt"]
    task = re.search(r"as mathematics:\s*```\n(.*?)```", prompt, re.S)[1]
    entry = re.search(r"^task (\w+)", task, re.M)[1]
    sources = plans(task)
    seen = [int(number) for number in re.findall(re.escape(MARK) + r"(\d+)", request["last"])]
    draw = request["seed"] % 12
    number = (seen[-1] + 1 if seen else request["seed"] // 12) % len(sources)
    source = f"{MARK}{number}\n{sources[number]}"
    if "// tune: NAME" in request["last"]:
        source = f"// tune: TOY = 2 1 4\n{source}"
    if draw == 0:
        return "I would need to see a profile first."
    if draw == 1:
        source = source.replace("{", "{{", 1)
    if draw in (2, 3):
        source = spoil(source, entry)
    return f"Next:\n\n```cpp\n{source}```\n"
