// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "record/json.h"

namespace quern::llm {

/// Parses what a model or a server wrote. Errors: kInput, no JSON, or nested deeper than 128: what
/// walks a value later does so by recursion.
Result<Json> parse_untrusted(std::string_view text);

}  // namespace quern::llm
