// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern::cli {

/// From now on the first Ctrl-C (or SIGTERM) only makes `interrupted()` true; the second ends the
/// process at once. The record is safe either way.
void catch_interrupts();
bool interrupted();

/// While one lives, the first Ctrl-C ends the process at once: for long work of which nothing would
/// be kept, such as reference answers.
class NothingToSave {
 public:
  NothingToSave();
  ~NothingToSave();
  NothingToSave(const NothingToSave&) = delete;
  NothingToSave& operator=(const NothingToSave&) = delete;
};

}  // namespace quern::cli
