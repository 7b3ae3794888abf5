# SPDX-License-Identifier: Apache-2.0
"""A stream of distinct ReLU candidates in CUDA for the simulated driver (tests/cuda_driver), which runs
no kernel: what becomes of a candidate is said by the name of its kernel."""
import random

TASK = """# ReLU on 64 MB.
task relu_simulated(batch = 4096, dim = 4096)
input x : f32[batch, dim] ~ normal(0, 1)
output y[i, j] = relu(x[i, j])
"""
SOURCE = """// quern: target = cuda
// quern: launch {name} grid (ceil_div(batch * dim, 256)) block 256 args (x, y, batch * dim)
extern "C" __global__ void {name}(const float* x, float* y, long n) {{
  const long i = blockIdx.x * 256l + threadIdx.x;
  if (i < n && n != {number}l) y[i] = fmaxf(x[i], 0.f){end}
}}
"""

# What a bad candidate does -> (name of its kernel, expected verdicts).
BAD = {
    "faults": ("fault", "rejected"),
    "traps": ("trap", "crashed"),
    "hangs": ("hang", "timed_out"),
    "is wrong": ("wrong", "wrong_result"),
    "gives other results each time": ("unstable", "wrong_result"),
    "faults at the timed shape": ("fault_late", "rejected"),
    "traps at the timed shape": ("trap_late", "crashed"),
    "hangs at the timed shape": ("hang_late", "timed_out"),
    "is wrong at the timed shape": ("wrong_late", "wrong_result"),
    "does not compile": ("relu", "compile_failed"),
}


def stream(count, seed=0, bad_share=0.2):
    """Yields {"id", "source", "kind", "expect": [verdict or "verdict breach", …]}."""
    rng = random.Random(seed)
    kinds = list(BAD)
    bad = set(rng.sample(range(count), round(count * bad_share)))
    met = 0
    for number in range(count):
        kind, name, expect = "honest", "relu", "passed"
        if number in bad:
            kind = kinds[met % len(kinds)]
            name, expect = BAD[kind]
            met += 1
        end = "" if kind == "does not compile" else ";"
        yield {"id": f"c{number:04}", "kind": kind, "expect": [expect],
               "source": SOURCE.format(name=name, number=-1 - number, end=end)}
