// SPDX-License-Identifier: Apache-2.0
#include "task/functions.h"

namespace quern {

ir::Expr unary(ir::Op op, ir::Expr a) { return ir::apply(op, {std::move(a)}); }
ir::Expr binary(ir::Op op, ir::Expr a, ir::Expr b) {
  return ir::apply(op, {std::move(a), std::move(b)});
}

namespace {

using ir::constant;
using ir::Expr;
using ir::Op;
using Args = std::vector<Expr>;

Expr add(Expr a, Expr b) { return binary(Op::kAdd, std::move(a), std::move(b)); }
Expr mul(Expr a, Expr b) { return binary(Op::kMul, std::move(a), std::move(b)); }
Expr div(Expr a, Expr b) { return binary(Op::kDiv, std::move(a), std::move(b)); }
Expr clamp(Expr x, Expr low, Expr high) {
  return binary(Op::kMin, binary(Op::kMax, std::move(x), std::move(low)), std::move(high));
}
Expr positive_or(Expr x, Expr otherwise) {
  Expr test = binary(Op::kGt, x, constant(0));
  return ir::apply(Op::kSelect, {std::move(test), std::move(x), std::move(otherwise)});
}
/// log(1 + exp(x)), without overflow for large x.
Expr softplus(const Expr& x) {
  return add(binary(Op::kMax, x, constant(0)),
             unary(Op::kLog1p, unary(Op::kExp, unary(Op::kNeg, unary(Op::kAbs, x)))));
}
Expr one_plus_exp_minus(const Expr& x) {
  return add(constant(1), unary(Op::kExp, unary(Op::kNeg, x)));
}
/// x (1 + f) / 2
Expr half_gate(const Expr& x, Expr f) {
  return mul(mul(constant(0.5), x), add(constant(1), std::move(f)));
}
Expr gelu(const Args& a) {
  return half_gate(a[0], unary(Op::kErf, mul(a[0], constant(0.7071067811865476))));
}
Expr gelu_tanh(const Args& a) {
  Expr cube = mul(mul(mul(constant(0.044715), a[0]), a[0]), a[0]);
  return half_gate(a[0], unary(Op::kTanh, mul(constant(0.7978845608028654), add(a[0], cube))));
}
Expr hard_gate(const Expr& x) {
  return div(clamp(add(x, constant(3)), constant(0), constant(6)), constant(6));
}
Expr selu(const Args& a) {
  constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
  return mul(constant(kScale), positive_or(a[0], mul(constant(kAlpha), unary(Op::kExpm1, a[0]))));
}

const std::vector<Shorthand>& shorthands() {
  static const auto* table = new std::vector<Shorthand>{
      {"relu", {"x"}, {}, [](const Args& a) { return binary(Op::kMax, a[0], constant(0)); }},
      {"gelu", {"x"}, {}, gelu},
      {"gelu_tanh", {"x"}, {}, gelu_tanh},
      {"sigmoid",
       {"x"},
       {},
       [](const Args& a) { return div(constant(1), one_plus_exp_minus(a[0])); }},
      {"silu", {"x"}, {}, [](const Args& a) { return div(a[0], one_plus_exp_minus(a[0])); }},
      {"softplus", {"x"}, {}, [](const Args& a) { return softplus(a[0]); }},
      {"log_sigmoid",
       {"x"},
       {},
       [](const Args& a) { return unary(Op::kNeg, softplus(unary(Op::kNeg, a[0]))); }},
      {"mish",
       {"x"},
       {},
       [](const Args& a) { return mul(a[0], unary(Op::kTanh, softplus(a[0]))); }},
      {"elu",
       {"x", "alpha"},
       {1},
       [](const Args& a) { return positive_or(a[0], mul(a[1], unary(Op::kExpm1, a[0]))); }},
      {"selu", {"x"}, {}, selu},
      {"leaky_relu",
       {"x", "slope"},
       {0.01},
       [](const Args& a) { return positive_or(a[0], mul(a[1], a[0])); }},
      {"hardtanh",
       {"x", "low", "high"},
       {-1, 1},
       [](const Args& a) { return clamp(a[0], a[1], a[2]); }},
      {"hardswish", {"x"}, {}, [](const Args& a) { return mul(a[0], hard_gate(a[0])); }},
      {"hardsigmoid", {"x"}, {}, [](const Args& a) { return hard_gate(a[0]); }},
      {"softsign",
       {"x"},
       {},
       [](const Args& a) { return div(a[0], add(constant(1), unary(Op::kAbs, a[0]))); }},
      {"clamp", {"x", "low", "high"}, {}, [](const Args& a) { return clamp(a[0], a[1], a[2]); }},
      {"square", {"x"}, {}, [](const Args& a) { return mul(a[0], a[0]); }},
  };
  return *table;
}

}  // namespace

const Shorthand* find_shorthand(const std::string& name) {
  for (const Shorthand& row : shorthands()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

std::vector<std::string> function_names() {
  std::vector<std::string> names = {"index"};
  for (int op = 0; op <= static_cast<int>(Op::kSelect); ++op) {
    const ir::OpInfo& row = ir::op_info(static_cast<Op>(op));
    if (!row.infix) names.emplace_back(row.name);
  }
  for (const Shorthand& row : shorthands()) names.emplace_back(row.name);
  return names;
}

}  // namespace quern
