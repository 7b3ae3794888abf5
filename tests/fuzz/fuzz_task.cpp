// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "task/parse.h"

/// Any bytes are parsed or refused with a message; what parses prints back to an equal program.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  quern::Result<quern::ir::Program> program = quern::parse_task(text, "fuzz.task");
  if (!program) {
    if (program.error().message.empty()) std::abort();
    return 0;
  }
  std::string printed = quern::print_task(*program);
  quern::Result<quern::ir::Program> again = quern::parse_task(printed, "printed.task");
  if (!again || !(*again == *program)) {
    std::fprintf(stderr, "%s\n%s\n%s\n", text.c_str(), printed.c_str(),
                 again ? quern::print_task(*again).c_str() : again.error().message.c_str());
    std::abort();
  }
  return 0;
}
