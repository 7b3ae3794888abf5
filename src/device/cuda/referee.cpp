// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/referee.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace quern::cuda {

extern "C" const char kQuernCudaCompare[];
extern "C" const char kQuernCudaReferee[];

namespace {

constexpr unsigned kThreads = 256;
constexpr uint64_t kRoomBytes = 1 << 20;
// What lies in that room: the sentinel's results, then findings, then what blocks found.
constexpr uint64_t kOthersAt = 4096, kDigestsAt = kOthersAt + 8;
constexpr size_t kMostFindings = 1000;
constexpr uint64_t kComparisonsAt = kDigestsAt + 8 * kMostFindings;
constexpr uint64_t kPartialsAt = kComparisonsAt + sizeof(GpuComparison) * kMostFindings;

static_assert(sizeof(GpuComparison) == 72);

}  // namespace

std::string referee_source() { return std::string(kQuernCudaCompare) + kQuernCudaReferee; }
const char* compare_source() { return kQuernCudaCompare; }

Result<Referee> Referee::load(Gpu& gpu, const std::string& image) {
  QUERN_ASSIGN(GpuMemory room, GpuMemory::make(gpu, kRoomBytes, GpuMemory::Place::kLeft));
  ModuleHandle module = nullptr;
  QUERN_TRY(gpu.check(gpu.driver().module_load(&module, image.data()), "our own kernels"));
  Referee referee(gpu, std::move(room), module);
  QUERN_ASSIGN(referee.sentinel_, referee.function("sentinel"));
  return referee;
}

Result<FunctionHandle> Referee::function(const std::string& name) {
  FunctionHandle& found = functions_[name];
  if (found != nullptr) return found;
  QUERN_TRY(gpu_->check(gpu_->driver().module_function(&found, module_, name.c_str()), name));
  return found;
}

Status Referee::launch(FunctionHandle function, unsigned blocks, unsigned threads,
                       void** arguments) {
  LaunchConfig config;
  config.grid[0] = blocks;
  config.block[0] = threads;
  config.stream = gpu_->stream();
  return gpu_->driver().launch(&config, function, arguments, nullptr);
}

Result<void> Referee::run(const std::string& name, unsigned blocks, void** arguments) {
  QUERN_ASSIGN(FunctionHandle found, function(name));
  return gpu_->check(launch(found, blocks, kThreads, arguments), name);
}

unsigned Referee::blocks_for(int64_t count) const {
  const int64_t wanted = (count + kThreads - 1) / kThreads;
  const int64_t most = int64_t{gpu_->properties().multiprocessors} * 8;
  return static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, most));
}

Result<void> Referee::fill(DevicePointer at, uint64_t bytes, DType type, const FillSpec& spec,
                           uint64_t seed) {
  int64_t count = static_cast<int64_t>(bytes) / dtype_bytes(type);
  int kind = static_cast<int>(spec.kind);
  double a = spec.a, b = spec.b;
  void* arguments[] = {&at, &count, &kind, &a, &b, &seed};
  return run(fmt::format("fill_{}", dtype_name(type)), blocks_for(count), arguments);
}

Result<void> Referee::alter(DevicePointer at, uint64_t bytes, DType type, const FillSpec& spec,
                            uint64_t seed, uint64_t places) {
  int64_t count = static_cast<int64_t>(bytes) / dtype_bytes(type);
  int64_t blocks = altered_blocks(count);
  if (blocks == 0) return {};
  int kind = static_cast<int>(spec.kind);
  double a = spec.a, b = spec.b;
  void* arguments[] = {&at, &count, &blocks, &places, &kind, &a, &b, &seed};
  return run(fmt::format("alter_{}", dtype_name(type)), blocks_for(blocks), arguments);
}

Result<void> Referee::impose(DevicePointer at, uint64_t bytes, DType type, uint32_t structure,
                             uint64_t side) {
  if (structure == 0 || side == 0) return {};
  auto elements = static_cast<int64_t>(bytes) / dtype_bytes(type);
  auto n = static_cast<int64_t>(side);
  int which = static_cast<int>(structure);
  void* arguments[] = {&at, &elements, &n, &which};
  return run(fmt::format("impose_{}", dtype_bytes(type)), blocks_for(elements), arguments);
}

Status Referee::begin_findings() {
  comparisons_ = digests_ = 0;
  return gpu_->driver().set_bytes(room_.data() + kOthersAt, 0, kComparisonsAt - kOthersAt,
                                  gpu_->stream());
}

Result<void> Referee::compare(DevicePointer got, uint64_t bytes, DType type, DevicePointer values,
                              DevicePointer scales, double factor, bool bitwise) {
  int64_t count = static_cast<int64_t>(bytes) / dtype_bytes(type);
  const auto blocks = static_cast<unsigned>(std::min<uint64_t>(
      blocks_for(count), (kRoomBytes - kPartialsAt) / sizeof(GpuComparison) - 1));
  int exact = bitwise ? 1 : 0;
  DevicePointer partials = room_.data() + kPartialsAt;
  void* arguments[] = {&got, &values, &scales, &count, &factor, &exact, &partials};
  QUERN_TRY(run(fmt::format("compare_{}", dtype_name(type)), blocks, arguments));
  auto parts = int64_t{blocks};
  void* sum_arguments[] = {&partials, &parts};
  QUERN_TRY(run("sum_found", 1, sum_arguments));
  return note_found(partials);
}

Result<void> Referee::note_found(DevicePointer found) {
  QUERN_CHECK(comparisons_ < kMostFindings, "too many comparisons at once");
  const DevicePointer to = room_.data() + kComparisonsAt + sizeof(GpuComparison) * comparisons_++;
  return gpu_->check(
      gpu_->driver().copy_on_device(to, found, sizeof(GpuComparison), gpu_->stream()),
      "a comparison");
}

Result<void> Referee::digest(DevicePointer at, uint64_t bytes, uint64_t seed) {
  QUERN_CHECK(digests_ < kMostFindings, "too many digests at once");
  DevicePointer to = room_.data() + kDigestsAt + 8 * digests_++;
  auto words = static_cast<int64_t>(bytes / 4);
  void* arguments[] = {&at, &words, &seed, &to};
  return run("digest", blocks_for(words / 4), arguments);
}

Result<Referee::Findings> Referee::findings() {
  const uint64_t bytes =
      kComparisonsAt - kOthersAt + sizeof(GpuComparison) * std::max<size_t>(comparisons_, 1);
  std::vector<char> room(bytes);
  QUERN_TRY(gpu_->check(
      gpu_->driver().copy_to_host(room.data(), room_.data() + kOthersAt, bytes, gpu_->stream()),
      "findings"));
  QUERN_TRY(gpu_->synchronize("findings"));
  Findings found;
  found.comparisons.resize(comparisons_);
  found.digests.resize(digests_);
  std::memcpy(&found.other_bytes, room.data(), 8);
  const auto take = [&](auto& list, uint64_t at) {
    if (!list.empty())
      std::memcpy(list.data(), room.data() + (at - kOthersAt), list.size() * sizeof(list[0]));
  };
  take(found.digests, kDigestsAt);
  take(found.comparisons, kComparisonsAt);
  return found;
}

Result<double> Referee::element(DevicePointer at, DType type, uint64_t index) {
  const auto size = static_cast<size_t>(dtype_bytes(type));
  char bytes[8] = {};
  QUERN_TRY(gpu_->check(gpu_->driver().copy_to_host(bytes, at + index * size, size, gpu_->stream()),
                        "an element"));
  QUERN_TRY(gpu_->synchronize("an element"));
  return load_number(type, bytes);
}

Result<void> Referee::count_other_bytes(const std::vector<Stretch>& stretches, uint8_t pattern) {
  int value = pattern;
  DevicePointer others = room_.data() + kOthersAt;
  for (const Stretch& stretch : stretches) {
    if (stretch.bytes == 0) continue;
    DevicePointer at = stretch.at;
    auto count = static_cast<int64_t>(stretch.bytes);
    void* arguments[] = {&at, &count, &value, &others};
    QUERN_TRY(run("count_other_bytes", blocks_for(count), arguments));
  }
  return {};
}

Status Referee::hold(double us) {
  DevicePointer cycles = room_.data(), ns = cycles + 8, sink = cycles + 64;
  // 256 cycles a round.
  const double rounds = us * 1e-3 * gpu_->properties().clock_khz / 256;
  int count = std::max(1, static_cast<int>(rounds));
  void* arguments[] = {&cycles, &ns, &sink, &count};
  return launch(sentinel_, 1, 32, arguments);
}

Result<ClockReading> Referee::last_hold() {
  int64_t found[2] = {};
  QUERN_TRY(
      gpu_->check(gpu_->driver().copy_to_host(found, room_.data(), sizeof found, gpu_->stream()),
                  "the sentinel"));
  QUERN_TRY(gpu_->synchronize("the sentinel"));
  return ClockReading{static_cast<double>(found[0]), static_cast<double>(found[1])};
}

}  // namespace quern::cuda
