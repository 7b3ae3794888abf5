// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "device/cpu/compiler.h"

namespace quern {

/// Builds by content key, as files of one folder: `<key>.so` beside `<key>.json`. The library is
/// renamed into place before its description, so a description always has its library.
class BuildCache {
 public:
  explicit BuildCache(std::string folder) : folder_(std::move(folder)) {}

  /// What is stored under a key: a binary, a `CompileFailed`, or nothing. A library that does not
  /// have its recorded size counts as nothing.
  std::optional<Outcome<Binary>> find(const std::string& key) const;

  /// Takes over the library at `made` (same file system).
  Result<Binary> put(const std::string& key, const std::string& made, Build build) const;
  Result<void> put_failure(const std::string& key, const CompileFailed& failure) const;

 private:
  std::string path(const std::string& key, const char* ending) const;
  std::string folder_;
};

}  // namespace quern
