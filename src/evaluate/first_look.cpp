// SPDX-License-Identifier: Apache-2.0
//
// First looks: hidden shapes of the candidates of a stream, before one of them is timed. A fault or
// a hang takes a driver up to a second to settle, so such looks are left to a thread while others
// go on; all are over before anything is timed.
#include <algorithm>
#include <chrono>
#include <future>

#include "base/clock.h"
#include "device/cuda/guard_image.h"
#include "evaluate/device_evaluator.h"
#include "evaluate/device_evaluator_built.h"
#include "verify/plan_workload.h"

namespace quern {
namespace {

constexpr int kFirstLooks = 128;
/// Guards are begun for so many candidates ahead of the one that is looked at.
constexpr size_t kGuardedAhead = 64;
/// How long a guarded loop may take: guards cost it up to fifty times its time, and candidates may
/// be twenty times slower than the naive lowering.
constexpr double kLeastGuardS = 0.06;
constexpr double kGuardTimesNaive = 1000;
/// Looks go on beyond that while slow ones are waited for anyway.
constexpr size_t kMostLooks = 512;
constexpr int kAttempts = 2;  // where a worker fails us
/// A look that takes longer is left to its thread. A worker's first one puts data on the device.
constexpr auto kPatience = std::chrono::milliseconds(10);
constexpr auto kFirstPatience = std::chrono::milliseconds(80);
constexpr size_t kMostSlow = 6;  ///< looks left to threads at a time

}  // namespace

/// A look under way, on a worker and a thread of its own.
struct DeviceEvaluator::Look {
  Built* built = nullptr;
  bool whole = false;
  int64_t begin_ns = 0;
  bool first = false;   ///< of its worker
  std::string guarded;  ///< the image with guards; "": it goes without
  std::unique_ptr<Built::FirstLook> found = std::make_unique<Built::FirstLook>();
  std::unique_ptr<DeviceSession> session;
  std::future<Outcome<Done>> done;  ///< the last member: its end waits for the thread

  bool is_done(std::chrono::milliseconds patience) const {
    return done.wait_for(patience) == std::future_status::ready;
  }
};

int DeviceEvaluator::first_looks() const {
  if (options_.first_looks >= 0) return options_.first_looks;
  return sessions_->properties().shares_host ? 0 : kFirstLooks;
}

bool DeviceEvaluator::is_built(const Built& built) const {
  return std::ranges::all_of(built.begun,
                             [&](const auto& one) { return options_.compiler->ready(one.second); });
}

/// Begins the guarded builds of candidates that want one, as far as their own builds are there.
Result<void> DeviceEvaluator::begin_guards(std::vector<Built>& built, size_t from) {
  const size_t end = std::min(built.size(), from + kGuardedAhead);
  for (size_t i = from; i < end && is_built(built[i]); ++i) {
    Built& one = built[i];
    QUERN_TRY(finish_build(one));
    const bool done = one.verdict || one.look || one.trusted || one.guard.begun();
    if (done || !one.can_be_looked_at() || !guard_policy_.wants(one.listed)) continue;
    one.guard.begin(options_.compiler, std::move(one.listing));
  }
  return {};
}

/// Gives the candidates from `from` on that are built a first look, unless `from` has had one. No
/// build but that of `from` is waited for.
Result<void> DeviceEvaluator::look_ahead(std::vector<Built>& built, size_t from,
                                         double incumbent_ns) {
  const auto wanted = static_cast<size_t>(first_looks());
  if (wanted == 0 || built[from].look || !built[from].can_be_looked_at()) return {};
  std::set<std::string> seen;
  std::vector<Look> slow;
  const size_t end = std::min(built.size(), from + std::max(wanted, kMostLooks));
  for (size_t i = from; i < end; ++i) {
    QUERN_TRY(settle_looks(slow, false));
    Built& one = built[i];
    const bool enough = i >= from + wanted && slow.empty();
    if (i > from && (enough || !is_built(one))) break;
    QUERN_TRY(finish_build(one));
    QUERN_TRY(begin_guards(built, i));
    if (i > from && !one.guard.ready()) break;
    if (one.verdict || one.look || !one.can_be_looked_at()) continue;
    const std::string& key = key_of(one);
    if (!key.empty() && (twins_.contains(key) || !seen.insert(key).second)) continue;
    QUERN_ASSIGN(Look look, begin_look(one, incumbent_ns <= 0 && !one.plan.specialize));
    slow.push_back(std::move(look));
    if (slow.back().is_done(slow.back().first ? kFirstPatience : kPatience)) {
      QUERN_TRY(end_look(slow.back()));
      slow.pop_back();
    }
  }
  return settle_looks(slow, true);
}

/// Ends the looks that are done, those that are one too many, or all.
Result<void> DeviceEvaluator::settle_looks(std::vector<Look>& looks, bool all) {
  for (size_t i = 0; i < looks.size();) {
    const bool now = all || looks.size() >= kMostSlow;
    if (!now && !looks[i].is_done(std::chrono::milliseconds(0))) {
      ++i;
      continue;
    }
    QUERN_TRY(end_look(looks[i]));
    looks.erase(looks.begin() + static_cast<long>(i));
  }
  return {};
}

Result<DeviceEvaluator::Look> DeviceEvaluator::begin_look(Built& built, bool whole) {
  Look look;
  look.built = &built;
  look.whole = whole;
  look.begin_ns = steady_now_ns();
  QUERN_ASSIGN(look.session, sessions_->take(DeviceSessions::Use::kFirstLook));
  look.first = look.session->is_new();
  QUERN_ASSIGN(look.guarded, built.guard.image());
  look.done = std::async(
      std::launch::async,
      [this, &built, whole, session = look.session.get(), found = look.found.get(),
       guarded = look.guarded]() -> Outcome<Done> {
        if (!guarded.empty()) {
          const int64_t begin = steady_now_ns();
          auto harmless = run_guarded(*session, built, guarded);
          found->evaluation.stages_ms["guard"] = ms_since(begin);
          found->caught = harmless.has_verdict();
          if (!harmless) return harmless;
        }
        auto looked = verify_hidden_in(*session, built, hidden_.front(), found->evaluation);
        if (!looked || !whole) return looked;
        found->whole = true;
        return verify_hidden_in(*session, built, hidden_.back(), found->evaluation);
      });
  return look;
}

/// Waits for a look, and writes down what came of it.
Result<void> DeviceEvaluator::end_look(Look& look) {
  Outcome<Done> looked = look.done.get();
  const bool harm = note_look(looked, look);
  sessions_->give_back(std::move(look.session), DeviceSessions::Use::kFirstLook);
  for (int attempt = 1; attempt < kAttempts && looked.has_error(); ++attempt) {
    look.built->guard.drop();
    QUERN_ASSIGN(Look again, begin_look(*look.built, look.whole));
    looked = again.done.get();
    sessions_->give_back(std::move(again.session), DeviceSessions::Use::kFirstLook);
    look.found = std::move(again.found);
  }
  if (looked.has_error()) return looked.error();
  if (harm) QUERN_TRY(name_the_place(*look.built, looked));
  if (!looked) look.found->failed = pass_on(looked);
  look.found->ms = ms_since(look.begin_ns);
  look.found->evaluation.stages_ms["verify"] = look.found->ms;
  look.built->look = std::move(*look.found);
  look.built->guard = GuardBuild();
  return {};
}

/// Whether it did harm. A fault or a hang ends the worker, unless guards come before it.
bool DeviceEvaluator::note_look(const Outcome<Done>& looked, const Look& look) {
  using Came = GuardPolicy::Look;
  if (looked.has_error()) return false;
  const bool refused =
      looked.has_verdict() && std::holds_alternative<LaunchFailed>(looked.verdict());
  const bool harm = looked.has_verdict() && !look.session->worker().usable() && !refused;
  const bool caught = look.found->caught && !harm;
  guard_policy_.note(harm ? Came::kHarm : caught ? Came::kCaught : Came::kHarmless);
  return harm;
}

uint64_t DeviceEvaluator::guard_limit_ns() const {
  double limit_s = options_.hang_s;
  if (naive_hidden_ns_ > 0) {
    limit_s = std::min(limit_s, std::max(kLeastGuardS, kGuardTimesNaive * naive_hidden_ns_ * 1e-9));
  }
  return static_cast<uint64_t>(limit_s * 1e9);
}

/// What the hardware says of a fault names no place: a guarded run of what faulted without guards
/// does, where it comes to the same verdict.
Result<void> DeviceEvaluator::name_the_place(Built& built, Outcome<Done>& looked) {
  if (built.guard.begun() || built.listing.empty()) return {};
  if (options_.guards == GuardPolicy::Use::kNever) return {};
  built.guard.begin(options_.compiler, std::move(built.listing));
  QUERN_ASSIGN(const std::string image, built.guard.image());
  if (image.empty()) return {};
  QUERN_ASSIGN(auto session, sessions_->take(DeviceSessions::Use::kFirstLook));
  const Outcome<Done> guarded = run_guarded(*session, built, image);
  sessions_->give_back(std::move(session), DeviceSessions::Use::kFirstLook);
  const bool same = guarded.has_verdict() && guarded.verdict().index() == looked.verdict().index();
  if (same) looked = pass_on(guarded);
  return {};
}

/// One call on every data set of the hidden shape, with guards. Whether results are right is seen
/// without them. Errors where guards are what fails: the look is then made without.
Outcome<Done> DeviceEvaluator::run_guarded(DeviceSession& session, const Built& built,
                                           const std::string& image) {
  const Workload& hidden = hidden_.front();
  auto plan = bind_plan(built.plan, plan_workload(program_, hidden.sizes), options_.target);
  if (!plan) return Done{};  // the look itself will say why
  WorkerKernel::Options options;
  options.slots = static_cast<int>(hidden.datasets.size());
  options.placement = Placement::kRight;
  options.hang_s = options_.hang_s;
  const std::string limited = cuda::with_guard_limit(image, guard_limit_ns());
  auto kernel = WorkerKernel::start(program_, hidden, session, limited, *plan, options);
  if (kernel.has_verdict() && session.worker().usable()) return Done{};
  if (!kernel) return pass_on(kernel);
  auto ran = (*kernel)->run(options.slots);
  if (ran) return Done{};
  if (ran.has_verdict() && std::holds_alternative<LaunchFailed>(ran.verdict())) {
    return Error{ErrorKind::kInternal, "guards: " + verdict_reason(ran.verdict()), ""};
  }
  return pass_on(ran);
}

}  // namespace quern
