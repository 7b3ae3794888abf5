// SPDX-License-Identifier: Apache-2.0
#include "verify/rounding_samples.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "ir/recurrence.h"

namespace quern {
namespace {

constexpr int kDeep = 6;         ///< sums in a chain
constexpr int kDeepRounded = 2;  ///< where convolutions round their operands
constexpr double kUnit = 0x1p-24;
constexpr double kAccepted = 4;  ///< units of scale, as `ComparePolicy` has it
constexpr double kLargestShare = 1.0 / 64;

bool adds(const ir::Statement& statement) {
  return statement.kind != ir::Statement::Kind::kMap && statement.monoid == ir::Monoid::kSum;
}

/// Root of the mean square of what `f` gives for finite elements.
template <class F>
double rms(size_t count, const F& f) {
  double squares = 0, finite = 0;
  for (size_t i = 0; i < count; ++i) {
    const double x = f(i);
    if (std::isfinite(x)) squares += x * x, finite += 1;
  }
  return finite > 0 ? std::sqrt(squares / finite) : 0;
}

}  // namespace

int chain_of_sums(const ir::Program& program) {
  std::map<std::string, int> chain;
  int longest = 0;
  for (const ir::Statement& statement : program.statements) {
    int before = 0;
    for (const std::string& tensor : ir::tensors_of(statement.body)) {
      before = std::max(before, chain[tensor]);
    }
    longest = std::max(longest, chain[statement.name] = before + (adds(statement) ? 1 : 0));
  }
  // A recurrence is as deep as it has steps, which sizes decide.
  return ir::recurrences(program).empty() ? longest : std::max(longest, kDeep);
}

bool may_outgrow(const ir::Program& program, Contract contract) {
  const auto narrow = [](const auto& tensor) { return tensor.type != DType::kF64; };
  const int deep = contract == Contract::kFp32 ? kDeep : kDeepRounded;
  return chain_of_sums(program) >= deep && std::ranges::all_of(program.inputs, narrow) &&
         std::ranges::all_of(program.statements, narrow);
}

bool outgrown(const ExpectedOutput& output) {
  if (!is_float(output.type) || output.value.empty()) return false;
  const size_t count = output.value.size();
  double mean = 0, finite = 0;
  for (double value : output.value) {
    if (std::isfinite(value)) mean += value, finite += 1;
  }
  // A single number has no spread: what counts is its own magnitude.
  mean = count > 1 && finite > 0 ? mean / finite : 0;
  const double spread = rms(count, [&](size_t i) { return output.value[i] - mean; });
  const double accepted = kAccepted * kUnit * rms(count, [&](size_t i) { return output.scale[i]; });
  return accepted > kLargestShare * spread;
}

double take_samples(const ExpectedOutput& sampled, ExpectedOutput& output) {
  const size_t count = output.scale.size();
  const double bound = rms(count, [&](size_t i) { return output.scale[i]; });
  const double shared = rms(count, [&](size_t i) { return sampled.scale[i]; });
  for (size_t i = 0; i < count; ++i) {
    output.scale[i] = std::min(output.scale[i], std::max(shared, sampled.scale[i]));
  }
  return bound > 0 ? std::min(1.0, shared / bound) : 1;
}

}  // namespace quern
