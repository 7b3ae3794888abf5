// SPDX-License-Identifier: Apache-2.0
#include "evaluate/library_product.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/library_match.h"

namespace quern {
namespace {

constexpr size_t kMostStarts = 256;  // calls of the library

std::optional<uint32_t> input_index(const ir::Program& program, const std::string& name) {
  const auto found = std::ranges::find(program.inputs, name, &ir::InputDecl::name);
  if (found == program.inputs.end()) return std::nullopt;
  return static_cast<uint32_t>(found - program.inputs.begin());
}

/// The last batch dimension is the library's, the others become calls of their own.
bool add_batches(const MatmulShape& shape, const ir::Sizes& sizes, MatrixProduct& product) {
  const auto at = [&](const ir::IntExpr& e) { return ir::evaluate(e, sizes); };
  for (size_t i = 0; i + 1 < shape.batch.size(); ++i) {
    const MatmulShape::Dimension& d = shape.batch[i];
    std::vector<std::array<int64_t, 3>> starts;
    for (const auto& start : product.starts) {
      for (int64_t index = 0; index < at(d.extent); ++index) {
        starts.push_back(
            {start[0] + index * at(d.a), start[1] + index * at(d.b), start[2] + index * at(d.c)});
      }
    }
    if (starts.size() > kMostStarts) return false;
    product.starts = std::move(starts);
  }
  if (shape.batch.empty()) return true;
  const MatmulShape::Dimension& last = shape.batch.back();
  product.batch = at(last.extent);
  product.a_batch = at(last.a);
  product.b_batch = at(last.b);
  product.c_batch = at(last.c);
  return true;
}

}  // namespace

std::optional<MatrixProduct> library_product(const ir::Program& program, const ir::Sizes& sizes) {
  if (program.statements.size() != 1) return std::nullopt;
  const ir::Statement& statement = program.statements.front();
  const auto shape = match_matmul(program, 0, sizes);
  if (!shape || !shape->blas) return std::nullopt;
  const auto a = input_index(program, shape->a), b = input_index(program, shape->b);
  if (!a || !b) return std::nullopt;
  const DType type = statement.type;
  const bool same = program.inputs[*a].type == type && program.inputs[*b].type == type;
  if (!same || !is_float(type)) return std::nullopt;
  const auto at = [&](const ir::IntExpr& e) { return ir::evaluate(e, sizes); };
  MatrixProduct product;
  product.type = type;
  product.a = *a;
  product.b = *b;
  product.a_transposed = shape->a_transposed;
  product.b_transposed = shape->b_transposed;
  product.m = at(shape->m.extent);
  product.n = at(shape->n.extent);
  product.k = at(shape->k.extent);
  // A matrix of one row has no stride, and a BLAS wants one that is long enough.
  product.a_row = std::max(at(product.a_transposed ? shape->k.a : shape->m.a),
                           product.a_transposed ? product.m : product.k);
  product.b_row = std::max(at(product.b_transposed ? shape->n.b : shape->k.b),
                           product.b_transposed ? product.k : product.n);
  product.c_row = std::max(at(shape->m.c), product.n);
  if (!add_batches(*shape, sizes, product)) return std::nullopt;
  return product;
}

std::string library_source(const ir::Program& program) {
  return fmt::format("// {}: one call of NVIDIA's cuBLAS, in a process of its own\n", program.name);
}

}  // namespace quern
