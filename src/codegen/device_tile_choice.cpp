// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "codegen/contraction_match.h"
#include "codegen/device_tile.h"
#include "schedule/rows.h"

namespace quern {
namespace {

/// Parameters as in device_tile.h.
struct Tile {
  int64_t mr, nr, mc, nc, kc, stages, resident, terms = 8;
};

struct Choice {
  Tile tile;
  int64_t threads;
  double rate;  ///< share of instructions that are multiply-adds, against the first's
  double fit;   ///< blocks that fit a multiprocessor
  double time = 0;
  int64_t parts = 1;  ///< blocks that share the terms of a tile
};

struct Problem {
  int64_t m, n, k, batch;
  int multiprocessors;
};

std::vector<Choice> ordinary_choices() {
  return {{{8, 8, 128, 128, 8, 4, 2}, 256, 1.0, 2},  {{8, 8, 64, 128, 16, 3, 0}, 128, 0.95, 3},
          {{8, 8, 128, 64, 16, 3, 0}, 128, 0.95, 3}, {{4, 8, 64, 64, 16, 4, 0}, 128, 0.85, 5},
          {{4, 8, 32, 128, 16, 4, 0}, 128, 0.8, 5},  {{8, 4, 128, 32, 16, 4, 0}, 128, 0.75, 5},
          {{4, 4, 32, 32, 32, 3, 0}, 64, 0.6, 8}};
}

/// Fragments are split in two as they are read, by every warp: large tiles of warps split less.
/// Rates as measured on one H200 (bench/results/cuda_tensor_cores.json).
std::vector<Choice> tensor_choices() {
  return {
      {{4, 8, 128, 128, 16, 4, 0, 8}, 128, 1.0, 2},  {{2, 8, 64, 128, 32, 3, 0, 32}, 128, 0.98, 2},
      {{4, 4, 128, 64, 32, 3, 0, 16}, 128, 0.95, 2}, {{2, 4, 64, 64, 32, 2, 0, 32}, 128, 0.77, 2},
      {{2, 4, 64, 64, 16, 4, 0, 16}, 128, 0.76, 3},  {{2, 4, 64, 128, 32, 3, 0, 16}, 256, 0.73, 2},
      {{2, 2, 64, 32, 32, 3, 0, 16}, 128, 0.63, 4},  {{2, 4, 32, 128, 32, 3, 0, 16}, 128, 0.6, 2},
      {{1, 2, 32, 32, 32, 4, 0, 16}, 128, 0.45, 5}};
}

/// Multiply-adds that a multiprocessor could do until the last block has ended.
double time_of(const Choice& choice, int64_t parts, const Problem& p, bool tensor_cores) {
  const Tile& t = choice.tile;
  const int64_t tiles = (p.m + t.mc - 1) / t.mc * ((p.n + t.nc - 1) / t.nc) * p.batch;
  const int64_t blocks = tiles * parts;
  const int64_t rounds = (blocks + p.multiprocessors - 1) / p.multiprocessors;
  // Few warps leave latencies in the open: half the rate at four of them.
  const double each = static_cast<double>(blocks) / p.multiprocessors;
  const double warps = std::clamp(each, 1.0, choice.fit) * static_cast<double>(choice.threads) / 32;
  const int64_t terms = (p.k + parts - 1) / parts;
  const auto tile = static_cast<double>(t.mc * t.nc * terms);
  double time = static_cast<double>(rounds) * tile * (warps + 4) / warps / choice.rate;
  if (parts > 1) {
    // A launch of 3 us, and parts that are written and read at 16 bytes a clock and multiprocessor.
    const double a_clock = tensor_cores ? 400 : 100;
    const double moved = static_cast<double>(parts * p.m * p.n * p.batch) * 8 / 16;
    time += a_clock * (5000 + moved / p.multiprocessors);
  }
  return time;
}

}  // namespace

std::vector<std::map<std::string, int64_t>> device_tile_params(const ir::Program& program,
                                                               const Group& group,
                                                               const ir::Sizes& sizes,
                                                               int multiprocessors) {
  const bool tensor_cores = group.param("tf32", 0) > 0;
  std::vector<Choice> choices = tensor_cores ? tensor_choices() : ordinary_choices();
  const std::vector<ir::Statement> statements = inline_group(program, group);
  const auto contraction = match_contraction(program, statements[0], /*phase_split=*/false);
  if (contraction) {
    const auto count = [&](const std::vector<ir::Axis>& axes) {
      int64_t total = 1;
      for (const ir::Axis& axis : axes) total *= ir::evaluate(axis.extent, sizes);
      return total;
    };
    const int64_t m = count(contraction->m), n = count(contraction->n);
    const Problem problem{m, n, count(contraction->k), count(contraction->batch), multiprocessors};
    for (Choice& choice : choices) {
      choice.time = time_of(choice, 1, problem, tensor_cores);
      for (const int64_t parts : {2, 3, 4, 6, 8, 12, 16, 24, 32, 64}) {
        const double time = time_of(choice, parts, problem, tensor_cores);
        if (time >= choice.time) continue;
        choice.time = time;
        choice.parts = parts;
      }
    }
    std::stable_sort(choices.begin(), choices.end(),
                     [](const Choice& a, const Choice& b) { return a.time < b.time; });
  }
  std::vector<std::map<std::string, int64_t>> params;
  for (const Choice& choice : choices) {
    const Tile& t = choice.tile;
    params.push_back({{"mr", t.mr},
                      {"nr", t.nr},
                      {"mc", t.mc},
                      {"nc", t.nc},
                      {"kc", t.kc},
                      {"stages", t.stages},
                      {"resident", t.resident},
                      {"parts", choice.parts},
                      {"terms", t.terms}});
  }
  return params;
}

}  // namespace quern
