// SPDX-License-Identifier: Apache-2.0
#include "codegen/prelude.h"

extern "C" const char quern_cpu_prelude[];
extern "C" const char quern_gemm_prelude[];
extern "C" const char quern_dnnl_prelude[];

namespace quern {

std::string_view cpu_prelude() { return quern_cpu_prelude; }
std::string_view gemm_prelude() { return quern_gemm_prelude; }
std::string_view dnnl_prelude() { return quern_dnnl_prelude; }

}  // namespace quern
