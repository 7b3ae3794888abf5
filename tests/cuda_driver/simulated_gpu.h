// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/cuda/cubin.h"
#include "device/cuda/driver.h"

/// The state behind simulated_driver.cpp: one process's view of a GPU that computes nothing. Every
/// operation takes its time on a clock that all processes share, device by device; what kernels of
/// the referee would find is made up from the names of the candidates' kernels.
namespace quern::cuda::simulated {

/// The file `simulation.conf` beside the library: a word and a number a line.
struct Settings {
  double devices = 1;
  double scale = 1;         ///< every duration is so many times an H200's
  double noise = 1e-3;      ///< standard deviation of what events say, of their difference
  double fault_ms = 20;     ///< how long a fault holds its device, not scaled
  double context_ms = 100;  ///< to make a context, one after the other on a device
  double lost_device = -1;  ///< opens no context
};
const Settings& settings();

/// What a kernel's name asks for: the words `fault`, `trap`, `hang`, `wrong`, `unstable`, and
/// `late`: only at large shapes, where a call touches more than 32 MiB.
enum class Act { kNothing, kFault, kTrap, kHang, kWrong, kUnstable };

struct Module;
struct Function {
  const Module* module = nullptr;
  CubinKernel kernel;
  Act act = Act::kNothing;
  bool late = false;
};
struct Module {
  std::string image;
  bool ours = false;  ///< the referee's kernels, or an oracle's
  std::map<std::string, Function> functions;
  std::map<std::string, std::vector<char>> globals;
};

/// Work on the stream, recorded for a graph or about to be queued.
struct Work {
  double us = 0;
  Act act = Act::kNothing;
};
struct Graph {
  std::vector<Work> work;
};
struct Event {
  int64_t ns = 0;
};

struct Range {
  uint64_t bytes = 0;
  MemoryHandle handle = 0;
  Access access = Access::kNone;
};

class Gpu {
 public:
  static Gpu& current();

  Status open(int device);

  /// Lets the calling thread lose so much time, on the scale of an H200.
  void spend_us(double us);
  /// Queues work behind what is queued here and on the device.
  Status queue(const Work& work);
  /// Waits for everything queued; the status of a fault ever after.
  Status wait();
  Status failed() const { return failed_; }
  int64_t tail_ns() const { return tail_ns_; }

  void begin_capture() { capture_ = std::make_unique<Graph>(); }
  std::unique_ptr<Graph> end_capture() { return std::move(capture_); }

  Status launch(const Function& function, void** arguments);

  Status reserve(DevicePointer* at, uint64_t bytes);
  Status unreserve(DevicePointer at, uint64_t bytes);
  Status create(MemoryHandle* handle, uint64_t bytes);
  Status release(MemoryHandle handle);
  Status map(DevicePointer at, uint64_t bytes, MemoryHandle handle);
  Status unmap(DevicePointer at);
  Status allow(DevicePointer at, Access access);
  /// Whether all of these bytes lie in one range, with such rights at least.
  bool may(DevicePointer at, uint64_t bytes, Access access) const;
  void add_global(std::vector<char>& bytes);
  void drop_global(const std::vector<char>& bytes);
  uint64_t used_bytes() const { return used_; }

 private:
  struct Shared {
    std::atomic<int64_t> busy_until_ns, opening_until_ns;
  };

  double us_of(const Function& function, void** arguments, uint64_t& touched) const;
  void find(const Function& function, void** arguments);
  bool report(const Function& function, Act act) const;

  int device_ = -1;
  Shared* shared_ = nullptr;
  int64_t tail_ns_ = 0;
  double debt_ns_ = 0;
  Status failed_ = kSuccess, due_ = kSuccess;
  bool hangs_ = false;
  std::unique_ptr<Graph> capture_;
  std::map<DevicePointer, Range> ranges_;
  std::map<MemoryHandle, uint64_t> memory_;
  uint64_t used_ = 0;
  Act last_ = Act::kNothing;  ///< of the candidate that ran last
  uint64_t digests_ = 0;
};

inline void* pointer(DevicePointer at) {
  return reinterpret_cast<void*>(at);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace quern::cuda::simulated
