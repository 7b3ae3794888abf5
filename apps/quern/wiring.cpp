// SPDX-License-Identifier: Apache-2.0
#include "wiring.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"

namespace quern::cli {

Result<std::unique_ptr<Evaluator>> make_evaluator(const Context&, const TaskAtSize&,
                                                  const RunOptions& options) {
  if (options.clock.starts_with("pretend")) {
    SimulatedEvaluator::Options simulated;
    simulated.seed = options.seed;
    size_t colon = options.clock.find(':');
    if (colon != std::string::npos) {
      simulated.delay_ms = std::strtod(options.clock.c_str() + colon + 1, nullptr);
    }
    return std::unique_ptr<Evaluator>(std::make_unique<SimulatedEvaluator>(simulated));
  }
  return Error{ErrorKind::kEnvironment, "no evaluator for this clock is built in", ""};
}

Result<std::unique_ptr<Proposer>> make_proposer(const TaskAtSize& task, const RunOptions& options) {
  return std::unique_ptr<Proposer>(
      std::make_unique<SweepProposer>(task.program.name, options.seed));
}

std::vector<std::string> recipe_names() { return {"rules"}; }

}  // namespace quern::cli
