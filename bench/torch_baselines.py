# SPDX-License-Identifier: Apache-2.0
"""PyTorch eager, torch.compile and max-autotune beside candidates for four modules, by `quern bench`.

An element-wise module, a softmax, a product with an epilogue and a convolution, each with
candidates in Triton, CUDA or plain PyTorch: the suite is written as files, and judged as a user's.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import quern

HEAD = """
import torch
import torch.nn as nn
import torch.nn.functional as F
"""
MODULE = HEAD + """
class {name}(nn.Module):
    def __init__(self{parameters}):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}
"""
INPUTS = """
def get_inputs():
    return [torch.rand({shape})]

def get_init_inputs():
    return [{initial}]
"""
TRITON = """
import triton
import triton.language as tl

@triton.jit
def kernel(x, y, n, B: tl.constexpr):
{body}

def run(x):
    y = torch.empty_like(x)
    {launch}
    return y
"""
GELU_BODY = """    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    v = tl.load(x + i, mask=i < n)
    g = 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))
    tl.store(y + i, g * 0.5 + 1.0, mask=i < n)"""
SOFTMAX_BODY = """    j = tl.arange(0, B)
    row = tl.program_id(0).to(tl.int64) * n
    v = tl.load(x + row + j, mask=j < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row + j, e / tl.sum(e, 0), mask=j < n)"""
INLINE = '''
from torch.utils.cpp_extension import load_inline
ext = load_inline(name="gelu_scaled", cpp_sources="torch::Tensor run(torch::Tensor x);",
                  cuda_sources=r"""
#include <torch/extension.h>
__global__ void gelu(const float4* x, float4* y, long n) {
  const long i = blockIdx.x * 256l + threadIdx.x;
  if (i >= n) return;
  float4 v = x[i];
  float* f = &v.x;
  for (int k = 0; k < 4; ++k) f[k] = 0.25f * f[k] * (1 + erff(f[k] * 0.70710678f)) + 1;
  y[i] = v;
}
torch::Tensor run(torch::Tensor x) {
  auto y = torch::empty_like(x);
  const long n = x.numel() / 4;
  gelu<<<(n + 255) / 256, 256>>>((const float4*)x.data_ptr<float>(), (float4*)y.data_ptr<float>(),
                                 n);
  return y;
}
""", functions=["run"])
'''


def elementwise(n):
    init, triton = {"parameters": "", "init": "pass"}, TRITON.replace("{body}", GELU_BODY).replace(
        "{launch}", "kernel[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), B=1024)")
    return {"module": {**init, "forward": "return F.gelu(x) * 0.5 + 1.0"}, "shape": f"{n}, {n}",
            "initial": "", "candidates": {
                "triton": (triton, {**init, "forward": "return run(x)"}),
                "inline": (INLINE, {**init, "forward": "return ext.run(x)"})}}


def softmax(n):
    init, triton = {"parameters": "", "init": "pass"}, TRITON.replace(
        "{body}", SOFTMAX_BODY).replace("{launch}", "kernel[(x.shape[0],)](x, y, x.shape[1], "
                                        "B=triton.next_power_of_2(x.shape[1]), num_warps=16)")
    return {"module": {**init, "forward": "return torch.softmax(x, dim=1)"}, "shape": f"{n}, {n}",
            "initial": "", "candidates": {"triton": (triton, {**init, "forward": "return run(x)"})}}


def product(n):
    init = {"parameters": ", n", "init": "self.fc = nn.Linear(n, n)"}
    return {"module": {**init, "forward": "return F.gelu(self.fc(x))"}, "shape": f"{n // 4}, {n // 2}",
            "initial": str(n // 2), "candidates": {"plain": ("", {
                **init, "forward": "return F.gelu(torch.addmm(self.fc.bias, x, self.fc.weight.t()))"})}}


def convolution(n):
    init = {"parameters": "", "init": "self.conv = nn.Conv2d(64, 128, 3, padding=1)"}
    return {"module": {**init, "forward": "return torch.relu(self.conv(x))"},
            "shape": f"{max(1, n // 256)}, 64, {max(8, n // 128)}, {max(8, n // 128)}", "initial": "",
            "candidates": {"plain": ("", {**init, "forward": "return self.conv(x).relu_()"})}}


SUITE = {"elementwise": elementwise, "softmax": softmax, "product": product,
         "convolution": convolution}


def write_suite(folder, names, n):
    """Module files under modules/, candidates under candidates/TASK/."""
    for name in names:
        made = SUITE[name](n)
        text = MODULE.format(name="Model", **made["module"]) + INPUTS.format(**made)
        target = folder / "modules" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        for kind, (before, module) in made["candidates"].items():
            target = folder / "candidates" / name / f"{kind}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(HEAD + before + MODULE.format(name="ModelNew", **module)[len(HEAD):])


def reports_of(folder):
    """What the lane said, of every record under a folder of results."""
    for path in sorted(folder.rglob("*.json")):
        found = [json.loads(path.read_text())]
        while found:
            value = found.pop()
            if isinstance(value, dict) and isinstance(value.get("baselines"), dict) and \
                    "verdict" in value:
                yield path, value
            elif isinstance(value, (dict, list)):
                found += value.values() if isinstance(value, dict) else value


def figures_of(report):
    pick = ("median_ns", "low_ns", "high_ns", "speedup", "speedup_low", "speedup_high", "pairs")
    return {"verdict": report["verdict"], "candidate_ns": report.get("timing", {}).get("median_ns"),
            "baselines": {name: {key: value[key] for key in pick if key in value}
                          for name, value in report["baselines"].items()},
            "notes": report.get("notes", []),
            "stages_ms": {key: round(value) for key, value in report["stages_ms"].items()}}


def main():
    parser = quern.parser(__doc__, "torch_baselines")
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--n", type=int, default=8192, help="rows and columns of the largest")
    parser.add_argument("--only", nargs="*", default=list(SUITE), choices=list(SUITE))
    parser.add_argument("--baselines", default="eager,compile,max-autotune")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each module")
    arguments = parser.parse_args()
    figures = {"n": arguments.n, "target": arguments.target, "modules": {}}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as work:
            folder, began = pathlib.Path(work), time.monotonic()
            write_suite(folder, [name], arguments.n)
            command = [str(arguments.quern.resolve()), "bench", str(folder / "modules"),
                       "--candidates", str(folder / "candidates"), "--target", arguments.target,
                       "--size", "full", "--baselines", arguments.baselines, "--out",
                       str(folder / "out")]
            try:
                ran = subprocess.run(command, capture_output=True, text=True, cwd=work,
                                     timeout=arguments.seconds)
                said = ran.stdout[-1500:] + ran.stderr[-800:]
            except subprocess.TimeoutExpired as late:
                said = f"stopped after {late.timeout:.0f} s"
            rows = {f"{path.stem} {number}": figures_of(report) for number, (path, report)
                    in enumerate(reports_of(folder / "out"))}
            figures["modules"][name] = {"seconds": round(time.monotonic() - began, 1), **rows}
        print(said, json.dumps(figures["modules"][name]), sep="\n", flush=True)
        quern.save(arguments.out, figures, quietly=True)
    if not all(any(isinstance(row, dict) for row in rows.values())
               for rows in figures["modules"].values()):
        sys.exit("no report for some of the modules")


if __name__ == "__main__":
    main()
