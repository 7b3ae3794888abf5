// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_match.h"

#include <algorithm>
#include <utility>

#include "codegen/contraction_match.h"
#include "codegen/contraction_tables.h"

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using ir::Op;
using IntKind = ir::IntExpr::Kind;

namespace {

IntExpr one() { return ir::int_constant(1); }

/// Sizes at which equalities of strides are tried: the given ones, and larger ones so that an
/// extent of 1 or two equal extents do not pass for structure.
std::vector<ir::Sizes> probes(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<ir::Sizes> out = {sizes};
  std::map<std::string, int64_t> free;
  int64_t step = 1;
  for (const std::string& name : program.free_sizes()) free[name] = sizes.at(name) + step++;
  if (auto other = ir::bind_sizes(program, free)) out.push_back(*other);
  return out;
}

bool equal(const IntExpr& a, const IntExpr& b, const std::vector<ir::Sizes>& at) {
  return std::all_of(at.begin(), at.end(), [&](const ir::Sizes& sizes) {
    return ir::evaluate(a, sizes) == ir::evaluate(b, sizes);
  });
}

}  // namespace

std::optional<IntExpr> coefficient(const IntExpr& index, const Axis& axis) {
  auto parts = separate(index, {axis}, {});
  if (!parts) return std::nullopt;
  if (axes_of((*parts)[1]).empty()) return ir::int_constant(0);
  const IntExpr& sum = (*parts)[1];
  const bool negative = sum.kind == IntKind::kSub && sum.args[0] == ir::int_constant(0);
  auto value = divide_exactly(negative ? sum.args[1] : sum, ir::int_axis(axis.name));
  if (value && negative) value = ir::int_constant(0) - *value;
  if (!value || !axes_of(*value).empty()) return std::nullopt;
  return value;
}

namespace {

/// The one stride of flattened `axes` in a tensor, if they flatten.
std::optional<IntExpr> flat_stride(const IntExpr& offset, const std::vector<Axis>& axes,
                                   const std::vector<ir::Sizes>& at) {
  std::optional<IntExpr> stride;
  for (size_t i = axes.size(); i-- > 0;) {
    auto here = coefficient(offset, axes[i]);
    if (!here) return std::nullopt;
    if (stride) {
      auto inner = coefficient(offset, axes[i + 1]);
      if (!equal(*here, *inner * axes[i + 1].extent, at)) return std::nullopt;
    } else {
      stride = here;
    }
  }
  return stride;
}

IntExpr extent_of(const std::vector<Axis>& axes) {
  IntExpr total = one();
  for (const Axis& axis : axes) total = total * axis.extent;
  return total;
}

bool no_constant(const IntExpr& offset, const Contraction& c, const std::vector<ir::Sizes>& at) {
  std::vector<std::string> names;
  std::vector<IntExpr> zeros;
  for (const auto* axes : {&c.batch, &c.m, &c.n, &c.k}) {
    for (const Axis& axis : *axes) {
      names.push_back(axis.name);
      zeros.push_back(ir::int_constant(0));
    }
  }
  return equal(ir::substitute(offset, names, zeros), ir::int_constant(0), at);
}

bool is_plain_load(const Operand& operand) {
  return operand.conditions.empty() && operand.expr.kind == Expr::Kind::kLoad &&
         operand.expr.args.empty();
}

void find_blas_form(MatmulShape& shape, const std::vector<ir::Sizes>& at) {
  const bool a_rows = equal(shape.k.a, one(), at), a_columns = equal(shape.m.a, one(), at);
  const bool b_rows = equal(shape.n.b, one(), at), b_columns = equal(shape.k.b, one(), at);
  shape.blas = (a_rows || a_columns) && (b_rows || b_columns) && equal(shape.n.c, one(), at);
  shape.a_transposed = !a_rows;
  shape.b_transposed = !b_rows;
}

}  // namespace

std::optional<MatmulShape> match_matmul(const ir::Program& program, size_t statement,
                                        const ir::Sizes& sizes) {
  const ir::Statement& root = program.statements[statement];
  auto c = match_contraction(program, root);
  if (!c || !(c->post == ir::constant(1)) || !c->phases.empty() || !c->k_filters.empty() ||
      !c->divides.empty() || !is_plain_load(c->a) || !is_plain_load(c->b)) {
    return std::nullopt;
  }
  const auto at = probes(program, sizes);
  const IntExpr a = offset_of(program, c->a.expr.name, c->a.expr.indices);
  const IntExpr b = offset_of(program, c->b.expr.name, c->b.expr.indices);
  const IntExpr y = offset_of(program, root.name, c->out_indices);
  if (!no_constant(a, *c, at) || !no_constant(b, *c, at)) return std::nullopt;
  MatmulShape shape;
  shape.statement = statement;
  shape.a = c->a.expr.name;
  shape.b = c->b.expr.name;
  const IntExpr zero = ir::int_constant(0);
  auto am = flat_stride(a, c->m, at), ak = flat_stride(a, c->k, at), bk = flat_stride(b, c->k, at);
  auto bn = flat_stride(b, c->n, at), ym = flat_stride(y, c->m, at), yn = flat_stride(y, c->n, at);
  if (!am || !ak || !bk || !bn || !ym || !yn) return std::nullopt;
  shape.m = {extent_of(c->m), *am, zero, *ym};
  shape.n = {extent_of(c->n), zero, *bn, *yn};
  shape.k = {extent_of(c->k), *ak, *bk, zero};
  for (const Axis& axis : c->batch) {
    auto ba = coefficient(a, axis), bb = coefficient(b, axis), by = coefficient(y, axis);
    if (!ba || !bb || !by) return std::nullopt;
    shape.batch.push_back({axis.extent, *ba, *bb, *by});
  }
  if (c->n.size() == 1) shape.last_axis = c->n[0].name;
  find_blas_form(shape, at);
  return shape;
}

namespace {

/// Matches the two factors of a window product: x first.
class WindowMatcher {
 public:
  WindowMatcher(const ir::Program& program, size_t statement, const ir::Sizes& sizes)
      : program_(program),
        root_(program.statements[statement]),
        sizes_(sizes),
        at_(probes(program, sizes)) {
    shape_.statement = statement;
  }

  std::optional<ConvolutionShape> match() {
    if (root_.kind != ir::Statement::Kind::kReduce || root_.monoid != ir::Monoid::kSum ||
        root_.type != DType::kF32 || root_.axes.size() < 3) {
      return std::nullopt;
    }
    const Expr* product = &root_.body;
    if (product->kind == Expr::Kind::kOp && product->op == Op::kSelect) {
      if (!(product->args[2] == ir::constant(0))) return std::nullopt;
      guarded_ = true;
      product = &product->args[1];
    }
    if (product->kind != Expr::Kind::kOp || product->op != Op::kMul) return std::nullopt;
    for (size_t side = 0; side < 2; ++side) {
      x_ = &product->args[side];
      w_ = &product->args[1 - side];
      if (loads_ok() && spatial() && channels()) return finish();
    }
    return std::nullopt;
  }

 private:
  bool loads_ok() const {
    const size_t rank = root_.axes.size();
    auto load = [&](const Expr& expr) {
      return expr.kind == Expr::Kind::kLoad && expr.indices.size() == rank &&
             (expr.args.empty() || expr.args[0] == ir::constant(0));
    };
    return load(*x_) && load(*w_) && w_->args.empty() &&
           x_->indices[0] == ir::int_axis(root_.axes[0].name);
  }

  /// x's place is stride * out + gap * tap - before, or its inverse for a transposed window.
  bool spatial() {
    shape_.stride.clear(), shape_.gap.clear(), shape_.before.clear(), shape_.after.clear();
    bool any_transposed = false;
    for (size_t d = 2; d < root_.axes.size(); ++d) {
      if (w_->indices[d].kind != IntKind::kAxis) return false;
      const Axis* tap = reduce_axis(w_->indices[d].name);
      if (tap == nullptr) return false;
      IntExpr place = x_->indices[d], stride = one();
      const bool divided = place.kind == IntKind::kDiv;
      if (divided) stride = place.args[1], place = IntExpr(place.args[0]);
      auto out = coefficient(place, root_.axes[d]), gap = coefficient(place, *tap);
      auto parts = separate(place, {root_.axes[d]}, {*tap});
      if (!out || !gap || !parts || !axes_of((*parts)[0]).empty()) return false;
      // A transposed window runs against its taps.
      const bool backward = ir::evaluate(*gap, sizes_) < 0;
      if (divided && !backward) return false;
      if (backward && !equal(*out, one(), at_)) return false;
      if (d > 2 && backward != any_transposed) return false;
      any_transposed = backward;
      const IntExpr constant = (*parts)[0];
      add_dimension(d, backward ? stride : *out, backward ? ir::int_constant(0) - *gap : *gap,
                    backward ? constant : ir::int_constant(0) - constant, *tap, backward);
    }
    shape_.transposed = any_transposed;
    return guarded_ ? any_transposed : true;
  }

  void add_dimension(size_t d, const IntExpr& stride, const IntExpr& gap, const IntExpr& before,
                     const Axis& tap, bool transposed) {
    const IntExpr in = program_.shape_of(x_->name)[d], out = root_.axes[d].extent;
    const IntExpr reach = (tap.extent - one()) * gap;
    // What the other side's padding must be for the extents to agree.
    const IntExpr after = transposed ? (in - one()) * stride + reach + one() - before - out
                                     : (out - one()) * stride + reach + one() - in - before;
    shape_.stride.push_back(stride);
    shape_.gap.push_back(gap - one());
    shape_.before.push_back(before);
    shape_.after.push_back(after);
  }

  const Axis* reduce_axis(const std::string& name) const {
    for (const Axis& axis : root_.reduce_axes) {
      if (axis.name == name) return &axis;
    }
    return nullptr;
  }

  /// Channel indices must be those of some number of groups; tried at every out and in channel.
  bool channels() {
    const auto x = program_.shape_of(x_->name), w = program_.shape_of(w_->name);
    const size_t in_at = shape_.transposed ? 0 : 1;
    std::optional<Axis> channel;
    for (const Axis& axis : root_.reduce_axes) {
      bool tap = false;
      for (size_t d = 2; d < root_.axes.size(); ++d)
        tap |= w_->indices[d] == ir::int_axis(axis.name);
      if (tap) continue;
      if (channel) return false;
      channel = axis;
    }
    const IntExpr outs = root_.axes[1].extent;
    in_per_group_ = channel ? channel->extent : one();
    groups_ = ir::int_binary(IntKind::kDiv, x[1], in_per_group_);
    const int64_t out_count = ir::evaluate(outs, sizes_), in = ir::evaluate(in_per_group_, sizes_);
    const int64_t groups = ir::evaluate(groups_, sizes_);
    if (groups < 1 || out_count % groups != 0) return false;
    out_per_group_ = ir::int_binary(IntKind::kDiv, outs, groups_);
    const int64_t per_group = out_count / groups;
    for (int64_t o = 0; o < out_count; ++o) {
      for (int64_t c = 0; c < std::min<int64_t>(in, 4); ++c) {
        auto value = [&](const IntExpr& index) {
          std::vector<std::string> names = {root_.axes[1].name};
          std::vector<IntExpr> by = {ir::int_constant(o)};
          if (channel) names.push_back(channel->name), by.push_back(ir::int_constant(c));
          const IntExpr fixed = ir::substitute(index, names, by);
          return axes_of(fixed).empty() ? ir::evaluate(fixed, sizes_) : -1;
        };
        const int64_t want_in = o / per_group * in + c;
        if (value(x_->indices[1]) != want_in) return false;
        if (value(w_->indices[in_at]) != (shape_.transposed ? want_in : c)) return false;
        if (value(w_->indices[1 - in_at]) != (shape_.transposed ? o % per_group : o)) return false;
      }
    }
    return true;
  }

  std::optional<ConvolutionShape> finish() {
    shape_.x = x_->name;
    shape_.w = w_->name;
    shape_.channel_axis = root_.axes[1].name;
    shape_.x_dims = program_.shape_of(x_->name);
    for (const Axis& axis : root_.axes) shape_.y_dims.push_back(axis.extent);
    const auto w = program_.shape_of(w_->name);
    IntExpr taps = one();
    for (size_t d = 2; d < w.size(); ++d) taps = taps * w[d];
    shape_.w_dims = {groups_, out_per_group_, in_per_group_};
    if (shape_.transposed) {
      shape_.w_strides = {in_per_group_ * out_per_group_ * taps, taps, out_per_group_ * taps};
    } else {
      shape_.w_strides = {out_per_group_ * in_per_group_ * taps, in_per_group_ * taps, taps};
    }
    for (size_t d = 2; d < w.size(); ++d) {
      IntExpr stride = one();
      for (size_t e = d + 1; e < w.size(); ++e) stride = stride * w[e];
      shape_.w_dims.push_back(w[d]);
      shape_.w_strides.push_back(stride);
    }
    // oneDNN takes no group dimension where there is one group only.
    if (equal(groups_, one(), at_)) {
      shape_.w_dims.erase(shape_.w_dims.begin());
      shape_.w_strides.erase(shape_.w_strides.begin());
    }
    return shape_;
  }

  const ir::Program& program_;
  const ir::Statement& root_;
  const ir::Sizes& sizes_;
  std::vector<ir::Sizes> at_;
  bool guarded_ = false;
  const Expr* x_ = nullptr;
  const Expr* w_ = nullptr;
  IntExpr in_per_group_, out_per_group_, groups_;
  ConvolutionShape shape_;
};

int readers(const ir::Program& program, const std::string& tensor) {
  int count = 0;
  for (const ir::Statement& statement : program.statements) {
    const auto names = tensors_of(statement.body);
    count += static_cast<int>(std::count(names.begin(), names.end(), tensor));
  }
  return count;
}

/// Whether every load of `tensor` in `statement` is at the statement's own point.
bool reads_in_place(const ir::Statement& statement, const std::string& tensor) {
  for (const Expr* load : loads_of(statement.body)) {
    if (load->name != tensor) continue;
    if (load->indices.size() != statement.axes.size()) return false;
    for (size_t d = 0; d < load->indices.size(); ++d) {
      if (!(load->indices[d] == ir::int_axis(statement.axes[d].name))) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<ConvolutionShape> match_convolution(const ir::Program& program, size_t statement,
                                                  const ir::Sizes& sizes) {
  return WindowMatcher(program, statement, sizes).match();
}

Fused fuse_tail(const ir::Program& program, size_t statement, bool allow_bias,
                const std::string& axis) {
  Fused fused;
  fused.last = statement;
  size_t axis_at = 0;
  for (size_t d = 0; d < program.statements[statement].axes.size(); ++d) {
    if (program.statements[statement].axes[d].name == axis) axis_at = d;
  }
  for (size_t i = statement + 1; i < program.statements.size(); ++i) {
    const ir::Statement &before = program.statements[fused.last], &here = program.statements[i];
    if (before.is_output || here.kind != ir::Statement::Kind::kMap || fused.activation ||
        readers(program, before.name) != 1 || !reads_in_place(here, before.name) ||
        here.axes.size() != before.axes.size()) {
      break;
    }
    if (auto activation = match_activation(here.body, before.name)) {
      fused.activation = activation;
    } else {
      if (!allow_bias || axis.empty() || fused.bias || here.body.kind != Expr::Kind::kOp ||
          here.body.op != Op::kAdd) {
        break;
      }
      const Expr *a = &here.body.args[0], *b = &here.body.args[1];
      if (a->name != before.name) std::swap(a, b);
      if (a->kind != Expr::Kind::kLoad || a->name != before.name || b->kind != Expr::Kind::kLoad ||
          b->indices.size() != 1 || !b->args.empty() ||
          !(b->indices[0] == ir::int_axis(here.axes[axis_at].name)) || b->name == before.name ||
          program.find_input(b->name) == nullptr) {
        break;
      }
      fused.bias = b->name;
    }
    fused.last = i;
  }
  return fused;
}

}  // namespace quern
