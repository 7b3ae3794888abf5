// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quern::cuda {
namespace {

constexpr double kFewWaves = 4;

int total(const WidthCounts& counts) { return std::accumulate(counts.begin(), counts.end(), 0); }

/// Of all accesses, those narrower than 16 bytes.
double narrow_share(const WidthCounts& a, const WidthCounts& b) {
  const int all = total(a) + total(b);
  return all == 0 ? 0 : 1 - static_cast<double>(a[4] + b[4]) / all;
}

void advise_on_resources(const KernelFacts& facts, std::vector<Advice>& list) {
  const CubinKernel& kernel = facts.resources;
  if (const int64_t spilt = kernel.spill_store_bytes + kernel.spill_load_bytes; spilt > 0) {
    list.push_back({0.9, fmt::format("{} bytes a thread are spilled to local memory", spilt),
                    "smaller tiles, fewer values alive at once, or a larger register limit"});
  } else if (kernel.stack_bytes > 0) {
    list.push_back({0.8, fmt::format("{} bytes a thread lie in local memory", kernel.stack_bytes),
                    "index arrays with constants only: unroll the loops around them"});
  }
  if (facts.occupancy.blocks == 0) return;
  if (facts.occupancy.share < 0.25) {
    list.push_back({0.6,
                    fmt::format("{:.0f} % of the threads a multiprocessor can hold are resident, "
                                "limited by {}",
                                100 * facts.occupancy.share, facts.occupancy.limited_by),
                    "fine where each thread has many independent loads in flight; else use less of "
                    "what limits it"});
  }
  if (facts.block_threads % 32 != 0) {
    list.push_back(
        {0.5,
         fmt::format("a block of {} threads is not a whole number of warps", facts.block_threads),
         "make it a multiple of 32"});
  }
}

void advise_on_grid(const KernelFacts& facts, std::vector<Advice>& list) {
  if (facts.multiprocessors == 0 || facts.occupancy.blocks == 0 || facts.blocks <= 0) return;
  if (facts.blocks < facts.multiprocessors) {
    list.push_back(
        {0.95 * (1 - facts.blocks / facts.multiprocessors),
         fmt::format("{:.0f} blocks for {} multiprocessors: {:.0f} % of them idle", facts.blocks,
                     facts.multiprocessors, 100 * (1 - facts.blocks / facts.multiprocessors)),
         "split the work further: along a reduction, with a second kernel to finish"});
    return;
  }
  const double waves =
      facts.blocks / (static_cast<double>(facts.occupancy.blocks) * facts.multiprocessors);
  const double idle = 1 - waves / std::ceil(waves);
  if (waves < kFewWaves && idle > 0.1) {
    list.push_back({idle,
                    fmt::format("{:.2f} waves of blocks: the last leaves {:.0f} % of the "
                                "machine idle",
                                waves, 100 * idle),
                    "smaller blocks of work, or as many blocks as are resident, each looping"});
  }
}

void advise_on_code(const KernelFacts& facts, std::vector<Advice>& list) {
  const SassStatistics& sass = *facts.sass;
  const int global = total(sass.global_loads) + total(sass.global_stores);
  const double narrow = narrow_share(sass.global_loads, sass.global_stores);
  const bool matrices = sass.matrix + sass.warpgroup_matrix > 0;
  if (global > 0 && narrow > 0.5 && sass.bulk_copies == 0) {
    list.push_back({0.5 * narrow,
                    fmt::format("{:.0f} % of the {} global accesses in the code are narrower than "
                                "16 bytes a thread",
                                100 * narrow, global),
                    "load and store float4 or int4, or copy tiles with cp.async or TMA"});
  }
  if (sass.shared_loads[2] > 4 * sass.shared_loads[4] && sass.fma_f32 > 32 && !matrices) {
    list.push_back({0.55,
                    fmt::format("{} 4-byte shared-memory loads for {} multiply-adds",
                                sass.shared_loads[2], sass.fma_f32),
                    "wider shared loads and more values a thread kept in registers"});
  }
  if (sass.f64 > 0) {
    list.push_back({0.4, fmt::format("{} instructions in f64", sass.f64),
                    "a constant without f, or a function of double, may have crept in"});
  }
  if (sass.matrix > 0 && sass.warpgroup_matrix == 0) {
    list.push_back({0.3, "matrix products run warp by warp (mma), not by warpgroups (wgmma)",
                    "on sm_90 wgmma with tiles brought by TMA has about twice the rate"});
  }
  if (sass.atomics > 8) {
    list.push_back({0.35, fmt::format("{} atomic instructions", sass.atomics),
                    "reduce within a warp and a block first, one atomic a block"});
  }
}

}  // namespace

std::vector<Advice> advise(const KernelFacts& facts) {
  std::vector<Advice> list;
  advise_on_resources(facts, list);
  advise_on_grid(facts, list);
  if (facts.sass != nullptr) advise_on_code(facts, list);
  std::ranges::stable_sort(list, std::ranges::greater(), &Advice::weight);
  return list;
}

}  // namespace quern::cuda
