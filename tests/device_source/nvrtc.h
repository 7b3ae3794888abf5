// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

/// NVRTC, loaded at run time, for tests that compile and do not run.
namespace quern {

/// Why nothing can be compiled here; empty: it can.
std::string nvrtc_missing();

/// Compiles a CUDA source, with Quern's prelude in reach, to machine code for sm_90a; the
/// compiler's words where it refuses, else nothing.
std::string nvrtc_refuses(const std::string& source, const std::vector<std::string>& options = {});

}  // namespace quern
