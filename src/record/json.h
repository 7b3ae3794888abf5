// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "record/evaluation.h"
#include "record/evaluator.h"
#include "record/timing.h"

/// JSON of every record type. Keys are the field names, in order of declaration; a verdict is an
/// object with its name under "verdict". Doubles survive exactly: JSON has no infinities, so those
/// are the strings "inf", "-inf" and "nan". Reading: a missing key keeps the field's default, an
/// unknown key is ignored, a value of the wrong type is an error of kind kInput naming the path.
namespace quern {

using Json = nlohmann::ordered_json;

Json to_json(const Verdict& verdict);
Json to_json(const Timing& timing);
Json to_json(const Duel& duel);
Json to_json(const Build& build);
Json to_json(const Candidate& candidate);
Json to_json(const Evaluation& evaluation);
Json to_json(const Environment& environment);
Json to_json(const Attempt& attempt);
Json to_json(const RunOptions& options);
Json to_json(const Work& work);
Json to_json(const Profile& profile);

/// `from_json<Evaluation>(json)`; instantiated for every type above.
template <class T>
Result<T> from_json(const Json& json);

/// Parses text without throwing. Errors: kInput with the place.
Result<Json> parse_json(std::string_view text);
/// Compact text (`indent` < 0) or pretty; bytes that are not UTF-8 become U+FFFD.
std::string dump(const Json& json, int indent = -1);

}  // namespace quern
