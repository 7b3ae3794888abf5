# SPDX-License-Identifier: Apache-2.0
"""A task too large for the interpreter, its inputs, and what it means, by loops.

usage: computed.py draw | compare    (in the folder of big.task, big and found)
"""
import array
import pathlib
import random
import sys

N = 300
TASK = """task t(n = 300)
input a : f32[n, n]
input t : i32[n] ~ integers(0, n - 1)
output p[i] = argmax[j] a[i, j]
output y[i, j] = sum[k] a[i, k] * a[k, t[j]]
"""


def draw():
    random.seed(1)
    values = array.array("f", [random.random() for _ in range(N * N)])
    columns = [(7 * j + 3) % N for j in range(N)]
    pathlib.Path("big.task").write_text(TASK)
    with open("big", "wb") as file:
        array.array("d", [*values, *columns]).tofile(file)


def doubles(name):
    values = array.array("d")
    values.frombytes(pathlib.Path(name).read_bytes())
    return values


def compare():
    given, found = doubles("big"), doubles("found")
    rows = [given[i * N:(i + 1) * N] for i in range(N)]
    columns = [int(x) for x in given[N * N:]]
    print("positions", all(found[i] == rows[i].index(max(rows[i])) for i in range(N)))
    print("sums", all(
        abs(found[N + i * N + j] - sum(rows[i][k] * rows[k][columns[j]] for k in range(N))) < 1e-11
        for i in (0, 150, 299) for j in range(0, N, 17)))


{"draw": draw, "compare": compare}[sys.argv[1]]()
