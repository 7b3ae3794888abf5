// SPDX-License-Identifier: Apache-2.0
#include "evaluate/spread_evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "evaluate/stages.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A device whose verdicts come from the sources alone. It fails once it has judged `fails_after`.
struct FakeDevice {
  int judged = 0, fails_after = 1 << 30, duels = 0, own = 0;
  std::thread::id thread;
  bool one_thread = true;                ///< everything was asked in the thread that made it
  std::chrono::microseconds each{200};   ///< that judging takes
  std::atomic<int>* arrivals = nullptr;  ///< it begins once two devices were asked
  std::set<std::string> ids;             ///< of what it judged
};

class FakeEvaluator : public Evaluator {
 public:
  explicit FakeEvaluator(FakeDevice& device) : device_(device) {
    device_.thread = std::this_thread::get_id();
  }
  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override {
    check_thread();
    if (device_.arrivals != nullptr) meet(*std::exchange(device_.arrivals, nullptr));
    std::vector<Candidate> queue = candidates;
    std::vector<Evaluation> all;
    for (size_t i = 0;; ++i) {
      if (request.stop && request.stop()) break;
      if (request.more)
        std::ranges::copy(request.more(queue.size() - i), std::back_inserter(queue));
      if (i == queue.size()) break;
      if (device_.judged == device_.fails_after) {
        return Error{ErrorKind::kEnvironment, "it fell off the bus", ""};
      }
      ++device_.judged;
      device_.ids.insert(queue[i].id);
      Evaluation evaluation;
      evaluation.candidate_id = queue[i].id;
      evaluation.verdict = Passed{"V1", "", hashed_timing(queue[i])};
      all.push_back(evaluation);
      if (request.done) request.done(all.size() - 1, all.back());
      std::this_thread::sleep_for(device_.each);
    }
    return all;
  }
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override {
    check_thread();
    ++device_.duels;
    return hashed_duel(candidate, baseline);
  }
  Result<std::vector<Candidate>> baselines() override {
    check_thread();
    ++device_.own;
    return std::vector<Candidate>{make_candidate("naive", "baseline", "c++")};
  }
  Environment environment() override { return {}; }
  Work work() override { return {}; }

 private:
  static void meet(std::atomic<int>& arrivals) {
    ++arrivals;
    for (int i = 0; i < 10'000 && arrivals < 2; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void check_thread() {
    if (std::this_thread::get_id() != device_.thread) device_.one_thread = false;
  }
  FakeDevice& device_;
};

std::vector<Candidate> candidates(int count) {
  std::vector<Candidate> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(make_candidate("source " + std::to_string(i), "human", "c++"));
  }
  return all;
}

class SpreadEvaluatorTest : public testing::Test {
 protected:
  Result<std::unique_ptr<SpreadEvaluator>> spread(const std::vector<std::string>& refused = {}) {
    std::vector<SpreadEvaluator::Device> list;
    for (size_t i = 0; i < 2; ++i) {
      const std::string name = "fake:" + std::to_string(i);
      const bool opens = std::ranges::find(refused, name) == refused.end();
      list.push_back({name, [this, i, opens]() -> Result<std::unique_ptr<Evaluator>> {
                        if (!opens) return Error{ErrorKind::kEnvironment, "no such device", ""};
                        return std::unique_ptr<Evaluator>(
                            std::make_unique<FakeEvaluator>(devices[i]));
                      }});
    }
    return SpreadEvaluator::make(std::move(list),
                                 [this](const std::string& text) { told.push_back(text); });
  }

  /// The evaluations belong to the candidates, in their order.
  static void expect_complete(const std::vector<Candidate>& asked,
                              const Result<std::vector<Evaluation>>& found) {
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->size(), asked.size());
    for (size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ((*found)[i].candidate_id, asked[i].id);
      EXPECT_EQ(timing_of((*found)[i].verdict)->median_ns, hashed_timing(asked[i]).median_ns);
    }
  }

  void begin_together() {
    for (FakeDevice& device : devices) device.arrivals = &arrivals;
  }

  FakeDevice devices[2];
  std::atomic<int> arrivals = 0;
  std::vector<std::string> told;
};

TEST_F(SpreadEvaluatorTest, LosesNothingAndTellsInOrder) {
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto asked = candidates(101);
  begin_together();
  std::vector<size_t> order;
  EvaluateRequest request;
  request.done = [&](size_t index, const Evaluation& evaluation) {
    order.push_back(index);
    EXPECT_EQ(evaluation.candidate_id, asked[index].id);
    EXPECT_THAT(evaluation.notes.back(), HasSubstr("judged on fake:"));
  };
  expect_complete(asked, (*referee)->evaluate(asked, request));
  EXPECT_EQ(order.size(), asked.size());
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_EQ(devices[0].judged + devices[1].judged, 101);
  EXPECT_GT(devices[0].judged, 0);
  EXPECT_GT(devices[1].judged, 0);
  EXPECT_TRUE(devices[0].one_thread && devices[1].one_thread);
  EXPECT_TRUE(told.empty());
}

TEST_F(SpreadEvaluatorTest, LetsNoDeviceWaitForASlowerOne) {
  devices[1].each = std::chrono::milliseconds(20);
  auto referee = spread();
  ASSERT_TRUE(referee);
  (*referee)->set_ahead({1, 64, 0.01});
  begin_together();
  const auto asked = candidates(200);
  expect_complete(asked, (*referee)->evaluate(asked, {}));
  EXPECT_GT(devices[1].judged, 0);
  EXPECT_LT(devices[1].judged, devices[0].judged / 2);
}

TEST_F(SpreadEvaluatorTest, TakesWhatComesWhileOthersAreJudged) {
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto all = candidates(60);
  size_t given = 10;
  EvaluateRequest request;
  request.more = [&](size_t) {
    const size_t first = std::exchange(given, std::min(given + 3, all.size()));
    return std::vector<Candidate>(all.begin() + static_cast<long>(first),
                                  all.begin() + static_cast<long>(given));
  };
  const std::vector<Candidate> asked(all.begin(), all.begin() + 10);
  expect_complete(all, (*referee)->evaluate(asked, request));
}

TEST_F(SpreadEvaluatorTest, GivesTheShareOfADeviceThatFailsToTheOthers) {
  devices[1].fails_after = 7;
  begin_together();
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto asked = candidates(60);
  expect_complete(asked, (*referee)->evaluate(asked, {}));
  EXPECT_EQ(devices[0].judged, 53);
  EXPECT_EQ((*referee)->devices(), 1U);
  EXPECT_THAT(told, ElementsAre("fake:1 is left out: it fell off the bus"));
  const auto more = candidates(70);
  expect_complete(more, (*referee)->evaluate(more, {}));
  EXPECT_EQ(devices[1].judged, 7);
}

TEST_F(SpreadEvaluatorTest, SaysWhyWhenTheLastDeviceFails) {
  devices[0].fails_after = devices[1].fails_after = 3;
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto found = (*referee)->evaluate(candidates(20), {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "it fell off the bus");
  EXPECT_FALSE((*referee)->evaluate(candidates(1), {}));
  EXPECT_FALSE((*referee)->duel(candidates(2)[0], candidates(2)[1]));
}

TEST_F(SpreadEvaluatorTest, WorksWithTheDevicesThatOpen) {
  auto referee = spread({"fake:0"});
  ASSERT_TRUE(referee);
  EXPECT_THAT(told, ElementsAre("fake:0 is left out: no such device"));
  const auto asked = candidates(5);
  expect_complete(asked, (*referee)->evaluate(asked, {}));
  EXPECT_EQ(devices[1].judged, 5);
  EXPECT_FALSE(spread({"fake:0", "fake:1"}));
}

TEST_F(SpreadEvaluatorTest, SendsACandidateWhereItIsKnown) {
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto asked = candidates(4);
  expect_complete(asked, (*referee)->evaluate(asked, {}));
  const std::vector<Candidate> again = {asked[1], asked[3], asked[1]};
  expect_complete(again, (*referee)->evaluate(again, {}));
  EXPECT_EQ(devices[0].judged + devices[1].judged, 7);
  EXPECT_EQ(devices[0].ids.size() + devices[1].ids.size(), 4U);
}

TEST_F(SpreadEvaluatorTest, StopsWithTheFirstOfTheBatch) {
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto asked = candidates(40);
  std::atomic<int> asks = 0;
  EvaluateRequest request;
  request.stop = [&] { return ++asks > 10; };
  const auto found = (*referee)->evaluate(asked, request);
  ASSERT_TRUE(found);
  EXPECT_LE(found->size(), 10U);
  for (size_t i = 0; i < found->size(); ++i) EXPECT_EQ((*found)[i].candidate_id, asked[i].id);
}

TEST_F(SpreadEvaluatorTest, DuelsOnOneDeviceAndKnowsBaselinesOnAll) {
  auto referee = spread();
  ASSERT_TRUE(referee);
  const auto baselines = (*referee)->baselines();
  ASSERT_TRUE(baselines);
  EXPECT_EQ(baselines->size(), 1U);
  EXPECT_EQ(devices[0].own + devices[1].own, 2);
  EXPECT_TRUE((*referee)->duel(candidates(2)[0], candidates(2)[1]));
  EXPECT_TRUE((*referee)->duel(candidates(2)[0], candidates(2)[1]));
  EXPECT_EQ(devices[0].duels, 2);
  EXPECT_TRUE(devices[0].one_thread);
}

}  // namespace
}  // namespace quern
