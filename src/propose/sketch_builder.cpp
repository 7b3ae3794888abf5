// SPDX-License-Identifier: Apache-2.0
#include "propose/sketch_builder.h"

#include <algorithm>

#include "codegen/contraction.h"

namespace quern {

using ir::Op;
using ir::Program;
using ir::Statement;

namespace {

bool is_costly(const ir::Expr& expr) {
  if (expr.kind == ir::Expr::Kind::kOp) {
    switch (expr.op) {
      case Op::kExp:
      case Op::kLog:
      case Op::kLog1p:
      case Op::kExpm1:
      case Op::kTanh:
      case Op::kErf:
      case Op::kSin:
      case Op::kCos:
      case Op::kPow:
        return true;
      default:
        break;
    }
  }
  return std::any_of(expr.args.begin(), expr.args.end(), is_costly);
}

}  // namespace

double elements(const std::vector<ir::Axis>& axes, const ir::Sizes& sizes) {
  double count = 1;
  for (const ir::Axis& axis : axes) {
    count *= static_cast<double>(ir::evaluate(axis.extent, sizes));
  }
  return count;
}

void inline_maps(SketchBuilder* builder, bool costly_too, bool tensorize) {
  const Program& program = builder->program();
  for (const Statement& map : program.statements) {
    if (map.kind != Statement::Kind::kMap || map.is_output) continue;
    double reads = 0;
    bool into_contraction = false;
    for (size_t r = 0; r < program.statements.size(); ++r) {
      const Statement& reader = program.statements[r];
      for (const ir::Expr* load : ir::loads_of(reader.body)) {
        if (load->name != map.name) continue;
        reads += elements(reader.axes, builder->sizes()) *
                 elements(reader.reduce_axes, builder->sizes());
        into_contraction |= tensorize && is_contraction(program, static_cast<int>(r));
      }
    }
    const bool costly = is_costly(map.body);
    const double repeats = reads / elements(map.axes, builder->sizes());
    if (into_contraction) continue;
    if (costly ? costly_too && repeats <= 2 : repeats <= 4) {
      builder->add("compute_inline", map.name);
    }
  }
}

void tensorize_all(SketchBuilder* builder) {
  const Program& program = builder->program();
  for (size_t s = 0; s < program.statements.size(); ++s) {
    if (!is_contraction(program, static_cast<int>(s))) continue;
    const std::string& name = program.statements[s].name;
    if (!builder->add("tensorize", name)) continue;
    for (size_t t = s + 1; t < program.statements.size(); ++t) {
      const Statement& next = program.statements[t];
      if (next.kind == Statement::Kind::kMap &&
          next.axes.size() == program.statements[s].axes.size()) {
        builder->add("reverse_compute_inline", next.name, {{"into", name}});
      }
    }
  }
}

void fuse_all(SketchBuilder* builder) {
  const Program& program = builder->program();
  for (size_t s = 1; s < program.statements.size(); ++s) {
    const Group* own = builder->group_of(static_cast<int>(s));
    if (own == nullptr || own->skeleton != Skeleton::kNest) continue;
    for (size_t t = s; t-- > 0;) {
      const Group* other = builder->group_of(static_cast<int>(t));
      if (other == nullptr || other == own || other->skeleton != Skeleton::kNest) continue;
      const std::string& name = program.statements[s].name;
      const std::string& into = program.statements[t].name;
      const bool pointwise = program.statements[s].kind == Statement::Kind::kMap;
      if (pointwise ? builder->add("reverse_compute_inline", name, {{"into", into}})
                    : builder->add("compute_with", name, {{"with", into}})) {
        break;
      }
    }
  }
}

void keep_distinct(std::vector<Sketch>* sketches) {
  std::vector<Sketch> kept;
  for (Sketch& sketch : *sketches) {
    const bool known = std::any_of(
        kept.begin(), kept.end(), [&](const Sketch& other) { return other.trace == sketch.trace; });
    if (!known) kept.push_back(std::move(sketch));
  }
  *sketches = std::move(kept);
}

}  // namespace quern
