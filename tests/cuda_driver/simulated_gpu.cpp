// SPDX-License-Identifier: Apache-2.0
#include "simulated_gpu.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/clock.h"
#include "device/cuda/guard_image.h"
#include "device/cuda/referee.h"

namespace quern::cuda::simulated {
namespace {

constexpr uint64_t kLateBytes = 32 << 20;  ///< touched by calls in which what is late happens
constexpr double kLaunchUs = 1.5;
constexpr double kBytesPerUs = 4e6;
constexpr Status kInvalid = 1, kLaunchFailed = 719;

std::string folder() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&folder), &info);
  const std::string path = info.dli_fname == nullptr ? "" : info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

Settings read_settings() {
  Settings read;
  const std::map<std::string, double*> known = {
      {"devices", &read.devices},       {"scale", &read.scale},
      {"noise", &read.noise},           {"fault_ms", &read.fault_ms},
      {"context_ms", &read.context_ms}, {"lost_device", &read.lost_device}};
  std::ifstream file(folder() + "/simulation.conf");
  std::string word;
  double value = 0;
  while (file >> word >> value) {
    if (const auto found = known.find(word); found != known.end()) *found->second = value;
  }
  return read;
}

void sleep_until(int64_t ns) {
  const timespec at = {ns / 1'000'000'000, ns % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) != 0) {
  }
}

/// Takes the next `length_ns` behind what others have taken, from `from_ns` on; where they end.
int64_t take_turn(std::atomic<int64_t>& until, int64_t from_ns, int64_t length_ns) {
  int64_t before = until.load();
  while (true) {
    const int64_t end = std::max(before, from_ns) + length_ns;
    if (until.compare_exchange_weak(before, end)) return end;
  }
}

}  // namespace

const Settings& settings() {
  static const Settings read = read_settings();
  return read;
}

Gpu& Gpu::current() {
  static Gpu gpu;
  return gpu;
}

Status Gpu::open(int device) {
  if (device_ == device) return kSuccess;
  if (device == static_cast<int>(settings().lost_device)) return 46;  // device unavailable
  const std::string path = folder() + "/device-" + std::to_string(device) + ".clock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return 304;  // an operating system's call
  void* at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (at == MAP_FAILED) return 304;
  shared_ = static_cast<Shared*>(at);
  device_ = device;
  const auto length = static_cast<int64_t>(1e6 * settings().context_ms * settings().scale);
  sleep_until(take_turn(shared_->opening_until_ns, steady_now_ns(), length));
  return kSuccess;
}

void Gpu::spend_us(double us) {
  constexpr double kWorthSleeping = 1e5;
  debt_ns_ += 1e3 * us * settings().scale;
  if (debt_ns_ < kWorthSleeping) return;
  sleep_until(steady_now_ns() + static_cast<int64_t>(debt_ns_));
  debt_ns_ = 0;
}

Status Gpu::queue(const Work& work) {
  if (failed_ != kSuccess) return failed_;
  if (capture_) {
    capture_->work.push_back(work);
    return kSuccess;
  }
  const int64_t from = std::max(tail_ns_, steady_now_ns() + static_cast<int64_t>(debt_ns_));
  tail_ns_ = take_turn(shared_->busy_until_ns, from,
                       static_cast<int64_t>(1e3 * work.us * settings().scale));
  if (work.act == Act::kHang) hangs_ = true;
  const bool faults = work.act == Act::kFault || work.act == Act::kTrap;
  if (!faults || due_ != kSuccess) return kSuccess;
  due_ = work.act == Act::kFault ? kIllegalAddress : kLaunchFailed;
  tail_ns_ =
      take_turn(shared_->busy_until_ns, tail_ns_, static_cast<int64_t>(1e6 * settings().fault_ms));
  return kSuccess;
}

Status Gpu::wait() {
  while (hangs_) pause();
  sleep_until(std::max(tail_ns_, steady_now_ns() + static_cast<int64_t>(debt_ns_)));
  debt_ns_ = 0;
  if (due_ != kSuccess) failed_ = due_;
  return failed_;
}

/// Memory sets the pace: what a call's pointers point into is read or written once.
double Gpu::us_of(const Function& function, void** arguments, uint64_t& touched) const {
  const auto& parameters = function.kernel.parameters;
  if (function.kernel.name == "sentinel") {
    return *static_cast<int*>(arguments[3]) * 256 / 1980.0;
  }
  if (function.kernel.name == "copy_quads") {
    return kLaunchUs + static_cast<double>(*static_cast<int64_t*>(arguments[2])) * 32 / kBytesPerUs;
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].bytes != 8) continue;
    const DevicePointer at = *static_cast<DevicePointer*>(arguments[i]);
    const auto next = ranges_.upper_bound(at);
    if (next == ranges_.begin()) continue;
    const auto& [start, range] = *std::prev(next);
    if (at < start + range.bytes) touched += range.bytes;
  }
  return kLaunchUs + static_cast<double>(touched) / kBytesPerUs;
}

/// A guarded build reports what the hardware would have stopped at, and ends by itself.
bool Gpu::report(const Function& function, Act act) const {
  const auto found = function.module->globals.find(kGuardReport);
  const bool bad = act == Act::kFault || act == Act::kTrap || act == Act::kHang;
  if (found == function.module->globals.end() || !bad) return false;
  using Kind = GuardReport::Kind;
  GuardReport report;
  report.claimed = 1;
  report.kind = act == Act::kFault  ? Kind::kOutside
                : act == Act::kTrap ? Kind::kTrap
                                    : Kind::kDeadline;
  report.bytes = 4;
  std::memcpy(const_cast<char*>(found->second.data()), &report, sizeof report);
  return true;
}

Status Gpu::launch(const Function& function, void** arguments) {
  if (failed_ != kSuccess) return failed_;
  uint64_t touched = 0;
  Work work{us_of(function, arguments, touched), Act::kNothing};
  const bool acts = !function.late || touched > kLateBytes;
  if (function.module->ours) {
    find(function, arguments);
  } else {
    last_ = acts ? function.act : Act::kNothing;
    if (!report(function, last_)) work.act = last_;
  }
  return queue(work);
}

/// Writes what kernels of ours find: everything right, unless the candidate's name says otherwise.
void Gpu::find(const Function& function, void** arguments) {
  const std::string& name = function.kernel.name;
  if (name == "sentinel") {
    const double us = *static_cast<int*>(arguments[3]) * 256 / 1980.0;
    auto* found = static_cast<int64_t*>(pointer(*static_cast<DevicePointer*>(arguments[0])));
    found[0] = static_cast<int64_t>(us * 1980);
    found[1] = static_cast<int64_t>(us * 1000);
  }
  if (name == "sum_found") {
    GpuComparison found;
    found.max_error = 0.25;
    found.compared = 1000;
    if (last_ == Act::kWrong) {
      found.wrong = 1;
      found.worst_index = 0;
      found.worst_error = found.max_error = 1e6;
    }
    std::memcpy(pointer(*static_cast<DevicePointer*>(arguments[0])), &found, sizeof found);
  }
  if (name == "digest") {
    uint64_t digest = last_ == Act::kWrong ? 2 : 1;
    if (last_ == Act::kUnstable) digest = 3 + ++digests_;
    std::memcpy(pointer(*static_cast<DevicePointer*>(arguments[3])), &digest, sizeof digest);
  }
}

Status Gpu::reserve(DevicePointer* at, uint64_t bytes) {
  void* found = mmap(nullptr, bytes + (2 << 20), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return kOutOfMemory;
  constexpr uint64_t kPage = 2 << 20;
  *at = (reinterpret_cast<DevicePointer>(found) + kPage - 1) / kPage * kPage;
  return kSuccess;
}

Status Gpu::unreserve(DevicePointer at, uint64_t bytes) {
  return munmap(pointer(at), bytes) == 0 ? kSuccess : kInvalid;
}

Status Gpu::create(MemoryHandle* handle, uint64_t bytes) {
  const int file = memfd_create("device memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return kOutOfMemory;
  *handle = static_cast<MemoryHandle>(file) + 1;
  memory_[*handle] = bytes;
  used_ += bytes;
  return kSuccess;
}

Status Gpu::release(MemoryHandle handle) {
  const auto found = memory_.find(handle);
  if (found == memory_.end()) return kInvalid;
  used_ -= found->second;
  memory_.erase(found);
  return close(static_cast<int>(handle) - 1) == 0 ? kSuccess : kInvalid;
}

Status Gpu::map(DevicePointer at, uint64_t bytes, MemoryHandle handle) {
  void* done =
      mmap(pointer(at), bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, static_cast<int>(handle) - 1, 0);
  if (done == MAP_FAILED) return kInvalid;
  ranges_[at] = {bytes, handle, Access::kNone};
  return kSuccess;
}

Status Gpu::unmap(DevicePointer at) {
  const auto found = ranges_.find(at);
  if (found == ranges_.end()) return kInvalid;
  void* done = mmap(pointer(at), found->second.bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  ranges_.erase(found);
  return done == MAP_FAILED ? kInvalid : kSuccess;
}

Status Gpu::allow(DevicePointer at, Access access) {
  const auto found = ranges_.find(at);
  if (found == ranges_.end()) return kInvalid;
  found->second.access = access;
  const int rights = access == Access::kNone ? PROT_NONE : PROT_READ | PROT_WRITE;
  return mprotect(pointer(at), found->second.bytes, rights) == 0 ? kSuccess : kInvalid;
}

bool Gpu::may(DevicePointer at, uint64_t bytes, Access access) const {
  const auto next = ranges_.upper_bound(at);
  if (next == ranges_.begin()) return false;
  const auto& [start, range] = *std::prev(next);
  return at + bytes <= start + range.bytes &&
         static_cast<int>(range.access) >= static_cast<int>(access);
}

void Gpu::add_global(std::vector<char>& bytes) {
  ranges_[reinterpret_cast<DevicePointer>(bytes.data())] = {bytes.size(), 0, Access::kReadWrite};
}

void Gpu::drop_global(const std::vector<char>& bytes) {
  ranges_.erase(reinterpret_cast<DevicePointer>(bytes.data()));
}

}  // namespace quern::cuda::simulated
