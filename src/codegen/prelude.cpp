// SPDX-License-Identifier: Apache-2.0
#include "codegen/prelude.h"

extern "C" const char kQuernCpuPrelude[];
extern "C" const char kQuernGemmPrelude[];
extern "C" const char kQuernDnnlPrelude[];

namespace quern {

std::string_view cpu_prelude() { return kQuernCpuPrelude; }
std::string_view gemm_prelude() { return kQuernGemmPrelude; }
std::string_view dnnl_prelude() { return kQuernDnnlPrelude; }

}  // namespace quern
