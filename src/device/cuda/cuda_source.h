// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quern::cuda {

/// Name under which candidates include the house header.
inline constexpr const char* kPreludeName = "quern_cuda.h";
/// Name that the compiler's messages call a candidate's source by.
inline constexpr const char* kSourceName = "candidate.cu";

/// A source ready for the compiler.
struct PreparedSource {
  std::string text;
  /// Its first directive includes the house header, so that the precompiled form can stand for it.
  bool starts_with_prelude = false;
};

/// Puts macro definitions into a source without changing the numbers of its lines: behind the
/// include of the house header where that comes first (a precompiled header allows nothing before
/// it), else at the top.
PreparedSource prepare_source(std::string_view source,
                              const std::vector<std::pair<std::string, int64_t>>& macros);

/// The architecture to compile for: "sm_90a" for capability 9.0. From 9.0 on the variant with all
/// of the chip's instructions.
std::string architecture_of(int major, int minor);

}  // namespace quern::cuda
