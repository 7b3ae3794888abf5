// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "device/cuda/compile_pool.h"
#include "device/cuda/nvrtc_protocol.h"

namespace quern::cuda {

/// What a worker's reply amounts to: a binary, or `CompileFailed`. An option that the compiler does
/// not know is an error of ours.
Outcome<CudaBinary> outcome_of(const NvrtcReply& reply, const std::string& version, bool cached);

/// Replies by key, one file each. A file that cannot be read counts as nothing; one that cannot be
/// written is done without.
std::optional<NvrtcReply> find_result(const std::string& folder, const std::string& key);
void keep_result(const std::string& folder, const std::string& key, const NvrtcReply& reply);

}  // namespace quern::cuda
