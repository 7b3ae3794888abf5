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
  /// Moves the calling process to its own user and network namespaces. Returns 0 or an errno.
  int remove_network() const;

 private:
  struct Rule {
    std::string path;
    uint64_t access;
  };
  std::vector<Rule> rules_;
  int abi_ = 0;
};

}  // namespace quern
