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
  std::string module;  ///< PyTorch module that judges candidates in Python; "" where it has none
  /// Text that makes a Solution in Python a candidate for the module, ENTRY standing for its
  /// function: one that returns the outputs, one that fills them. "": no Definition.
  std::string call_adapter, fill_adapter;
  std::string no_task_file;  ///< why a module has none; "" where nobody asked for one
  int level = 0;             ///< in that benchmark; 0: none
  int problem = 0;
  std::string unsupported;  ///< why it cannot be judged here; "" where it can
};

/// What KernelBench's own protocol says of a candidate, beside our verdict (docs/torch_lane.md).
struct KernelBenchVerdict {
  Json result;  ///< its record: `compiled`, `correctness`, `runtime`, …; null where it has none
  std::string reason;  ///< why it is not right; "" where it is
  double speedup = 0;  ///< eager time over the candidate's; 0 where it is not right

  bool correct() const { return result.is_object() && result.value("correctness", false); }
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
  bool provisional = false;  ///< its own process has run host code, or its benchmark's program
  std::optional<KernelBenchVerdict> kernelbench;
  std::string source;             ///< to compare with the others; not among the results
  std::optional<double> nearest;  ///< greatest code similarity to another sample of the task

  bool passed() const { return state == "passed"; }
  bool counted() const { return state != "unsupported" && state != "not_run"; }
};

struct SuiteRow {
  SuiteTask task;
  std::string size;
  std::vector<SuiteSample> samples;
  std::optional<double> similarity;  ///< mean code similarity of pairs of samples, where there are

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
  std::string suite, candidates;    ///< as asked for
  std::string protocol = "strict";  ///< whose verdicts rows and figures show: or "kernelbench"
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

/// How the two protocols agree on the samples that both judged.
struct Agreement {
  int samples = 0, both = 0, neither = 0;
  int only_kernelbench = 0;  ///< right under KernelBench's protocol, refused by ours
  int only_strict = 0;
};

struct SuiteScore {
  int tasks = 0, counted = 0, unsupported = 0, not_run = 0, missing = 0;
  int samples = 0;  ///< that every counted task with samples has, at least
  std::vector<SuiteFigure> figures;
  /// The same under the other protocol; empty where it judged no sample.
  std::vector<SuiteFigure> other;
  Agreement agreement;
  FastCurve curve;
};

/// The rows of a result as they are kept (our own verdicts, KernelBench's beside them) with the
/// verdicts of one protocol, "strict" or "kernelbench", as their own. A sample that it did not
/// judge is `unsupported`.
SuiteResult under_protocol(const SuiteResult& result, const std::string& protocol);
std::string other_protocol(const std::string& protocol);
Agreement agreement_of(const SuiteResult& result);

/// Figures of `result.protocol`, from rows as they are kept; intervals from a fixed seed.
SuiteScore score_suite(const SuiteResult& result);

Json to_json(const SuiteResult& result, const SuiteScore& score);
/// Plain text: figures, then a row for each task, failures with their reason.
std::string table_text(const SuiteResult& result, const SuiteScore& score);
/// A self-contained HTML page, without scripts: figures, pictures, rows that can be filtered.
std::string render_suite(const SuiteResult& result, const SuiteScore& score);

}  // namespace quern
