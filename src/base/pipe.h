// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/file.h"

namespace quern {

/// Both ends of a pipe, closed on exec.
struct Pipe {
  FileDescriptor read_end, write_end;
};

/// Errors: no file descriptors left (kEnvironment).
Result<Pipe> make_pipe();

/// Reads and writes of the descriptor return at once from now on.
void make_non_blocking(const FileDescriptor& file);

}  // namespace quern
