// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/evaluation.h"
#include "search/graph.h"

namespace quern {

/// One thing that models may be told of an attempt.
struct FeedbackChannel {
  const char* name;
  /// A sentence or a block; "" where the attempt has nothing of the kind.
  std::string (*text)(const Attempt& attempt, const SearchNode& node);
  const char* meaning;
};
std::span<const FeedbackChannel> feedback_channels();
/// Errors: unknown, with a suggestion.
Result<const FeedbackChannel*> find_feedback_channel(const std::string& name);

/// What the channels say, in their order. Sentences go on one line, blocks on lines of their own.
std::string feedback_text(const std::vector<const FeedbackChannel*>& channels,
                          const Attempt& attempt, const SearchNode& node);

/// What recipes say that name no channels: verdict, time, roofline, evidence.
std::vector<std::string> default_feedback();

}  // namespace quern
