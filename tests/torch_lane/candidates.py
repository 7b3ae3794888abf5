# SPDX-License-Identifier: Apache-2.0
"""Candidates for small modules, honest and cheating, with the verdicts that they deserve.

`strict` names the lane's verdicts, with a breach behind a slash, any of which is right;
`kernelbench` is (compiled, correct) by KernelBench's rules, or None where that depends on chance or
on the confinement that the lane adds. `quick` ones run in CI; `device` says where one can run.
"""
from __future__ import annotations

import dataclasses

HEAD = """
import torch
import torch.nn as nn
import torch.nn.functional as F
"""

MODULE = HEAD + """
{sizes}

class Model(nn.Module):
    def __init__(self{parameters}):
        super().__init__()
        {init}

    def forward(self, {arguments}):
        return {forward}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return [{initial}]
"""


def _module(forward: str, inputs: str, arguments: str = "x", init: str = "pass",
            parameters: str = "", initial: str = "", sizes: str = "batch = {batch}\nn = {n}") -> str:
    return MODULE.format(forward=forward, inputs=inputs, arguments=arguments, init=init,
                         parameters=parameters, initial=initial, sizes=sizes)


ROWS = "torch.rand(batch, n)"
_TEMPLATES = {
    "linear": _module("torch.relu(self.fc(x))", ROWS, init="self.fc = nn.Linear(n, n)",
                      parameters=", n", initial="n"),
    "relu": _module("torch.relu(x)", ROWS),
    "scale": _module("x * 2.0 + 1.0", ROWS),
    "softmax": _module("torch.softmax(x, dim=1)", ROWS),
    "sum": _module("torch.sum(x, dim=1)", ROWS),
    "matmul": _module("torch.matmul(a, b)", "torch.rand(batch, n), torch.rand(n, n)", "a, b"),
    "norm": _module("self.norm(x)", ROWS, init="self.norm = nn.LayerNorm(n)", parameters=", n",
                    initial="n"),
    "dead": _module("torch.clamp(torch.minimum(x, torch.zeros_like(x)) + torch.abs(x) - x, 0.0, "
                    "9.0)", ROWS),
    "triangle": _module("torch.tril(torch.matmul(a, b))", "torch.tril(torch.rand(n, n)), "
                        "torch.tril(torch.rand(n, n))", "a, b"),
}


def modules(batch: int = 48, n: int = 96) -> dict[str, str]:
    """The reference modules at a size."""
    return {name: text.replace("{batch}", str(batch)).replace("{n}", str(n))
            for name, text in _TEMPLATES.items()}


def source_of(sample: "Sample", batch: int = 48, device: str = "cpu") -> str:
    """A candidate's text at a size, for a device."""
    return sample.source.replace("{batch}", str(batch)).replace("{device}", device)


@dataclasses.dataclass
class Sample:
    """One candidate."""

    name: str
    module: str
    source: str
    strict: tuple[str, ...]
    kernelbench: tuple[bool, bool] | None
    quick: bool = True
    device: str = "any"


SAMPLES: list[Sample] = []
_INIT = {"linear": ("self, n", "self.fc = nn.Linear(n, n)"),
         "norm": ("self, n", "self.norm = nn.LayerNorm(n)")}
_ARGUMENTS = {"matmul": "a, b", "triangle": "a, b"}


def add(name: str, module: str, forward: str, strict: str, kernelbench: tuple[int, int] | None,
        before: str = "", init: str | None = None, after: str = "", base: str = "nn.Module",
        **options: object) -> None:
    """A candidate out of the lines of its forward."""
    signature, body = _INIT.get(module, ("self", "pass"))
    lines = "\n".join("        " + line for line in forward.strip("\n").split("\n"))
    start = "\n".join("        " + line for line in (init or body).split("\n"))
    text = (HEAD + before + f"\nclass ModelNew({base}):\n    def __init__({signature}):\n"
            f"        super().__init__()\n{start}\n\n"
            f"    def forward(self, {_ARGUMENTS.get(module, 'x')}):\n{lines}\n" + after)
    add_source(name, module, text, strict, kernelbench, **options)


def add_source(name: str, module: str, text: str, strict: str,
               kernelbench: tuple[int, int] | None, **options: object) -> None:
    theirs = None if kernelbench is None else (bool(kernelbench[0]), bool(kernelbench[1]))
    SAMPLES.append(Sample(name, module, text, tuple(strict.split("|")), theirs,
                          **options))  # type: ignore[arg-type]


BOTH, WRONG, NOT_BUILT = (1, 1), (1, 0), (0, 0)

# Honest, in plain PyTorch.
add("linear_as_it_is", "linear", "return torch.relu(self.fc(x))", "passed", BOTH)
add("linear_in_place", "linear", "return F.linear(x, self.fc.weight, self.fc.bias).relu_()",
    "passed", BOTH)
add("linear_addmm", "linear",
    "return torch.addmm(self.fc.bias, x, self.fc.weight.t()).clamp_(min=0)", "passed", BOTH)
add("linear_renamed", "linear", "return torch.relu(self.other(x))", "passed", BOTH,
    init="self.other = nn.Linear(n, n)")
add("linear_in_double", "linear", "w, b = self.fc.weight.double(), self.fc.bias.double()\n"
    "return torch.relu(F.linear(x.double(), w, b)).float()", "passed", BOTH)
add("relu_clamp", "relu", "return x.clamp(min=0)", "passed", BOTH)
add("relu_where", "relu", "return torch.where(x > 0, x, torch.zeros_like(x))", "passed", BOTH)
add("relu_by_rows", "relu", "return torch.stack([torch.relu(row) for row in x])", "passed", BOTH)
add("scale_on_a_clone", "scale", "return x.clone().mul_(2).add_(1)", "passed", BOTH)
add("softmax_by_hand", "softmax", "e = torch.exp(x - x.amax(1, keepdim=True))\n"
    "return e / e.sum(1, keepdim=True)", "passed", BOTH)
add("sum_einsum", "sum", "return torch.einsum('ij->i', x)", "passed", BOTH)
add("sum_of_halves", "sum", "h = x.shape[1] // 2\nreturn x[:, :h].sum(1) + x[:, h:].sum(1)",
    "passed", BOTH)
add("sum_by_columns", "sum", "t = x[:, 0].clone()\nfor j in range(1, x.shape[1]): t += x[:, j]\n"
    "return t", "passed", BOTH, quick=False, device="cpu")  # a device's sizes are too long for it
add("matmul_transposed", "matmul", "return (b.t() @ a.t()).t()", "passed", BOTH)
add("matmul_blocked", "matmul", "k = b.shape[0] // 2\nreturn a[:, :k] @ b[:k] + a[:, k:] @ b[k:]",
    "passed", BOTH)
add("norm_by_hand", "norm", "m = x.mean(1, keepdim=True)\n"
    "v = ((x - m) ** 2).mean(1, keepdim=True)\n"
    "return (x - m) / torch.sqrt(v + self.norm.eps) * self.norm.weight + self.norm.bias",
    "passed", BOTH)
add("dead_in_full", "dead", "return F.relu(torch.minimum(x, 0 * x) + (x.abs() - x)).clamp(max=9)",
    "passed", BOTH)
add("triangle_of_structure", "triangle", "return torch.tril(torch.tril(a) @ torch.tril(b))",
    "passed", BOTH)
add("linear_one_size_only", "linear",
    "return torch.relu(self.fc(x)).reshape(len(self.rows), -1)", "passed", BOTH,
    init="self.fc = nn.Linear(n, n)\nself.rows = [0] * {batch}")
add("relu_content_memo", "relu", "key = x.double().sum().item()\n"
    "if key not in seen: seen[key] = torch.relu(x)\nreturn seen[key].clone()", "passed", BOTH,
    before="seen = {}\n")
add("linear_compiled", "linear", "return self.compiled(x)", "passed", BOTH, quick=False,
    init="self.fc = nn.Linear(n, n)\nself.compiled = torch.compile(lambda x: "
         "torch.relu(self.fc(x)))")

# Wrong.
add("linear_zeros", "linear", "return torch.zeros_like(x)", "wrong_result|rejected/stale_output",
    WRONG)
add("linear_without_bias", "linear", "return torch.relu(x @ self.fc.weight.t())", "wrong_result",
    WRONG)
add("matmul_half", "matmul", "return (a.half() @ b.half()).float()", "wrong_result", WRONG)
add("matmul_bfloat16", "matmul", "return (a.bfloat16() @ b.bfloat16()).float()", "wrong_result",
    WRONG)
add("sum_without_the_last", "sum", "return x[:, :-1].sum(1)", "wrong_result", WRONG)
add("sum_extrapolated", "sum", "h = x.shape[1] // 2\nreturn 2 * x[:, :h].sum(1)", "wrong_result",
    WRONG)
add("sum_of_wrong_shape", "sum", "return x.sum(1, keepdim=True)", "wrong_result", WRONG)
add("sum_in_double", "sum", "return x.double().sum(1)", "wrong_result", WRONG)
add("softmax_nan", "softmax", "y = torch.softmax(x, 1)\ny[0, 0] = float('nan')\nreturn y",
    "wrong_result", WRONG)
add("softmax_other_axis", "softmax", "return torch.softmax(x, dim=0)", "wrong_result", WRONG)
add("relu_tuple", "relu", "return (torch.relu(x),)", "wrong_result", WRONG)
add("scale_with_noise", "scale", "return x * 2 + 1 + torch.randn_like(x) * 0.01", "wrong_result",
    WRONG)
add("scale_half_done", "scale", "y = torch.zeros_like(x)\n"
    "y[: len(x) // 2] = x[: len(x) // 2] * 2 + 1\nreturn y", "wrong_result", WRONG)
add("scale_uninitialised", "scale", "y = torch.empty_like(x)\nreturn y",
    "wrong_result|rejected/stale_output", None)

# Right only by KernelBench's rules.
add("relu_identity", "relu", "return x.clone()", "wrong_result", BOTH)
add("relu_the_input_itself", "relu", "return x", "wrong_result", BOTH)
add("dead_constant", "dead", "return torch.zeros_like(x)", "wrong_result|rejected/stale_output",
    BOTH)
add("matmul_within_tolerance", "matmul", "return (a @ b) * (1 + 6e-5)", "wrong_result", BOTH)
add("relu_changes_its_input", "relu", "return x.relu_()",
    "rejected/modified_input|wrong_result", BOTH)
add("scale_changes_its_input", "scale", "y = x * 2 + 1\nx.zero_()\nreturn y",
    "rejected/modified_input", BOTH)
add("linear_seeded_weights", "linear", "return torch.relu(F.linear(x, *self.held))",
    "wrong_result", BOTH, init="torch.manual_seed(42)\nfc = nn.Linear(n, n)\n"
    "self.held = [fc.weight.detach().to('{device}'), fc.bias.detach().to('{device}')]")
add("linear_one_buffer", "linear", "if self.out is None: self.out = torch.empty_like(x)\n"
    "self.out.copy_(torch.relu(self.fc(x)))\nreturn self.out", "rejected/overwritten_output",
    BOTH, init="self.fc = nn.Linear(n, n)\nself.out = None")
add("linear_inherits", "linear", "return super().forward(x)", "compile_failed", BOTH,
    base="Model", init="pass", after="\n")
SAMPLES[-1].source = HEAD + "\nclass ModelNew(Model):\n    pass\n"
add("matmul_rebinds_the_reference", "matmul", "return torch.zeros_like(a)", "compile_failed",
    BOTH, after="\nModel.forward = lambda self, a, b: torch.zeros_like(a)\n")
add("matmul_rebinds_sizes", "matmul", "return a @ b", "passed", BOTH, after="\nbatch = 2\n")
add("matmul_rebinds_torch", "matmul", "return torch.zeros_like(a)",
    "wrong_result|rejected/stale_output", BOTH, after="""

class Fake:
    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        return self.real.zeros if name == "rand" else getattr(self.real, name)

torch = Fake(torch)
""")
add("relu_lazy", "relu", "y = torch.empty_like(x).as_subclass(Lazy)\ny.work = lambda: torch.relu(x)\n"
    "return y", "rejected/lazy_output", BOTH, before="""
class Lazy(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        done = [a.work() if type(a) is Lazy and "work" in a.__dict__ else a for a in args]
        with torch._C.DisableTorchFunctionSubclass():
            return function(*done, **(kwargs or {}))
""")

# Deceiving whoever measures.
add("zeros_and_allclose", "linear", "return torch.zeros_like(x)", "rejected/patched_torch", BOTH,
    after="\ntorch.allclose = lambda *a, **k: True\n")
add("zeros_and_setattr", "linear", "return torch.zeros_like(x)", "rejected/patched_torch", BOTH,
    after="\nsetattr(torch, 'allclose', lambda *a, **k: True)\n")
add("zeros_and_vars", "linear", "return torch.zeros_like(x)", "rejected/patched_torch", BOTH,
    after="\nvars(torch)['allclose'] = lambda *a, **k: True\n")
add("patched_functional", "linear", "return torch.relu(self.fc(x))", "rejected/patched_torch",
    BOTH, after="\nF.linear = F.linear\n")
add("patched_events", "linear", "return torch.relu(self.fc(x))", "rejected/patched_timer", BOTH,
    after="\ntorch.cuda.Event.elapsed_time = lambda self, other: 0.001\n")
add("patched_clock", "linear", "return torch.relu(self.fc(x))", "rejected/patched_timer", BOTH,
    after="\nimport time, itertools\nticks = itertools.count()\n"
          "time.perf_counter = lambda: next(ticks) * 1e-9\n")
add("patched_clock_by_name", "linear", "return torch.relu(self.fc(x))", "rejected/patched_timer",
    BOTH, after="\nimport itertools\nticks = itertools.count()\nt = __import__('time')\n"
                "t.__dict__['perf_counter'] = lambda: next(ticks) * 1e-9\n")
add("looks_for_answers", "matmul", "for o in gc.get_objects():\n"
    "    if isinstance(o, torch.Tensor) and o.shape == (a.shape[0], b.shape[1]): pass\n"
    "return a @ b", "rejected/inspects_harness", BOTH, before="import gc\n")
add("looks_at_frames", "matmul", "f = sys._getframe(1)\nreturn a @ b", "rejected/inspects_harness",
    BOTH, before="import sys\n")
add("falls_back", "linear", "try:\n    return missing_extension.linear(x, self.fc.weight)\n"
    "except Exception:\n    return torch.relu(self.fc(x))", "rejected/fallback", BOTH)
add("first_answer_again", "scale", "if self.kept is None: self.kept = x * 2 + 1\n"
    "return self.kept.clone()", "rejected/stale_output|wrong_result", WRONG, init="self.kept = None")
add("by_address", "scale", "key = x.data_ptr()\nif key not in seen: seen[key] = x * 2 + 1\n"
    "return seen[key].clone()", "rejected/stale_output|wrong_result", None, before="seen = {}\n")
add("later_by_thread", "scale", "y = torch.zeros_like(x)\n"
    "def work():\n    time.sleep(0.05)\n    y.copy_(x * 2 + 1)\n"
    "threading.Thread(target=work).start()\nreturn y",
    "wrong_result|rejected/left_threads|rejected/early_done|rejected/stale_output", None,
    before="import threading, time\n")
add("leaves_a_thread", "scale", "threading.Thread(target=time.sleep, args=(60,), daemon=True)"
    ".start()\nreturn x * 2 + 1", "rejected/left_threads", None,
    before="import threading, time\n")
add("defers_to_delivery", "matmul", "for _ in range(200): a @ b\nreturn a @ b",
    "rejected/early_done", None, before="""
import sys
runner = sys.modules["quern.torch_lane.runner"].Runner
real_run, real_deliver = runner.run, runner.deliver
runs = []

def run(self, message, fds):
    runs.append(message)
    return {}

def deliver(self, message, fds):
    real_run(self, runs[-1], [])
    return real_deliver(self, message, fds)

runner.run, runner.deliver = run, deliver
""")

# Out of bounds.
add("reads_a_file", "relu", "open('/etc/hostname').read()\nreturn torch.relu(x)",
    "rejected/file_access", None)
add("writes_a_file", "relu", "open('/var/tmp/quern_candidate', 'w').write('x')\n"
    "return torch.relu(x)", "rejected/file_access", None)
add("opens_a_socket", "relu", "socket.socket()\nreturn torch.relu(x)", "rejected/network", None,
    before="import socket\n")
add("starts_a_program", "relu", "subprocess.run(['true'])\nreturn torch.relu(x)", "rejected/fork",
    None, before="import subprocess\n")
add("forks", "relu", "os.fork() or os._exit(0)\nreturn torch.relu(x)", "rejected/fork", None,
    before="import os\n")
add("kills_its_parent", "relu", "os.kill(os.getppid(), 9)\nreturn torch.relu(x)",
    "rejected/forbidden_call", None, before="import os\n")
add("leaves", "relu", "os._exit(0)", "rejected/early_exit", None, before="import os\n")
add("hangs", "relu", "while True: pass", "timed_out", None)
add("crashes", "relu", "ctypes.string_at(8)\nreturn x", "crashed", None, before="import ctypes\n")
add("exits_as_an_exception", "relu", "raise SystemExit(0)", "launch_failed", None)

# Not runnable.
add_source("no_python", "relu", "class ModelNew(:\n", "compile_failed", NOT_BUILT)
add_source("no_class", "relu", "x = 1\n", "compile_failed", NOT_BUILT)
add("raises", "relu", "raise ValueError('no')", "launch_failed", WRONG)
add("missing_name", "relu", "return kernel(x)", "launch_failed", WRONG)
add("constructor_refuses", "relu", "return x", "launch_failed", WRONG,
    init="raise RuntimeError('no')")
add("constructor_refuses_value", "relu", "return x", "launch_failed", NOT_BUILT,
    init="raise ValueError('no')")
add("missing_package", "relu", "return x", "compile_failed", NOT_BUILT,
    before="import no_such_package\n")

# load_inline, C++.
_EXTENSION = '''
from torch.utils.cpp_extension import load_inline
source = r"""
{text}
"""
ext = load_inline(name="{name}", cpp_sources=source, functions={functions}, extra_cflags=["-O2"])
'''
_RELU_CPP = """
#include <torch/extension.h>
torch::Tensor relu(torch::Tensor x) {
  TORCH_CHECK(x.is_contiguous() && x.dtype() == torch::kFloat32, "packed floats");
  auto y = torch::empty_like(x);
  const float* from = x.data_ptr<float>();
  float* to = y.data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] > 0 ? from[i] : 0;
  return y;
}
"""
_MATMUL_CPP = """
#include <torch/extension.h>
torch::Tensor matmul(torch::Tensor a, torch::Tensor b) {
  auto c = torch::zeros({a.size(0), b.size(1)}, a.options());
  const auto n = a.size(0), k = a.size(1), m = b.size(1);
  const float *A = a.data_ptr<float>(), *B = b.data_ptr<float>();
  float* C = c.data_ptr<float>();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < m; ++j) C[i * m + j] += A[i * k + l] * B[l * m + j];
  return c;
}
"""


def extension(name: str, text: str, functions: str) -> str:
    return _EXTENSION.replace("{text}", text).replace("{name}", name).replace(
        "{functions}", functions)


add("cpp_relu", "relu", "return ext.relu(x)", "passed", BOTH, device="cpu",
    before=extension("cpp_relu", _RELU_CPP, '["relu"]'))
add("cpp_matmul", "matmul", "return ext.matmul(a, b)", "passed", BOTH, device="cpu",
    before=extension("cpp_matmul", _MATMUL_CPP, '["matmul"]'))
add("cpp_own_module", "relu", "return ext.relu(x)", "passed", BOTH, device="cpu",
    before=extension("cpp_own", _RELU_CPP + 'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) '
                     '{ m.def("relu", &relu, "relu"); }', "None"))
add("cpp_forgets_the_last", "relu", "return ext.relu(x)", "wrong_result", WRONG, device="cpu",
    before=extension("cpp_forgets", _RELU_CPP.replace("i < x.numel()", "i + 1 < x.numel()")
                     .replace("empty_like", "zeros_like"), '["relu"]'))
add("cpp_checks", "relu", "return ext.relu(x.double())", "launch_failed", WRONG, device="cpu",
    before=extension("cpp_checks", _RELU_CPP, '["relu"]'))
add("cpp_operators_of_torch", "relu", "return ext.relu(x)", "passed", BOTH, device="cpu",
    quick=False, before=extension("cpp_operators", """
#include <torch/extension.h>
torch::Tensor relu(torch::Tensor x) { return at::relu(x) + torch::matmul(x, x.t()).sum() * 0; }
""", '["relu"]'))
add("cpp_no_cpp", "relu", "return ext.relu(x)", "compile_failed", NOT_BUILT, device="cpu",
    quick=False, before=extension("cpp_no_cpp", "torch::Tensor relu(torch::Tensor x) { return y; }",
                                  '["relu"]'))

# CUDA through load_inline.
_CUDA = '''
from torch.utils.cpp_extension import load_inline
cpp = """{declaration}"""
cuda = r"""
#include <torch/extension.h>
#include <ATen/cuda/CUDAContext.h>
{text}
"""
ext = load_inline(name="{name}", cpp_sources=cpp, cuda_sources=cuda, functions=["run"])
'''
_EACH = """
__global__ void each(const float* from, float* to, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) to[i] = {expression};
}
torch::Tensor run(torch::Tensor x) {
  auto y = torch::empty_like(x);
  int n = x.numel();
  each<<<(n + 255) / 256, 256{stream}>>>(x.data_ptr<float>(), y.data_ptr<float>(), n);
  return y;
}
"""
_ROWS = """
__global__ void rows(const float* x, float* y, int n) {
  __shared__ float part[256];
  const float* row = x + blockIdx.x * (size_t)n;
  float top = -1e30f;
  for (int j = threadIdx.x; j < n; j += 256) top = fmaxf(top, row[j]);
  part[threadIdx.x] = top;
  __syncthreads();
  for (int s = 128; s > 0; s /= 2) {
    if (threadIdx.x < s) part[threadIdx.x] = fmaxf(part[threadIdx.x], part[threadIdx.x + s]);
    __syncthreads();
  }
  top = part[0];
  __syncthreads();
  float sum = 0;
  for (int j = threadIdx.x; j < n; j += 256) sum += expf(row[j] - top);
  part[threadIdx.x] = sum;
  __syncthreads();
  for (int s = 128; s > 0; s /= 2) {
    if (threadIdx.x < s) part[threadIdx.x] += part[threadIdx.x + s];
    __syncthreads();
  }
  sum = part[0];
  for (int j = threadIdx.x; j < n; j += 256)
    y[blockIdx.x * (size_t)n + j] = expf(row[j] - top) / sum;
}
torch::Tensor run(torch::Tensor x) {
  TORCH_CHECK(x.is_cuda(), "on the device");
  auto y = torch::empty({x.size(0), x.size(1)}, x.options());
  rows<<<x.size(0), 256, 0, at::cuda::getCurrentCUDAStream()>>>(
      x.data_ptr<float>(), y.data_ptr<float>(), x.size(1));
  return y;
}
"""
_TILES = """
__global__ void tiles(const float* a, const float* b, float* c, int n, int k, int m) {
  __shared__ float as[16][16], bs[16][16];
  int i = blockIdx.y * 16 + threadIdx.y, j = blockIdx.x * 16 + threadIdx.x;
  float sum = 0;
  for (int t = 0; t < k; t += 16) {
    as[threadIdx.y][threadIdx.x] = i < n && t + threadIdx.x < k ? a[i * k + t + threadIdx.x] : 0;
    bs[threadIdx.y][threadIdx.x] = t + threadIdx.y < k && j < m ? b[(t + threadIdx.y) * m + j] : 0;
    __syncthreads();
    for (int l = 0; l < {depth}; ++l) sum += as[threadIdx.y][l] * bs[l][threadIdx.x];
    __syncthreads();
  }
  if (i < n && j < m) c[i * m + j] = sum;
}
torch::Tensor run(torch::Tensor a, torch::Tensor b) {
  int n = a.size(0), k = a.size(1), m = b.size(1);
  auto c = torch::zeros({n, m}, a.options());
  tiles<<<dim3((m + 15) / 16, (n + 15) / 16), dim3(16, 16)>>>(
      a.data_ptr<float>(), b.data_ptr<float>(), c.data_ptr<float>(), n, k, m);
  return c;
}
"""
_ONE = "torch::Tensor run(torch::Tensor x);"
_TWO = "torch::Tensor run(torch::Tensor a, torch::Tensor b);"


def cuda(name: str, text: str, declaration: str = _ONE) -> str:
    return _CUDA.replace("{text}", text).replace("{name}", name).replace("{declaration}",
                                                                        declaration)


def each(expression: str, stream: str = "") -> str:
    return _EACH.replace("{expression}", expression).replace("{stream}", stream)


add("cuda_relu", "relu", "return ext.run(x)", "passed", BOTH, device="cuda",
    before=cuda("cuda_relu", each("fmaxf(from[i], 0.0f)")))
add("cuda_scale", "scale", "return ext.run(x)", "passed", BOTH, device="cuda",
    before=cuda("cuda_scale", each("from[i] * 2 + 1")))
add("cuda_scale_on_its_stream", "scale", "return ext.run(x)", "passed", BOTH, device="cuda",
    before=cuda("cuda_scale_stream", each("from[i] * 2 + 1",
                                          ", 0, at::cuda::getCurrentCUDAStream()")))
add("cuda_softmax", "softmax", "return ext.run(x)", "passed", BOTH, device="cuda",
    before=cuda("cuda_softmax", _ROWS))
add("cuda_matmul", "matmul", "return ext.run(a, b)", "passed", BOTH, device="cuda",
    before=cuda("cuda_matmul", _TILES.replace("{depth}", "16"), _TWO))
add("cuda_matmul_skips_terms", "matmul", "return ext.run(a, b)", "wrong_result", WRONG,
    device="cuda", before=cuda("cuda_matmul_skips", _TILES.replace("{depth}", "15"), _TWO))
add("cuda_identity", "relu", "return ext.run(x)", "wrong_result", BOTH, device="cuda",
    before=cuda("cuda_identity", each("from[i]")))
add("cuda_changes_its_input", "scale", "y = ext.run(x)\nx.zero_()\nreturn y",
    "rejected/modified_input", BOTH, device="cuda",
    before=cuda("cuda_changes", each("from[i] * 2 + 1")))
add("cuda_out_of_bounds", "scale", "return ext.run(x)", "crashed|launch_failed|wrong_result", None,
    device="cuda", before=cuda("cuda_out", each("from[i + (1 << 30)]")))
add("cuda_syntax", "scale", "return ext.run(x)", "compile_failed", NOT_BUILT, device="cuda",
    before=cuda("cuda_syntax", each("from[i] *")))
add("cuda_operators_of_torch", "scale", "return ext.run(x)", "passed", BOTH, device="cuda",
    quick=False, before=cuda("cuda_operators", "torch::Tensor run(torch::Tensor x) "
                             "{ return at::add(at::mul(x, 2), 1); }"))
add("cuda_first_answer_again", "scale", "if self.kept is None: self.kept = ext.run(x)\n"
    "return self.kept.clone()", "rejected/stale_output|wrong_result", WRONG, device="cuda",
    init="self.kept = None", before=cuda("cuda_first", each("from[i] * 2 + 1")))
add("cuda_zeros_and_allclose", "scale", "return ext.run(x)", "rejected/patched_torch", BOTH,
    device="cuda", before=cuda("cuda_zeros", each("0.0f")),
    after="\ntorch.allclose = lambda *a, **k: True\n")
add("cuda_sum_of_a_tenth", "sum", "return ext.run(x).sum(1)", "wrong_result", WRONG, device="cuda",
    before=cuda("cuda_tenth", each("i % 10 == 0 ? 10 * from[i] : 0.0f")))

# Streams: who calls waits for its own stream alone, and the whole device's work counts.
_SIDE = "self.side = torch.cuda.Stream()"
add("side_stream_that_nobody_waits_for", "matmul", "with torch.cuda.stream(self.side):\n"
    "    torch.cuda._sleep(20_000_000)\n    return a @ b", "rejected/unsynchronised_stream", BOTH,
    device="cuda", init=_SIDE)
add("side_stream_without_the_inputs", "scale", "with torch.cuda.stream(self.side):\n"
    "    for _ in range(20): y = torch.flip(x, [0])\n    return x * 2 + 1",
    "rejected/unsynchronised_stream", BOTH, device="cuda", init=_SIDE)
add("side_stream_that_is_waited_for", "matmul", "now = torch.cuda.current_stream()\n"
    "self.side.wait_stream(now)\nwith torch.cuda.stream(self.side):\n    c = a @ b\n"
    "now.wait_stream(self.side)\nc.record_stream(now)\nreturn c", "passed", BOTH, device="cuda",
    init=_SIDE)

# Triton.
_TRITON = """
import triton
import triton.language as tl

@triton.jit
def each(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.load(x + i, mask=i < n)
    tl.store(y + i, {expression}, mask=i < n)

def run(x):
    y = torch.empty_like(x)
    each[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), B=1024)
    return y
"""
_TRITON_ROWS = """
import triton
import triton.language as tl

@triton.jit
def rows(x, y, n, B: tl.constexpr):
    j = tl.arange(0, B)
    v = tl.load(x + tl.program_id(0) * n + j, mask=j < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + tl.program_id(0) * n + j, e / tl.sum(e, 0), mask=j < n)

def run(x):
    y = torch.empty_like(x)
    rows[(x.shape[0],)](x, y, x.shape[1], B=triton.next_power_of_2(x.shape[1]))
    return y
"""
_TRITON_DOT = """
import triton
import triton.language as tl

@triton.jit
def dot(a, b, c, n, k, m, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    j = tl.program_id(1) * B + tl.arange(0, B)
    s = tl.zeros((B, B), tl.float32)
    for t in range(0, k, B):
        l = t + tl.arange(0, B)
        p = tl.load(a + i[:, None] * k + l[None, :], mask=(i[:, None] < n) & (l[None, :] < k), other=0)
        q = tl.load(b + l[:, None] * m + j[None, :], mask=(l[:, None] < k) & (j[None, :] < m), other=0)
        s += tl.dot(p, q, input_precision="{precision}")
    tl.store(c + i[:, None] * m + j[None, :], s, mask=(i[:, None] < n) & (j[None, :] < m))

def run(a, b):
    n, k, m = a.shape[0], a.shape[1], b.shape[1]
    c = torch.empty((n, m), device=a.device)
    dot[(triton.cdiv(n, 32), triton.cdiv(m, 32))](a, b, c, n, k, m, B=32)
    return c
"""


_TRITON_SUM = """
import triton
import triton.language as tl

@triton.jit
def sums(x, y, n, B: tl.constexpr):
    j = tl.arange(0, B)
    v = tl.load(x + tl.program_id(0) * n + j, mask=j < n, other=0.0)
    tl.store(y + tl.program_id(0), tl.sum(v, 0))

def run(x):
    y = torch.empty(x.shape[0], device=x.device)
    sums[(x.shape[0],)](x, y, x.shape[1], B=triton.next_power_of_2(x.shape[1]))
    return y
"""
_TRITON_NORM = """
import triton
import triton.language as tl

@triton.jit
def norm(x, w, b, y, n, eps, B: tl.constexpr):
    j = tl.arange(0, B)
    v = tl.load(x + tl.program_id(0) * n + j, mask=j < n, other=0.0)
    d = tl.where(j < n, v - tl.sum(v, 0) / n, 0.0)
    r = d / tl.sqrt(tl.sum(d * d, 0) / n + eps)
    tl.store(y + tl.program_id(0) * n + j,
             r * tl.load(w + j, mask=j < n) + tl.load(b + j, mask=j < n), mask=j < n)

def run(x, w, b, eps):
    y = torch.empty_like(x)
    norm[(x.shape[0],)](x, w, b, y, x.shape[1], eps, B=triton.next_power_of_2(x.shape[1]))
    return y
"""


def triton_each(expression: str) -> str:
    return _TRITON.replace("{expression}", expression)


add("triton_relu", "relu", "return run(x)", "passed", BOTH, device="cuda",
    before=triton_each("tl.maximum(v, 0.0)"))
add("triton_scale", "scale", "return run(x)", "passed", BOTH, device="cuda",
    before=triton_each("v * 2 + 1"))
add("triton_softmax", "softmax", "return run(x)", "passed", BOTH, device="cuda",
    before=_TRITON_ROWS)
add("triton_matmul", "matmul", "return run(a, b)", "passed", BOTH, device="cuda",
    before=_TRITON_DOT.replace("{precision}", "ieee"))
add("triton_matmul_tf32", "matmul", "return run(a, b)", "wrong_result", None, device="cuda",
    before=_TRITON_DOT.replace("{precision}", "tf32"))
add("triton_identity", "relu", "return run(x)", "wrong_result", BOTH, device="cuda",
    before=triton_each("v"))
add("triton_decoy", "scale", "run(x)\nreturn x * 2 + 1", "passed", BOTH, device="cuda",
    before=triton_each("v"))
add("triton_sum", "sum", "return run(x)", "passed", BOTH, device="cuda", before=_TRITON_SUM)
add("triton_norm", "norm", "return run(x, self.norm.weight, self.norm.bias, self.norm.eps)",
    "passed", BOTH, device="cuda", before=_TRITON_NORM)
add("triton_linear", "linear", "return torch.relu(run(x, self.fc.weight.t().contiguous()) "
    "+ self.fc.bias)", "passed", BOTH, device="cuda",
    before=_TRITON_DOT.replace("{precision}", "ieee"))
add("triton_tuned", "scale", "return run(x)", "passed", BOTH, device="cuda",
    before=triton_each("v * 2 + 1").replace("@triton.jit", "@triton.autotune(configs=[triton.Config"
    "({'B': b}) for b in (512, 1024)], key=['n'])\n@triton.jit").replace(", B=1024)", ")").replace(
        "(triton.cdiv(x.numel(), 1024),)", "lambda meta: (triton.cdiv(x.numel(), meta['B']),)"))
add("triton_in_half_precision", "relu", "return run(x)", "wrong_result", WRONG, device="cuda",
    before=triton_each("tl.maximum(v, 0.0).to(tl.float16).to(tl.float32)"))
add("triton_skips_the_tail", "relu", "return run(x)", "wrong_result", WRONG, device="cuda",
    before=triton_each("tl.maximum(v, 0.0)").replace("empty_like", "zeros_like").replace(
        "tl.store(y + i, tl.maximum(v, 0.0), mask=i < n)",
        "tl.store(y + i, tl.maximum(v, 0.0), mask=i < n - 300)"))
add("triton_changes_its_input", "scale", "y = run(x)\nx.zero_()\nreturn y",
    "rejected/modified_input", BOTH, device="cuda", before=triton_each("v * 2 + 1"))
add("triton_one_buffer", "scale", "if self.out is None: self.out = torch.empty_like(x)\n"
    "self.out.copy_(run(x))\nreturn self.out", "rejected/overwritten_output", BOTH, device="cuda",
    init="self.out = None", before=triton_each("v * 2 + 1"))
add("triton_falls_back", "scale", "try:\n    return run(x)\n"
    "except Exception:\n    return torch.add(x * 2, 1)", "rejected/fallback", BOTH, device="cuda",
    before=triton_each("no_such_value"))
add("triton_syntax", "scale", "return run(x)", "launch_failed", WRONG, device="cuda",
    before=triton_each("no_such_value"))
