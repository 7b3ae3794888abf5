// SPDX-License-Identifier: Apache-2.0
#include "device/staging.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace quern {
namespace {

constexpr uint64_t kGrain = uint64_t{1} << 20;

}  // namespace

Result<Staging> Staging::make() {
  Staging staging;
  staging.file_ = FileDescriptor(memfd_create("quern-staging", MFD_CLOEXEC));
  if (!staging.file_) return system_error("make", "a file in memory", errno);
  staging.ours_ = true;
  return staging;
}

Staging Staging::attach(int fd) {
  Staging staging;
  staging.file_ = FileDescriptor(fd);
  return staging;
}

Staging& Staging::operator=(Staging&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(ours_, other.ours_);
  std::swap(base_, other.base_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Staging::~Staging() {
  if (base_ != nullptr) munmap(base_, mapped_);
}

Result<std::span<std::byte>> Staging::view(uint64_t bytes) {
  if (bytes > mapped_ || base_ == nullptr) {
    const uint64_t size = (bytes / kGrain + 1) * kGrain;
    struct stat status {};
    if (fstat(file_.get(), &status) != 0) return system_error("look at", "staging memory", errno);
    const bool grow = static_cast<uint64_t>(status.st_size) < size;
    if (grow && (!ours_ || ftruncate(file_.get(), static_cast<off_t>(size)) != 0)) {
      return system_error("grow", "staging memory", ours_ ? errno : EINVAL);
    }
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (at == MAP_FAILED) return system_error("map", "staging memory", errno);
    if (base_ != nullptr) munmap(base_, mapped_);
    base_ = static_cast<std::byte*>(at);
    mapped_ = size;
  }
  return std::span(base_, bytes);
}

void Staging::clear() {
  if (base_ == nullptr || !ours_) return;
  // Errors leave the memory in use, which costs nothing but memory.
  (void)fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  static_cast<off_t>(mapped_));
}

}  // namespace quern
