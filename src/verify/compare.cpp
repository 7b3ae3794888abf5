// SPDX-License-Identifier: Apache-2.0
#include "verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "base/check.h"
#include "base/sanitized.h"

namespace quern {
namespace {

constexpr int64_t kElementsPerThread = 1 << 17;

/// Unit roundoff of the type an output is stored in.
double unit_roundoff(DType type) { return type == DType::kF64 ? 0x1p-53 : 0x1p-24; }

struct Partial {
  double max_error = 0;
  double sum_squares = 0;
  int64_t wrong = 0;
  int64_t unwritten = 0;
  int64_t compared = 0;
  int64_t worst_index = -1;
  double worst_error = -1;
};

template <class T>
bool is_poison(const T& value) {
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  return std::all_of(bytes, bytes + sizeof(T),
                     [](unsigned char byte) { return std::byte{byte} == kPoison; });
}

/// |got - expected| in units of the rounding scale; infinite where one is finite and the other not.
template <class T>
double error_of(T got, double value, double scale, double unit, bool bitwise) {
  const double candidate = static_cast<double>(got);
  if (candidate == value) return 0;
  if (std::isnan(candidate) && std::isnan(value)) return 0;
  if (bitwise || !std::isfinite(value) || !std::isfinite(candidate)) {
    return std::numeric_limits<double>::infinity();
  }
  // Results below the normal range may be flushed to zero.
  const double bound = unit * scale + std::numeric_limits<T>::min();
  if (bound <= 0) return std::numeric_limits<double>::infinity();
  return std::abs(candidate - value) / bound;
}

// Where the compiler can, the hot loop is also built for newer vector units and chosen at run time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(QUERN_SANITIZED)
#define QUERN_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QUERN_VECTOR_CLONES
#endif

constexpr int64_t kBlock = 256;

/// The largest and the summed squared error of a block in which every element is finite and within
/// `factor`; anything else makes `max_error` infinite, and the block is then looked at element by
/// element. Sums are kept per lane, or each addition would wait for the one before.
QUERN_VECTOR_CLONES void scan_block(const float* got, const double* value, const double* scale,
                                    int64_t count, double factor, double* max_error,
                                    double* sum_squares) {
  constexpr double kTiny = std::numeric_limits<float>::min();
  constexpr int64_t kLanes = 16;
  double squares[kLanes] = {}, largest[kLanes] = {};
  int64_t bad[kLanes] = {};
  const auto look = [&](int64_t i, int64_t lane) {
    const double error =
        std::abs(static_cast<double>(got[i]) - value[i]) / (0x1p-24 * scale[i] + kTiny);
    bad[lane] |= !(error <= factor) | !(std::abs(value[i]) <= 3e38) | !(scale[i] <= 1e300);
    squares[lane] += error * error;
    largest[lane] = largest[lane] < error ? error : largest[lane];
  };
  int64_t first = 0;
  for (; first + kLanes <= count; first += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) look(first + lane, lane);
  }
  for (; first < count; ++first) look(first, 0);
  *max_error = *sum_squares = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    *sum_squares += squares[lane];
    *max_error = bad[lane] != 0 ? std::numeric_limits<double>::infinity()
                                : std::max(*max_error, largest[lane]);
  }
}

/// Whether [first, last) of an f32 output is plainly right; its errors are then in `partial`.
bool plainly_right(const float* got, const ExpectedOutput& expected, double factor, int64_t first,
                   int64_t last, Partial& partial) {
  double max_error = 0, sum_squares = 0;
  scan_block(got + first, expected.value.data() + first, expected.scale.data() + first,
             last - first, factor, &max_error, &sum_squares);
  if (!(max_error <= factor)) return false;
  partial.max_error = std::max(partial.max_error, max_error);
  partial.sum_squares += sum_squares;
  partial.compared += last - first;
  return true;
}

template <class T>
void compare_range(const T* got, const ExpectedOutput& expected, const ComparePolicy& policy,
                   int64_t first, int64_t last, Partial& partial) {
  const double unit = unit_roundoff(expected.type);
  const bool narrow = expected.type == DType::kF32;
  for (int64_t i = first; i < last; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      const int64_t end = std::min(last, i + kBlock);
      if (!policy.bitwise && (i - first) % kBlock == 0 &&
          plainly_right(got, expected, policy.factor, i, end, partial)) {
        i = end - 1;
        continue;
      }
    }
    const auto at = static_cast<size_t>(i);
    const double scale = expected.scale[at];
    // -1 may be an honest integer result; the NaN pattern never is an honest float.
    if (is_poison(got[i]) &&
        (std::is_floating_point_v<T> || static_cast<double>(got[i]) != expected.value[at])) {
      ++partial.unwritten;
      ++partial.wrong;
      if (partial.worst_error < 0) partial.worst_error = 0, partial.worst_index = i;
      continue;
    }
    double value = expected.value[at];
    if (!policy.bitwise) {
      if (!std::isfinite(scale) && !std::isinf(value)) continue;
      // Where f64 stays finite but f32 overflows, or comes close, the oracle has no opinion.
      if (narrow && std::abs(value) > 3e38 && std::isfinite(value)) continue;
    }
    ++partial.compared;
    const double error = error_of(got[i], value, scale, unit, policy.bitwise);
    partial.max_error = std::max(partial.max_error, error);
    if (std::isfinite(error)) partial.sum_squares += error * error;
    if (error <= policy.factor) continue;
    ++partial.wrong;
    if (error > partial.worst_error) partial.worst_error = error, partial.worst_index = i;
  }
}

template <class T>
std::vector<Partial> compare_parallel(const std::byte* data, const ExpectedOutput& expected,
                                      const ComparePolicy& policy) {
  const T* got = reinterpret_cast<const T*>(data);
  const auto count = static_cast<int64_t>(expected.value.size());
  static const int64_t hardware =
      std::max(1u, std::thread::hardware_concurrency());  // reads a file
  const int64_t parts =
      std::clamp<int64_t>((count + kElementsPerThread - 1) / kElementsPerThread, 1, hardware);
  std::vector<Partial> partials(static_cast<size_t>(parts));
  std::vector<std::thread> threads;
  for (int64_t part = 1; part < parts; ++part) {
    threads.emplace_back([&, part] {
      compare_range(got, expected, policy, count * part / parts, count * (part + 1) / parts,
                    partials[static_cast<size_t>(part)]);
    });
  }
  compare_range(got, expected, policy, 0, count / parts, partials[0]);
  for (std::thread& thread : threads) thread.join();
  return partials;
}

std::string position(int64_t index, const Shape& shape) {
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0;) {
    const std::string part = fmt::format("{}", index % shape[axis]);
    text = text.empty() ? part : part + ", " + text;
    index /= shape[axis];
  }
  return text;
}

std::string value_text(std::span<const std::byte> got, DType type, int64_t index) {
  const auto read = [&]<class T>(T value) {
    std::memcpy(&value, got.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
    return fmt::format("{}", value);
  };
  switch (type) {
    case DType::kF32:
      return read(float{});
    case DType::kF64:
      return read(double{});
    case DType::kI32:
      return read(int32_t{});
    case DType::kI64:
      return read(int64_t{});
  }
  return "";
}

std::string describe_worst(std::span<const std::byte> got, const ExpectedOutput& expected,
                           const Partial& worst, const CompareReport& report) {
  const double value = expected.value[static_cast<size_t>(worst.worst_index)];
  return describe_element(
      expected.name, expected.shape, worst.worst_index,
      report.unwritten == report.wrong ? "" : value_text(got, expected.type, worst.worst_index),
      value, worst.worst_error);
}

}  // namespace

std::string describe_element(const std::string& name, const Shape& shape, int64_t index,
                             const std::string& got, double expected, double error) {
  const std::string place = fmt::format("{}[{}]", name, position(index, shape));
  if (got.empty()) return fmt::format("{} was never written", place);
  std::string text = fmt::format("{}: got {}, expected {:.9g}", place, got, expected);
  if (std::isfinite(error) && error >= 0) {
    text += fmt::format(" ({:.3g} times the rounding-error scale)", error);
  }
  return text;
}

CompareReport compare(std::span<const std::byte> got, const ExpectedOutput& expected,
                      const ComparePolicy& policy) {
  QUERN_CHECK(got.size() == expected.value.size() * static_cast<size_t>(dtype_bytes(expected.type)),
              "output buffer and expectation differ in size");
  std::vector<Partial> partials;
  switch (expected.type) {
    case DType::kF32:
      partials = compare_parallel<float>(got.data(), expected, policy);
      break;
    case DType::kF64:
      partials = compare_parallel<double>(got.data(), expected, policy);
      break;
    case DType::kI32:
      partials = compare_parallel<int32_t>(got.data(), expected, policy);
      break;
    case DType::kI64:
      partials = compare_parallel<int64_t>(got.data(), expected, policy);
      break;
  }
  CompareReport report;
  const Partial* worst = nullptr;
  double sum_squares = 0;
  for (const Partial& partial : partials) {
    report.max_error = std::max(report.max_error, partial.max_error);
    report.wrong += partial.wrong;
    report.unwritten += partial.unwritten;
    report.compared += partial.compared;
    sum_squares += partial.sum_squares;
    if (partial.worst_index >= 0 && (!worst || partial.worst_error > worst->worst_error)) {
      worst = &partial;
    }
  }
  report.ok = report.wrong == 0;
  if (report.compared > 0) {
    report.rms_error = std::sqrt(sum_squares / static_cast<double>(report.compared));
  }
  if (worst != nullptr) report.worst = describe_worst(got, expected, *worst, report);
  return report;
}

}  // namespace quern
