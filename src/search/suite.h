// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "record/evaluation.h"
#include "record/json.h"
#include "search/metrics.h"

/// What a set of tasks says of a set of candidates, or of a search method. Figures are those of
/// docs/metrics.md, each with its bootstrap interval over tasks; docs/benchmarking.md says which.
namespace quern {

/// One task of a suite.
struct SuiteTask {
  std::string name;
  std::string alias;   ///< its name in the benchmark that it comes from
  std::string path;    ///< of its task file; "" where it has none
  std::string driver;  ///< folder of the C++ program that judges it instead; "" for a task file
  int level = 0;       ///< in that benchmark; 0: none
  int problem = 0;
  std::string unsupported;  ///< why it cannot be judged here; "" where it can
};

/// One sample of a task: a candidate, or the best kernel of one search.
struct SuiteSample {
  int number = 0;      ///< among the task's samples
  std::string origin;  ///< where the candidate, or the run, is
  /// A verdict's name; "alarm": faster than physics allows; "no_kernel": the search found none;
  /// "unsupported": of a kind that cannot be judged here; "not_run": the machine failed it.
  std::string state;
  std::string reason;
  double speedup = 0;  ///< fastest baseline ÷ sample, by duel; 0 unless `state` is "passed"
  double low = 0, high = 0;
  std::string baseline;
  double median_ns = 0;
  double roofline = 0;
  int attempts = 1;          ///< candidates that were tried for it
  bool provisional = false;  ///< judged by its benchmark's own program, in one process with it

  bool passed() const { return state == "passed"; }
  bool counted() const { return state != "unsupported" && state != "not_run"; }
};

struct SuiteRow {
  SuiteTask task;
  std::string size;
  std::vector<SuiteSample> samples;

  /// Enters the figures: it can be judged, and all that was offered was. A task without samples
  /// counts as failed.
  bool counted() const;
  /// The fastest sample that passed, else the first one; null where there is none.
  const SuiteSample* best() const;
  /// "faster", "passed", "provisional", "failed", "missing", "unsupported", "not_run": for tables
  /// and filters.
  std::string outcome() const;
  /// Why it is none of the first three.
  std::string reason() const;
};

struct SuiteResult {
  std::string suite, candidates;  ///< as asked for
  std::string recipe, model, budget;
  std::string target, clock;
  int threads = 1;
  Environment environment;
  std::vector<SuiteRow> rows;
};

/// A figure over the tasks that count.
struct SuiteFigure {
  std::string name;   ///< "fast_1@1", "pass@10"
  std::string about;  ///< one line
  metrics::Interval value;
  bool share = false;  ///< 0–1, shown in per cent
};

/// fast_p of one draw, and of the best of all samples, at a range of p.
struct FastCurve {
  std::vector<double> p;
  std::vector<metrics::Interval> one, best;
};

struct SuiteScore {
  int tasks = 0, counted = 0, unsupported = 0, not_run = 0, missing = 0;
  int samples = 0;  ///< that every counted task with samples has, at least
  std::vector<SuiteFigure> figures;
  FastCurve curve;
};

/// Intervals are drawn from a fixed seed.
SuiteScore score_suite(const SuiteResult& result);

Json to_json(const SuiteResult& result, const SuiteScore& score);
/// Plain text: figures, then a row for each task, failures with their reason.
std::string table_text(const SuiteResult& result, const SuiteScore& score);
/// A self-contained HTML page, without scripts: figures, pictures, rows that can be filtered.
std::string render_suite(const SuiteResult& result, const SuiteScore& score);

}  // namespace quern
