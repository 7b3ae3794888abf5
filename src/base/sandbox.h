// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// What a child process may touch; applied between fork and exec, so that the program it runs
/// never has more. Paths that do not exist are skipped.
struct Sandbox {
  bool restrict_files = false;          ///< Landlock: only the paths below, and no TCP
  bool allow_tcp = false;               ///< with `restrict_files`: TCP all the same
  std::vector<std::string> read_only;   ///< files, or folders with everything in them
  std::vector<std::string> read_exec;   ///< may also be executed
  std::vector<std::string> read_write;  ///< may also be written, and entries made and removed
  bool no_network = false;              ///< own user and network namespaces: no interfaces
};

/// What became of a `Sandbox` on this kernel. A feature that is missing leaves a process less
/// confined, never unrun: the text says so and travels with the results.
struct SandboxReport {
  bool files_restricted = false;
  bool network_removed = false;
  int landlock_abi = 0;            ///< 0: not in this kernel
  std::vector<std::string> notes;  ///< one sentence for each thing asked for and not applied

  /// "landlock 7, network namespace", or "none".
  std::string text() const;
};

/// The Landlock version of the running kernel; 0 when it has none or it is disabled.
int landlock_abi();

}  // namespace quern
