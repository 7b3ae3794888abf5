// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "ir/check.h"
#include "ir/counts.h"
#include "ir/interpret.h"
#include "ir/interpret_json.h"
#include "task/parse.h"

/// What operators and statements mean, against loops written out by hand.
namespace quern {
namespace {

using ir::Tensors;

struct Case {
  ir::Program program;
  ir::Sizes sizes;
};

Case parsed_case(const std::string& text) {
  Result<ir::Program> program = parse_task(text, "t.task");
  EXPECT_TRUE(program) << program.error().message;
  if (!program) return {};
  Result<ir::Sizes> sizes = ir::bind_sizes(*program, "full");
  EXPECT_TRUE(sizes);
  return {*program, *sizes};
}

Tensors<double> meant(const std::string& text, Tensors<double> inputs) {
  Case c = parsed_case(text);
  if (c.program.statements.empty()) return {};
  return ir::run(c.program, c.sizes, inputs);
}

std::vector<double> iota(size_t count, double from = 1) {
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = from + static_cast<double>(i);
  return values;
}

using Values = std::vector<double>;

TEST(Meaning, ReductionsOverOneAxis) {
  Tensors<double> out = meant(
      "task t(n = 2, m = 3)\ninput x : f32[n, m]\n"
      "output s[i] = sum[j] x[i, j]\noutput p[i] = prod[j] x[i, j]\noutput g[i] = max[j] x[i, j]\n"
      "output l[i] = min[j] x[i, j]\noutput a[i] = argmax[j] x[i, j]\noutput b[i] = argmin[j] x[i, "
      "j]\n"
      "output m1[i] = mean[j] x[i, j]\n",
      {{"x", {1, 5, 5, -2, 4, -2}}});
  EXPECT_EQ(out["s"], (Values{11, 0}));
  EXPECT_EQ(out["p"], (Values{25, 16}));
  EXPECT_EQ(out["g"], (Values{5, 4}));
  EXPECT_EQ(out["l"], (Values{1, -2}));
  EXPECT_EQ(out["a"], (Values{1, 1})) << "the first of equal ones";
  EXPECT_EQ(out["b"], (Values{0, 0}));
  EXPECT_DOUBLE_EQ(out["m1"][0], 11.0 / 3);
}

TEST(Meaning, ScansExclusiveAndReverseAlongAnyAxis) {
  Tensors<double> out = meant(
      "task t(n = 2, m = 3)\ninput x : f32[n, m]\n"
      "output a[i, j] = scan_sum[j] x[i, j]\noutput b[i, j] = scan_sum exclusive[j] x[i, j]\n"
      "output c[i, j] = scan_sum reverse[j] x[i, j]\noutput d[i, j] = scan_sum[i] x[i, j]\n"
      "output e[i, j] = scan_max exclusive reverse[j] x[i, j]\n",
      {{"x", iota(6)}});
  EXPECT_EQ(out["a"], (Values{1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(out["b"], (Values{0, 1, 3, 0, 4, 9}));
  EXPECT_EQ(out["c"], (Values{6, 5, 3, 15, 11, 6}));
  EXPECT_EQ(out["d"], (Values{1, 2, 3, 5, 7, 9}));
  EXPECT_EQ(out["e"], (Values{3, 3, -INFINITY, 6, 6, -INFINITY}));
}

TEST(Meaning, GuardsElseAndGathers) {
  Tensors<double> out = meant(
      "task t(n = 4)\ninput x : f32[n]\ninput t : i64[n] ~ integers(0, n - 1)\n"
      "output a[i < n] = x[i - 1] else -7\noutput b[i] = x[t[i]]\n"
      "output c[i < n] = select(i > 0 and i % 2 == 1, x[i - 1], 0)\noutput d[i < n] = index(i / 2) "
      "+ i / 2\n"
      "output e[i] = select(not x[i] > 2 or i == 3, 1, 2)\n",
      {{"x", iota(4)}, {"t", {3, 3, 0, 1}}});
  EXPECT_EQ(out["a"], (Values{-7, 1, 2, 3}));
  EXPECT_EQ(out["b"], (Values{4, 4, 1, 2}));
  EXPECT_EQ(out["c"], (Values{0, 1, 0, 3}));
  EXPECT_EQ(out["d"], (Values{0, 0.5, 2, 2.5}));
  EXPECT_EQ(out["e"], (Values{1, 1, 2, 1}));
}

TEST(Meaning, SlashIsRealAmongValuesAndFloorsAmongIndices) {
  Tensors<double> out = meant(
      "task t(n = 3)\ninput x : f32[n]\noutput a[i] = x[i] * (1 / n)\noutput b[i < n] = x[(i - 1) "
      "/ 2] "
      "else 9\n",
      {{"x", {3, 6, 9}}});
  EXPECT_DOUBLE_EQ(out["a"][1], 2.0);
  EXPECT_EQ(out["b"], (Values{9, 3, 3})) << "(0 - 1) / 2 is -1";
}

TEST(Meaning, MatmulBatchedAndNot) {
  Tensors<double> out = meant(
      "task t(b = 2, m = 2, k = 2, n = 1)\ninput x : f32[b, m, k]\ninput y : f32[b, k, n]\n"
      "input w : f32[k, n]\noutput p = matmul(x, y)\noutput q = matmul(x, w)\n",
      {{"x", iota(8)}, {"y", {1, 2, 3, 4}}, {"w", {10, 1}}});
  EXPECT_EQ(out["p"], (Values{5, 11, 39, 53}));
  EXPECT_EQ(out["q"], (Values{12, 34, 56, 78}));
}

/// conv2d by its definition, over zero padding.
Values convolved(const Values& x, const Values& w, int batch, int in, int h, int width, int out,
                 int kh, int kw, int stride, int pad, int dilation, int groups) {
  int oh = (h + 2 * pad - dilation * (kh - 1) - 1) / stride + 1;
  int ow = (width + 2 * pad - dilation * (kw - 1) - 1) / stride + 1, each = in / groups;
  Values y;
  for (int n = 0; n < batch; ++n)
    for (int o = 0; o < out; ++o)
      for (int a = 0; a < oh; ++a)
        for (int b = 0; b < ow; ++b) {
          double sum = 0;
          for (int c = 0; c < each; ++c)
            for (int r = 0; r < kh; ++r)
              for (int s = 0; s < kw; ++s) {
                int i = a * stride + r * dilation - pad, j = b * stride + s * dilation - pad;
                if (i < 0 || j < 0 || i >= h || j >= width) continue;
                int channel = o / (out / groups) * each + c;
                sum += x[static_cast<size_t>(((n * in + channel) * h + i) * width + j)] *
                       w[static_cast<size_t>(((o * each + c) * kh + r) * kw + s)];
              }
          y.push_back(sum);
        }
  return y;
}

TEST(Meaning, ConvolutionWithStridePaddingDilationAndGroups) {
  Tensors<double> in = {{"x", iota(2 * 4 * 7 * 8, -100)}, {"w", iota(6 * 2 * 3 * 2, -20)}};
  Tensors<double> out = meant(
      "task t(n = 2, h = 7, v = 8)\ninput x : f32[n, 4, h, v]\nparam w : f32[6, 2, 3, 2]\n"
      "output y = conv2d(x, w, stride = 2, padding = 1, dilation = 2, groups = 2)\n",
      in);
  EXPECT_EQ(out["y"], convolved(in["x"], in["w"], 2, 4, 7, 8, 6, 3, 2, 2, 1, 2, 2));
}

TEST(Meaning, DepthwiseConvolutionHasNoChannelSum) {
  Tensors<double> in = {{"x", iota(1 * 3 * 4 * 5)}, {"w", iota(6 * 1 * 2 * 2)}};
  std::string text =
      "task t(c = 3)\ninput x : f32[1, c, 4, 5]\nparam w : f32[2 * c, 1, 2, 2]\noutput y = "
      "conv2d(x, w, groups = c)\n";
  EXPECT_EQ(meant(text, in)["y"], convolved(in["x"], in["w"], 1, 3, 4, 5, 6, 2, 2, 1, 0, 1, 3));
  EXPECT_EQ(parsed_case(text).program.statements[0].reduce_axes.size(), 2u);
}

/// The transposed convolution scatters what the convolution gathers.
TEST(Meaning, TransposedConvolutionScattersEveryInput) {
  int n = 2, in = 4, out = 6, h = 3, v = 4, kh = 3, kw = 2, stride = 2, pad = 1, extra = 1,
      dilation = 2, groups = 2;
  Tensors<double> values = {{"x", iota(static_cast<size_t>(n * in * h * v), -30)},
                            {"w", iota(static_cast<size_t>(in * out / groups * kh * kw), -9)}};
  int oh = (h - 1) * stride - 2 * pad + dilation * (kh - 1) + extra + 1;
  int ow = (v - 1) * stride - 2 * pad + dilation * (kw - 1) + extra + 1;
  Values wanted(static_cast<size_t>(n * out * oh * ow), 0);
  for (int b = 0; b < n; ++b)
    for (int c = 0; c < in; ++c)
      for (int o = 0; o < out / groups; ++o)
        for (int i = 0; i < h; ++i)
          for (int j = 0; j < v; ++j)
            for (int r = 0; r < kh; ++r)
              for (int s = 0; s < kw; ++s) {
                int y = i * stride - pad + r * dilation, x = j * stride - pad + s * dilation;
                if (y < 0 || x < 0 || y >= oh || x >= ow) continue;
                int channel = c / (in / groups) * (out / groups) + o;
                wanted[static_cast<size_t>(((b * out + channel) * oh + y) * ow + x)] +=
                    values["x"][static_cast<size_t>(((b * in + c) * h + i) * v + j)] *
                    values["w"][static_cast<size_t>(((c * (out / groups) + o) * kh + r) * kw + s)];
              }
  Tensors<double> found = meant(
      "task t(n = 2, h = 3, v = 4)\ninput x : f32[n, 4, h, v]\nparam w : f32[4, 3, 3, 2]\n"
      "output y = conv_transpose2d(x, w, stride = 2, padding = 1, output_padding = 1, dilation = "
      "2, groups = 2)\n",
      values);
  EXPECT_EQ(found["y"], wanted);
}

TEST(Meaning, PoolsOfOneTwoAndThreeAxes) {
  Tensors<double> out = meant(
      "task t(n = 1, c = 1)\ninput x : f32[n, c, 5]\ninput z : f32[n, c, 2, 2, 2]\n"
      "output a = max_pool1d(x, kernel = 3, stride = 2, padding = 1)\n"
      "output b = avg_pool1d(x, kernel = 2, stride = 1, padding = 1)\n"
      "output d = max_pool1d(x, kernel = 2, stride = 1, dilation = 3)\n"
      "output e = max_pool3d(z, kernel = 2)\noutput f = global_avg_pool(z)\n",
      {{"x", {1, -2, 3, 4, -5}}, {"z", iota(8)}});
  EXPECT_EQ(out["a"], (Values{1, 4, 4}));
  EXPECT_EQ(out["b"], (Values{0.5, -0.5, 0.5, 3.5, -0.5, -2.5}));
  EXPECT_EQ(out["d"], (Values{4, -2}));
  EXPECT_EQ(out["e"], (Values{8}));
  EXPECT_EQ(out["f"], (Values{4.5}));
}

/// A layer with `hidden` cells of long short-term memory, over inputs already projected.
constexpr const char* kLstm =
    "task t(seq = 4, batch = 2, hidden = 3)\ninput xg : f32[seq, batch, 4 * hidden]\n"
    "input u : f32[4 * hidden, hidden]\ninput h0 : f32[batch, hidden]\n"
    "input c0 : f32[batch, hidden]\n"
    "g[t < seq, b, q < 4 * hidden] = xg[t, b, q] + sum[k < hidden] u[q, k] * "
    "(h[t - 1, b, k] else h0[b, k])\n"
    "c[t < seq, b, j < hidden] = sigmoid(g[t, b, hidden + j]) * (c[t - 1, b, j] else c0[b, j]) + "
    "sigmoid(g[t, b, j]) * tanh(g[t, b, 2 * hidden + j])\n"
    "output h[t < seq, b, j] = sigmoid(g[t, b, 3 * hidden + j]) * tanh(c[t, b, j])\n";

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Meaning, ARecurrenceRunsStepAfterStep) {
  const size_t seq = 4, batch = 2, hidden = 3;
  const Case c = parsed_case(kLstm);
  Tensors<double> inputs = ir::draw_inputs(c.program, c.sizes, 5);
  Tensors<double> out = ir::run(c.program, c.sizes, inputs);
  Values h = inputs["h0"], cell = inputs["c0"];
  for (size_t t = 0; t < seq; ++t) {
    const Values before = h;
    for (size_t b = 0; b < batch; ++b) {
      for (size_t j = 0; j < hidden; ++j) {
        double gate[4];
        for (size_t i = 0; i < 4; ++i) {
          const size_t q = i * hidden + j;
          gate[i] = inputs["xg"][(t * batch + b) * 4 * hidden + q];
          for (size_t k = 0; k < hidden; ++k) {
            gate[i] += inputs["u"][q * hidden + k] * before[b * hidden + k];
          }
        }
        double& own = cell[b * hidden + j];
        own = sigmoid(gate[1]) * own + sigmoid(gate[0]) * std::tanh(gate[2]);
        h[b * hidden + j] = sigmoid(gate[3]) * std::tanh(own);
        EXPECT_NEAR(out["h"][(t * batch + b) * hidden + j], h[b * hidden + j], 1e-12);
      }
    }
  }
}

TEST(Meaning, RecurrencesRunBackwardsAndAtADistance) {
  Tensors<double> out = meant(
      "task t(n = 5)\ninput x : f32[n]\n"
      "output a[i < n] = x[i] + 2 * (a[i + 1] else 10)\n"
      "output f[i < n] = (f[i - 1] else 1) + (f[i - 2] else 0)\n"
      "output s[i < n] = select(i > 0, s[i - 1], 0) + x[i]\n"
      "output m[j < 2, i < n] = max((m[j, i - 1] else 0), x[i] + index(j))\n",
      {{"x", {1, 2, 3, 4, 5}}});
  EXPECT_EQ(out["a"], (Values{449, 224, 111, 54, 25}));
  EXPECT_EQ(out["f"], (Values{1, 1, 2, 3, 5}));
  EXPECT_EQ(out["s"], (Values{1, 3, 6, 10, 15}));
  EXPECT_EQ(out["m"], (Values{1, 2, 3, 4, 5, 2, 3, 4, 5, 6}));
}

TEST(Meaning, NormalisationsHaveMeanZeroAndDeviationOne) {
  for (const char* op : {"layer_norm(x, eps = 1e-12)", "instance_norm(x, eps = 1e-12)",
                         "batch_norm(x, eps = 1e-12)", "group_norm(x, groups = 2, eps = 1e-12)"}) {
    Values y = meant(
        std::string("task t(n = 2, c = 4, l = 6)\ninput x : f32[n, c, l]\noutput y = ") + op + "\n",
        {{"x", iota(48)}})["y"];
    ASSERT_EQ(y.size(), 48u);
    double sum = 0, squares = 0;
    for (double v : y) {
      sum += v;
      squares += v * v;
    }
    EXPECT_NEAR(sum, 0, 1e-9) << op;
    EXPECT_NEAR(squares, 48, 1e-6) << op;
  }
}

TEST(Meaning, GroupNormUsesTheStatisticsOfItsGroup) {
  Values y = meant(
      "task t(n = 1, c = 4)\ninput x : f32[n, c, 1]\nparam g : f32[c]\nparam b : f32[c]\n"
      "output y = group_norm(x, g, b, groups = 2, eps = 0)\n",
      {{"x", {1, 3, 10, 30}}, {"g", {1, 2, 3, 4}}, {"b", {0, 0, 5, 0}}})["y"];
  EXPECT_NEAR(y[0], -1, 1e-12);
  EXPECT_NEAR(y[1], 2, 1e-12);
  EXPECT_NEAR(y[2], -3 + 5, 1e-12);
  EXPECT_NEAR(y[3], 4, 1e-12);
}

TEST(Meaning, SoftmaxCrossEntropyAndAttention) {
  Tensors<double> out = meant(
      "task t(n = 2, c = 3)\ninput x : f32[n, c]\ninput t : i64[n] ~ integers(0, c - 1)\n"
      "output y = softmax(x)\noutput z = log_softmax(x, axis = 0)\noutput l = cross_entropy(x, t)\n"
      "output a = attention(x, x, x, causal = true)\n",
      {{"x", {0, 1, 2, 5, 5, 5}}, {"t", {2, 0}}});
  double total = 1 + std::exp(1.0) + std::exp(2.0);
  EXPECT_NEAR(out["y"][1], std::exp(1.0) / total, 1e-14);
  EXPECT_NEAR(out["y"][4], 1.0 / 3, 1e-14);
  EXPECT_NEAR(out["z"][0], -std::log(1 + std::exp(5.0)), 1e-12);
  EXPECT_NEAR(out["l"][0], 0.5 * (std::log(total) - 2 + std::log(3.0)), 1e-14);
  EXPECT_EQ((Values{out["a"][0], out["a"][1], out["a"][2]}), (Values{0, 1, 2}))
      << "the first row sees itself";
}

TEST(Meaning, WholeTensorsNestAndStretch) {
  Tensors<double> out = meant(
      "task t(n = 2, m = 2)\ninput x : f32[n, m]\ninput b : f32[m]\nparam w : f32[m, m]\n"
      "output y = relu(linear(x, w, b)) * 2 + sum(x, axis = (0, 1)) - b\n",
      {{"x", {1, 2, 3, 4}}, {"b", {1, -20}}, {"w", {1, 0, 0, 1}}});
  EXPECT_EQ(out["y"], (Values{4 + 10 - 1, 0 + 10 + 20, 8 + 10 - 1, 0 + 10 + 20}));
}

TEST(Meaning, ShorthandsAreTheirDefinitions) {
  Tensors<double> out = meant(
      "task t(n = 3)\ninput x : f32[n]\noutput a = elu(x, alpha = 2)\noutput b = leaky_relu(x, "
      "0.5)\n"
      "output c = clamp(x, -1, 1)\noutput d = softplus(x)\noutput e = silu(x)\noutput f = "
      "hardswish(x)\n",
      {{"x", {-2, 0, 4}}});
  EXPECT_NEAR(out["a"][0], 2 * std::expm1(-2.0), 1e-15);
  EXPECT_EQ(out["b"], (Values{-1, 0, 4}));
  EXPECT_EQ(out["c"], (Values{-1, 0, 1}));
  EXPECT_NEAR(out["d"][0], std::log(1 + std::exp(-2.0)), 1e-15);
  EXPECT_NEAR(out["e"][2], 4 / (1 + std::exp(-4.0)), 1e-15);
  EXPECT_NEAR(out["f"][0], -2.0 * 1 / 6, 1e-15);
}

TEST(Meaning, AnIntegerMatmulIsExactAndSoftmaxIsNot) {
  Case c = parsed_case(
      "task t(n = 3)\ninput x : f32[n, n]\noutput y = matmul(x, x)\noutput z = softmax(x)\n");
  Tensors<Exact> in;
  for (int i = 0; i < 9; ++i) in["x"].push_back(Exact(i * 100.0));
  Tensors<Exact> out = ir::run(c.program, c.sizes, in);
  for (const Exact& v : out["y"]) EXPECT_TRUE(v.ok);
  EXPECT_FALSE(out["z"][0].ok);
}

TEST(Meaning, FloatStaysWithinTheRunningErrorOfDouble) {
  Case c = parsed_case(
      "task t(n = 4, d = 33)\ninput x : f32[n, d]\nparam g : f32[d]\nparam b : f32[d]\n"
      "y = layer_norm(x, g, b)\noutput z = softmax(gelu(y))\n");
  Tensors<double> in = ir::draw_inputs(c.program, c.sizes, 3);
  Tensors<float> low;
  Tensors<RunningError> bound;
  for (const auto& [name, data] : in) {
    low[name].assign(data.begin(), data.end());
    bound[name].assign(data.begin(), data.end());
  }
  Values wide = ir::run(c.program, c.sizes, in)["z"];
  std::vector<float> narrow = ir::run(c.program, c.sizes, low)["z"];
  std::vector<RunningError> scale = ir::run(c.program, c.sizes, bound)["z"];
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_DOUBLE_EQ(scale[i].v, wide[i]);
    EXPECT_LE(std::fabs(static_cast<double>(narrow[i]) - wide[i]), 4 * 0x1p-24 * scale[i].e);
  }
}

TEST(Counts, MatmulIsTwoFlopsAProduct) {
  Case c = parsed_case(
      "task t(m = 3, n = 5, k = 7)\ninput a : f32[m, k]\ninput b : f32[k, n]\noutput y = matmul(a, "
      "b)\n");
  ir::Counts counts = ir::count(c.program, c.sizes);
  EXPECT_EQ(counts.flops, 2.0 * 3 * 5 * 7);
  EXPECT_EQ(counts.bytes_in, 4.0 * (3 * 7 + 7 * 5));
  EXPECT_EQ(counts.bytes_out, 4.0 * 3 * 5);
  EXPECT_EQ(counts.bytes_between, 0);
  EXPECT_EQ(ir::io_bytes(c.program, c.sizes), counts.bytes_in + counts.bytes_out);
}

TEST(Counts, PaddingAndDivisibilityDoNotCount) {
  Case padded = parsed_case(
      "task t(h = 4)\ninput x : f32[1, 1, h]\nparam w : f32[1, 1, 3]\noutput y = conv1d(x, w, "
      "padding = 1)\n");
  EXPECT_EQ(ir::count(padded.program, padded.sizes).flops, 2.0 * (4 * 3 - 2));
  Case transposed = parsed_case(
      "task t(h = 4)\ninput x : f32[1, 1, h]\nparam w : f32[1, 1, 2]\noutput y = "
      "conv_transpose1d(x, w, stride = 2)\n");
  EXPECT_EQ(ir::count(transposed.program, transposed.sizes).flops, 2.0 * 4 * 2)
      << "each input meets each tap once";
}

TEST(Counts, SoftmaxHasOneExponentialAnElement) {
  Case c = parsed_case("task t(n = 2, m = 5)\ninput x : f32[n, m]\noutput y = softmax(x)\n");
  ir::Counts counts = ir::count(c.program, c.sizes);
  EXPECT_EQ(counts.special, 10);
  EXPECT_EQ(counts.flops, 10 + 20 + 10 + 10);
}

}  // namespace
}  // namespace quern
