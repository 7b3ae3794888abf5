// SPDX-License-Identifier: Apache-2.0
#include "evaluate/spread_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"

namespace quern {

/// A device, its referee, and the thread that both live in.
class SpreadEvaluator::Seat {
 public:
  using Work = std::function<void(Evaluator&)>;

  explicit Seat(Device device)
      : name_(std::move(device.name)),
        thread_([this, make = std::move(device.make)] { live(make); }) {}
  ~Seat() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    thread_.join();
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

/// What the seats find out about one batch.
struct SpreadEvaluator::Batch {
  const std::vector<Candidate>& candidates;
  const EvaluateRequest& request;
  std::mutex mutex;  ///< of what follows, and of the request's functions
  std::vector<std::optional<Evaluation>> found;
  size_t told = 0;  ///< of the first so many, `done` was told
  bool stopped = false;

  Batch(const std::vector<Candidate>& all, const EvaluateRequest& asked)
      : candidates(all), request(asked), found(all.size()) {}

  bool stop() {
    const std::lock_guard lock(mutex);
    stopped = stopped || (request.stop && request.stop());
    return stopped;
  }
  void take(size_t index, Evaluation evaluation) {
    const std::lock_guard lock(mutex);
    found[index] = std::move(evaluation);
    for (; told < found.size() && found[told]; ++told) {
      if (request.done) request.done(told, *found[told]);
    }
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

SpreadEvaluator::~SpreadEvaluator() = default;

void SpreadEvaluator::leave_out_lost() {
  for (const auto& seat : seats_) {
    if (const auto failure = seat->failure()) {
      losses_.push_back(fmt::format("{} is left out: {}", seat->name(), failure->message));
      if (tell_) tell_(losses_.back());
    }
  }
  std::erase_if(seats_, [](const auto& seat) { return seat->failure().has_value(); });
}

/// In turn, but a candidate that a seat knows goes there again.
std::vector<std::vector<size_t>> SpreadEvaluator::deal(const std::vector<Candidate>& candidates,
                                                       const std::vector<size_t>& left) const {
  std::vector<std::vector<size_t>> shares(seats_.size());
  std::map<std::string, size_t> dealt;
  size_t next = 0;
  for (const size_t index : left) {
    const std::string& id = candidates[index].id;
    if (const auto before = judged_on_.find(id); before != judged_on_.end()) {
      for (size_t s = 0; s < seats_.size(); ++s) {
        if (seats_[s]->name() == before->second) dealt.emplace(id, s);
      }
    }
    const auto [owner, fresh] = dealt.emplace(id, next);
    if (fresh) next = (next + 1) % seats_.size();
    shares[owner->second].push_back(index);
  }
  return shares;
}

void SpreadEvaluator::work_off(Seat& seat, const std::vector<size_t>& share, Batch& batch) const {
  seat.begin([&seat, &share, &batch](Evaluator& evaluator) {
    std::vector<Candidate> mine;
    for (const size_t index : share) mine.push_back(batch.candidates[index]);
    EvaluateRequest request;
    request.incumbent_ns = batch.request.incumbent_ns;
    request.stop = [&] { return batch.stop(); };
    request.done = [&](size_t at, const Evaluation& evaluation) {
      Evaluation found = evaluation;
      found.notes.push_back("judged on " + seat.name());
      batch.take(share[at], std::move(found));
    };
    auto done = evaluator.evaluate(mine, request);
    if (!done) seat.fail(done.error());
  });
}

Result<std::vector<Evaluation>> SpreadEvaluator::evaluate(const std::vector<Candidate>& candidates,
                                                          const EvaluateRequest& request) {
  if (seats_.empty()) return nobody();
  Batch batch(candidates, request);
  std::vector<size_t> left(candidates.size());
  std::iota(left.begin(), left.end(), size_t{0});
  while (!left.empty() && !batch.stopped) {
    const std::vector<std::vector<size_t>> shares = deal(candidates, left);
    for (size_t s = 0; s < seats_.size(); ++s) {
      if (!shares[s].empty()) work_off(*seats_[s], shares[s], batch);
    }
    std::optional<Error> error;
    for (size_t s = 0; s < seats_.size(); ++s) {
      seats_[s]->wait();
      if (const auto failure = seats_[s]->failure()) error = failure;
      for (const size_t index : shares[s]) {
        if (batch.found[index]) judged_on_[candidates[index].id] = seats_[s]->name();
      }
    }
    leave_out_lost();
    if (seats_.empty()) return *error;
    std::erase_if(left, [&](size_t index) { return batch.found[index].has_value(); });
  }
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
