// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace quern {
namespace {

std::string temporary_name(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
}

/// Returns 0, or the errno of the write that failed.
int write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

}  // namespace

Error system_error(std::string_view what, const std::string& path, int error_number) {
  Error error;
  error.kind = error_number == ENOENT || error_number == EISDIR || error_number == ENOTDIR
                   ? ErrorKind::kInput
                   : ErrorKind::kEnvironment;
  error.message = "cannot " + std::string(what) + " " + path + ": " + std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) {
    error.message = "cannot " + std::string(what) + " " + path + ": the disk is full";
    error.hint = "free some space, then run the same command again";
  }
  if (error_number == EROFS) error.hint = "the file system is read-only: choose another folder";
  if (error_number == EACCES || error_number == EPERM) {
    error.hint = "check the permissions, or choose another folder";
  }
  return error;
}

void FileDescriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<std::string> read_file(const std::string& path, size_t limit_bytes) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error("read", path, errno);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return system_error("read", path, errno);
  if (S_ISDIR(status.st_mode)) return system_error("read", path, EISDIR);
  std::string content;
  char block[65536];
  for (;;) {
    ssize_t got = read(file.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path, errno);
    if (got == 0) return content;
    content.append(block, static_cast<size_t>(got));
    if (content.size() > limit_bytes) {
      return Error{ErrorKind::kInput,
                   path + " is larger than " + std::to_string(limit_bytes) + " bytes", ""};
    }
  }
}

Result<void> write_file_atomic(const std::string& path, std::string_view content) {
  std::string temporary = temporary_name(path);
  FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return system_error("write", path, errno);
  int failed = write_all(file.get(), content);
  if (failed == 0 && rename(temporary.c_str(), path.c_str()) != 0) failed = errno;
  if (failed == 0) return {};
  unlink(temporary.c_str());
  return system_error("write", path, failed);
}

Result<void> make_directories(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code) {
    Error error = system_error("make the folder", path, code.value());
    // Parents are made too: what is still missing, this file system (/proc, say) does not make.
    if (code.value() == ENOENT) error.kind = ErrorKind::kEnvironment;
    return error;
  }
  if (!std::filesystem::is_directory(path, code)) {
    return system_error("make the folder", path, EEXIST);
  }
  return {};
}

bool file_exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

Result<void> remove_all(const std::string& path) {
  std::error_code code;
  std::filesystem::remove_all(path, code);
  if (code) return system_error("remove", path, code.value());
  return {};
}

Result<DirectoryLock> DirectoryLock::acquire(const std::string& directory) {
  FileDescriptor file(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file) return system_error("lock", directory, errno);
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error("lock", directory, errno);
    return Error{ErrorKind::kBusy, "another process is using " + directory,
                 "wait until it ends, or choose another folder"};
  }
  return DirectoryLock(std::move(file));
}

}  // namespace quern
