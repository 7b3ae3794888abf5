// SPDX-License-Identifier: Apache-2.0
#include "verify/mutants.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>

#include "tensor/fill.h"

namespace quern {
namespace {

constexpr int64_t kElements = 200'000;
using Bytes = std::vector<std::byte>;

/// A value as the bytes of an element of `type`.
void put(Bytes& out, DType type, size_t index, double value) {
  const auto write = [&]<class T>(T element) {
    std::memcpy(out.data() + index * sizeof(T), &element, sizeof(T));
  };
  switch (type) {
    case DType::kF32:
      return write(static_cast<float>(value));
    case DType::kF64:
      return write(value);
    case DType::kI32:
      return write(static_cast<int32_t>(value));
    case DType::kI64:
      return write(static_cast<int64_t>(value));
  }
}

Bytes filled(const ExpectedOutput& output, const std::function<double(size_t)>& value) {
  Bytes bytes(output.value.size() * static_cast<size_t>(dtype_bytes(output.type)));
  for (size_t i = 0; i < output.value.size(); ++i) put(bytes, output.type, i, value(i));
  return bytes;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0, count = 0;
  for (double value : values) {
    if (std::isfinite(value)) sum += value, count += 1;
  }
  return count > 0 ? sum / count : 0;
}

struct MutantKind {
  const char* name;
  /// Bytes of output `index` of the wrong kernel, on data set `own`; `other` has fresh inputs.
  Bytes (*make)(const Dataset& own, const Dataset& other, size_t index);
};

Bytes zeros(const Dataset& own, const Dataset&, size_t index) {
  return filled(own.outputs[index], [](size_t) { return 0.0; });
}
// What a kernel can know by heart: nothing of the data at hand.
Bytes constant(const Dataset& own, const Dataset& other, size_t index) {
  const double mean = mean_of(other.outputs[index].value);
  return filled(own.outputs[index], [=](size_t) { return mean; });
}
Bytes identity(const Dataset& own, const Dataset&, size_t index) {
  Bytes bytes = filled(own.outputs[index], [](size_t) { return 0.0; });
  if (own.inputs.empty() || own.inputs[0].empty()) return bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = own.inputs[0][i % own.inputs[0].size()];
  return bytes;
}
Bytes stale(const Dataset&, const Dataset& other, size_t index) {
  return filled(other.outputs[index], [&](size_t i) { return other.outputs[index].value[i]; });
}
Bytes unwritten(const Dataset& own, const Dataset&, size_t index) {
  Bytes bytes = filled(own.outputs[index], [](size_t) { return 0.0; });
  std::ranges::fill(bytes, kPoison);
  return bytes;
}
Bytes half(const Dataset& own, const Dataset&, size_t index) {
  const size_t count = own.outputs[index].value.size();
  return filled(own.outputs[index], [&, count](size_t i) {
    return 2 * i + 1 < count ? own.outputs[index].value[i] : 0.0;
  });
}

constexpr std::array<MutantKind, 6> kMutants = {{{"zeros", zeros},
                                                 {"constant", constant},
                                                 {"identity", identity},
                                                 {"stale", stale},
                                                 {"unwritten", unwritten},
                                                 {"half", half}}};

/// Refused if any output is refused: that is how the verifier sees it.
Mutant judge(const MutantKind& kind, const Dataset& own, const Dataset& other) {
  Mutant mutant;
  mutant.name = kind.name;
  for (size_t i = 0; i < own.outputs.size(); ++i) {
    const CompareReport report = compare(kind.make(own, other, i), own.outputs[i], {});
    if (report.ok) continue;
    mutant.caught = true;
    mutant.detail = report.worst;
    return mutant;
  }
  mutant.detail = fmt::format("the verifier accepts this wrong answer ({})", kind.name);
  return mutant;
}

}  // namespace

Result<std::vector<Mutant>> try_mutants(const ir::Program& program, const Oracle& oracle,
                                        uint64_t seed) {
  const ir::Sizes sizes = hidden_sizes(program, seed, kElements);
  std::vector<Mutant> mutants;
  Dataset own = draw_dataset(program, sizes, {InputMix::Kind::kDeclared}, mix_seed(seed, 1));
  Dataset other = draw_dataset(program, sizes, {InputMix::Kind::kDeclared}, mix_seed(seed, 2));
  QUERN_TRY(oracle.expect(sizes, own));
  QUERN_TRY(oracle.expect(sizes, other));
  for (const MutantKind& kind : kMutants) mutants.push_back(judge(kind, own, other));
  return mutants;
}

}  // namespace quern
