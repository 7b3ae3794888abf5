// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "record/evaluator.h"
#include "search/replay.h"
#include "search/suite.h"
#include "store/run_store.h"

namespace quern {

/// Judges given candidates in a run of their own: baselines first, then every candidate that the
/// run does not know yet, then a duel of each that passed against the fastest baseline. All is
/// journaled as it comes, and nothing that is recorded is done again. False when `stop` cut it
/// short. Errors: the world's; no baseline passes.
Result<bool> judge_samples(RunStore& store, Evaluator& evaluator,
                           const std::vector<Candidate>& candidates,
                           const std::function<bool()>& stop);

/// What a run says of one of its candidates; nothing while it does not know all of it.
std::optional<SuiteSample> sample_of(const RecordedRun& recorded, const std::string& candidate_id);

/// What a finished search ended with, from its record.
SuiteSample sample_of_search(const RunRecord& run);

}  // namespace quern
