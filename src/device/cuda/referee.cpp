// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/referee.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cuda/gpu_timer.h"

namespace quern::cuda {

extern "C" const char kQuernCudaReferee[];

namespace {

constexpr unsigned kThreads = 256;
constexpr uint64_t kRoomBytes = 1 << 20;
constexpr int kSentinelRounds = 160;  ///< of 64 dependent multiply-adds, 4 cycles each

static_assert(sizeof(GpuComparison) == 56);

void add(GpuComparison& sum, const GpuComparison& part) {
  sum.max_error = std::max(sum.max_error, part.max_error);
  sum.sum_squares += part.sum_squares;
  sum.wrong += part.wrong;
  sum.unwritten += part.unwritten;
  sum.compared += part.compared;
  const bool worse = part.worst_error > sum.worst_error ||
                     (part.worst_error == sum.worst_error && part.worst_index >= 0 &&
                      (sum.worst_index < 0 || part.worst_index < sum.worst_index));
  if (!worse) return;
  sum.worst_error = part.worst_error;
  sum.worst_index = part.worst_index;
}

}  // namespace

const char* referee_source() { return kQuernCudaReferee; }

Result<Referee> Referee::load(Gpu& gpu, const std::string& image) {
  QUERN_ASSIGN(GpuMemory room, GpuMemory::make(gpu, kRoomBytes, GpuMemory::Place::kLeft));
  ModuleHandle module = nullptr;
  QUERN_TRY(gpu.check(gpu.driver().module_load(&module, image.data()), "our own kernels"));
  Referee referee(gpu, std::move(room), module);
  QUERN_ASSIGN(referee.sentinel_, referee.function("sentinel"));
  return referee;
}

Result<FunctionHandle> Referee::function(const std::string& name) {
  FunctionHandle found = nullptr;
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

Result<GpuComparison> Referee::compare(DevicePointer got, uint64_t bytes, DType type,
                                       DevicePointer values, DevicePointer scales, double factor,
                                       bool bitwise) {
  int64_t count = static_cast<int64_t>(bytes) / dtype_bytes(type);
  const auto blocks = static_cast<unsigned>(
      std::min<uint64_t>(blocks_for(count), kRoomBytes / sizeof(GpuComparison)));
  int exact = bitwise ? 1 : 0;
  DevicePointer partials = room_.data();
  void* arguments[] = {&got, &values, &scales, &count, &factor, &exact, &partials};
  QUERN_TRY(run(fmt::format("compare_{}", dtype_name(type)), blocks, arguments));
  std::vector<GpuComparison> parts(blocks);
  QUERN_TRY(gpu_->check(gpu_->driver().copy_to_host(parts.data(), partials,
                                                    blocks * sizeof(GpuComparison), gpu_->stream()),
                        "a comparison"));
  QUERN_TRY(gpu_->synchronize("a comparison"));
  GpuComparison sum;
  for (const GpuComparison& part : parts) add(sum, part);
  return sum;
}

Result<double> Referee::element(DevicePointer at, DType type, uint64_t index) {
  const auto size = static_cast<size_t>(dtype_bytes(type));
  char bytes[8] = {};
  QUERN_TRY(gpu_->check(gpu_->driver().copy_to_host(bytes, at + index * size, size, gpu_->stream()),
                        "an element"));
  QUERN_TRY(gpu_->synchronize("an element"));
  const auto as = [&]<class T>(T value) {
    std::memcpy(&value, bytes, sizeof value);
    return static_cast<double>(value);
  };
  switch (type) {
    case DType::kF32:
      return as(float{});
    case DType::kF64:
      return as(double{});
    case DType::kI32:
      return as(int32_t{});
    case DType::kI64:
      return as(int64_t{});
  }
  return 0.0;
}

Result<uint64_t> Referee::count_other_bytes(const std::vector<Stretch>& stretches,
                                            uint8_t pattern) {
  const Driver& api = gpu_->driver();
  int value = pattern;
  DevicePointer others = room_.data();
  QUERN_TRY(gpu_->check(api.set_bytes(others, 0, 8, gpu_->stream()), "a count"));
  for (const Stretch& stretch : stretches) {
    if (stretch.bytes == 0) continue;
    DevicePointer at = stretch.at;
    auto count = static_cast<int64_t>(stretch.bytes);
    void* arguments[] = {&at, &count, &value, &others};
    QUERN_TRY(run("count_other_bytes", blocks_for(count), arguments));
  }
  uint64_t found = 0;
  QUERN_TRY(gpu_->check(api.copy_to_host(&found, others, 8, gpu_->stream()), "a count"));
  QUERN_TRY(gpu_->synchronize("a count"));
  return found;
}

Status Referee::hold(double us) {
  DevicePointer cycles = room_.data(), ns = cycles + 8, sink = cycles + 64;
  // 256 cycles a round.
  const double rounds = us * 1e-3 * gpu_->properties().clock_khz / 256;
  int count = std::max(1, static_cast<int>(rounds));
  void* arguments[] = {&cycles, &ns, &sink, &count};
  return launch(sentinel_, 1, 32, arguments);
}

Result<ClockReading> Referee::read_clock() {
  DevicePointer cycles = room_.data(), ns = cycles + 8, sink = cycles + 64;
  int rounds = kSentinelRounds;
  void* arguments[] = {&cycles, &ns, &sink, &rounds};
  QUERN_TRY(gpu_->check(launch(sentinel_, 1, 32, arguments), "the sentinel"));
  int64_t found[2] = {};
  QUERN_TRY(gpu_->check(gpu_->driver().copy_to_host(found, cycles, sizeof found, gpu_->stream()),
                        "the sentinel"));
  QUERN_TRY(gpu_->synchronize("the sentinel"));
  return ClockReading{static_cast<double>(found[0]), static_cast<double>(found[1])};
}

Result<double> Referee::best_rate(const std::string& kernel, void** arguments, double bytes) {
  QUERN_ASSIGN(FunctionHandle found, function(kernel));
  QUERN_ASSIGN(GpuTimer timer, GpuTimer::make(*gpu_));
  double best = 0;
  const auto blocks = static_cast<unsigned>(gpu_->properties().multiprocessors * 16);
  for (int i = 0; i < 8; ++i) {
    QUERN_TRY(gpu_->check(hold(10), kernel));
    QUERN_ASSIGN(std::vector<double> ns,
                 timer.measure(1, [&] { return launch(found, blocks, 512, arguments); }));
    best = std::max(best, bytes / ns[0]);
  }
  return best;
}

Result<double> Referee::copy_bandwidth(const GpuMemory& from, const GpuMemory& to) {
  const uint64_t bytes = std::min(from.bytes(), to.bytes());
  auto count = static_cast<int64_t>(bytes / 16);
  DevicePointer source = from.data(), target = to.data();
  void* arguments[] = {&source, &target, &count};
  return best_rate("copy_bytes", arguments, 2 * static_cast<double>(bytes));
}

Result<double> Referee::read_bandwidth(const GpuMemory& from) {
  auto count = static_cast<int64_t>(from.bytes() / 16);
  DevicePointer source = from.data(), sink = room_.data();
  void* arguments[] = {&source, &sink, &count};
  return best_rate("read_bytes", arguments, static_cast<double>(from.bytes()));
}

}  // namespace quern::cuda
