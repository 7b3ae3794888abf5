#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The share of copy bandwidth that kernels of streaming tasks reach: each against a copy of as many bytes.

A round calls a copy (streaming stores, all threads) and then the measured binary of each run, three
times each; the share is the median over rounds of copy time by kernel time.

usage: streaming.py [--budget 64] [--rounds 40] TASK|RUN...
"""
import array
import ctypes
import json
import math
import mmap
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import time

import quern

COPY = r"""
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
void copy(int64_t n, const float *x, float *y) {
#pragma omp parallel
  {
    const int64_t s = omp_get_thread_num(), t = omp_get_num_threads();
    for (int64_t i = n / 16 * s / t; i < n / 16 * (s + 1) / t; ++i) {
#ifdef __AVX512F__
      _mm512_stream_ps(y + 16 * i, _mm512_loadu_ps(x + 16 * i));
#else
      for (int j = 0; j < 16; j += 4) _mm_stream_ps(y + 16 * i + j, _mm_loadu_ps(x + 16 * i + j));
#endif
    }
    _mm_sfence();
  }
}
"""
CALLS = 3


def compiled_copy(folder):
    source, library = folder / "copy.c", folder / "copy.so"
    source.write_text(COPY)
    subprocess.run(["gcc", "-O2", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", library,
                    source], check=True)
    return ctypes.CDLL(str(library)).copy


def buffer(count):
    """Floats on pages of 4 KB shared with other processes, as an evaluation has them."""
    memory = mmap.mmap(-1, 4 * count + 8192)
    return (ctypes.c_float * count).from_buffer(memory)


def filled(count):
    made = buffer(count)
    some = array.array("f", (random.random() for _ in range(min(count, 65521))))
    for begin in range(0, count, len(some)):
        part = some[:count - begin]
        ctypes.memmove(ctypes.byref(made, 4 * begin), part.buffer_info()[0], 4 * len(part))
    return made


class Kernel:
    def __init__(self, run, folder, binary):
        quern.call(binary, "export", run, "--out", folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        name, sizes = manifest["task"], manifest["sizes"]
        header = (folder / f"include/quern/{name}.h").read_text()
        self.name = name
        self.entry = getattr(ctypes.CDLL(str(folder / f"lib/lib{name}.so")), manifest["entry"])
        order = re.search(r"void \w+\((.*?)\);", header, re.S).group(1)
        self.arguments = [ctypes.c_int64(sizes[size]) for size in re.findall(r"int64_t (\w+)", order)]
        self.elements = 0
        for shape, use in re.findall(r"\* +\w+ : f32\[(.*?)\], (read|written)", header):
            extents = [eval(extent.replace("/", "//"), {}, dict(sizes)) for extent in shape.split(",") if extent.strip()]
            count = math.prod(extents)
            self.elements += count
            self.arguments.append(filled(count) if use == "read" else buffer(count))

    def call(self):
        self.entry(*self.arguments)


def seconds(call):
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS


def measured(kernels, copy, rounds):
    for kernel in kernels:
        half = kernel.elements // 2
        kernel.source, kernel.target = filled(half), buffer(half)
        kernel.times, kernel.shares = [], []
    for _ in range(rounds + 1):
        for kernel in kernels:
            half = ctypes.c_int64(kernel.elements // 2)
            copied = seconds(lambda: copy(half, kernel.source, kernel.target))
            kernel.call()
            taken = seconds(kernel.call)
            kernel.times.append((taken, copied))
            kernel.shares.append(copied / taken)


def run_of(what, folder, options):
    if (pathlib.Path(what) / "summary.json").exists() or (pathlib.Path(what) / "best.cpp").exists():
        return what
    quern.call(options.quern, "optimize", what, "--size", options.size, "--budget", options.budget,
               "--out", folder, good=(0, 4))
    return folder


def main():
    parser = quern.parser(__doc__, "streaming")
    parser.add_argument("--budget", default="64")
    parser.add_argument("--size", default="cpu")
    parser.add_argument("--rounds", default=40, type=int)
    parser.add_argument("what", nargs="+", metavar="TASK|RUN")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        copy = compiled_copy(folder)
        kernels = [Kernel(run_of(what, folder / f"run{i}", options), folder / f"export{i}",
                          options.quern) for i, what in enumerate(options.what)]
        measured(kernels, copy, options.rounds)
    rows = []
    for kernel in kernels:
        taken, copied = (statistics.median(side) for side in zip(*kernel.times[1:]))
        low, share, high = statistics.quantiles(kernel.shares[1:], n=4)
        rows.append({"task": kernel.name, "median_ms": round(1e3 * taken, 4),
                     "copy_gbs": round(4e-9 * kernel.elements / copied, 1),
                     "share_of_copy": round(share, 3), "quartiles": [round(low, 3), round(high, 3)]})
        print(rows[-1], flush=True)
    quern.save(options.out, {"size": options.size, "rounds": options.rounds, "calls": CALLS,
                             "tasks": rows})


if __name__ == "__main__":
    main()
