// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_activation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace quern {

using ir::Expr;
using ir::Op;

namespace {

/// `body` with every load of `tensor` set to x; nothing where it needs anything else.
std::optional<double> value_at(const Expr& body, const std::string& tensor, double x) {
  if (body.kind == Expr::Kind::kConstant) return body.value;
  if (body.kind == Expr::Kind::kLoad) {
    if (body.name != tensor || !body.args.empty()) return std::nullopt;
    return x;
  }
  if (body.kind != Expr::Kind::kOp) return std::nullopt;
  std::array<double, 3> v{};
  for (size_t i = 0; i < body.args.size(); ++i) {
    auto arg = value_at(body.args[i], tensor, x);
    if (!arg) return std::nullopt;
    v[i] = *arg;
  }
  switch (body.op) {
    case Op::kNeg:
      return -v[0];
    case Op::kAbs:
      return std::fabs(v[0]);
    case Op::kExp:
      return std::exp(v[0]);
    case Op::kLog:
      return std::log(v[0]);
    case Op::kLog1p:
      return std::log1p(v[0]);
    case Op::kExpm1:
      return std::expm1(v[0]);
    case Op::kSqrt:
      return std::sqrt(v[0]);
    case Op::kRsqrt:
      return 1 / std::sqrt(v[0]);
    case Op::kTanh:
      return std::tanh(v[0]);
    case Op::kErf:
      return std::erf(v[0]);
    case Op::kAdd:
      return v[0] + v[1];
    case Op::kSub:
      return v[0] - v[1];
    case Op::kMul:
      return v[0] * v[1];
    case Op::kDiv:
      return v[0] / v[1];
    case Op::kMax:
      return std::max(v[0], v[1]);
    case Op::kMin:
      return std::min(v[0], v[1]);
    case Op::kPow:
      return std::pow(v[0], v[1]);
    case Op::kLt:
      return v[0] < v[1];
    case Op::kLe:
      return v[0] <= v[1];
    case Op::kGt:
      return v[0] > v[1];
    case Op::kGe:
      return v[0] >= v[1];
    case Op::kSelect:
      return v[0] != 0 ? v[1] : v[2];
    default:
      return std::nullopt;
  }
}

struct KnownActivation {
  const char* name;
  double (*value)(double x, double alpha, double beta);
};
constexpr double kTanhScale = 0.7978845608028654;  // sqrt(2 / pi)
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

/// By increasing generality: those with parameters come last.
const std::array<KnownActivation, 18> kActivations = {{
    {"relu", [](double x, double a, double) { return x > 0 ? x : a * x; }},
    {"gelu_erf",
     [](double x, double, double) { return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }},
    {"gelu_tanh",
     [](double x, double, double) {
       return 0.5 * x * (1 + std::tanh(kTanhScale * (x + 0.044715 * x * x * x)));
     }},
    {"logistic", [](double x, double, double) { return sigmoid(x); }},
    {"tanh", [](double x, double, double) { return std::tanh(x); }},
    {"soft_relu", [](double x, double, double) { return softplus(x); }},
    {"logsigmoid", [](double x, double, double) { return -softplus(-x); }},
    {"mish", [](double x, double, double) { return x * std::tanh(softplus(x)); }},
    {"hardswish", [](double x, double, double) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; }},
    {"abs", [](double x, double, double) { return std::fabs(x); }},
    {"square", [](double x, double, double) { return x * x; }},
    {"exp", [](double x, double, double) { return std::exp(x); }},
    {"sqrt", [](double x, double, double) { return std::sqrt(x); }},
    {"log", [](double x, double, double) { return std::log(x); }},
    {"swish", [](double x, double a, double) { return x * sigmoid(a * x); }},
    {"elu", [](double x, double a, double) { return x > 0 ? x : a * std::expm1(x); }},
    {"clip_v2", [](double x, double a, double b) { return std::min(std::max(x, a), b); }},
    {"linear", [](double x, double a, double b) { return a * x + b; }},
}};

/// The parameters that make `name` agree with `f` where they show.
Activation solved(const char* name, const std::function<double(double)>& f) {
  const std::string_view kind = name;
  if (kind == "relu") return {name, -f(-1), 0};
  if (kind == "swish") return {name, -std::log(1 / f(1) - 1), 0};
  if (kind == "elu") return {name, f(-1) / std::expm1(-1), 0};
  if (kind == "clip_v2") return {name, f(-1e4), f(1e4)};
  if (kind == "linear") return {name, f(1) - f(0), f(0)};
  return {name, 0, 0};
}

}  // namespace

double activation_value(const Activation& activation, double x) {
  for (const KnownActivation& known : kActivations) {
    if (std::string_view(known.name) == activation.name)
      return known.value(x, activation.alpha, activation.beta);
  }
  return std::nan("");
}

std::optional<Activation> match_function(const std::function<std::optional<double>(double)>& f) {
  if (!f(0)) return std::nullopt;
  for (const KnownActivation& known : kActivations) {
    // Parameters print as f32; one that is not a number fits nothing.
    Activation guess = solved(known.name, [&](double x) { return *f(x); });
    guess.alpha = std::fabs(guess.alpha) < 1e-9 ? 0 : guess.alpha;
    if (!std::isfinite(guess.alpha) || !std::isfinite(guess.beta)) continue;
    bool same = true;
    for (double x :
         {-57.0, -7.3, -4.1, -2.2, -1.0, -0.35, 0.0, 0.2, 0.9, 1.7, 3.1, 5.2, 8.4, 61.0}) {
      const double want = known.value(x, guess.alpha, guess.beta), got = *f(x);
      same &= got == want || (std::isnan(got) && std::isnan(want)) ||
              std::fabs(got - want) <= 1e-6 * (1 + std::fabs(want));
    }
    if (same) return guess;
  }
  return std::nullopt;
}

std::optional<Activation> match_activation(const Expr& body, const std::string& tensor) {
  return match_function([&](double x) { return value_at(body, tensor, x); });
}

}  // namespace quern
