// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "record/json.h"

namespace quern::cli {

/// The JSON file of what was judged of a task, by what decides a judgement; an empty object where
/// there is none yet. Errors: kInput where it is no such file.
Result<Json> load_sample_record(const std::string& path);
/// Whole or not at all.
Result<void> save_sample_record(const std::string& path, const Json& record);

}  // namespace quern::cli
