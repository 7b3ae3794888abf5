// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace quern {

/// What `quern-runner` and its parent share: one block of memory, and the numbers below. The parent
/// fills the first part before the start. Once candidate code has run, the parent believes nothing
/// in it: answers decide when to look, faults only how a death is worded.
inline constexpr int kRunnerMaxArguments = 512;
inline constexpr int kRunnerMaxBuffers = 480;
inline constexpr int kRunnerMaxSlots = 16;
inline constexpr int kRunnerMaxThreads = 256;
inline constexpr int kRunnerControlFd = 3;
/// A pipe that takes one byte when the runner is ready to load: from then on a failure to start is
/// the candidate's, whatever the shared block says.
inline constexpr int kRunnerSetupFd = 4;
/// A file in memory that the parent fills with the candidate's library before `given`.
inline constexpr int kRunnerLibraryFd = 5;
inline constexpr int kRunnerFirstBufferFd = 6;
/// Bytes without access on each side of a buffer.
inline constexpr uint64_t kRunnerGuardBytes = uint64_t{2} << 20;
inline constexpr uint64_t kRunnerHugePage = uint64_t{2} << 20;

/// How the runner ends itself; anything else is the candidate's doing.
enum RunnerExit : int { kRunnerTrapped = 121, kRunnerFaulted = 122, kRunnerFailed = 123 };

/// What the runner could not do, with `message`.
enum class RunnerTrouble : uint32_t { kNone, kSetup, kLoad, kEntry };

/// One buffer: `slots` copies of `stride` bytes each in its file, `bytes` of them data starting at
/// `offset`.
struct RunnerBuffer {
  uint64_t bytes;
  uint64_t stride;
  uint64_t offset;
  uint32_t writable;
};

struct RunnerControl {
  // From the parent, before the start.
  uint32_t sizes;
  uint32_t buffers;
  uint32_t slots;
  uint32_t threads;
  uint32_t trusted;
  uint64_t memory_bytes;  ///< what the candidate may allocate beyond what the runner has
  int64_t size[kRunnerMaxArguments];
  RunnerBuffer buffer[kRunnerMaxBuffers];

  // From the parent, with the candidate.
  std::atomic<uint32_t> given;  ///< 1: the library is in its file, and `entry` its function
  char entry[256];

  // Orders count up from 1; the runner answers with the order's number. Order 2k-1 makes ready
  // (floating-point state, threads awake), order 2k runs. Each in its own cache line.
  alignas(64) std::atomic<uint32_t> order;
  uint32_t calls;
  uint32_t first_slot;
  alignas(64) std::atomic<uint32_t> answer;
  std::atomic<uint32_t> started;  ///< 1: ready for orders, 2: it will not be

  // From the runner.
  alignas(64) RunnerTrouble trouble;
  uint32_t seccomp;  ///< 1: both filters are in place
  char message[1024];
  uint64_t address[kRunnerMaxSlots][kRunnerMaxBuffers];  ///< of the data, in the runner
  uint32_t dying;
  int32_t signal;
  int32_t system_call;
  uint32_t fault_is_write;
  uint64_t fault_address;
  uint64_t stack_pointer;
  std::atomic<uint64_t> refused_bytes;  ///< the first allocation that failed
};

}  // namespace quern
