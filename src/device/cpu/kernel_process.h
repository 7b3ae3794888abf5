// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "device/cpu/compiler.h"
#include "device/cpu/shared_buffer.h"
#include "record/verdict.h"

namespace quern {

struct RunnerControl;

/// Where data lies in its pages. Right: it ends at a page without access, so that the first byte
/// past the end faults (data keeps the alignment of its elements only). Left: it starts on a page,
/// as allocators give it; use this for timing.
enum class Align { kLeft, kRight };

/// The arguments of a kernel, in order: sizes, inputs, outputs; at most 512 in all.
struct KernelLayout {
  std::vector<int64_t> sizes;
  std::vector<uint64_t> inputs;   ///< bytes of each
  std::vector<uint64_t> outputs;  ///< bytes of each
  int slots = 1;                  ///< copies of every buffer, taken in turn by calls; at most 16
  Align align = Align::kLeft;
  std::vector<std::string> input_names, output_names;  ///< for messages; may be empty
};

struct KernelLimits {
  uint64_t memory_bytes = uint64_t{1} << 30;  ///< what the kernel may allocate, its buffers aside
  int threads = 1;                            ///< OpenMP threads
  double start_s = 10;                        ///< to load the library
};

/// A candidate, loaded in a sandboxed process of its own (`quern-runner`), and the buffers we share
/// with it. The clock is ours. When the process dies or overruns, the call that met it returns its
/// verdict, and every later one returns the same. Not thread-safe; the thread that starts it must
/// outlive it. Several may be alive at once. Method: docs/measuring.md.
class KernelProcess {
 public:
  /// Loads the binary. Verdicts: `LaunchFailed` (no such entry, cannot be loaded), or whatever the
  /// candidate's own load-time code deserves. Errors: no runner, no memory. `trusted`: code of
  /// ours, run without filters.
  static Outcome<std::unique_ptr<KernelProcess>> start(const Binary& binary,
                                                       const std::string& entry,
                                                       const KernelLayout& layout,
                                                       const KernelLimits& limits,
                                                       bool trusted = false);
  /// The same in three steps, the first of which needs no candidate: a process that is ready for
  /// one and waits, confined, with its buffers mapped, which may be filled from now on.
  /// `buffers`: what `take_buffers` of a process of the same layout gave, or nothing; inputs keep
  /// what they hold, outputs are poisoned before the new process can see them.
  static Result<std::unique_ptr<KernelProcess>> prepare(const KernelLayout& layout,
                                                        const KernelLimits& limits, bool trusted,
                                                        std::vector<SharedBuffer> buffers = {});
  /// Hands over the candidate. Once, before any other call but those that touch buffers. Errors: no
  /// such file, no memory.
  Result<void> give(const Binary& binary, const std::string& entry);
  /// Waits until the binary is loaded; before any other call but those that touch buffers.
  Outcome<Done> await_start();
  /// Whether this process is alive, has no candidate yet and was made by the calling thread.
  bool waiting();
  ~KernelProcess();
  /// Ends the process and gives its buffers away for the next one; nothing where this kernel could
  /// not keep the candidate from leaving another process behind that still maps them.
  std::vector<SharedBuffer> take_buffers();
  /// Kills the process without waiting for its end: `take_buffers` then waits less.
  void doom() { child_->doom(); }
  KernelProcess(const KernelProcess&) = delete;
  KernelProcess& operator=(const KernelProcess&) = delete;

  /// Buffers, ours to write at any time between runs; the candidate sees inputs read-only.
  std::span<std::byte> input(int slot, int index);
  std::span<std::byte> output(int slot, int index);

  /// Fills outputs with 0xff bytes (NaN, or -1) and renews the canaries around them.
  void poison_outputs();
  void poison_outputs(int slot);
  /// False when something was written beside an output, inside its pages.
  bool canaries_ok() const;

  /// Calls the kernel `calls` times, each on the next slot from `first_slot` on. Returns the wall
  /// time of the whole batch in ns, from order to answer, on our steady clock. The floating-point
  /// state is reset and the threads are awake before the clock starts.
  Outcome<double> run(int calls, double limit_s, int first_slot = 0);

  /// Stops every thread of the candidate while we look at its outputs. `run` thaws by itself.
  Outcome<Done> freeze();
  void thaw();

  /// Processor time of the candidate's process so far, ns; 0 when it is dead. Time that passes here
  /// between runs is work a candidate did after it said it was done.
  int64_t cpu_time_ns() const;

  /// How it is confined ("landlock 7, network namespace, seccomp"), and a sentence for each thing
  /// that this kernel lacks.
  std::string sandbox_text() const;
  std::vector<std::string> sandbox_notes() const;

  /// What the candidate wrote to its standard output and error, at most 64 KiB of each.
  std::string printed();

 private:
  KernelProcess(KernelLayout layout, KernelLimits limits, bool trusted);
  Result<void> make_buffers();
  Result<void> make_control();
  Result<void> spawn();
  bool set_up() const;
  Outcome<Done> give_order(double limit_s);
  Verdict die(std::optional<TimedOut> overrun = std::nullopt);

  Binary binary_;
  std::string entry_;
  KernelLayout layout_;
  KernelLimits limits_;
  bool trusted_ = false;
  bool given_ = false;
  pid_t maker_ = 0;  ///< the thread whose end ends the process
  bool frozen_ = false;
  std::vector<SharedBuffer> buffers_;  ///< inputs, then outputs
  FileDescriptor library_;             ///< a file in memory, for the runner to load
  SharedBuffer control_memory_;
  RunnerControl* control_ = nullptr;
  std::vector<std::vector<uint64_t>> addresses_;  ///< in the child: [slot][buffer]
  FileDescriptor setup_;                          ///< says whether the runner got as far as loading
  uint32_t order_ = 0;
  bool seccomp_ = false;
  std::optional<ChildProcess> child_;
  std::optional<Verdict> verdict_;
};

/// The path of `quern-runner`: beside the running executable, or in a build tree's or an
/// installation's usual place. Errors: kEnvironment.
Result<std::string> find_runner();

}  // namespace quern
