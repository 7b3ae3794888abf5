# SPDX-License-Identifier: Apache-2.0
"""A stream of distinct ReLU candidates in OpenCL C, some of them broken or hostile."""
import random

PLAN = "// quern: launch relu grid (ceil_div(batch * dim, {block})) block ({block}) args (x, y, batch * dim)\n"
KERNEL = """__kernel void relu(__global float* x, __global float* y, int n) {{
  int i = get_global_id(0);
  {body}
}}
"""
HONEST = ["if (i < n) y[i] = fmax(x[i], 0.0f);", "if (i < n) y[i] = x[i] > 0 ? x[i] : 0;",
          "if (i < n) y[i] = (x[i] + fabs(x[i])) * 0.5f;",
          "for (int j = i; j < n; j += get_global_size(0)) y[j] = max(x[j], 0.0f);"]
RIGHT = HONEST[0]

# What a bad candidate does -> (body, expected verdicts), or (plan, body, expected verdicts).
BAD = {
    "writes past the end": (RIGHT + " if (i == 0) y[n + 8] = 1;", "rejected out_of_bounds_write"),
    "writes far past the end": (RIGHT + " if (i == 0) y[n + 5000] = 1;", "rejected out_of_bounds_write"),
    "writes before the start": (RIGHT + " if (i == 0) y[-1000] = 1;", "rejected out_of_bounds_write"),
    "reads past the end": (RIGHT + " if (i == 0) y[0] += 0 * x[n + 2000];",
                           "rejected out_of_bounds_read"),
    "changes its input": (RIGHT + " if (i < n) x[i] = 0;", "rejected modified_input"),
    "hangs": ("volatile int go = 1; while (go) {{}} " + RIGHT, "timed_out"),
    "crashes": ("if (i == 0) *(volatile __global int*)(ulong)(n * 8) = 1; " + RIGHT, "crashed"),
    "is wrong": ("if (i < n) y[i] = x[i] > 0.5f ? x[i] : 0;", "wrong_result"),
    "leaves elements out": ("if (i + 1 < n) y[i] = fmax(x[i], 0.0f);", "wrong_result"),
    "skips what looks done": ("if (i < n && isnan(y[i])) y[i] = fmax(x[i], 0.0f);",
                              "rejected stale_output"),
    "reads scratch that nobody wrote": (
        "// quern: scratch s : f32[batch * dim]\n" + PLAN.replace("(x, y,", "(x, s, y,"),
        "if (i < n) y[i] = fmax(x[i], 0.0f) * (s[i] > 1e30f ? 1.0000003f : 1.0f);", "wrong_result"),
    "does not compile": ("y[i] = undeclared;", "compile_failed"),
    "is not closed": ("if (i < n) {{ y[i] = 0;", "compile_failed"),
    "launches nothing": ("", RIGHT, "compile_failed"),
    "launches another kernel": (PLAN.replace("relu", "rleu"), RIGHT, "launch_failed"),
    "gives too few arguments": (PLAN.replace(", batch * dim)", ")"), RIGHT, "launch_failed"),
    "has an empty grid": (PLAN.replace("ceil_div(batch * dim, {block})", "batch / 1000"), RIGHT,
                          "launch_failed"),
    "wants too much scratch": ("// quern: scratch s : f64[batch, 10000000000]\n" + PLAN, RIGHT,
                               "launch_failed"),
    "wants too much local memory": (
        PLAN.replace(" args", " shared (16000000) args").replace("(x, y,", "(x, shared, y,"), RIGHT,
        "launch_failed"),
}


def source_of(number, plan, body):
    kernel = KERNEL.format(body=body.format())
    for name, type_ in (("s", "float* s"), ("shared", "float* s")):
        if f"(x, {name}, y" in plan:
            space = "__global" if name == "s" else "__local"
            kernel = kernel.replace("x, __global float* y", f"x, {space} {type_}, __global float* y")
    return plan.format(block=32 << number % 3) + kernel + f"// variant {number}\n"


def stream(count, seed=0, bad_share=0.2):
    """Yields {"id", "source", "kind", "expect": [verdict or "verdict breach", …]}."""
    rng = random.Random(seed)
    kinds = list(BAD)
    bad = set(rng.sample(range(count), round(count * bad_share)))
    met = 0
    for number in range(count):
        kind, plan, body, expect = "honest", PLAN, rng.choice(HONEST), "passed"
        if number in bad:
            kind = kinds[met % len(kinds)]
            met += 1
            *plans, body, expect = BAD[kind]
            plan = plans[0] if plans else PLAN
        yield {"id": f"c{number:04}", "kind": kind, "source": source_of(number, plan, body),
               "expect": [expect]}
