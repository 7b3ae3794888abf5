// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// Candidates that are machine code: behind a launch plan with `code = cubin`, cubins in base64
/// (docs/plan_format.md, "Machine code").
namespace quern {

/// The most bytes of a precompiled candidate's file.
inline constexpr size_t kPrecompiledBytes = size_t{64} << 20;

/// The cubins of a source, in order. Errors: kInput: none, or a line that is no base64.
Result<std::vector<std::string>> precompiled_cubins(std::string_view source);

/// The bytes that base64 (RFC 4648, with padding) stands for; nothing where it is malformed.
Result<std::string> from_base64(std::string_view text);

}  // namespace quern
