// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <sys/resource.h>

#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/sanitized.h"

namespace quern {

double available_memory_bytes() {
  constexpr double kUnknown = 1e18;
  const auto text = read_file("/proc/meminfo");
  if (!text) return kUnknown;
  const size_t at = text->find("MemAvailable:");
  if (at == std::string::npos) return kUnknown;
  return std::strtod(text->c_str() + at + std::string("MemAvailable:").size(), nullptr) * 1024;
}

void limit_address_space(uint64_t bytes) {
#ifndef QUERN_SANITIZED
  const rlimit limit{bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
#else
  (void)bytes;
#endif
}

}  // namespace quern
