// SPDX-License-Identifier: Apache-2.0
#include "evaluate/spread_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace quern {

/// A device, its referee, and the thread that both live in.
class SpreadEvaluator::Seat {
 public:
  using Work = std::function<void(Evaluator&)>;

  explicit Seat(Device device)
      : name_(std::move(device.name)),
        thread_([this, make = std::move(device.make)] { live(make); }) {}
  ~Seat() {
    end();
    thread_.join();
  }
  /// Lets the thread end once it has no work; the destructor waits for it.
  void end() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
  }

  const std::string& name() const { return name_; }
  /// Gives the thread something to do with its referee. One thing at a time.
  void begin(Work work) {
    {
      const std::lock_guard lock(mutex_);
      QUERN_CHECK(!work_, "a seat has work already");
      work_ = std::move(work);
    }
    changed_.notify_all();
  }
  /// Waits until that is done; at first, until the referee is there.
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return opened_ && !work_; });
  }
  /// Why the device is of no more use.
  std::optional<Error> failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  void fail(Error error) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(error);
  }

 private:
  void live(const std::function<Result<std::unique_ptr<Evaluator>>()>& make) {
    auto made = make();
    std::unique_lock lock(mutex_);
    if (!made) failure_ = made.error();
    opened_ = true;
    changed_.notify_all();
    while (made) {
      changed_.wait(lock, [&] { return ends_ || work_; });
      if (ends_) break;
      const Work work = work_;
      lock.unlock();
      work(**made);
      lock.lock();
      work_ = nullptr;
      changed_.notify_all();
    }
  }

  std::string name_;
  std::mutex mutex_;  ///< of what follows
  std::condition_variable changed_;
  bool opened_ = false, ends_ = false;
  Work work_;
  std::optional<Error> failure_;
  std::thread thread_;  ///< the last member: it uses the others
};

/// One batch: what nobody has taken yet, who has what, and what was found. Thread-safe.
struct SpreadEvaluator::Batch {
  using Indices = std::vector<size_t>;

  Batch(const std::vector<Candidate>& all, const EvaluateRequest& asked, size_t seats,
        const Ahead& how_far)
      : request(asked), ahead(how_far), shares(seats) {
    add(all);
  }

  /// What a seat is to judge next, beside what is waiting there; it may be nothing.
  Indices hand_out(size_t seat, size_t waiting) {
    const std::lock_guard lock(mutex);
    return hand_out_held(seat, waiting);
  }
  /// The same, waited for: nothing once all is found, or nobody wants more.
  Indices await(size_t seat) {
    std::unique_lock lock(mutex);
    while (true) {
      Indices mine = hand_out_held(seat, 0);
      if (!mine.empty() || stopped || told == candidates.size()) return mine;
      changed.wait_for(lock, kLook);  // `more` may have more, and calls nobody
    }
  }
  std::vector<Candidate> at(const Indices& indices) {
    const std::lock_guard lock(mutex);
    std::vector<Candidate> list;
    for (const size_t index : indices) list.push_back(candidates[index]);
    return list;
  }
  bool stop() {
    const std::lock_guard lock(mutex);
    stopped = stopped || (request.stop && request.stop());
    return stopped;
  }
  void take(size_t seat, size_t index, Evaluation evaluation) {
    const std::lock_guard lock(mutex);
    Share& share = shares[seat];
    if (share.judged++ == 0) share.first_ns = steady_now_ns();
    found[index] = std::move(evaluation);
    for (; told < found.size() && found[told]; ++told) {
      if (request.done) request.done(told, *found[told]);
    }
    changed.notify_all();
  }
  bool has_open(size_t seat) {
    const std::lock_guard lock(mutex);
    return std::ranges::any_of(shares[seat].taken, [&](size_t index) { return !found[index]; });
  }
  /// Leaves what a seat has not judged to the others.
  void give_up(size_t seat) {
    const std::lock_guard lock(mutex);
    std::erase_if(owners, [&](const auto& owner) { return owner.second == seat; });
    Share& share = shares[seat];
    for (auto index = share.taken.rbegin(); index != share.taken.rend(); ++index) {
      if (!found[*index]) left.push_front(*index);
    }
    left.insert(left.begin(), share.bound.begin(), share.bound.end());
    share = Share();
    changed.notify_all();
  }

  static constexpr auto kLook = std::chrono::milliseconds(10);
  static constexpr size_t kMostLeft = 512;

  /// What one seat has.
  struct Share {
    std::deque<size_t> bound;  ///< known there, not taken yet
    Indices taken;
    size_t judged = 0;
    int64_t first_ns = 0;  ///< when the first was judged
  };

  const EvaluateRequest& request;
  Ahead ahead;
  std::mutex mutex;  ///< of what follows, and of the request's functions
  std::condition_variable changed;
  std::deque<Candidate> candidates;
  std::vector<std::optional<Evaluation>> found;
  std::deque<size_t> left;
  std::vector<Share> shares;             ///< by seat
  std::map<std::string, size_t> owners;  ///< candidate id → the seat that has or knows it
  size_t told = 0;                       ///< of the first so many, `done` was told
  bool stopped = false;

 private:
  void add(const std::vector<Candidate>& more) {
    for (const Candidate& candidate : more) {
      left.push_back(candidates.size());
      candidates.push_back(candidate);
    }
    found.resize(candidates.size());
  }
  size_t window(const Share& share) const {
    if (share.judged < 2) return ahead.first;
    const double mean_s =
        seconds_between(share.first_ns, steady_now_ns()) / static_cast<double>(share.judged - 1);
    const double wanted = ahead.seconds / std::max(mean_s, 1e-6);
    return static_cast<size_t>(std::clamp(wanted, 1.0, static_cast<double>(ahead.most)));
  }
  Indices hand_out_held(size_t seat, size_t waiting) {
    if (stopped) return {};
    if (request.more && left.size() < kMostLeft) add(request.more(left.size()));
    Share& share = shares[seat];
    Indices mine(share.bound.begin(), share.bound.end());
    share.bound.clear();
    const size_t ours = window(share);
    // Towards the end everyone gets a part of what is left.
    size_t room = std::min(ours - std::min(ours, waiting), left.size() / shares.size() + 1);
    while (room > 0 && !left.empty()) {
      const size_t index = left.front();
      left.pop_front();
      const auto owner = owners.emplace(candidates[index].id, seat).first;
      if (owner->second != seat) {
        shares[owner->second].bound.push_back(index);
        changed.notify_all();
        continue;
      }
      mine.push_back(index);
      --room;
    }
    share.taken.insert(share.taken.end(), mine.begin(), mine.end());
    return mine;
  }
};

Result<std::unique_ptr<SpreadEvaluator>> SpreadEvaluator::make(std::vector<Device> devices,
                                                               Tell tell) {
  QUERN_CHECK(!devices.empty(), "nothing to spread work over");
  std::unique_ptr<SpreadEvaluator> self(new SpreadEvaluator());
  self->tell_ = std::move(tell);
  for (Device& device : devices) self->seats_.push_back(std::make_unique<Seat>(std::move(device)));
  for (const auto& seat : self->seats_) seat->wait();
  const std::optional<Error> first = self->seats_.front()->failure();
  self->leave_out_lost();
  if (self->seats_.empty()) return *first;
  self->environment_ = self->ask_first<Environment>([](Evaluator& e) { return e.environment(); });
  self->work_ = self->ask_first<quern::Work>([](Evaluator& e) { return e.work(); });
  return self;
}

/// Referees take long to let go of their devices: they do so side by side.
SpreadEvaluator::~SpreadEvaluator() {
  for (const auto& seat : seats_) seat->end();
}

void SpreadEvaluator::leave_out_lost() {
  for (const auto& seat : seats_) {
    if (const auto failure = seat->failure()) {
      losses_.push_back(fmt::format("{} is left out: {}", seat->name(), failure->message));
      if (tell_) tell_(losses_.back());
    }
  }
  std::erase_if(seats_, [](const auto& seat) { return seat->failure().has_value(); });
}

/// Evaluates a share that grows while it is judged.
Result<void> SpreadEvaluator::judge(Evaluator& evaluator, size_t seat, std::vector<size_t> share,
                                    Batch& batch) const {
  EvaluateRequest request;
  request.incumbent_ns = batch.request.incumbent_ns;
  request.stop = [&] { return batch.stop(); };
  request.done = [&](size_t at, const Evaluation& evaluation) {
    Evaluation found = evaluation;
    found.notes.push_back("judged on " + seats_[seat]->name());
    batch.take(seat, share[at], std::move(found));
  };
  request.more = [&](size_t waiting) {
    const std::vector<size_t> next = batch.hand_out(seat, waiting);
    share.insert(share.end(), next.begin(), next.end());
    return batch.at(next);
  };
  QUERN_TRY(evaluator.evaluate(batch.at(share), request));
  if (batch.stop() || !batch.has_open(seat)) return {};
  return Error{ErrorKind::kInternal, "it left candidates out", ""};
}

void SpreadEvaluator::work_off(size_t seat, Batch& batch) const {
  seats_[seat]->begin([this, seat, &batch](Evaluator& evaluator) {
    for (auto share = batch.await(seat); !share.empty(); share = batch.await(seat)) {
      const Result<void> judged = judge(evaluator, seat, std::move(share), batch);
      if (judged) continue;
      seats_[seat]->fail(judged.error());
      return batch.give_up(seat);
    }
  });
}

Result<std::vector<Evaluation>> SpreadEvaluator::evaluate(const std::vector<Candidate>& candidates,
                                                          const EvaluateRequest& request) {
  if (seats_.empty()) return nobody();
  Batch batch(candidates, request, seats_.size(), ahead_);
  for (size_t s = 0; s < seats_.size(); ++s) {
    for (const auto& [id, name] : judged_on_) {
      if (name == seats_[s]->name()) batch.owners.emplace(id, s);
    }
  }
  for (size_t s = 0; s < seats_.size(); ++s) work_off(s, batch);
  std::optional<Error> error;
  for (const auto& seat : seats_) {
    seat->wait();
    if (const auto failure = seat->failure()) error = failure;
  }
  for (const auto& [id, seat] : batch.owners) judged_on_[id] = seats_[seat]->name();
  leave_out_lost();
  if (seats_.empty() && batch.told < batch.candidates.size()) return *error;
  std::vector<Evaluation> evaluations;
  for (size_t i = 0; i < batch.told; ++i) evaluations.push_back(std::move(*batch.found[i]));
  return evaluations;
}

template <class T>
T SpreadEvaluator::ask_first(const std::function<T(Evaluator&)>& question) {
  std::optional<T> answer;
  seats_.front()->begin([&](Evaluator& evaluator) { answer = question(evaluator); });
  seats_.front()->wait();
  return std::move(*answer);
}

Result<Duel> SpreadEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  if (seats_.empty()) return nobody();
  return ask_first<Result<Duel>>([&](Evaluator& e) { return e.duel(candidate, baseline); });
}

Result<Profile> SpreadEvaluator::profile(const Candidate& candidate) {
  if (seats_.empty()) return nobody();
  return ask_first<Result<Profile>>([&](Evaluator& e) { return e.profile(candidate); });
}

/// All are asked: each must know which candidates are our own.
Result<std::vector<Candidate>> SpreadEvaluator::baselines() {
  if (seats_.empty()) return nobody();
  for (size_t s = 1; s < seats_.size(); ++s) {
    seats_[s]->begin([](Evaluator& evaluator) { (void)evaluator.baselines(); });
  }
  auto first =
      ask_first<Result<std::vector<Candidate>>>([](Evaluator& e) { return e.baselines(); });
  for (const auto& seat : seats_) seat->wait();
  return first;
}

Error SpreadEvaluator::nobody() const {
  return Error{ErrorKind::kEnvironment, "no device is left: " + losses_.back(), ""};
}

}  // namespace quern
