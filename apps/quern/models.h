// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "llm/models.h"
#include "record/evaluation.h"

namespace quern::cli {

/// Checks the settings file of `--models` ("": none) and that it or the house knows the model's
/// provider; its text. The file holds {"providers": {…}, "models": {…prices…}} (docs/models.md).
Result<std::string> read_model_settings(const std::string& path, const std::string& model);

/// The models that a run asks, kept in its directory.
Result<std::unique_ptr<llm::Models>> open_models(const RunOptions& options,
                                                 const std::string& directory);

/// "14 calls, 23000 tokens, $0.0200".
std::string spent_text(const llm::Budget& budget);

}  // namespace quern::cli
