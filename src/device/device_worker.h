// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "base/frame.h"
#include "base/subprocess.h"
#include "device/device_backend.h"
#include "device/device_protocol.h"
#include "device/staging.h"

namespace quern {

struct WorkerOptions {
  std::string kind = "opencl";  ///< a row of device_backends.cpp
  int device = 0;               ///< among those of its kind
  std::string kernels;          ///< CUDA: path of our own kernels, a cubin; "": none
  /// CUDA: path of CUPTI, for a worker that reads hardware counters. Such a worker times nothing.
  std::string counters;
  /// CUDA: path of cuBLAS, for a worker that runs `MatrixProduct`s and no candidates: unconfined.
  std::string library;
  bool compiles = false;    ///< builds sources; does not take the device for good
  std::string scratch_dir;  ///< ours alone; the worker gets a folder of its own in it
  double start_s = 60;      ///< to start and to take the device
};

/// A process that drives a device for us (`quern-device-worker`), sandboxed. The device code of
/// candidates can do no more than end it: a hang, a fault or a crash is the verdict of the call
/// that met it, and every later call gives the same. What ends it while no candidate is loaded is
/// an `Error`. Not thread-safe; the thread that starts it must outlive it.
class DeviceWorker {
 public:
  /// Returns at once, while the worker starts and takes the device. Errors: kEnvironment.
  static Result<std::unique_ptr<DeviceWorker>> start(const WorkerOptions& options);
  ~DeviceWorker();
  DeviceWorker(const DeviceWorker&) = delete;
  DeviceWorker& operator=(const DeviceWorker&) = delete;

  /// Waits until the device is taken. Errors: no such device, no driver; the start took too long.
  Result<void> await_open();
  const DeviceProperties& properties() const { return properties_; }
  /// False once it has ended, or is no more use.
  bool usable() const { return !end_; }
  pid_t pid() const { return child_ ? child_->pid() : -1; }
  /// Ends it without waiting: drivers take a tenth of a second and more to let go of a device.
  void doom();
  bool gone();  ///< whether its process has ended
  std::vector<std::string> sandbox_notes() const;
  std::string sandbox_text() const;

  // Memory. Those without an answer are sent without waiting; their failure is the next answer's.
  void allocate(BufferId id, uint64_t bytes, Placement placement, const std::string& name);
  void release(BufferId id);
  void allow(BufferId id, DeviceAccess access);
  void fill(BufferId id, uint8_t byte);
  void copy(BufferId to, BufferId from);
  void exchange(BufferId shown, BufferId hidden);
  void forget_kept();
  void draw(BufferId id, const DrawOrder& order);
  void alter(BufferId id, const DrawOrder& order, uint64_t places);
  Outcome<Done> upload(BufferId id, std::span<const std::byte> bytes);
  Outcome<Done> download(BufferId id, std::span<std::byte> bytes);
  Outcome<Inspection> inspect(const InspectOrder& order);
  /// Waits until everything sent is done.
  Outcome<Done> settle();

  /// As `DeviceBackend::load`. Until `unload`, or for good where device code shares the worker's
  /// address space, the worker's end is laid to what was loaded.
  Outcome<std::vector<KernelResources>> load(ProgramId id, const std::string& image,
                                             const BoundPlan& plan,
                                             const std::vector<BufferSet>& sets, double limit_s);
  /// The same for a program of ours; to be called by `apply` and `inspect`.
  Outcome<Done> load_own(ProgramId id, const std::string& image, const BoundPlan& plan,
                         const std::vector<BufferSet>& sets);
  void apply(ProgramId id, uint32_t set);
  void unload(ProgramId id);
  void poison_scratch(ProgramId id, uint8_t byte);
  /// Nanoseconds of each of so many batches of calls: on the device's clock, or on ours, from order
  /// to answer, where the device shares the worker's address space. Verdict `TimedOut` after
  /// `limit_s`.
  Outcome<std::vector<double>> run(ProgramId id, int calls, int first, int batches, double limit_s);
  Outcome<double> run(ProgramId id, int calls, int first, double limit_s);
  /// As `DeviceBackend::profile`.
  Outcome<Profile> profile(ProgramId id, double limit_s);
  /// The device's clock during the last run that looked at it; 0: not known.
  double last_clock_mhz() const { return clock_mhz_; }

  // Compiling, one job at a time.
  void post_compile(const DeviceCompileJob& job);
  /// Becomes readable when there may be something to collect; -1 when the worker has ended.
  int reply_fd() const;
  /// The outcome if it is there: verdict `CompileFailed` also for a compiler that crashed or was
  /// ended at `limit_s` since the job was posted.
  std::optional<Outcome<DeviceBinary>> collect(double limit_s);

 private:
  /// Whom a worker's end is laid to.
  enum class Blame { kNobody, kLoaded, kCandidate };
  struct Answer {
    ReplyStatus status = ReplyStatus::kDone;
    std::string payload;  ///< behind the status
  };

  DeviceWorker() = default;
  Result<void> spawn(const WorkerOptions& options);
  void post(std::string order, std::string block = "");
  void flush();
  bool take_in();
  bool wait_for_reply(double left_s, int64_t since_ns);
  Outcome<std::string> await(double limit_s, Blame blame);
  Stopped end_of(Blame blame, bool overran, double limit_s);
  Verdict death_verdict(const ExitStatus& status);
  Verdict fault_verdict(const struct FaultReport& report);
  std::string name_of(BufferId id) const;
  std::optional<Stopped> earlier_failure_of(const Answer& answer) const;
  template <class... T>
  Outcome<std::tuple<T...>> ask(double limit_s, Blame blame);
  Outcome<std::vector<double>> run_order(ProgramId id, int calls, int first, int batches,
                                         double limit_s);

  std::optional<ChildProcess> child_;
  std::string folder_;
  FileDescriptor orders_, kept_, replies_, faults_;
  Staging staging_;
  std::string outgoing_;
  FrameReader reader_;
  uint64_t posted_ = 0, answered_ = 0;
  std::optional<Stopped> failure_;  ///< of an order nobody waited for
  bool candidate_loaded_ = false;
  bool opened_ = false;
  double start_s_ = 60;
  int64_t posted_ns_ = 0;
  double clock_mhz_ = 0;
  DeviceProperties properties_;
  std::map<BufferId, std::pair<std::string, uint64_t>> buffers_;  ///< name and bytes
  std::vector<BoundScratch> scratch_;
  std::optional<Stopped> end_;
};

/// The path of `quern-device-worker`, as `find_runner` finds its program. Errors: kEnvironment.
Result<std::string> find_device_worker();

}  // namespace quern
