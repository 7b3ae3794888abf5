// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/occupancy.h"

#include <algorithm>
#include <cstdlib>

namespace quern::cuda {
namespace {

struct Row {
  int capability;  ///< 10 * major + minor
  MultiprocessorLimits limits;
};

constexpr Row kRows[] = {
    {70, {2048, 32, 65536, 96 << 10, 0}},      {75, {1024, 16, 65536, 64 << 10, 0}},
    {80, {2048, 32, 65536, 164 << 10, 1024}},  {86, {1536, 16, 65536, 100 << 10, 1024}},
    {87, {1536, 16, 65536, 164 << 10, 1024}},  {89, {1536, 24, 65536, 100 << 10, 1024}},
    {90, {2048, 32, 65536, 228 << 10, 1024}},  {100, {2048, 32, 65536, 228 << 10, 1024}},
    {103, {2048, 32, 65536, 228 << 10, 1024}}, {120, {1536, 24, 65536, 100 << 10, 1024}},
};

constexpr int kWarp = 32;
constexpr int kRegisterUnit = 256;  ///< of a warp
constexpr int kSharedUnit = 128;
constexpr int kMany = 1 << 20;

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

std::optional<MultiprocessorLimits> limits_of(const std::string& architecture) {
  if (!architecture.starts_with("sm_")) return std::nullopt;
  const int capability = std::atoi(architecture.c_str() + 3);
  for (const Row& row : kRows) {
    if (row.capability == capability) return row.limits;
  }
  return std::nullopt;
}

Occupancy occupancy_of(const MultiprocessorLimits& limits, int registers, int threads,
                       int64_t shared_bytes) {
  const int warps = (std::max(threads, 1) + kWarp - 1) / kWarp;
  const int of_warp = round_up(registers * kWarp, kRegisterUnit);
  const int warps_by_registers = of_warp == 0 ? kMany : limits.registers / of_warp / 4 * 4;
  const int64_t of_block =
      (shared_bytes + limits.reserved_shared_bytes + kSharedUnit - 1) / kSharedUnit * kSharedUnit;
  const struct {
    const char* name;
    int blocks;
  } bounds[] = {
      {"registers", warps_by_registers / warps},
      {"shared memory", of_block == 0 ? kMany : static_cast<int>(limits.shared_bytes / of_block)},
      {"threads", limits.threads / kWarp / warps},
      {"blocks", limits.blocks},
  };
  // Where several bounds are equal, the last is the one that no change to the kernel moves.
  Occupancy found;
  found.blocks = kMany;
  for (const auto& bound : bounds) {
    if (bound.blocks > found.blocks) continue;
    found.blocks = bound.blocks;
    found.limited_by = bound.name;
  }
  found.share = static_cast<double>(found.blocks) * warps * kWarp / limits.threads;
  return found;
}

}  // namespace quern::cuda
