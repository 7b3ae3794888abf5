// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "record/json.h"

/// The part of JSON Schema that replies are checked against: type, enum, const, properties,
/// required, additionalProperties, items, minItems, maxItems, minLength, maxLength, minimum,
/// maximum, exclusiveMinimum, exclusiveMaximum, anyOf; title, description, default and examples are
/// carried along.
namespace quern::llm {

/// Errors: kUsage, a keyword or a value of one that is not in that part; nested deeper than 32.
Result<void> check_schema(const Json& schema);

/// What is wrong with `value`, one sentence a place ("/steps/2/factor: 0 is less than 1"); empty
/// when it fits. At most 8. `schema` passed `check_schema`.
std::vector<std::string> validate(const Json& schema, const Json& value);

}  // namespace quern::llm
