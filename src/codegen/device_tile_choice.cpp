// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "codegen/contraction_match.h"
#include "codegen/device_tile.h"
#include "schedule/rows.h"

namespace quern {
namespace {

/// Parameters as in device_tile.h.
struct Tile {
  int64_t mr, nr, mc, nc, kc, stages, resident;
  int64_t threads() const { return mc / mr * (nc / nr); }
};

}  // namespace

std::vector<std::map<std::string, int64_t>> device_tile_params(const ir::Program& program,
                                                               const Group& group,
                                                               const ir::Sizes& sizes,
                                                               int multiprocessors) {
  struct Choice {
    Tile tile;
    double rate;  ///< share of instructions that are multiply-adds, against the first's
    double fit;   ///< blocks that fit a multiprocessor
    double time = 0;
  };
  std::vector<Choice> choices = {
      {{8, 8, 128, 128, 8, 4, 2}, 1.0, 2},  {{8, 8, 64, 128, 16, 3, 0}, 0.95, 3},
      {{8, 8, 128, 64, 16, 3, 0}, 0.95, 3}, {{4, 8, 64, 64, 16, 4, 0}, 0.85, 5},
      {{4, 8, 32, 128, 16, 4, 0}, 0.8, 5},  {{8, 4, 128, 32, 16, 4, 0}, 0.75, 5},
      {{4, 4, 32, 32, 32, 3, 0}, 0.6, 8}};
  const std::vector<ir::Statement> statements = inline_group(program, group);
  const auto contraction = match_contraction(program, statements[0], /*phase_split=*/false);
  if (contraction) {
    const auto count = [&](const std::vector<ir::Axis>& axes) {
      int64_t total = 1;
      for (const ir::Axis& axis : axes) total *= ir::evaluate(axis.extent, sizes);
      return total;
    };
    const int64_t m = count(contraction->m), n = count(contraction->n);
    const int64_t batch = count(contraction->batch);
    for (Choice& choice : choices) {
      const Tile& t = choice.tile;
      const int64_t blocks = (m + t.mc - 1) / t.mc * ((n + t.nc - 1) / t.nc) * batch;
      const int64_t rounds = (blocks + multiprocessors - 1) / multiprocessors;
      // Few warps leave latencies in the open: half the rate at four of them.
      const double each = static_cast<double>(blocks) / multiprocessors;
      const double warps =
          std::clamp(each, 1.0, choice.fit) * static_cast<double>(t.threads()) / 32;
      choice.time = static_cast<double>(rounds * t.mc * t.nc) * (warps + 4) / warps / choice.rate;
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
                      {"resident", t.resident}});
  }
  return params;
}

}  // namespace quern
