// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "record/evaluator.h"

namespace quern {

/// Several referees of one task and size, each on a device of its own and in a thread of its own,
/// so that every candidate is timed alone on its device. They take the candidates of a batch from
/// one queue, a few ahead of what they judge, so that none waits for another. A device that fails
/// is left out from then on, and the others take what it had. Duels and profiles are the first
/// device's that is left.
class SpreadEvaluator : public Evaluator {
 public:
  /// One device. `make` is called once, in the thread that will use what it makes.
  struct Device {
    std::string name;  ///< "cuda:1", for notes
    std::function<Result<std::unique_ptr<Evaluator>>()> make;
  };

  using Tell = std::function<void(const std::string&)>;

  /// How many candidates a device takes ahead, so that compiling keeps ahead of judging: what it
  /// judges in `seconds`, once that is known.
  struct Ahead {
    size_t first = 64;  ///< before anything is known of it: compilers have time while it starts
    size_t most = 64;
    double seconds = 0.25;
  };

  /// Takes all devices at the same time; those that fail are left out. `tell` is given a sentence
  /// about each device that fails, now or later. Errors: the first one's, when all fail.
  static Result<std::unique_ptr<SpreadEvaluator>> make(std::vector<Device> devices, Tell tell = {});
  void set_ahead(Ahead ahead) { ahead_ = ahead; }
  ~SpreadEvaluator() override;

  /// `done` is called in order, `stop` by one thread at a time. Errors: when the last device
  /// failed.
  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override;
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override;
  Result<std::vector<Candidate>> baselines() override;
  Result<Profile> profile(const Candidate& candidate) override;
  Environment environment() override { return environment_; }
  Work work() override { return work_; }

  /// Sentences about devices that failed, and why.
  const std::vector<std::string>& losses() const { return losses_; }
  size_t devices() const { return seats_.size(); }  ///< that are left

 private:
  class Seat;
  struct Batch;
  SpreadEvaluator() = default;

  void work_off(size_t seat, Batch& batch) const;
  Result<void> judge(Evaluator& evaluator, size_t seat, std::vector<size_t> share,
                     Batch& batch) const;
  void leave_out_lost();
  Error nobody() const;
  template <class T>
  T ask_first(const std::function<T(Evaluator&)>& question);

  std::vector<std::unique_ptr<Seat>> seats_;
  std::vector<std::string> losses_;
  Tell tell_;
  Ahead ahead_;
  Environment environment_;  ///< the first device's
  Work work_;
  std::map<std::string, std::string> judged_on_;  ///< candidate id → the seat that knows it
};

}  // namespace quern
