// SPDX-License-Identifier: Apache-2.0
#include "propose/rules_source.h"

#include <algorithm>

#include "base/strings.h"
#include "codegen/emit_cpu.h"
#include "codegen/emit_device.h"
#include "schedule/schedule.h"

namespace quern {
namespace {

bool has(const Trace& trace, const Step& step) {
  return std::find(trace.begin(), trace.end(), step) != trace.end();
}

/// A step of the same action on the same statement, with other arguments.
bool replaced_in(const Trace& trace, const Step& step) {
  return std::any_of(trace.begin(), trace.end(), [&](const Step& other) {
    return other.action == step.action && other.target == step.target;
  });
}

}  // namespace

std::string steps_between(const Trace& from, const Trace& to) {
  std::vector<std::string> parts;
  for (const Step& step : to) {
    if (!has(from, step)) parts.push_back(print(step));
  }
  for (const Step& step : from) {
    if (!has(to, step) && !replaced_in(to, step)) parts.push_back("without " + print(step));
  }
  return parts.empty() ? "reorder steps" : join(parts, "; ");
}

RulesSource::RulesSource(const ir::Program& program, const ir::Sizes& sizes,
                         const RulesMachine& machine, uint64_t seed)
    : program_(program), sizes_(sizes), machine_(machine), rules_(program, sizes, machine, seed) {}

Result<ProposedCandidate> RulesSource::make(const Proposal& proposal) const {
  QUERN_ASSIGN(Schedule schedule, apply(proposal.trace, program_, sizes_, machine_.target()));
  ProposedCandidate made;
  if (machine_.device) {
    QUERN_ASSIGN(std::string source, emit_device(program_, schedule, sizes_, *machine_.device));
    made.candidate = make_candidate(std::move(source), "rules",
                                    std::string(device_language_name(*machine_.device)));
  } else {
    QUERN_ASSIGN(std::string source, emit_cpu(program_, schedule));
    made.candidate = make_candidate(std::move(source), "rules");
  }
  made.candidate.trace = print(proposal.trace);
  made.candidate.note = proposal.note;
  auto parent = tried_.find(proposal.parent);
  if (parent == tried_.end()) {
    made.action = proposal.trace.empty() ? "the naive plan" : steps_between({}, proposal.trace);
  } else {
    made.candidate.parents = {parent->second.candidate_id};
    made.action = steps_between(parent->second.trace, proposal.trace);
  }
  return made;
}

Result<std::vector<ProposedCandidate>> RulesSource::next(int count) {
  std::vector<ProposedCandidate> made;
  while (static_cast<int>(made.size()) < count) {
    std::vector<Proposal> proposals = rules_.next(count - static_cast<int>(made.size()));
    if (proposals.empty()) break;
    for (const Proposal& proposal : proposals) {
      Result<ProposedCandidate> candidate = make(proposal);
      if (!candidate) {
        rules_.tell(-1, proposal.trace, false, 0);
        continue;
      }
      waiting_[candidate->candidate.id].push_back(proposal.trace);
      made.push_back(std::move(*candidate));
    }
  }
  return made;
}

void RulesSource::tell(const Attempt& attempt) {
  auto waiting = waiting_.find(attempt.candidate.id);
  if (waiting == waiting_.end()) return;
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  bool fine = timing && !attempt.evaluation.alarm;
  for (const Trace& trace : waiting->second) {
    tried_.try_emplace(attempt.number, Tried{attempt.candidate.id, trace});
    rules_.tell(attempt.number, trace, fine, fine ? timing->median_ns : 0);
  }
  waiting_.erase(waiting);
}

}  // namespace quern
