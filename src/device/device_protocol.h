// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/device_backend.h"
#include "device/device_wire.h"

/// What `quern-device-worker` and its parent say to each other: frames over two pipes, large blocks
/// through a file in memory (`Staging`). Orders are answered in the order they were given; several
/// may be on their way. The worker is started as: quern-device-worker KIND DEVICE ROLE, where ROLE
/// is "run" or "compile".
namespace quern {

inline constexpr int kWorkerOrderFd = 3;
inline constexpr int kWorkerReplyFd = 4;
inline constexpr int kWorkerStagingFd = 5;
inline constexpr int kWorkerFaultFd = 6;  ///< takes one `FaultReport`

/// Our own kernels, in the folder a worker is started in (CUDA).
inline constexpr const char* kWorkerKernelsFile = "kernels.cubin";
/// The path of cuBLAS, in the folder of a worker that runs our own calls of it (CUDA).
inline constexpr const char* kWorkerLibraryFile = "library.path";
/// The path of CUPTI, in the folder of a worker that reads hardware counters (CUDA).
inline constexpr const char* kWorkerCountersFile = "counters.path";

/// A frame to the worker is: the order and its arguments (`to_wire`), then a large text.
enum class DeviceOrder : uint32_t {
  kOpen,           ///< → DeviceProperties
  kCompile,        ///< job → DeviceBinary
  kAllocate,       ///< id, bytes, placement
  kRelease,        ///< id
  kAllow,          ///< id, access
  kUpload,         ///< id, bytes; data in staging memory
  kDownload,       ///< id, bytes → data in staging memory
  kCopy,           ///< to, from
  kFill,           ///< id, byte
  kDraw,           ///< id, DrawOrder
  kAlter,          ///< id, DrawOrder, places
  kInspect,        ///< InspectOrder → Inspection
  kLoad,           ///< id, plan, sets; image → resources
  kUnload,         ///< id
  kPoisonScratch,  ///< id, byte
  kApply,          ///< id, set
  kRun,            ///< id, calls, first, batches → ns of each, clock in MHz
  kProfile,        ///< id → Profile
  kExchange,       ///< shown, hidden
  kForgetKept,     ///< nothing
};

/// A reply is: status, then either the answer, an `Error` (kind, message, hint) or a verdict
/// (JSON).
enum class ReplyStatus : uint32_t { kDone, kError, kVerdict };

/// What a run of batches came to.
struct Ran {
  std::vector<double> ns;  ///< of each
  double clock_mhz = 0;    ///< as `DeviceBackend::last_clock_mhz`
};
template <class W>
void wire(W& w, Ran& ran) {
  w(ran.ns), w(ran.clock_mhz);
}

template <class W>
void wire(W& w, DeviceProperties& p) {
  w(p.kind), w(p.name), w(p.platform), w(p.driver), w(p.uuid), w(p.architecture);
  w(p.compute_units), w(p.memory_bytes), w(p.largest_buffer_bytes), w(p.shared_bytes);
  w(p.cache_bytes), w(p.max_block_threads), w(p.clock_mhz);
  w(p.shares_host), w(p.devices), w(p.draws), w(p.compares);
}
template <class W>
void wire(W& w, KernelResources& r) {
  w(r.kernel), w(r.registers), w(r.spill_bytes), w(r.shared_bytes), w(r.max_threads);
  w(r.occupancy);
}
template <class W>
void wire(W& w, BufferSet& set) {
  w(set.inputs), w(set.outputs);
}
template <class W>
void wire(W& w, CompareOrder& order) {
  w(order.got), w(order.value), w(order.scale), w(order.oracle), w(order.set), w(order.output);
  w(order.type), w(order.elements), w(order.factor), w(order.bitwise);
}
template <class W>
void wire(W& w, CompareCounts& counts) {
  w(counts.wrong), w(counts.unwritten), w(counts.compared), w(counts.max_error);
  w(counts.rms_error), w(counts.worst), w(counts.worst_got), w(counts.worst_expected);
  w(counts.inexact);
}
template <class W>
void wire(W& w, InspectOrder& order) {
  w(order.guarded), w(order.scratch_of), w(order.compares), w(order.digested);
  w(order.digest_seed);
}
template <class W>
void wire(W& w, Inspection& found) {
  w(found.intact), w(found.counts), w(found.digests);
}
template <class W>
void wire(W& w, FillSpec& spec) {
  w(spec.kind), w(spec.a), w(spec.b);
}
template <class W>
void wire(W& w, DrawOrder& order) {
  w(order.type), w(order.spec), w(order.seed), w(order.structure), w(order.side);
}
template <class W>
void wire(W& w, DeviceCompileJob& job) {
  w(job.source), w(job.headers), w(job.macros), w(job.fast_math), w(job.max_registers);
  w(job.ours);
}
template <class W>
void wire(W& w, Build& build) {
  w(build.compiler), w(build.flags), w(build.log), w(build.binary_hash), w(build.compile_ms);
  w(build.cached);
}
template <class W>
void wire(W& w, DeviceBinary& binary) {
  w(binary.image), w(binary.build);
}
template <class W>
void wire(W& w, BufferRef& ref) {
  w(ref.kind), w(ref.index);
}
template <class W>
void wire(W& w, BoundArgument& a) {
  w(a.kind), w(a.buffer), w(a.map), w(a.type), w(a.whole), w(a.real), w(a.offset);
  w(a.members);
}
template <class W>
void wire(W& w, BoundLaunch& l) {
  w(l.kernel), w(l.grid), w(l.block), w(l.cluster), w(l.shared_bytes), w(l.arguments);
  w(l.programmatic), w(l.cooperative), w(l.cubin);
}
template <class W>
void wire(W& w, BoundFill& fill) {
  w(fill.buffer), w(fill.byte), w(fill.bytes);
}
template <class W>
void wire(W& w, BoundCopy& copy) {
  w(copy.to), w(copy.from), w(copy.bytes);
}
template <class W>
void wire(W& w, BoundScratch& scratch) {
  w(scratch.name), w(scratch.type), w(scratch.bytes);
}
template <class W>
void wire(W& w, BoundTensorMap& m) {
  w(m.name), w(m.buffer), w(m.type), w(m.extents), w(m.strides_bytes), w(m.box);
  w(m.element_strides), w(m.swizzle), w(m.l2), w(m.fill_nan), w(m.tf32);
}
template <class W>
void wire(W& w, BoundPlan& plan) {
  w(plan.scratch), w(plan.maps), w(plan.steps);
}
template <class W>
void wire(W& w, Counter& counter) {
  w(counter.name), w(counter.label), w(counter.unit), w(counter.value);
}
template <class W>
void wire(W& w, LaunchProfile& launch) {
  w(launch.kernel), w(launch.counters), w(launch.stalls), w(launch.meaning);
}
template <class W>
void wire(W& w, Profile& profile) {
  w(profile.launches), w(profile.passes);
}
template <class W>
void wire(W& w, Error& error) {
  w(error.kind), w(error.message), w(error.hint);
}

}  // namespace quern
