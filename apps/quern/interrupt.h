// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern::cli {

/// From now on the first Ctrl-C (or SIGTERM) only makes `interrupted()` true; the second ends the
/// process at once. The record is safe either way.
void catch_interrupts();
bool interrupted();

}  // namespace quern::cli
