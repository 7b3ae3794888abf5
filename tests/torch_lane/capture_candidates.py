# SPDX-License-Identifier: Apache-2.0
"""Honest Triton and CUDA candidates for capture and replay, ten modules, four of each.

`cannot`, where it is not empty, is a piece of the reason why a candidate cannot be certified.
"""
from __future__ import annotations

import dataclasses
import textwrap

from candidates import HEAD, MODULE

ROWS = "torch.randn(rows, cols)"
_INITS = {
    "affine": ("self, cols", "self.weight = nn.Parameter(torch.rand(cols))\n"
               "        self.bias = nn.Parameter(torch.rand(cols))"),
    "layer_norm": ("self, cols", "self.norm = nn.LayerNorm(cols)"),
}
_FORWARDS = {
    "affine": ("x", ROWS, "torch.relu(x * self.weight + self.bias)"),
    "add": ("x, y", f"{ROWS}, {ROWS}", "x + y"),
    "softmax": ("x", ROWS, "torch.softmax(x, dim=1)"),
    "layer_norm": ("x", ROWS, "self.norm(x)"),
    "row_sum": ("x", ROWS, "torch.sum(x, dim=1)"),
    "transpose": ("x", ROWS, "x.t().contiguous()"),
    "matmul": ("a, b", "torch.randn(n, n), torch.randn(n, n)", "torch.matmul(a, b)"),
    "row_max": ("x", ROWS, "torch.amax(x, dim=1)"),
    "error": ("x, y", f"{ROWS}, {ROWS}", "torch.mean((x - y) ** 2, dim=1)"),
    "rms_norm": ("x", ROWS, "x * torch.rsqrt(torch.mean(x * x, dim=1, keepdim=True) + 1e-5)"),
}


def modules(rows: int, cols: int, n: int) -> dict[str, str]:
    """The reference modules at a size."""
    made = {}
    for name, (arguments, inputs, forward) in _FORWARDS.items():
        signature, init = _INITS.get(name, ("self", "pass"))
        sizes = f"n = {n}" if name == "matmul" else f"rows = {rows}\ncols = {cols}"
        made[name] = MODULE.format(
            sizes=sizes, parameters=signature.removeprefix("self"), init=init,
            arguments=arguments, forward=forward, inputs=inputs,
            initial="cols" if name in _INITS else "")
    return made


@dataclasses.dataclass
class Sample:
    """One candidate."""

    name: str
    module: str
    source: str
    cannot: str = ""


SAMPLES: list[Sample] = []


def _add(module: str, name: str, before: str, forward: str, cannot: str = "",
         init: str = "") -> None:
    signature, body = _INITS.get(module, ("self", "pass"))
    arguments = _FORWARDS[module][0]
    lines = textwrap.indent(textwrap.dedent(forward).strip(), "        ")
    start = "\n        ".join([body, *init.splitlines()])
    SAMPLES.append(Sample(f"{module}_{name}", module, HEAD + before + f"""
class ModelNew(nn.Module):
    def __init__({signature}):
        super().__init__()
        {start}

    def forward(self, {arguments}):
{lines}
""", cannot))


def triton(module: str, name: str, kernels: str, forward: str, **more: str) -> None:
    _add(module, "triton_" + name, "import triton\nimport triton.language as tl\n\n"
         + textwrap.dedent(kernels).strip() + "\n", forward, **more)


def cuda(module: str, name: str, source: str, signature: str = "torch::Tensor x",
         forward: str = "return ext.run(x)", **more: str) -> None:
    """`source` defines `torch::Tensor run(SIGNATURE)`, whose head RUN stands for."""
    head = f"torch::Tensor run({signature})"
    text = textwrap.dedent(source).strip().replace("RUN", head)
    text = (_BLOCK if "over_block" in text else "") + text
    _add(module, "cuda_" + name, f'''
from torch.utils.cpp_extension import load_inline
cuda = r"""
#include <torch/extension.h>
#include <ATen/cuda/CUDAContext.h>
{text}
"""
ext = load_inline(name="{module}_{name}", cpp_sources="{head};", cuda_sources=cuda,
                  functions=["run"])
''', forward, **more)


# Reductions of a block of 256 threads, for the CUDA sources.
_BLOCK = """
template <class F>
__device__ float over_block(float v, F f) {
  __shared__ float part[8];
  for (int s = 16; s > 0; s /= 2) v = f(v, __shfl_xor_sync(~0u, v, s));
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = part[0];
  for (int w = 1; w < 8; ++w) v = f(v, part[w]);
  return v;
}
struct Add { __device__ float operator()(float a, float b) const { return a + b; } };
struct Max { __device__ float operator()(float a, float b) const { return fmaxf(a, b); } };
"""
_TWO, _W = "torch::Tensor x, torch::Tensor y", "torch::Tensor x, torch::Tensor w, torch::Tensor b"

# affine: relu(x * weight + bias)
_AFFINE = """
{tune}@triton.jit
def affine(x, w, b, y, n, cols, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    m = i < n
    v = tl.load(x + i, mask=m) * tl.load(w + i % cols, mask=m) + tl.load(b + i % cols, mask=m)
    tl.store(y + i, tl.maximum(v, 0.0), mask=m)
"""
triton("affine", "blocks", _AFFINE.format(tune=""), """
    y = torch.empty_like(x)
    affine[(triton.cdiv(x.numel(), 1024),)](
        x, self.weight, self.bias, y, x.numel(), x.shape[1], 1024)
    return y""")
triton("affine", "tuned", _AFFINE.format(
    tune="@triton.autotune([triton.Config({'B': 1024}, num_warps=4), triton.Config({'B': 2048}, "
         "num_warps=8)], key=['n'])\n"), """
    y = torch.empty_like(x)
    affine[lambda meta: (triton.cdiv(x.numel(), meta['B']),)](
        x, self.weight, self.bias, y, x.numel(), x.shape[1])
    return y""")
cuda("affine", "vector", """
    __global__ void affine(const float4* x, const float4* w, const float4* b, float4* y, int cols) {
      for (int j = threadIdx.x; j < cols; j += blockDim.x) {
        const size_t i = blockIdx.x * (size_t)cols + j;
        float4 v = x[i], s = w[j], t = b[j];
        y[i] = make_float4(fmaxf(v.x * s.x + t.x, 0.f), fmaxf(v.y * s.y + t.y, 0.f),
                           fmaxf(v.z * s.z + t.z, 0.f), fmaxf(v.w * s.w + t.w, 0.f));
      }
    }
    RUN {
      auto y = torch::empty_like(x);
      affine<<<x.size(0), 256, 0, at::cuda::getCurrentCUDAStream()>>>(
          (const float4*)x.data_ptr<float>(), (const float4*)w.data_ptr<float>(),
          (const float4*)b.data_ptr<float>(), (float4*)y.data_ptr<float>(), x.size(1) / 4);
      return y;
    }""", _W, "return ext.run(x, self.weight, self.bias)")
triton("affine", "folded", """
    @triton.jit
    def affine(x, wb, y, n, cols, B: tl.constexpr):
        i = tl.program_id(0) * B + tl.arange(0, B)
        m = i < n
        c = i % cols
        v = tl.load(x + i, mask=m) * tl.load(wb + c, mask=m) + tl.load(wb + cols + c, mask=m)
        tl.store(y + i, tl.maximum(v, 0.0), mask=m)""", """
    if self.both is None:
        self.both = torch.stack([self.weight, self.bias])
    y = torch.empty_like(x)
    affine[(triton.cdiv(x.numel(), 1024),)](x, self.both, y, x.numel(), x.shape[1], 1024)
    return y""", init="self.both = None", cannot="made before the call")

# add: x + y
triton("add", "blocks", """
    @triton.jit
    def add(x, y, o, n, B: tl.constexpr):
        i = tl.program_id(0) * B + tl.arange(0, B)
        m = i < n
        tl.store(o + i, tl.load(x + i, mask=m) + tl.load(y + i, mask=m), mask=m)""", """
    o = torch.empty_like(x)
    add[(triton.cdiv(x.numel(), 1024),)](x, y, o, x.numel(), 1024)
    return o""")
triton("add", "to_a_clone", """
    @triton.jit
    def add(x, o, n, B: tl.constexpr):
        i = tl.program_id(0) * B + tl.arange(0, B)
        m = i < n
        tl.store(o + i, tl.load(x + i, mask=m) + tl.load(o + i, mask=m), mask=m)""", """
    o = y.clone()
    add[(triton.cdiv(x.numel(), 1024),)](x, o, x.numel(), 1024)
    return o""")
cuda("add", "struct", """
    struct Work { const float* x; const float* y; float* o; long n; int step; };
    __global__ void add(Work w) {
      for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < w.n; i += w.step)
        w.o[i] = w.x[i] + w.y[i];
    }
    RUN {
      auto o = torch::empty_like(x);
      add<<<132 * 8, 256>>>(Work{x.data_ptr<float>(), y.data_ptr<float>(), o.data_ptr<float>(),
                                 (long)x.numel(), 132 * 8 * 256});
      return o;
    }""", _TWO, "return ext.run(x, y)")
cuda("add", "sum_of_zeros", """
    __global__ void more(const float* x, float* o, long n) {
      const long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
      if (i < n) o[i] += x[i];
    }
    RUN {
      auto o = torch::empty_like(x);
      const long n = x.numel();
      cudaMemsetAsync(o.data_ptr<float>(), 0, n * 4);
      more<<<(n + 255) / 256, 256>>>(x.data_ptr<float>(), o.data_ptr<float>(), n);
      more<<<(n + 255) / 256, 256>>>(y.data_ptr<float>(), o.data_ptr<float>(), n);
      return o;
    }""", _TWO, "return ext.run(x, y)")

# softmax
triton("softmax", "rows", """
    @triton.jit
    def softmax(x, y, cols, B: tl.constexpr):
        i = tl.program_id(0).to(tl.int64) * cols + tl.arange(0, B)
        m = tl.arange(0, B) < cols
        v = tl.load(x + i, mask=m, other=-float('inf'))
        e = tl.exp(v - tl.max(v, 0))
        tl.store(y + i, e / tl.sum(e, 0), mask=m)""", """
    y = torch.empty_like(x)
    softmax[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=16)
    return y""")
triton("softmax", "two_kernels", """
    @triton.jit
    def bounds(x, t, s, cols, B: tl.constexpr):
        r = tl.program_id(0).to(tl.int64)
        j = tl.arange(0, B)
        v = tl.load(x + r * cols + j, mask=j < cols, other=-float('inf'))
        top = tl.max(v, 0)
        tl.store(t + r, top)
        tl.store(s + r, tl.sum(tl.exp(v - top), 0))

    @triton.jit
    def scale(x, t, s, y, n, cols, B: tl.constexpr):
        i = tl.program_id(0) * B + tl.arange(0, B)
        m = i < n
        r = i // cols
        e = tl.exp(tl.load(x + i, mask=m) - tl.load(t + r, mask=m))
        tl.store(y + i, e / tl.load(s + r, mask=m), mask=m)""", """
    y = torch.empty_like(x)
    t = torch.empty(x.shape[0], device=x.device)
    s = torch.empty_like(t)
    bounds[(x.shape[0],)](x, t, s, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=16)
    scale[(triton.cdiv(x.numel(), 1024),)](x, t, s, y, x.numel(), x.shape[1], 1024)
    return y""")
_SOFTMAX = """
__global__ void softmax(const float* x, float* y, int n) {{
  {row}
  const float* from = x + blockIdx.x * (size_t)n;
  float top = -INFINITY, sum = 0;
  for (int j = threadIdx.x; j < n; j += 256) {{ {keep} top = fmaxf(top, from[j]); }}
  top = over_block(top, Max());
  for (int j = threadIdx.x; j < n; j += 256) sum += expf({value} - top);
  sum = over_block(sum, Add());
  for (int j = threadIdx.x; j < n; j += 256)
    y[blockIdx.x * (size_t)n + j] = expf({value} - top) / sum;
}}
RUN {{
  auto y = torch::empty_like(x);
  const int n = x.size(1);
  {attribute}
  softmax<<<x.size(0), 256, {shared}>>>(x.data_ptr<float>(), y.data_ptr<float>(), n);
  return y;
}}"""
cuda("softmax", "three_passes", _SOFTMAX.format(row="", keep="", value="from[j]", shared="0",
                                                attribute=""))
cuda("softmax", "row_in_shared", _SOFTMAX.format(
    row="extern __shared__ float row[];", keep="row[j] = from[j];", value="row[j]", shared="4 * n",
    attribute="cudaFuncSetAttribute(softmax, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * n);"))

# layer_norm
triton("layer_norm", "rows", """
    @triton.jit
    def norm(x, w, b, y, cols, eps, B: tl.constexpr):
        j = tl.arange(0, B)
        i = tl.program_id(0).to(tl.int64) * cols + j
        m = j < cols
        v = tl.load(x + i, mask=m, other=0.0)
        d = tl.where(m, v - tl.sum(v, 0) / cols, 0.0)
        r = 1.0 / tl.sqrt(tl.sum(d * d, 0) / cols + eps)
        tl.store(y + i, d * r * tl.load(w + j, mask=m) + tl.load(b + j, mask=m), mask=m)""", """
    y = torch.empty_like(x)
    norm[(x.shape[0],)](x, self.norm.weight, self.norm.bias, y, x.shape[1], self.norm.eps,
                        triton.next_power_of_2(x.shape[1]), num_warps=16)
    return y""")
_NORM = """
__device__ float2 moments(const float* row, int n) {
  float sum = 0, squares = 0;
  for (int j = threadIdx.x; j < n; j += 256) sum += row[j];
  const float mean = over_block(sum, Add()) / n;
  for (int j = threadIdx.x; j < n; j += 256) squares += (row[j] - mean) * (row[j] - mean);
  return make_float2(mean, rsqrtf(over_block(squares, Add()) / n + 1e-5f));
}
"""
_NORM_CALL = "return ext.run(x, self.norm.weight, self.norm.bias)"
cuda("layer_norm", "rows", _NORM + """
__global__ void norm(const float* x, const float* w, const float* b, float* y, int n) {
  const float* row = x + blockIdx.x * (size_t)n;
  const float2 m = moments(row, n);
  for (int j = threadIdx.x; j < n; j += 256)
    y[blockIdx.x * (size_t)n + j] = (row[j] - m.x) * m.y * w[j] + b[j];
}
RUN {
  auto y = torch::empty_like(x);
  norm<<<x.size(0), 256>>>(x.data_ptr<float>(), w.data_ptr<float>(), b.data_ptr<float>(),
                           y.data_ptr<float>(), x.size(1));
  return y;
}""", _W, _NORM_CALL)
cuda("layer_norm", "moments_first", _NORM + """
__global__ void first(const float* x, float2* m, int n) {
  const float2 found = moments(x + blockIdx.x * (size_t)n, n);
  if (threadIdx.x == 0) m[blockIdx.x] = found;
}
__global__ void then(const float* x, const float2* m, const float* w, const float* b, float* y,
                     int n) {
  const int j = blockIdx.y * 256 + threadIdx.x;
  if (j >= n) return;
  const size_t i = blockIdx.x * (size_t)n + j;
  y[i] = (x[i] - m[blockIdx.x].x) * m[blockIdx.x].y * w[j] + b[j];
}
RUN {
  auto y = torch::empty_like(x);
  auto m = torch::empty({x.size(0), 2}, x.options());
  const int n = x.size(1);
  first<<<x.size(0), 256>>>(x.data_ptr<float>(), (float2*)m.data_ptr<float>(), n);
  then<<<dim3(x.size(0), (n + 255) / 256), 256>>>(
      x.data_ptr<float>(), (float2*)m.data_ptr<float>(), w.data_ptr<float>(), b.data_ptr<float>(),
      y.data_ptr<float>(), n);
  return y;
}""", _W, _NORM_CALL)
cuda("layer_norm", "constant_memory", _NORM + """
__constant__ float scale[8192];
__global__ void norm(const float* x, const float* b, float* y, int n) {
  const float* row = x + blockIdx.x * (size_t)n;
  const float2 m = moments(row, n);
  for (int j = threadIdx.x; j < n; j += 256)
    y[blockIdx.x * (size_t)n + j] = (row[j] - m.x) * m.y * scale[j] + b[j];
}
RUN {
  auto y = torch::empty_like(x);
  cudaMemcpyToSymbolAsync(scale, w.data_ptr<float>(), 4 * x.size(1), 0,
                          cudaMemcpyDeviceToDevice, 0);
  norm<<<x.size(0), 256>>>(x.data_ptr<float>(), b.data_ptr<float>(), y.data_ptr<float>(),
                           x.size(1));
  return y;
}""", _W, _NORM_CALL, cannot="it copies")

# row_sum
_SUM = """
@triton.jit
def total(x, y, cols, stride, B: tl.constexpr):
    r = tl.program_id(0).to(tl.int64) * stride + tl.program_id(1) * cols
    s = tl.zeros((B,), tl.float32)
    for j in range(0, cols, B):
        s += tl.load(x + r + j + tl.arange(0, B), mask=j + tl.arange(0, B) < cols, other=0.0)
    tl.store(y + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.sum(s, 0))
"""
triton("row_sum", "rows", _SUM, """
    y = torch.empty(x.shape[0], device=x.device)
    total[(x.shape[0], 1)](x, y, x.shape[1], x.shape[1], 2048)
    return y""")
triton("row_sum", "in_parts", _SUM, """
    y = torch.empty(x.shape[0], device=x.device)
    part = torch.empty(x.shape[0], 4, device=x.device)
    total[(x.shape[0], 4)](x, part, x.shape[1] // 4, x.shape[1], 1024)
    total[(x.shape[0], 1)](part, y, 4, 4, 16)
    return y""")
_ROW = """
__global__ void reduce(const float* x, float* y, int n) {{
  float v = {start};
  const float4* row = (const float4*)(x + blockIdx.x * (size_t)n);
  for (int j = threadIdx.x; j < n / 4; j += 256) {{
    const float4 q = row[j];
    v = {one}({one}({one}({one}(v, q.x), q.y), q.z), q.w);
  }}
  v = over_block(v, {one});
  if (threadIdx.x == 0) {store};
}}
RUN {{
  auto y = {made};
  reduce<<<x.size(0), 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), x.size(1));
  {end}
}}"""
_FRESH, _ZEROS = "torch::empty({x.size(0)}, x.options())", "torch::zeros({x.size(0)}, x.options())"
_PLAIN = "y[blockIdx.x] = v"
cuda("row_sum", "rows", _ROW.format(start="0", one="Add()", store=_PLAIN, made=_FRESH,
                                  end="return y;"))
cuda("row_sum", "onto_zeros", _ROW.format(start="0", one="Add()", made=_ZEROS,
                                          store="atomicAdd(y + blockIdx.x, v)", end="return y;"))

# transpose
triton("transpose", "tiles", """
    @triton.jit
    def transpose(x, y, rows, cols, B: tl.constexpr):
        r = tl.program_id(0) * B + tl.arange(0, B)
        c = tl.program_id(1) * B + tl.arange(0, B)
        v = tl.load(x + r[:, None].to(tl.int64) * cols + c[None, :])
        tl.store(y + c[:, None].to(tl.int64) * rows + r[None, :], tl.trans(v))""", """
    y = torch.empty(x.shape[1], x.shape[0], device=x.device)
    transpose[(x.shape[0] // 64, x.shape[1] // 64)](x, y, x.shape[0], x.shape[1], 64)
    return y""")
_TRANSPOSE = """
template <int kRows>
__global__ void transpose(const float* x, float* y, int rows, int cols) {{
  __shared__ float tile[32][{width}];
  const int c = blockIdx.x * 32, r = blockIdx.y * 32;
  for (int k = threadIdx.y; k < 32; k += kRows)
    tile[k][threadIdx.x] = x[(size_t)(r + k) * cols + c + threadIdx.x];
  __syncthreads();
  for (int k = threadIdx.y; k < 32; k += kRows)
    y[(size_t)(c + k) * rows + r + threadIdx.x] = tile[threadIdx.x][k];
}}
RUN {{
  auto y = torch::empty({{x.size(1), x.size(0)}}, x.options());
  transpose<{rows}><<<dim3(x.size(1) / 32, x.size(0) / 32), dim3(32, {rows}), 0, {stream}>>>(
      x.data_ptr<float>(), y.data_ptr<float>(), x.size(0), x.size(1));
  return y;
}}"""
_STREAM = "at::cuda::getCurrentCUDAStream()"
cuda("transpose", "tiles", _TRANSPOSE.format(width=33, rows=8, stream=_STREAM))
cuda("transpose", "conflicts", _TRANSPOSE.format(width=32, rows=16, stream="0"))
cuda("transpose", "by_way_of_scratch", """
    __global__ void copy(const float4* x, float4* y) {
      const size_t i = blockIdx.x * (size_t)256 + threadIdx.x;
      y[i] = x[i];
    }
    __global__ void transpose(const float* x, float* y, int rows, int cols) {
      const int r = blockIdx.x * 32 + threadIdx.x, c = blockIdx.y * 8 + threadIdx.y;
      y[(size_t)c * rows + r] = x[(size_t)r * cols + c];
    }
    RUN {
      auto t = torch::empty_like(x), y = torch::empty({x.size(1), x.size(0)}, x.options());
      copy<<<x.numel() / 1024, 256>>>((const float4*)x.data_ptr<float>(),
                                      (float4*)t.data_ptr<float>());
      transpose<<<dim3(x.size(0) / 32, x.size(1) / 8), dim3(32, 8)>>>(
          t.data_ptr<float>(), y.data_ptr<float>(), x.size(0), x.size(1));
      return y;
    }""")

# matmul
_MATMUL = """
{tune}@triton.jit
def matmul(a, b, c, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    r = tl.program_id(0) * M + tl.arange(0, M)
    s = tl.program_id(1) * N + tl.arange(0, N)
    k = tl.arange(0, K)
    v = tl.zeros((M, N), tl.float32)
    for at in range(0, n, K):
        p = tl.load(a + r[:, None] * n + (at + k)[None, :])
        q = tl.load(b + (at + k)[:, None] * n + s[None, :])
        v += tl.dot(p, q, input_precision='ieee')
    tl.store(c + r[:, None] * n + s[None, :], v)
"""
triton("matmul", "tiles", _MATMUL.format(tune=""), """
    c = torch.empty_like(a)
    n = a.shape[0]
    matmul[(n // 64, n // 64)](a, b, c, n, 64, 64, 32)
    return c""")
triton("matmul", "tuned", _MATMUL.format(
    tune="@triton.autotune([triton.Config({'M': 64, 'N': 64, 'K': 32}), triton.Config({'M': 64, "
         "'N': 128, 'K': 16}, num_warps=8)], key=['n'])\n"), """
    c = torch.empty_like(a)
    n = a.shape[0]
    matmul[lambda meta: (n // meta['M'], n // meta['N'])](a, b, c, n)
    return c""")
_TILES = """
constexpr int kTile = {tile}, kOwn = {own}, kSide = kTile / kOwn;
__global__ void __launch_bounds__(kSide* kSide)
    matmul(const float* a, const float* b, float* c, int n) {{
  __shared__ float p[16][kTile + 1], q[16][kTile];
  float v[kOwn][kOwn] = {{}};
  const int t = threadIdx.y * kSide + threadIdx.x;
  const int r = blockIdx.y * kTile, s = blockIdx.x * kTile;
  for (int k = 0; k < n; k += 16) {{
    for (int i = t; i < 16 * kTile; i += kSide * kSide) {{
      p[i % 16][i / 16] = a[(size_t)(r + i / 16) * n + k + i % 16];
      q[i / kTile][i % kTile] = b[(size_t)(k + i / kTile) * n + s + i % kTile];
    }}
    __syncthreads();
    for (int l = 0; l < 16; ++l)
      for (int i = 0; i < kOwn; ++i)
        for (int j = 0; j < kOwn; ++j)
          v[i][j] += p[l][threadIdx.y + i * kSide] * q[l][threadIdx.x + j * kSide];
    __syncthreads();
  }}
  for (int i = 0; i < kOwn; ++i)
    for (int j = 0; j < kOwn; ++j)
      c[(size_t)(r + threadIdx.y + i * kSide) * n + s + threadIdx.x + j * kSide] = v[i][j];
}}
RUN {{
  auto c = torch::empty_like(a);
  const int n = a.size(0);
  matmul<<<dim3(n / kTile, n / kTile), dim3(kSide, kSide)>>>(
      a.data_ptr<float>(), b.data_ptr<float>(), c.data_ptr<float>(), n);
  return c;
}}"""
_AB = ("torch::Tensor a, torch::Tensor b", "return ext.run(a, b)")
cuda("matmul", "tiles", _TILES.format(tile=32, own=1), *_AB)
cuda("matmul", "register_tiles", _TILES.format(tile=64, own=4), *_AB)

# row_max
triton("row_max", "rows", """
    @triton.jit
    def top(x, y, cols, B: tl.constexpr):
        r = tl.program_id(0).to(tl.int64)
        j = tl.arange(0, B)
        v = tl.load(x + r * cols + j, mask=j < cols, other=-float('inf'))
        tl.store(y + r, tl.max(v, 0))""", """
    y = torch.empty(x.shape[0], device=x.device)
    top[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=8)
    return y""")
triton("row_max", "asked_first", """
    @triton.jit
    def top(x, y, cols, B: tl.constexpr):
        r = tl.program_id(0).to(tl.int64)
        j = tl.arange(0, B)
        v = tl.load(x + r * cols + j, mask=j < cols, other=-float('inf'))
        tl.store(y + r, tl.max(v, 0))""", """
    warps = 8 if x[0, 0].item() > 0 else 16
    y = torch.empty(x.shape[0], device=x.device)
    top[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=warps)
    return y""", cannot="host")
cuda("row_max", "rows", _ROW.format(start="-INFINITY", one="Max()", store=_PLAIN, made=_FRESH,
                                  end="return y;"))
cuda("row_max", "copied", _ROW.format(
    start="-INFINITY", one="Max()", store=_PLAIN, made=_FRESH,
    end="auto z = torch::empty_like(y);\n  cudaMemcpyAsync(z.data_ptr<float>(), "
        "y.data_ptr<float>(), 4 * y.numel(), cudaMemcpyDeviceToDevice);\n  return z;"))

# error: mean((x - y)²) of rows
_PARTS = """
@triton.jit
def parts(x, y, o, cols, part, B: tl.constexpr):
    r = tl.program_id(0).to(tl.int64) * cols + tl.program_id(1) * part
    s = tl.zeros((B,), tl.float32)
    for j in range(0, part, B):
        d = tl.load(x + r + j + tl.arange(0, B)) - tl.load(y + r + j + tl.arange(0, B))
        s += d * d
    tl.store(o + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.sum(s, 0))

@triton.jit
def finish(o, r, rows, cols, P: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.load(o + i[:, None] * P + tl.arange(0, P)[None, :], mask=i[:, None] < rows, other=0.0)
    tl.store(r + i, tl.sum(v, 1) / cols, mask=i < rows)
"""
triton("error", "two_kernels", _PARTS, """
    rows, cols = x.shape
    o, r = torch.empty(rows, 4, device=x.device), torch.empty(rows, device=x.device)
    parts[(rows, 4)](x, y, o, cols, cols // 4, 1024)
    finish[(triton.cdiv(rows, 128),)](o, r, rows, cols, 4, 128)
    return r""")
triton("error", "with_a_torch_sum", _PARTS, """
    o = torch.empty(x.shape[0], 4, device=x.device)
    parts[(x.shape[0], 4)](x, y, o, x.shape[1], x.shape[1] // 4, 1024)
    return o.sum(1) / x.shape[1]""")
_ERROR = """
__device__ float part(const float* x, const float* y, size_t at, int n) {
  float s = 0;
  for (int j = threadIdx.x; j < n; j += 256) s += (x[at + j] - y[at + j]) * (x[at + j] - y[at + j]);
  return over_block(s, Add());
}
__device__ float finished(const float* o, int row, int cols) {
  return (o[4 * row] + o[4 * row + 1] + o[4 * row + 2] + o[4 * row + 3]) / cols;
}
"""
_ERROR_RUN = """
RUN {
  int rows = x.size(0), cols = x.size(1);
  auto o = torch::empty({rows, 4}, x.options()), r = torch::empty({rows}, x.options());
  float *a = x.data_ptr<float>(), *b = y.data_ptr<float>();
  float *p = o.data_ptr<float>(), *q = r.data_ptr<float>();
"""
cuda("error", "two_kernels", _ERROR + """
__global__ void parts(const float* x, const float* y, float* o, int n) {
  const float s = part(x, y, (blockIdx.x * (size_t)4 + blockIdx.y) * n, n);
  if (threadIdx.x == 0) o[4 * blockIdx.x + blockIdx.y] = s;
}
__global__ void finish(const float* o, float* r, int rows, int cols) {
  const int row = blockIdx.x * 256 + threadIdx.x;
  if (row < rows) r[row] = finished(o, row, cols);
}
""" + _ERROR_RUN + """
  parts<<<dim3(rows, 4), 256>>>(a, b, p, cols / 4);
  finish<<<(rows + 255) / 256, 256>>>(p, q, rows, cols);
  return r;
}""", _TWO, "return ext.run(x, y)")
cuda("error", "cooperative", "#include <cooperative_groups.h>\n" + _ERROR + """
__global__ void both(const float* x, const float* y, float* o, float* r, int rows, int cols) {
  for (int w = blockIdx.x; w < 4 * rows; w += gridDim.x) {
    const float s = part(x, y, w * (size_t)(cols / 4), cols / 4);
    if (threadIdx.x == 0) o[w] = s;
  }
  cooperative_groups::this_grid().sync();
  for (int row = blockIdx.x * 256 + threadIdx.x; row < rows; row += gridDim.x * 256)
    r[row] = finished(o, row, cols);
}
""" + _ERROR_RUN + """
  void* values[] = {&a, &b, &p, &q, &rows, &cols};
  cudaLaunchCooperativeKernel((void*)both, dim3(132 * 4), dim3(256), values, 0, 0);
  return r;
}""", _TWO, "return ext.run(x, y)")

# rms_norm
triton("rms_norm", "rows", """
    @triton.jit
    def norm(x, y, cols, B: tl.constexpr):
        j = tl.arange(0, B)
        i = tl.program_id(0).to(tl.int64) * cols + j
        v = tl.load(x + i, mask=j < cols, other=0.0)
        tl.store(y + i, v / tl.sqrt(tl.sum(v * v, 0) / cols + 1e-5), mask=j < cols)""", """
    y = torch.empty_like(x)
    norm[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=16)
    return y""")
triton("rms_norm", "with_torch", """
    @triton.jit
    def scale(x, s, y, n, cols, B: tl.constexpr):
        i = tl.program_id(0) * B + tl.arange(0, B)
        m = i < n
        tl.store(y + i, tl.load(x + i, mask=m) * tl.load(s + i // cols, mask=m), mask=m)""", """
    s = torch.rsqrt((x * x).mean(1) + 1e-5)
    y = torch.empty_like(x)
    scale[(triton.cdiv(x.numel(), 1024),)](x, s, y, x.numel(), x.shape[1], 1024)
    return y""")
_RMS = """
__global__ void rms(const float* x, float* y, int n) {{
  {row}
  const float* from = x + blockIdx.x * (size_t)n;
  float s = 0;
  for (int j = threadIdx.x; j < n; j += 256) {{ {keep} s += from[j] * from[j]; }}
  s = rsqrtf(over_block(s, Add()) / n + 1e-5f);
  for (int j = threadIdx.x; j < n; j += 256) y[blockIdx.x * (size_t)n + j] = {value} * s;
}}
RUN {{
  auto y = torch::empty_like(x);
  const int n = x.size(1);
  cudaFuncSetAttribute(rms, cudaFuncAttributeMaxDynamicSharedMemorySize, {shared});
  rms<<<x.size(0), 256, {shared}, {stream}>>>(x.data_ptr<float>(), y.data_ptr<float>(), n);
  return y;
}}"""
cuda("rms_norm", "rows", _RMS.format(row="", keep="", value="from[j]", shared="0", stream="0"))
cuda("rms_norm", "row_in_shared", _RMS.format(
    row="extern __shared__ float row[];", keep="row[j] = from[j];", value="row[j]", shared="4 * n",
    stream=_STREAM))

assert len(SAMPLES) == 40 and len({sample.name for sample in SAMPLES}) == 40
