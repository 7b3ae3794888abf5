// SPDX-License-Identifier: Apache-2.0
#include "codegen/prelude.h"

extern "C" const char quern_cpu_prelude[];

namespace quern {

std::string_view cpu_prelude() { return quern_cpu_prelude; }

}  // namespace quern
