// SPDX-License-Identifier: Apache-2.0
#include "propose/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "schedule/rows.h"

namespace quern {
namespace {

constexpr size_t kParents = 4;  ///< plans that are changed further
constexpr int kTries = 40;      ///< changes drawn before giving up on a new plan

/// A parameter step that may be added to a group, with values worth trying for each argument.
/// Unused values are -1.
struct Knob {
  const char* action;
  bool contraction;  ///< for groups on the micro-kernel, else for nests
  struct {
    const char* argument;
    int64_t values[7];
  } arguments[3];
};

constexpr Knob kKnobs[] = {
    {"interleave_accumulators", false, {{"count", {1, 2, 3, 4, 6, 8, 12}}}},
    {"parallel", false, {{"chunk", {1, 2, 4, 8, 16, 64, 256}}}},
    {"prefetch", false, {{"distance", {0, 1, 2, -1, -1, -1, -1}}, {"late", {0, 1, 0, 1, 0, 1, 0}}}},
    {"software_pipeline", false, {{"stages", {2, 3, -1, -1, -1, -1, -1}}}},
    {"rfactor", false, {{"parts", {0, 2, 4, 8, -1, -1, -1}}}},
    {"approximate_math", false, {}},
    {"unroll_and_jam", true, {{"mr", {4, 6, 8, 10, 12, 13, 14}}, {"nr", {1, 2, 3, 4, -1, -1, -1}}}},
    {"pack_panels",
     true,
     {{"kc", {128, 192, 256, 384, 512, 768, 1024}},
      {"mc", {48, 96, 128, 192, 384, 768, 2048}},
      {"nc", {128, 256, 512, 1024, 2048, 4096, -1}}}},
    {"parallel", true, {{"over", {0, 1, 2, -1, -1, -1, -1}}}},
    {"prefetch", true, {{"distance", {0, 4, 8, 16, 32, -1, -1}}}},
    {"unroll", true, {{"factor", {1, 2, 4, 8, -1, -1, -1}}}},
};

constexpr Knob kDeviceKnobs[] = {
    {"launch_bounds", false, {{"threads", {64, 128, 256, 512, 1024, -1, -1}}}},
    {"cross_thread_reduction", false, {{"width", {8, 32, 64, 128, 256, 512, 1024}}}},
    {"cross_thread_reduction",
     false,
     {{"width", {2, 4, 8, 16, 32, -1, -1}}, {"apart", {1, 1, 1, 1, 1, 1, 1}}}},
    {"coarsen", false, {{"factor", {1, 2, 4, 8, 16, -1, -1}}}},
    {"vectorize", false, {{"width", {1, 4, 4, 4, -1, -1, -1}}}},
    {"unroll", false, {{"factor", {1, 2, 4, 8, 16, -1, -1}}}},
    {"rfactor", false, {{"parts", {2, 4, 8, 16, 32, 64, 128}}}},
    {"unroll_and_jam", true, {{"mr", {2, 4, 4, 8, 8, 16, -1}}, {"nr", {4, 4, 8, 8, -1, -1, -1}}}},
    {"pack_panels",
     true,
     {{"kc", {8, 16, 16, 32, 32, 64, -1}},
      {"mc", {16, 32, 64, 64, 128, 128, 256}},
      {"nc", {32, 64, 64, 128, 128, 256, -1}}}},
    {"software_pipeline", true, {{"stages", {2, 3, 3, 4, 4, 5, -1}}}},
    {"vectorize", true, {{"width", {1, 4, 4, 4, -1, -1, -1}}}},
    {"launch_bounds", true, {{"resident", {1, 1, 2, 2, 3, 4, -1}}}},
    {"emulate_precision", true, {{"terms", {8, 8, 16, 16, 32, 32, -1}}}},
    {"set_precision", true, {}},
    {"split_k", true, {{"parts", {2, 2, 3, 4, 6, 8, 16}}}},
};

std::span<const Knob> knobs_for(ScheduleTarget target) {
  if (target == ScheduleTarget::kCpu) return kKnobs;
  return kDeviceKnobs;
}

/// Steps that may be dropped: the plan stays whole without them.
constexpr const char* kOptional[] = {
    "fuse_loops", "non_temporal_store", "rfactor", "compute_inline", "interleave_accumulators",
    "software_pipeline", "approximate_math",
    // on devices
    "cache_read", "online_rewrite", "cross_thread_reduction", "coarsen", "register_transpose",
    "emulate_precision", "set_precision", "split_k"};

bool is_optional(const Step& step) {
  return std::any_of(std::begin(kOptional), std::end(kOptional),
                     [&](const char* name) { return step.action == name; });
}

}  // namespace

RulesProposer::RulesProposer(const ir::Program& program, const ir::Sizes& sizes,
                             const RulesMachine& machine, uint64_t seed)
    : program_(program), sizes_(sizes), machine_(machine), state_(seed) {
  sketches_ = sketches(program_, sizes_, machine_);
}

uint64_t RulesProposer::draw(uint64_t below) {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) % below;
}

bool RulesProposer::propose(Trace trace, std::string note, int parent, std::vector<Proposal>* out) {
  if (!proposed_.insert(print(trace)).second) return false;
  out->push_back({std::move(trace), std::move(note), parent});
  return true;
}

Trace RulesProposer::with_knob(const Trace& trace) {
  auto schedule = apply(trace, program_, sizes_, machine_.target());
  if (!schedule) return {};
  const Group& group = schedule->groups[draw(schedule->groups.size())];
  const bool contraction = group.skeleton == Skeleton::kContraction;
  std::vector<const Knob*> knobs;
  for (const Knob& knob : knobs_for(machine_.target())) {
    if (knob.contraction == contraction) knobs.push_back(&knob);
  }
  const Knob& knob = *knobs[draw(knobs.size())];
  const int root = inline_group(program_, group).empty()
                       ? -1
                       : program_.statement_index(inline_group(program_, group)[0].name);
  if (root < 0) return {};
  Step step{knob.action, program_.statements[static_cast<size_t>(root)].name, {}};
  for (const auto& argument : knob.arguments) {
    if (argument.argument == nullptr) continue;
    const int64_t value = argument.values[draw(std::size(argument.values))];
    if (value < 0) return {};
    step.args.emplace_back(argument.argument, std::to_string(value));
  }
  Trace changed = trace;
  // A later step of the same action would win, so the old one goes.
  std::erase_if(changed, [&](const Step& old) {
    return old.action == step.action && old.target == step.target;
  });
  changed.push_back(std::move(step));
  return changed;
}

Trace RulesProposer::with_other_lanes(const Trace& trace) {
  const auto& statements = program_.statements;
  const ir::Statement& statement = statements[draw(statements.size())];
  std::vector<std::string> axes;
  if (!statement.axes.empty()) axes.push_back(statement.axes.back().name);
  for (const ir::Axis& axis : statement.reduce_axes) axes.push_back(axis.name);
  if (axes.empty()) return {};
  Trace changed = trace;
  std::erase_if(changed, [&](const Step& old) {
    return old.action == "reorder" && old.target == statement.name;
  });
  changed.push_back({"reorder", statement.name, {{"inner", axes[draw(axes.size())]}}});
  return changed;
}

Proposal RulesProposer::mutate(const Known& from) {
  Trace trace = from.trace;
  const uint64_t changes = 1 + draw(3);
  for (uint64_t c = 0; c < changes; ++c) {
    const uint64_t kind = draw(10);
    Trace changed;
    if (kind < 7) {
      changed = with_knob(trace);
    } else if (kind < 8) {
      changed = with_other_lanes(trace);
    } else if (!trace.empty()) {
      const size_t at = draw(trace.size());
      changed = trace;
      if (is_optional(trace[at])) changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (!changed.empty() && apply(changed, program_, sizes_, machine_.target()))
      trace = std::move(changed);
  }
  if (trace == from.trace) return {};
  return {std::move(trace), fmt::format("parameters of attempt {} changed", from.attempt),
          from.attempt};
}

std::vector<Proposal> RulesProposer::next(int count) {
  std::vector<Proposal> out;
  const size_t wanted = static_cast<size_t>(std::max(0, count));
  while (out.size() < wanted && next_sketch_ < sketches_.size()) {
    const Sketch& sketch = sketches_[next_sketch_++];
    propose(sketch.trace, sketch.note, -1, &out);
  }
  // Plans may only be changed once some are known; a batch of sketches is evaluated first.
  for (int tries = 0; out.size() < wanted && !best_.empty() && tries < kTries * count; ++tries) {
    const size_t parents = std::min(kParents, best_.size());
    // The best plan is changed about half of the time.
    const size_t pick = std::min<size_t>(draw(2) == 0 ? 0 : draw(parents), parents - 1);
    Proposal proposal = mutate(best_[pick]);
    if (proposal.note.empty()) continue;
    propose(std::move(proposal.trace), std::move(proposal.note), proposal.parent, &out);
  }
  return out;
}

void RulesProposer::tell(int attempt, const Trace& trace, bool passed, double median_ns) {
  proposed_.insert(print(trace));
  if (!passed || median_ns <= 0) return;
  Known known{attempt, trace, median_ns};
  const auto at =
      std::upper_bound(best_.begin(), best_.end(), known,
                       [](const Known& a, const Known& b) { return a.median_ns < b.median_ns; });
  best_.insert(at, std::move(known));
  if (best_.size() > 16) best_.resize(16);
}

}  // namespace quern
