// SPDX-License-Identifier: Apache-2.0
#include "planned_run.h"

#include <fmt/format.h>

#include <memory>

#include "base/file.h"
#include "record/json.h"
#include "searching.h"
#include "store/run_store.h"
#include "wiring.h"

namespace quern::cli {
namespace {

/// A referee that works only while it holds the machine: times of one run are not disturbed by the
/// compilers of another.
class TakingTurns : public Evaluator {
 public:
  TakingTurns(std::unique_ptr<Evaluator> inner, std::mutex& machine)
      : inner_(std::move(inner)), machine_(machine) {}
  ~TakingTurns() override {
    const std::scoped_lock lock(machine_);
    inner_.reset();
  }
  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override {
    const std::scoped_lock lock(machine_);
    return inner_->evaluate(candidates, request);
  }
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override {
    const std::scoped_lock lock(machine_);
    return inner_->duel(candidate, baseline);
  }
  Result<std::vector<Candidate>> baselines() override { return inner_->baselines(); }
  Result<Profile> profile(const Candidate& candidate) override {
    const std::scoped_lock lock(machine_);
    return inner_->profile(candidate);
  }
  Environment environment() override { return inner_->environment(); }
  Work work() override { return inner_->work(); }

 private:
  std::unique_ptr<Evaluator> inner_;
  std::mutex& machine_;
};

/// What must be the same for a run that is there to be taken for this one.
Json identity(RunOptions options) {
  options.checker_version.clear();
  return to_json(options);
}

}  // namespace

Result<void> check_same(const PlannedRun& planned, const RunOptions& there) {
  const Json asked = identity(planned.options), found = identity(there);
  for (const auto& [key, value] : asked.items()) {
    if (found.value(key, Json()) == value) continue;
    return Error{ErrorKind::kUsage,
                 fmt::format("{} holds a run with another {}", planned.directory, key),
                 "compare as before, or name another folder with --out"};
  }
  return {};
}

Result<std::unique_ptr<Evaluator>> make_shared_evaluator(const Context& context,
                                                         const PlannedRun& planned,
                                                         const Sharing& sharing) {
  if (sharing.machine == nullptr) {
    return make_evaluator(context, planned.task, planned.options, planned.devices);
  }
  std::unique_lock lock(*sharing.machine);
  QUERN_ASSIGN(std::unique_ptr<Evaluator> inner,
               make_evaluator(context, planned.task, planned.options, planned.devices));
  lock.unlock();
  return std::unique_ptr<Evaluator>(
      std::make_unique<TakingTurns>(std::move(inner), *sharing.machine));
}

Result<bool> make_run(const Context& context, const PlannedRun& planned, const Sharing& sharing) {
  const bool begun = file_exists(planned.directory + "/run.db");
  if (begun) {
    QUERN_ASSIGN(RunStore there, RunStore::read(planned.directory));
    QUERN_ASSIGN(const RunRecord run, there.run());
    QUERN_TRY(check_same(planned, run.options));
    if (run.state == "finished") return true;
  }
  // Before the reference answers, which take minutes for a deep network.
  say(planned.directory + sharing.note + "\n");
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator,
               make_shared_evaluator(context, planned, sharing));
  QUERN_ASSIGN(RunStore store, begun
                                   ? RunStore::open(planned.directory)
                                   : RunStore::create(planned.directory, planned.options,
                                                      evaluator->environment(), evaluator->work()));
  QUERN_ASSIGN(const SearchResult result,
               search_to_end(context, store, *evaluator, planned.task, sharing.quiet));
  return result.summary.end != SearchEnd::kInterrupted;
}

}  // namespace quern::cli
