// SPDX-License-Identifier: Apache-2.0
#include "tensor/fill.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

namespace quern {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
// 2014): a bijection whose output passes BigCrush on a counter.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Uniform in (0, 1), never 0.
double unit(uint64_t word) { return (static_cast<double>(word >> 11) + 0.5) * 0x1p-53; }

/// Sum of eight 16-bit uniforms from two words: a normal cut at 4.9 deviations. Cheaper than
/// Box-Muller by far, and tests of rounding do not need the far tail.
double normal(uint64_t word, uint64_t other) {
  double sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<double>((word >> (16 * i)) & 0xffff) +
           static_cast<double>((other >> (16 * i)) & 0xffff);
  }
  constexpr double kMean = 8 * 32767.5;
  constexpr double kDeviation = 53510.2;  // sqrt(8 * (65536^2 - 1) / 12)
  return (sum - kMean) / kDeviation;
}

constexpr int64_t kElementsPerThread = 1 << 20;

template <class T>
void fill_range(T* out, int64_t first, int64_t last, const FillSpec& spec, uint64_t seed) {
  for (int64_t i = first; i < last; ++i) {
    const double value = draw(spec, seed, static_cast<uint64_t>(i));
    if constexpr (std::is_floating_point_v<T>) {
      out[i] = static_cast<T>(value);
    } else {
      out[i] = static_cast<T>(std::floor(value));
    }
  }
}

template <class T>
void fill_parallel(std::byte* data, int64_t count, const FillSpec& spec, uint64_t seed) {
  T* out = reinterpret_cast<T*>(data);
  const int64_t hardware = std::max(1u, std::thread::hardware_concurrency());
  const int64_t parts = std::min(hardware, (count + kElementsPerThread - 1) / kElementsPerThread);
  if (parts <= 1) return fill_range(out, 0, count, spec, seed);
  std::vector<std::thread> threads;
  for (int64_t part = 0; part < parts; ++part) {
    threads.emplace_back([=, &spec] {
      fill_range(out, count * part / parts, count * (part + 1) / parts, spec, seed);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

namespace {

int64_t altered_margin(int64_t count) { return std::min(kAlterOneIn, count / 3); }

}  // namespace

int64_t altered_blocks(int64_t count) {
  const int64_t inner = count - 2 * altered_margin(count);
  return inner <= 0 ? 0 : (inner + kAlterOneIn - 1) / kAlterOneIn;
}

int64_t altered_place(int64_t count, uint64_t places, int64_t block) {
  const int64_t margin = altered_margin(count);
  const int64_t first = margin + block * kAlterOneIn;
  const int64_t room = std::min(kAlterOneIn, count - margin - first);
  return first + static_cast<int64_t>(mix_seed(places, static_cast<uint64_t>(first)) %
                                      static_cast<uint64_t>(room));
}

uint64_t mix_seed(uint64_t seed, uint64_t stream) { return mix(mix(seed) ^ mix(~stream)); }

double draw(const FillSpec& spec, uint64_t seed, uint64_t index) {
  const uint64_t word = mix(seed ^ (index * 0xd1342543de82ef95ull));
  switch (spec.kind) {
    case FillKind::kUniform: {
      return spec.a + (spec.b - spec.a) * unit(word);
    }
    case FillKind::kNormal:
      return spec.a + spec.b * normal(word, mix(word));
    case FillKind::kIntegers: {
      const double range = std::floor(spec.b) - std::floor(spec.a) + 1;
      return std::floor(spec.a) + std::floor(unit(word) * range);
    }
    case FillKind::kConstant:
      return spec.a;
    case FillKind::kWide: {
      const double magnitude = spec.a * std::exp(unit(word) * std::log(spec.b / spec.a));
      return (mix(word) & 1) != 0 ? magnitude : -magnitude;
    }
    case FillKind::kSparse:
      return (word & 15) != 0 ? 0.0 : spec.a + spec.b * normal(mix(word), mix(~word));
    case FillKind::kCancelling: {
      const uint64_t pair = mix(seed ^ ((index & ~1ull) * 0xd1342543de82ef95ull));
      const double value = spec.a + spec.b * normal(pair, mix(pair));
      return (index & 1) == 0 ? value : -value * (1 + 1e-3 * unit(word));
    }
    case FillKind::kSparseSigns:
      if (unit(word) >= spec.a) return 0.0;
      return (mix(word) & 1) != 0 ? 1.0 : -1.0;
    case FillKind::kOddIntegers: {
      const double half = std::floor((spec.b - 1) / 2);
      const double magnitude = 2 * std::floor(unit(word) * (half + 1)) + 1;
      return (mix(word) & 1) != 0 ? magnitude : -magnitude;
    }
  }
  return 0;
}

void fill(std::span<std::byte> buffer, DType type, const FillSpec& spec, uint64_t seed) {
  const int64_t count = static_cast<int64_t>(buffer.size()) / dtype_bytes(type);
  switch (type) {
    case DType::kF32:
      return fill_parallel<float>(buffer.data(), count, spec, seed);
    case DType::kF64:
      return fill_parallel<double>(buffer.data(), count, spec, seed);
    case DType::kI32:
      return fill_parallel<int32_t>(buffer.data(), count, spec, seed);
    case DType::kI64:
      return fill_parallel<int64_t>(buffer.data(), count, spec, seed);
  }
}

}  // namespace quern
