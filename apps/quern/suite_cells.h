// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lane_cell.h"
#include "model_options.h"
#include "record/evaluation.h"
#include "search/suite.h"
#include "search/suite_candidates.h"
#include "suite_source.h"

namespace quern::cli {

/// What `quern bench SUITE` was asked for.
struct SuiteArguments {
  SuiteQuery query;
  std::string candidates, recipe, size, target = "cpu", compiler = "g++", clock = "steady",
                                        budget = "64", out, protocol = "strict",
                                        baselines = "eager", devices;
  ModelArguments models;
  uint64_t seed = 0;
  int samples = 0, jobs = 1, threads = 0, device = 0;
};

/// A suite while it runs. Rows are filled by the threads that hold their cells.
struct Suite {
  const Context& context;
  const SuiteArguments& arguments;
  RunOptions options;
  OfferedSamples offered;
  SuiteResult result;
  std::mutex machine;
  std::mutex telling;
  std::atomic<bool> stopped = false;
  std::atomic<int> judged = 0;  ///< candidates in Python that were not on record

  bool stop() const;
};

/// What is done at a time.
enum class CellKind {
  kSearch,      ///< one task with one seed
  kCandidates,  ///< one task with its candidates
  kDriver,      ///< the same, judged by a program of its benchmark
  kLane,        ///< a module with its candidates in Python
};

struct Cell {
  SuiteRow* row = nullptr;
  CellKind kind = CellKind::kSearch;
  int sample = -1;  ///< of a search
};

/// What a cell found; fewer samples than there are where the user stopped it.
struct CellOutcome {
  std::string size;
  std::vector<SuiteSample> samples;
  bool ended = false;
};

/// Everything that is to be done, in the order of the rows. Rows of which nothing can be done say
/// why, and searches get a sample each that says that it was not reached.
std::vector<Cell> cells_of(Suite& suite);

/// Where the record of a cell is kept.
std::string directory_of(const Suite& suite, const Cell& cell);

/// Does what is not on record yet. Errors: the world's; kUsage where what is on record was asked
/// for with other options.
Result<CellOutcome> run_cell(Suite& suite, const Cell& cell, LaneWorker& lane);

/// The worker of one thread.
LaneWorker make_lane_worker(const Suite& suite);

}  // namespace quern::cli
