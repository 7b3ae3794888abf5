# SPDX-License-Identifier: Apache-2.0
"""A stream of distinct ReLU candidates, one in five of them broken or hostile."""
import pathlib
import random
import re

CHEATS = pathlib.Path(__file__).resolve().parent.parent / "cheats"

# What a bad candidate does -> the cheats that do it.
BAD = {
    "does not compile": ["syntax_error", "type_error", "missing_header", "include_passwd"],
    "crashes": ["abort", "stack_overflow", "divide_by_zero", "uncaught_exception"],
    "hangs": ["hang", "hang_asleep"],
    "forks": ["fork", "fork_bomb", "fork_by_assembly", "system"],
    "exhausts memory": ["memory_hog"],
    "writes out of bounds": ["write_past_end", "write_before_start", "write_whole_vectors"],
    "changes its input": ["modify_input", "unprotect_input"],
    "reads a file": ["read_file", "read_memory_of_parent"],
    "opens a socket": ["socket", "socket_unix"],
}

HONEST = """typedef long int64_t;
extern "C" {signature} {{
  const int64_t n = {length}, block = {block};
{parallel}  for (int64_t i = 0; i < n; i += block) {{
    const int64_t end = i + block < n ? i + block : n;
    for (int64_t j = i; j < end; ++j) {output}[j] = {expression};
  }}
}}
"""
EXPRESSIONS = ["{x} > 0 ? {x} : 0", "{x} < 0 ? 0 : {x}", "__builtin_fmaxf({x}, 0)",
               "({x} + __builtin_fabsf({x})) * 0.5f"]


def distinct(source, number):
    """The same program with machine code of its own, so that no cache answers for it."""
    return f'{source}\nextern "C" long quern_variant() {{ return {number}; }}\n'


def signature():
    """(C signature, expression for the length) of the task, as the honest cheat has them."""
    text = (CHEATS / "honest_relu.cpp").read_text()
    return (re.search(r'extern "C" (.+) \{', text)[1], re.search(r"n = (.+);", text)[1])


def honest(number, rng):
    prototype, length = signature()
    return HONEST.format(
        signature=prototype, length=length, block=64 + number, output="y",
        parallel=rng.choice(["", "#pragma omp parallel for\n"]),
        expression=rng.choice(EXPRESSIONS).format(x="x[j]"))


def stream(count, seed=0, bad_share=0.2):
    """Yields {"id", "source", "kind", "expect": [verdict or "verdict breach", …]}."""
    rng = random.Random(seed)
    kinds = list(BAD)
    bad = set(rng.sample(range(count), round(count * bad_share)))
    for number in range(count):
        if number in bad:
            kind = kinds[len([b for b in bad if b < number]) % len(kinds)]
            source = (CHEATS / f"{rng.choice(BAD[kind])}.cpp").read_text()
            expect = re.search(r"^// expect: (.+)$", source, re.M)[1]
        else:
            kind, expect, source = "honest", "passed", honest(number, rng)
        yield {"id": f"c{number:04}", "kind": kind, "source": distinct(source, number),
               "expect": [alternative.strip() for alternative in expect.split("|")]}
