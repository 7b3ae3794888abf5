// SPDX-License-Identifier: Apache-2.0
#include "codegen/prelude.h"

extern "C" const char kQuernCpuPrelude[];
extern "C" const char kQuernGemmPrelude[];
extern "C" const char kQuernRecurrencePrelude[];
extern "C" const char kQuernDnnlPrelude[];
extern "C" const char kQuernCudaPrelude[];
extern "C" const char kQuernOpenclPrelude[];

namespace quern {

std::string_view cpu_prelude() { return kQuernCpuPrelude; }
std::string_view gemm_prelude() { return kQuernGemmPrelude; }
std::string_view recurrence_prelude() { return kQuernRecurrencePrelude; }
std::string_view dnnl_prelude() { return kQuernDnnlPrelude; }
std::string_view cuda_prelude() { return kQuernCudaPrelude; }
std::string_view opencl_prelude() { return kQuernOpenclPrelude; }

}  // namespace quern
