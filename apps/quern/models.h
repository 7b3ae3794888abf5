// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context.h"
#include "llm/models.h"
#include "record/evaluation.h"
#include "task_source.h"

namespace quern::cli {

/// Checks the settings file of `--models` ("": none) and that it or the house knows the provider of
/// each model, agents apart; its text. The file holds {"providers": {…}, "models": {…prices…}}
/// (docs/models.md).
Result<std::string> read_model_settings(const std::string& path,
                                        const std::vector<std::string>& models);

/// The models and agents that a run asks, kept in its directory.
Result<std::unique_ptr<llm::Models>> open_models(const Context& context, const RunOptions& options,
                                                 const TaskAtSize& task,
                                                 const std::string& directory);

/// "14 calls, 23000 tokens, $0.0200".
std::string spent_text(const llm::Spend& spend);

}  // namespace quern::cli
