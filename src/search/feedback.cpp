// SPDX-License-Identifier: Apache-2.0
#include "search/feedback.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "base/table.h"
#include "search/features.h"

namespace quern {
namespace {

constexpr size_t kMostEvidence = 4000, kMostLog = 2000;

std::string verdict(const Attempt& attempt, const SearchNode&) {
  const Evaluation& evaluation = attempt.evaluation;
  if (evaluation.alarm) return fmt::format("Not believed: {}.", *evaluation.alarm);
  if (passed(evaluation.verdict)) return "Correct.";
  return fmt::format("Verdict: {}. {}", verdict_name(evaluation.verdict),
                     verdict_reason(evaluation.verdict));
}

std::string evidence(const Attempt& attempt, const SearchNode&) {
  const std::string text = verdict_evidence(attempt.evaluation.verdict);
  return text.empty() ? "" : "\n" + shorten(text, kMostEvidence);
}

std::string time(const Attempt&, const SearchNode& node) {
  if (node.time_ns <= 0) return "";
  return fmt::format("{:.4g} ms a call, {:.2f}× the plain version.", node.time_ns * 1e-6,
                     node.speedup);
}

std::string roofline(const Attempt& attempt, const SearchNode&) {
  if (attempt.evaluation.roofline <= 0) return "";
  return fmt::format("{:.0f} % of what the machine's memory and arithmetic allow.",
                     100 * attempt.evaluation.roofline);
}

std::string load(const Attempt&, const SearchNode& node) {
  std::vector<std::string> parts;
  for (const auto& [resource, share] : node.load) {
    parts.push_back(fmt::format("{} {:.0f} %", resource, 100 * share));
  }
  if (parts.empty()) return "";
  return fmt::format("In use: {}; limited by {}.", join(parts, ", "), node.bottleneck);
}

std::string spread(const Attempt&, const SearchNode& node) {
  if (node.time_ns <= 0 || node.high_ns <= 0) return "";
  return fmt::format("The median lies between {:.4g} and {:.4g} ms.", node.low_ns * 1e-6,
                     node.high_ns * 1e-6);
}

std::string checks(const Attempt& attempt, const SearchNode&) {
  std::string text;
  for (const Check& check : attempt.evaluation.checks) {
    if (check.passed) continue;
    text += fmt::format("\n{} failed ({}): largest error {:.3g} units of rounding. {}", check.name,
                        check.level, check.max_error, check.detail);
  }
  return shorten(text, kMostEvidence);
}

std::string compiler(const Attempt& attempt, const SearchNode&) {
  const std::string& log = attempt.evaluation.build.log;
  return log.empty() ? "" : "\nThe compiler says:\n" + shorten(log, kMostLog);
}

std::string prediction(const Attempt&, const SearchNode& node) {
  if (node.predicted <= 0) return "";
  const double seen = 1 + node.ratio;
  return node.time_ns > 0 ? fmt::format("Expected {:.2f}× its parent's speed, measured {:.2f}×.",
                                        node.predicted, seen)
                          : fmt::format("Expected {:.2f}× its parent's speed.", node.predicted);
}

std::string features(const Attempt& attempt, const SearchNode&) {
  const SourceFeatures f = source_features(attempt.candidate.source);
  return fmt::format(
      "In its text: {} loops, nested {} deep, {} vector words, {} thread words, {} local arrays.",
      f.loops, f.nesting, f.vector_words, f.threads, f.local_arrays);
}

constexpr FeedbackChannel kChannels[] = {
    {"verdict", verdict, "correct, or what failed and why"},
    {"evidence", evidence, "compiler message, address, worst mismatches"},
    {"time", time, "time of a call and speed over the plain version"},
    {"roofline", roofline, "share of what memory and arithmetic allow"},
    {"load", load, "share of each resource in use, and the bottleneck"},
    {"spread", spread, "interval of the median"},
    {"checks", checks, "each failed check with its error"},
    {"compiler", compiler, "warnings of the compiler"},
    {"prediction", prediction, "what its author expected against what was measured"},
    {"features", features, "counts on the source text"},
};

}  // namespace

std::span<const FeedbackChannel> feedback_channels() { return kChannels; }

Result<const FeedbackChannel*> find_feedback_channel(const std::string& name) {
  return find_row(feedback_channels(), "feedback channel", name);
}

std::string feedback_text(const std::vector<const FeedbackChannel*>& channels,
                          const Attempt& attempt, const SearchNode& node) {
  std::string text;
  for (const FeedbackChannel* channel : channels) {
    const std::string part = channel->text(attempt, node);
    if (part.empty()) continue;
    if (!text.empty() && part.front() != '\n') text += " ";
    text += part;
  }
  return text;
}

std::vector<std::string> default_feedback() { return {"verdict", "time", "roofline", "evidence"}; }

}  // namespace quern
