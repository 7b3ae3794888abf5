#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seconds a candidate takes at KernelBench's published sizes: ReLU of 6.4 GB, product of 4096 by 4096.

  device   the kernel with a launch plan (`quern eval TASK F.cu`), in a stream of new sources
  lane     the same kernel through load_inline, as Triton, and as plain PyTorch, each a new source
  theirs   the module files through KernelBench's own evaluator, with --kernelbench FOLDER
  clock    the kernel timed by KernelBench's function, with --kernelbench FOLDER

usage: published_size.py [--parts device lane theirs] [--tasks relu matmul] [--count 20]
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import pathlib
import statistics
import sys
import tempfile
import time

import eval_throughput
import kernelbench_evaluator
import quern

# The package of the same name is python/quern.
del sys.modules["quern"]
sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != quern.ROOT / "bench"]
sys.path.insert(0, str(quern.ROOT / "python"))

MODULES = {"relu": """
import torch
import torch.nn as nn
batch_size = 4096
dim = 393216

class Model(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return torch.relu(x)

def get_inputs():
    return [torch.rand(batch_size, dim)]

def get_init_inputs():
    return []
""", "matmul": """
import torch
import torch.nn as nn
N = 4096

class Model(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, A, B):
        return torch.matmul(A, B)

def get_inputs():
    return [torch.rand(N, N), torch.rand(N, N)]

def get_init_inputs():
    return []
"""}
KERNELS = {"relu": """
extern "C" __global__ void __launch_bounds__(256) relu(const float* __restrict__ x,
                                                       float* __restrict__ y, long count) {
  if (count == -{mark}l) return;
  const long first = blockIdx.x * 1024l + threadIdx.x * 4l;
  if (first + 3 < count) {
    float4 v = *(const float4*)(x + first);
    v.x = fmaxf(v.x, 0.f); v.y = fmaxf(v.y, 0.f); v.z = fmaxf(v.z, 0.f); v.w = fmaxf(v.w, 0.f);
    *(float4*)(y + first) = v;
    return;
  }
  for (long i = first; i < count; ++i) y[i] = fmaxf(x[i], 0.f);
}
""", "matmul": """
extern "C" __global__ void __launch_bounds__(256)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, long m,
           long n, long k) {
  if (k == -{mark}l) return;
  __shared__ float left[16][16], right[16][16];
  const int tx = threadIdx.x, ty = threadIdx.y;
  const long i = blockIdx.y * 16 + ty, j = blockIdx.x * 16 + tx;
  float sum = 0.0f;
  for (long p = 0; p < k; p += 16) {
    left[ty][tx] = i < m && p + tx < k ? a[i * k + p + tx] : 0.0f;
    right[ty][tx] = j < n && p + ty < k ? b[(p + ty) * n + j] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 16; ++q) sum += left[ty][q] * right[q][tx];
    __syncthreads();
  }
  if (i < m && j < n) c[i * n + j] = sum;
}
"""}
PLANS = {"relu": "// quern: launch relu grid (ceil_div(batch * dim, 1024)) block (256) "
                 "args (x, y, i64(batch * dim))\n",
         "matmul": "// quern: launch matmul grid (ceil_div(n, 16), ceil_div(m, 16)) block (16, 16)\n"
                   "// quern:   args (a, b, c, i64(m), i64(n), i64(k))\n"}
HOSTS = {"relu": """
torch::Tensor run(torch::Tensor x) {
  auto y = torch::empty_like(x);
  long count = x.numel();
  relu<<<(count + 1023) / 1024, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), count);
  return y;
}
""", "matmul": """
torch::Tensor run(torch::Tensor a, torch::Tensor b) {
  long m = a.size(0), k = a.size(1), n = b.size(1);
  auto c = torch::empty({m, n}, a.options());
  matmul<<<dim3((n + 15) / 16, (m + 15) / 16), dim3(16, 16)>>>(
      a.data_ptr<float>(), b.data_ptr<float>(), c.data_ptr<float>(), m, n, k);
  return c;
}
"""}
CLASS = """
import torch
import torch.nn as nn
{before}
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, {names}):
        return {call}
"""
INLINE = '''
from torch.utils.cpp_extension import load_inline
ext = load_inline(name="published_{mark}", cpp_sources="{declared};", cuda_sources=r"""
#include <torch/extension.h>
{text}
""", functions=["run"])
'''
TRITON = """
import triton
import triton.language as tl

@triton.jit
def relu_{mark}(x, y, n, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    v = tl.load(x + i, mask=i < n)
    tl.store(y + i, tl.maximum(v, 0.0), mask=i < n)

def run(x):
    y = torch.empty_like(x)
    relu_{mark}[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), B=1024)
    return y
"""
NAMES = {"relu": "x", "matmul": "a, b"}
PLAIN = {"relu": "torch.clamp(x, min=0)", "matmul": "torch.mm(a, b)"}


def device_source(task, mark):
    return "// quern: target = cuda\n" + PLANS[task] + KERNELS[task].replace("{mark}", str(mark))


def module_source(task, kind, mark):
    """A candidate as a module file; another `mark` makes it another source."""
    if kind == "plain":
        return CLASS.format(before=f"# {mark}", names=NAMES[task], call=PLAIN[task])
    declared = HOSTS[task].strip().split(" {")[0]
    before = TRITON if kind == "triton" else INLINE.replace("{declared}", declared).replace(
        "{text}", KERNELS[task] + HOSTS[task])
    call = f"run({NAMES[task]})" if kind == "triton" else f"ext.run({NAMES[task]})"
    return CLASS.format(before=before.replace("{mark}", str(mark)), names=NAMES[task], call=call)


def through_the_lane(task, kinds, seed):
    from quern.torch_lane.lane import Lane, Options

    found, began = {}, time.monotonic()
    with Lane(MODULES[task], task, Options(device="cuda:0", cache=tempfile.mkdtemp())) as lane:
        prepared = time.monotonic() - began
        for place, kind in enumerate(kinds):
            began = time.monotonic()
            report = lane.evaluate(module_source(task, kind, seed + place))
            row = {"wall_s": round(time.monotonic() - began, 3), "verdict": report["verdict"],
                   "reason": report["reason"], "speedup": report.get("speedup"),
                   "median_ms": report.get("timing", {}).get("median_ns", 0) / 1e6,
                   "rounds": len(report.get("timing", {}).get("samples_ns", [])),
                   "stages_ms": {k: round(v) for k, v in report["stages_ms"].items()},
                   "orders_ms": {k: round(v) for k, v in report["orders_ms"].items()}}
            found.setdefault(kind, []).append(row)
            print("lane", task, kind, json.dumps(row), report["evidence"][-500:], flush=True)
    return {"prepare_s": round(prepared, 2), **found}


def on_the_device(options, task, seed):
    sources = [device_source(task, seed + number) for number in range(options.count)]
    with tempfile.TemporaryDirectory() as folder:
        path = quern.ROOT / "tasks" / f"{task}.task"
        answers, seconds, total = eval_throughput.stream(options.quern, path, sources, folder, 120)
    found = eval_throughput.figures_of(answers, seconds, total)
    found["seconds_each"] = seconds / max(1, len(answers) - 1)
    found["latency_ms"] = statistics.median(e["stages_ms"].get("total", 0) for e in answers)
    print("device", task, json.dumps(found), flush=True)
    return found


def by_their_clock(folder, task, seed):
    """Median and mean milliseconds of the load_inline candidate as KernelBench times it (3 + 100
    calls between CUDA events, cold cache), its inputs drawn on the device."""
    import torch
    from quern.torch_lane import build, builder

    sys.path.insert(0, folder)
    from kernelbench import timing

    text = "#include <torch/extension.h>\n" + (KERNELS[task] + HOSTS[task]).replace(
        "{mark}", str(seed))
    request = {"name": f"clock_{task}", "cpp": [HOSTS[task].strip().split(" {")[0] + ";"],
               "cuda": [text], "functions": {"run": "run"}, "with_cuda": True,
               "implicit_headers": True, **{field: [] for field in build._LIST_FIELDS}}
    builder.warm_up("cpu")
    made = builder.Builder(tempfile.mkdtemp()).build(request, tempfile.mkdtemp())
    extension = build._load(made["path"], request["name"], True)
    shapes = [(4096, 393216)] if task == "relu" else [(4096, 4096)] * 2
    inputs = [torch.rand(*shape, device="cuda") for shape in shapes]
    samples = timing.time_execution_with_cuda_event(
        extension.run, inputs, num_warmup=3, num_trials=100, verbose=False,
        device=torch.device("cuda:0"))
    found = {"median_ms": statistics.median(samples), "mean_ms": statistics.fmean(samples)}
    print("clock", task, json.dumps(found), flush=True)
    return found


def main():
    parser = quern.parser(__doc__, "published_size")
    parser.add_argument("--parts", nargs="*", default=["device", "lane"])
    parser.add_argument("--tasks", nargs="*", default=["relu", "matmul"])
    parser.add_argument("--kinds", nargs="*", help="of module files, for the lane and theirs")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--kernelbench", default="", help="their src folder")
    options = parser.parse_args()
    figures, seed = {}, 1 + time.time_ns() % 10 ** 9
    for task in options.tasks:
        kinds = options.kinds or (["inline", "triton"] * 2 + ["plain"] if task == "relu" else
                                  ["inline", "inline", "plain"])
        if "device" in options.parts:
            figures.setdefault("device", {})[task] = on_the_device(options, task, seed)
        if "lane" in options.parts:
            figures.setdefault("lane", {})[task] = through_the_lane(task, kinds, seed + 1000)
        if "theirs" in options.parts:
            rows = [(f"{task}_{kind}", MODULES[task], module_source(task, kind, seed + 2000))
                    for kind in dict.fromkeys(kinds)]
            figures.setdefault("theirs", {}).update(kernelbench_evaluator.judge(
                pathlib.Path(options.kernelbench).resolve(), rows, 1))
        quern.save(options.out, figures)
    for task in options.tasks if "clock" in options.parts else []:
        figures.setdefault("clock", {})[task] = by_their_clock(
            str(pathlib.Path(options.kernelbench).resolve()), task, seed + 3000)
        quern.save(options.out, figures)


if __name__ == "__main__":
    main()
