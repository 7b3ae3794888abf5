// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "codegen/device_text.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// What the rules need to know of the target.
struct RulesMachine {
  int threads = 2;
  int64_t cache_bytes = 2 << 20;  ///< private cache of a core
  /// Set: plans are for a device and sources in this language; `threads` then counts its
  /// multiprocessors.
  std::optional<DeviceLanguage> device = std::nullopt;

  ScheduleTarget target() const {
    if (!device) return ScheduleTarget::kCpu;
    return device == DeviceLanguage::kCuda ? ScheduleTarget::kCuda : ScheduleTarget::kDevice;
  }
};

struct Sketch {
  Trace trace;
  std::string note;  ///< one line
};

/// Starting plans, by promise: fused rows, with and without streaming stores, fetched ahead and
/// pipelined, recomputed or buffered intermediates, contractions on the micro-kernel, reductions in
/// parts, one nest a statement. All legal, all different. The last is the plainest.
std::vector<Sketch> sketches(const ir::Program& program, const ir::Sizes& sizes,
                             const RulesMachine& machine);

/// A plan to try. `parent` is the attempt it was derived from, or -1.
struct Proposal {
  Trace trace;
  std::string note;
  int parent = -1;
};

/// First every sketch once, then changes of one to three parameters of the best plans so far; never
/// the same trace twice. What it proposes is a function of the program, sizes, seed, and of the
/// calls so far.
class RulesProposer {
 public:
  RulesProposer(const ir::Program& program, const ir::Sizes& sizes, const RulesMachine& machine,
                uint64_t seed);

  /// Up to `count` proposals; fewer when the neighbourhood is used up.
  std::vector<Proposal> next(int count);
  /// The outcome of an attempt; `median_ns` is ignored unless it passed.
  void tell(int attempt, const Trace& trace, bool passed, double median_ns);

 private:
  struct Known {
    int attempt = -1;
    Trace trace;
    double median_ns = 0;
  };

  uint64_t draw(uint64_t below);
  bool propose(Trace trace, std::string note, int parent, std::vector<Proposal>* out);
  /// A changed copy of a known plan, or an empty note where nothing could be changed.
  Proposal mutate(const Known& from);
  /// The trace with one parameter step set anew; empty where the draw made none.
  Trace with_knob(const Trace& trace);
  /// The trace with another axis of one statement in vector lanes.
  Trace with_other_lanes(const Trace& trace);

  const ir::Program program_;
  const ir::Sizes sizes_;
  RulesMachine machine_;
  uint64_t state_;
  std::vector<Sketch> sketches_;
  size_t next_sketch_ = 0;
  std::set<std::string> proposed_;
  std::vector<Known> best_;  ///< passed plans, fastest first
};

}  // namespace quern
