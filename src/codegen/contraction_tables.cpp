// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction_tables.h"

#include <fmt/format.h>

#include "codegen/group.h"
#include "codegen/tile_expr.h"

namespace quern {

namespace {

constexpr char kTags[] = {'b', 'm', 'n', 'k'};

}  // namespace

Tables::Tables(const ir::Program& program, const Contraction& contraction)
    : program_(&program), k_filters_(contraction.k_filters) {
  dims_[0].axes = contraction.batch;
  dims_[1].axes = contraction.m;
  dims_[2].axes = contraction.n;
  dims_[3].axes = contraction.k;
}

size_t Tables::find(Dim dim, const ir::IntExpr& value) {
  std::vector<Array>& arrays = dims_[static_cast<size_t>(dim)].arrays;
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (arrays[i].value == value) return i;
  }
  arrays.push_back({value});
  return arrays.size() - 1;
}

std::string Tables::add(Dim dim, const ir::IntExpr& value) {
  return fmt::format("q_{}{}", kTags[static_cast<size_t>(dim)], find(dim, value));
}

std::string Tables::add_runs(Dim dim, const ir::IntExpr& value) {
  const size_t at = find(dim, value);
  dims_[static_cast<size_t>(dim)].arrays[at].runs = true;
  return fmt::format("q_T_{}{}", kTags[static_cast<size_t>(dim)], at);
}

std::string Tables::decode(Dim dim, const std::string& position) {
  std::string text;
  for (const ir::Axis& axis : dims_[static_cast<size_t>(dim)].axes) {
    text += fmt::format("    [[maybe_unused]] const int64_t {} = {}[{}];\n", axis_id(axis.name),
                        add(dim, ir::int_axis(axis.name)), position);
  }
  return text;
}

std::string Tables::fill(size_t d) const {
  const Dimension& dim = dims_[d];
  const char tag = kTags[d];
  std::string text = fmt::format("  int64_t q_n{} = 0;\n", tag);
  for (const ir::Axis& axis : dim.axes) {
    text += fmt::format("  for (int64_t {0} = 0; {0} < {1}; ++{0})\n", axis_id(axis.name),
                        c_int(*program_, axis.extent));
  }
  text += "  {\n";
  if (d == static_cast<size_t>(Dim::kK)) {
    for (const ir::Expr& filter : k_filters_) {
      text += fmt::format("    if (!({})) continue;\n", scalar_text(*program_, filter));
    }
  }
  for (size_t i = 0; i < dim.arrays.size(); ++i) {
    text +=
        fmt::format("    q_{0}{1}[q_n{0}] = {2};\n", tag, i, c_int(*program_, dim.arrays[i].value));
  }
  text += fmt::format("    ++q_n{};\n  }}\n", tag);
  for (size_t i = 0; i < dim.arrays.size(); ++i) {
    if (!dim.arrays[i].runs) continue;
    text += fmt::format(
        "  const qg::Table q_T_{0}{1} = qg::make_table(q_{0}{1}, q_memory.take<int32_t>(2 * "
        "q_n{0}), "
        "q_n{0});\n",
        tag, i);
  }
  return text;
}

std::string Tables::print() const {
  std::string text = "  static qg::Arena q_memory;\n";
  std::string bytes;
  for (size_t d = 0; d < dims_.size(); ++d) {
    std::string extent = "int64_t{1}";
    for (const ir::Axis& axis : dims_[d].axes) {
      extent += fmt::format(" * ({})", c_int(*program_, axis.extent));
    }
    text += fmt::format("  const int64_t q_max_{} = {};\n", kTags[d], extent);
    bytes += fmt::format("{}(q_max_{} + 16) * {}", d ? " + " : "", kTags[d],
                         dims_[d].arrays.size() * 16 + 1);
  }
  text += fmt::format("  q_memory.reset({});\n", bytes);
  for (size_t d = 0; d < dims_.size(); ++d) {
    for (size_t i = 0; i < dims_[d].arrays.size(); ++i) {
      text += fmt::format("  int64_t* const q_{0}{1} = q_memory.take<int64_t>(q_max_{0});\n",
                          kTags[d], i);
    }
  }
  for (size_t d = 0; d < dims_.size(); ++d) text += fill(d);
  return text;
}

ir::IntExpr offset_of(const ir::Program& program, const std::string& tensor,
                      const std::vector<ir::IntExpr>& indices) {
  const auto shape = program.shape_of(tensor);
  ir::IntExpr total = ir::int_constant(0), stride = ir::int_constant(1);
  for (size_t d = indices.size(); d-- > 0;) {
    total = indices[d] * stride + total;
    stride = shape[d] * stride;
  }
  return total;
}

}  // namespace quern
