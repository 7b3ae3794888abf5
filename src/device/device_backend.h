// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "record/bound_plan.h"
#include "record/evaluation.h"
#include "record/profile.h"
#include "record/verdict.h"
#include "tensor/fill.h"

/// What a device worker (`quern-device-worker`) does with a device, for each kind of device once.
/// Nothing of a candidate but its device code reaches a backend. Every function runs in the worker;
/// `DeviceWorker` is their caller's side, in the process that judges.
namespace quern {

struct GuardFinding;

/// What a device is. Zero and "" stand for "not known".
struct DeviceProperties {
  std::string kind;          ///< "cuda", "opencl"
  std::string name;          ///< "NVIDIA H200"
  std::string platform;      ///< "CUDA 13.0", "Portable Computing Language 3.1"
  std::string driver;        ///< version of the driver
  std::string uuid;          ///< tells two devices of one name apart
  std::string architecture;  ///< what binaries are made for: "sm_90a"
  int compute_units = 0;
  uint64_t memory_bytes = 0;
  uint64_t largest_buffer_bytes = 0;
  uint64_t shared_bytes = 0;  ///< dynamic shared (local) memory a launch may ask for
  uint64_t cache_bytes = 0;   ///< of the last level: rotated buffers are larger than this
  int max_block_threads = 0;
  double clock_mhz = 0;
  /// Device code runs in the worker's own address space (OpenCL on a CPU): what the worker says of
  /// time and results is then the candidate's word, so the judge keeps clock and comparison, and a
  /// worker serves one candidate.
  bool shares_host = false;
  int devices = 1;        ///< of this kind, on this machine
  bool draws = false;     ///< `draw` works
  bool compares = false;  ///< `compare` works
};

/// Buffers and programs are named by their user, so that orders can be sent without waiting.
using BufferId = uint32_t;
using ProgramId = uint32_t;

/// Where data lies in its pages. Left: on a page, or 256 bytes. Right: it ends as close to memory
/// that is not mapped as an alignment of 16 bytes allows.
enum class Placement : uint32_t { kLeft, kRight };

/// What device code may do with a buffer from the next launch on.
enum class DeviceAccess : uint32_t { kNone, kRead, kReadWrite };

/// One set of a task's buffers; calls take the sets in turn.
struct BufferSet {
  std::vector<BufferId> inputs, outputs;
};

/// How a buffer is drawn: as `quern::fill` does, then what the structure of a matrix demands.
struct DrawOrder {
  enum class Structure : uint32_t { kNone, kLower, kUpper, kSymmetric };  ///< as ir::Distribution
  DType type = DType::kF32;
  FillSpec spec;
  uint64_t seed = 0;
  Structure structure = Structure::kNone;
  uint64_t side = 0;  ///< of the square matrices that have the structure
};

/// With a program of ours (`oracle` not 0) that has one output, which begins with what was found:
/// its call on the set of buffers `set` is what compares. Without one, `value` and `scale` say what
/// must be.
struct CompareOrder {
  BufferId got = 0, value = 0, scale = 0;  ///< f64 value and rounding scale of each element
  ProgramId oracle = 0;
  uint32_t set = 0, output = 0;  ///< of the program: which set, which of its outputs
  DType type = DType::kF32;      ///< of `got`
  uint64_t elements = 0;
  double factor = 4;  ///< accepted error in units of scale times the unit roundoff
  bool bitwise = false;
};

/// As `CompareReport` (verify/compare.h), in numbers.
struct CompareCounts {
  uint64_t wrong = 0, unwritten = 0, compared = 0;
  double max_error = 0, rms_error = 0;
  uint64_t worst = 0;  ///< index of the element furthest off, where any is wrong
  double worst_got = 0, worst_expected = 0;
  uint64_t inexact = 0;  ///< elements with a scale other than 0
};

/// Everything that is looked at after a call, in one order.
struct InspectOrder {
  std::vector<BufferId> guarded;  ///< whose neighbourhood must be untouched
  ProgramId scratch_of = 0;       ///< and that of its scratch; 0: none
  std::vector<CompareOrder> compares;
  std::vector<BufferId> digested;
  uint64_t digest_seed = 0;  ///< secret, or a candidate could aim at a digest
};
struct Inspection {
  bool intact = true;  ///< otherwise nothing else was looked at
  std::vector<CompareCounts> counts;
  /// Equal for equal bytes, and for different ones with a probability of 2^-64.
  std::vector<uint64_t> digests;
};

/// A device source to build.
struct DeviceCompileJob {
  std::string source;
  std::vector<std::pair<std::string, std::string>> headers;  ///< name and text, to be included
  std::vector<std::pair<std::string, int64_t>> macros;       ///< specialised sizes: name, value
  bool fast_math = false;
  int max_registers = 0;  ///< 0: the compiler decides
  /// A source of ours, in which functions without a mark are the device's (CUDA).
  bool ours = false;
  /// `source` is the listing of a binary, to be built with guards (CUDA): accesses outside of the
  /// buffers, traps and hangs are then caught before they reach the device.
  bool guards = false;
  /// Where several take turns at one compiler: jobs with a lower number go first.
  uint64_t turn = 0;
};

struct DeviceBinary {
  std::string image;
  Build build;
  std::string listing =
      "";  ///< the assembler's input, where `guards` can be built from it; "": none
};

/// Errors mean that the device or the worker failed; verdicts are the candidate's. After a verdict
/// of `run` the worker is of no more use, and is ended.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  /// Takes the device; once, before anything else but `compile`. Whatever it needs of the system
  /// it takes now: afterwards the worker is confined. Errors: kEnvironment: no such device, no
  /// driver.
  virtual Result<DeviceProperties> open() = 0;

  /// Builds a source in this process. A worker that compiles does nothing else.
  virtual Outcome<DeviceBinary> compile(const DeviceCompileJob& job) = 0;

  /// Memory whose neighbours are not mapped or hold a guard pattern; content undefined, readable
  /// and writable. Errors: kEnvironment when the device's memory is short.
  virtual Result<void> allocate(BufferId id, uint64_t bytes, Placement placement) = 0;
  virtual Result<void> release(BufferId id) = 0;
  /// For device code; what follows works whatever was allowed.
  virtual Result<void> allow(BufferId id, DeviceAccess access) = 0;
  virtual Result<void> upload(BufferId id, std::span<const std::byte> bytes) = 0;
  virtual Result<void> download(BufferId id, std::span<std::byte> bytes) = 0;
  virtual Result<void> copy(BufferId to, BufferId from) = 0;
  /// Sets every byte, and renews the guard pattern beside the data.
  virtual Result<void> fill(BufferId id, uint8_t byte) = 0;
  /// False when something was written beside the data.
  virtual Result<bool> guards_intact(BufferId id) = 0;
  /// The same of several.
  virtual Result<bool> all_guards_intact(const std::vector<BufferId>& ids);

  /// Draws every element as `quern::fill` does, bit for bit. Errors: kUsage where it cannot.
  virtual Result<void> draw(BufferId id, const DrawOrder& order);
  /// Draws every `altered_place` (tensor/fill.h) as `draw` does, and leaves the rest.
  virtual Result<void> alter(BufferId id, const DrawOrder& order, uint64_t places);
  /// Guards, comparisons and digests. Errors: kUsage where it cannot.
  virtual Result<Inspection> inspect(const InspectOrder& order);
  /// Calls a program of ours, which may touch everything in that set of its buffers.
  virtual Result<void> apply(ProgramId id, uint32_t set);

  /// Loads a binary, allocates the plan's scratch (poisoned), makes its tensor maps and whatever
  /// makes launches quick, for every set of buffers. Verdict `LaunchFailed`: a kernel is missing,
  /// takes other arguments, asks for more than the device has.
  virtual Outcome<std::vector<KernelResources>> load(ProgramId id, const std::string& image,
                                                     const BoundPlan& plan,
                                                     const std::vector<BufferSet>& sets) = 0;
  virtual Result<void> unload(ProgramId id) = 0;
  /// Sets every byte of the plan's scratch; guards too. Before a call whose results are checked.
  virtual Result<void> poison_scratch(ProgramId id, uint8_t byte) = 0;
  virtual Result<bool> scratch_guards_intact(ProgramId id) = 0;
  /// Calls the candidate `calls` times, on the sets in turn from `first` on, and waits for the end.
  /// Nanoseconds of the whole batch on the device's clock (`shares_host`: not asked for). Verdicts:
  /// `Crashed`, `Rejected`, `LaunchFailed`.
  virtual Outcome<double> run(ProgramId id, int calls, int first) = 0;
  /// Hardware counters of one call, launch by launch. Errors: kEnvironment: none are read here, or
  /// they are refused. Verdicts: as those of `run`.
  virtual Outcome<Profile> profile(ProgramId id);
  /// Several such batches, one after the other.
  virtual Outcome<std::vector<double>> run_batches(ProgramId id, int calls, int first, int batches);
  /// The clock, in MHz, at which the device ran when the last batches began; 0: not known.
  virtual double last_clock_mhz() const { return 0; }
  /// What the guards of the program caught in the last batches: the device is unharmed, and the
  /// results mean nothing.
  virtual std::optional<GuardFinding> caught() const;

  /// Gives `shown` the contents of `hidden` under its own address, and the other way round;
  /// `hidden` is out of device code's reach from then on. Both were allocated alike. Errors: kUsage
  /// where it cannot.
  virtual Result<void> exchange(BufferId shown, BufferId hidden);
  /// Ends what programs have asked the device's caches to keep, so that the next one finds them as
  /// it would without those.
  virtual Result<void> forget_kept() { return {}; }
};

/// Backends by kind; the rows are in device_backends.cpp. Null for an unknown kind.
std::unique_ptr<DeviceBackend> make_device_backend(const std::string& kind, int device);

}  // namespace quern
