// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "llm/client.h"
#include "record/evaluation.h"

namespace quern::cli {

/// The models of one run: their servers, prices, budget and cassette. What was said is kept in the
/// run's directory (`cassette.jsonl`) and never asked for again when the run is resumed; so is what
/// was spent (`spending.jsonl`).
class Models {
 public:
  /// Errors: a settings text that is not right, an unknown provider, a directory that cannot be
  /// written.
  static Result<std::unique_ptr<Models>> open(const RunOptions& options,
                                              const std::string& directory);
  virtual ~Models() = default;
  virtual llm::Client& client() = 0;
  /// "14 calls, 23,000 tokens, $0.02".
  virtual std::string spent() const = 0;
};

/// Checks the settings file of `--models` and that the model is one that it knows; its text.
Result<std::string> read_model_settings(const std::string& path, const std::string& model);

}  // namespace quern::cli
