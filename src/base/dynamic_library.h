// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace quern {

/// A shared library opened at run time, and closed with the object.
class DynamicLibrary {
 public:
  /// Opens the first of `names` that the loader finds; a name with a slash is a path. Errors:
  /// kEnvironment, with what the loader said of each.
  static Result<DynamicLibrary> open(const std::vector<std::string>& names);

  DynamicLibrary() = default;
  DynamicLibrary(DynamicLibrary&& other) noexcept { *this = std::move(other); }
  DynamicLibrary& operator=(DynamicLibrary&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~DynamicLibrary();

  /// The address of a symbol, or null.
  void* symbol(const char* name) const;
  /// Points `function` to the symbol, or to nothing where there is none.
  template <class Function>
  void find(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }
  /// The same; adds the name to the list `missing` where there is none.
  template <class Function>
  void find(const char* name, Function*& function, std::string& missing) const {
    find(name, function);
    if (function == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  }
  /// Where the loader found it.
  const std::string& path() const { return path_; }
  /// Never closed: for libraries that leave threads or exit handlers behind.
  void keep() { handle_ = nullptr; }

 private:
  void* handle_ = nullptr;
  std::string path_;
};

}  // namespace quern
