// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/sandbox.h"

namespace quern {

/// A `Sandbox` prepared before fork: applying it allocates nothing and takes no lock, as code
/// between fork and exec must.
class PreparedSandbox {
 public:
  PreparedSandbox() = default;
  explicit PreparedSandbox(const Sandbox& sandbox);

  /// Applies Landlock to the calling thread, which gains no_new_privs. Returns 0 or an errno.
  int restrict_files() const;
  /// Moves the calling process to a network namespace without interfaces, all such processes of
  /// ours to the same one: making one takes a millisecond and its end disturbs whoever is timing.
  /// Returns 0 or an errno. Before any descriptor is moved.
  int remove_network() const;

 private:
  struct Rule {
    std::string path;
    uint64_t access;
  };
  std::vector<Rule> rules_;
  int abi_ = 0;
  bool allow_tcp_ = false;
  int user_namespace_ = -1, network_namespace_ = -1;
};

}  // namespace quern
