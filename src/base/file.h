// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace quern {

/// Reads a whole file. Errors name the path and say why: missing, a directory, no permission, more
/// than `limit_bytes`.
Result<std::string> read_file(const std::string& path, size_t limit_bytes = size_t{1} << 30);

/// Writes a temporary file beside `path` and renames it over it, so that readers see the old or
/// the new content and never a part. Not durable across a power cut. Errors: a full disk
/// (kEnvironment, says so), a read-only or missing directory.
Result<void> write_file_atomic(const std::string& path, std::string_view content);

/// Makes a directory and its parents; fine when they exist. Errors: a file in the way, permission.
Result<void> make_directories(const std::string& path);

bool file_exists(const std::string& path);

/// Removes a file or a folder with everything in it; fine when there is none.
Result<void> remove_all(const std::string& path);

/// The last failed system call as an `Error`: "cannot <what> <path>: <errno text>".
Error system_error(std::string_view what, const std::string& path, int error_number);

/// An owned file descriptor, or none (-1).
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() { close(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void close();

 private:
  int fd_ = -1;
};

/// An exclusive lock on a directory, held while the object lives; a killed holder loses it.
class DirectoryLock {
 public:
  /// Errors: kBusy when another process (or another lock in this one) holds it.
  static Result<DirectoryLock> acquire(const std::string& directory);

 private:
  explicit DirectoryLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace quern
