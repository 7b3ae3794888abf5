// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "search/recipe_proposer.h"
#include "search/replay.h"

namespace quern {

/// For proposers that are not to ask anybody: every call fails.
class NoClient : public llm::Client {
 public:
  void start(llm::Request request, llm::CallControl control,
             std::function<void(llm::Answer)> done) override;
};

/// A model that answers a recipe with what a run has recorded: asked for code from a kernel by an
/// operator with a strategy (a request's label says so), it writes an attempt that was made from
/// that kernel and was not taken yet. Earliest first among those of the same operator and strategy,
/// else of the same operator, else of any. Once there is none it refuses for good, as a budget that
/// is spent does. Asked for text it says nothing to the point.
class RecordedKernels : public llm::Client {
 public:
  /// `recorded` outlives it.
  explicit RecordedKernels(const RecordedRun& recorded);

  void start(llm::Request request, llm::CallControl control,
             std::function<void(llm::Answer)> done) override;
  /// Source of the next attempt that fits. `parent`: candidate id, "" for the plain version.
  std::optional<std::string> take(const std::string& parent, const std::string& made_by,
                                  const std::string& strategy);

  int taken() const { return taken_; }
  /// Of these, made by another operator or strategy than was asked for.
  int borrowed() const { return borrowed_; }
  /// The choice that the record could not answer, in words; "" while there is none.
  const std::string& missing() const { return missing_; }

 private:
  struct Child {
    const Attempt* attempt;
    bool taken = false;
  };
  std::map<std::string, std::vector<Child>> children_;  ///< by id of the first parent; "": the root
  std::map<std::string, int> number_of_;                ///< of attempts, by candidate id
  int taken_ = 0;
  int borrowed_ = 0;
  std::string missing_;
};

/// Another search over a run's record.
struct WhatIf {
  ReplayOutcome outcome;
  int reached = 0;    ///< attempts of the search, all from the record
  int available = 0;  ///< attempts that the record has
  int borrowed = 0;
  std::string left;                      ///< why it ended; "" when it took all there was
  std::vector<double> best_ns;           ///< best so far after each attempt, ns, 0: none
  std::vector<double> recorded_best_ns;  ///< of the run itself, as long
};

/// Runs `recipe` over the record as far as it reaches: no model is asked, nothing is compiled.
Result<WhatIf> what_if(const RecordedRun& recorded, const Recipe& recipe, RecipeSetting setting);

/// The same for a proposer that makes its candidates itself.
Result<WhatIf> what_if(const RecordedRun& recorded, Proposer& proposer);

}  // namespace quern
