// SPDX-License-Identifier: Apache-2.0
#include "store/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace quern {
namespace {

Error file_error(const std::string& path, const char* verb, int code) {
  std::string hint;
  if (code == ENOSPC || code == EDQUOT || code == EFBIG)
    hint = "free some space, or choose another --out";
  if (code == EROFS || code == EACCES || code == EPERM)
    hint = "choose a writable directory with --out";
  return {ErrorKind::kEnvironment, fmt::format("cannot {} {}: {}", verb, path, std::strerror(code)),
          hint};
}

Result<void> write_all(int file, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error(path, "write", errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<void> make_run_directory(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code) return file_error(path, "make the directory", code.value());
  return {};
}

Result<int> lock_run_directory(const std::string& path) {
  std::string name = path + "/lock";
  int file = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return file_error(name, "open", errno);
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    ssize_t size = ::read(file, holder, sizeof holder - 1);
    ::close(file);
    std::string pid(holder, size > 0 ? size : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return Error{ErrorKind::kBusy,
                 fmt::format("{}: another process{} is working on this run", path,
                             pid.empty() ? "" : fmt::format(" (pid {})", pid)),
                 "wait for it, stop it, or give this run its own directory with --out"};
  }
  std::string pid = fmt::format("{}\n", ::getpid());
  // The number only helps a message; a full disk must not keep anyone from the lock.
  if (::ftruncate(file, 0) == 0) (void)!::pwrite(file, pid.data(), pid.size(), 0);
  return file;
}

Result<void> write_whole(const std::string& path, std::string_view bytes) {
  std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return file_error(path, "write", errno);
  Result<void> written = write_all(file, bytes, path);
  if (::close(file) != 0 && written) written = file_error(path, "write", errno);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = file_error(path, "write", errno);
  }
  if (!written) ::unlink(temporary.c_str());
  return written;
}

Result<std::string> read_whole(const std::string& path) {
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return file_error(path, "read", errno);
  std::string bytes;
  char buffer[65536];
  while (true) {
    ssize_t n = ::read(file, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int code = errno;
      ::close(file);
      if (n < 0) return file_error(path, "read", code);
      return bytes;
    }
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace quern
