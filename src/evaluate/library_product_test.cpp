// SPDX-License-Identifier: Apache-2.0
#include "evaluate/library_product.h"

#include <gtest/gtest.h>

#include <random>

#include "ir/interpret.h"
#include "task/parse.h"

namespace quern {
namespace {

struct Case {
  const char* what;
  const char* sizes;
  const char* text;
  bool found;
};

const Case kCases[] = {
    {"plain", "m = 5, n = 7, k = 3",
     "input a : f32[m, k]\ninput b : f32[k, n]\noutput c[i, j] = sum[p] a[i, p] * b[p, j]\n", true},
    {"both transposed", "m = 5, n = 7, k = 3",
     "input a : f32[k, m]\ninput b : f32[n, k]\noutput c[i, j] = sum[p] a[p, i] * b[j, p]\n", true},
    {"batched", "m = 5, n = 7, k = 3, q = 4",
     "input a : f32[q, m, k]\ninput b : f32[q, k, n]\n"
     "output c[t, i, j] = sum[p] a[t, i, p] * b[t, p, j]\n",
     true},
    {"two batch dimensions, b shared by one", "m = 5, n = 7, k = 3, q = 4",
     "input a : f32[q, 2, m, k]\ninput b : f32[q, k, n]\n"
     "output c[t, u, i, j] = sum[p] a[t, u, i, p] * b[t, p, j]\n",
     true},
    {"with a bias", "m = 5, n = 7, k = 3",
     "input a : f32[m, k]\ninput b : f32[k, n]\ninput d : f32[n]\n"
     "s[i, j] = sum[p] a[i, p] * b[p, j]\noutput c[i, j] = s[i, j] + d[j]\n",
     false},
    {"no product", "m = 5, k = 3", "input a : f32[m, k]\noutput c[i] = sum[p] a[i, p]\n", false},
};

/// The product as the library defines it, on the host.
std::vector<double> multiply(const MatrixProduct& p, const std::vector<std::vector<double>>& inputs,
                             size_t count) {
  std::vector<double> c(count, NAN);
  for (const auto& start : p.starts) {
    for (int64_t t = 0; t < p.batch; ++t) {
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t j = 0; j < p.n; ++j) {
          double sum = 0;
          for (int64_t k = 0; k < p.k; ++k) {
            const int64_t a = p.a_transposed ? k * p.a_row + i : i * p.a_row + k;
            const int64_t b = p.b_transposed ? j * p.b_row + k : k * p.b_row + j;
            sum += inputs[p.a].at(static_cast<size_t>(start[0] + t * p.a_batch + a)) *
                   inputs[p.b].at(static_cast<size_t>(start[1] + t * p.b_batch + b));
          }
          c.at(static_cast<size_t>(start[2] + t * p.c_batch + i * p.c_row + j)) = sum;
        }
      }
    }
  }
  return c;
}

TEST(LibraryProduct, MeansWhatTheTaskMeans) {
  for (const Case& one : kCases) {
    const std::string text = "task t(" + std::string(one.sizes) + ")\n" + one.text;
    auto program = parse_task(text, "t.task");
    ASSERT_TRUE(program) << one.what << ": " << program.error().message;
    const ir::Sizes sizes = *ir::bind_sizes(*program, "full");
    const auto product = library_product(*program, sizes);
    ASSERT_EQ(product.has_value(), one.found) << one.what;
    if (!product) continue;
    EXPECT_EQ(*read_library_image(library_image(*product)), *product) << one.what;
    ir::Tensors<double> tensors;
    std::vector<std::vector<double>> inputs;
    std::mt19937 random(7);
    for (const ir::InputDecl& input : program->inputs) {
      auto& values = inputs.emplace_back(
          static_cast<size_t>(element_count(ir::evaluate_shape(input.shape, sizes))));
      for (double& value : values) value = static_cast<double>(random() % 100);
      tensors[input.name] = values;
    }
    const std::vector<double> expected = ir::run(*program, sizes, tensors).at("c");
    EXPECT_EQ(multiply(*product, inputs, expected.size()), expected) << one.what;
  }
}

TEST(LibraryProduct, IsNoImageOfACandidate) {
  EXPECT_FALSE(read_library_image(""));
  EXPECT_FALSE(read_library_image("\177ELF"));
  EXPECT_FALSE(read_library_image(library_image({}).substr(0, 40)));
}

}  // namespace
}  // namespace quern
