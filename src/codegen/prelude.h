// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace quern {

/// Text of `quern_cpu.h`, the header that generated CPU kernels include. It needs no other file and
/// compiles with g++ and clang for any x86-64 (and, by lane, for any target of theirs).
std::string_view cpu_prelude();

/// Text of `quern_gemm.h`, included after `quern_cpu.h` by sources with contraction groups.
std::string_view gemm_prelude();

/// Text of `quern_recurrence.h`, included after `quern_cpu.h` by sources with recurrences.
std::string_view recurrence_prelude();

/// Text that sources of oneDNN baselines begin with; it includes `quern_cpu.h`.
std::string_view dnnl_prelude();

/// Text of `quern_cuda.h` and `quern_opencl.h`, the headers that device kernels include. Both stand
/// alone; the first compiles under NVRTC and nvcc.
std::string_view cuda_prelude();
std::string_view opencl_prelude();

}  // namespace quern
