// SPDX-License-Identifier: Apache-2.0
#include "llm/budget.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

TEST(Budget, RefusesWhatDoesNotFitWithWhatIsUnderWay) {
  Budget budget({.tokens = 100});
  auto first = budget.reserve({1, 60, 0});
  ASSERT_TRUE(first);
  auto second = budget.reserve({1, 41, 0});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message,
            "the budget does not allow another call: 100 tokens limit, 0 spent, 60 reserved by "
            "calls under way, up to 41 needed");
  EXPECT_TRUE(budget.may_fit_later({1, 41, 0}));
  budget.settle(*first, {1, 10, 0});
  EXPECT_TRUE(budget.reserve({1, 90, 0}));
  EXPECT_FALSE(budget.may_fit_later({1, 91, 0}));
}

TEST(Budget, LimitsCallsTokensAndMoneyEachByItself) {
  EXPECT_FALSE(Budget({.calls = 0}).reserve({1, 1, 1}));
  EXPECT_FALSE(Budget({.tokens = 0}).reserve({1, 1, 1}));
  EXPECT_FALSE(Budget({.nano_usd = 0}).reserve({1, 1, 1}));
  EXPECT_TRUE(Budget({.nano_usd = 0}).reserve({1, 1, 0}));
  EXPECT_TRUE(Budget({}).reserve({1, 1 << 30, 1 << 30}));
}

TEST(Budget, NeverCountsMoreThanWasReservedNorLessThanNothing) {
  Budget budget({});
  budget.settle(*budget.reserve({1, 10, 10}), {1, 1000, 1000});
  EXPECT_EQ(budget.spent(), (Spend{1, 10, 10}));
  budget.settle(*budget.reserve({1, 10, 10}), {1, -5, -5});
  EXPECT_EQ(budget.spent(), (Spend{2, 10, 10}));
}

TEST(Budget, SettlesOnlyOnce) {
  Budget budget({});
  Budget::Id id = *budget.reserve({1, 10, 10});
  budget.settle(id, {1, 2, 3});
  budget.settle(id, {1, 2, 3});
  EXPECT_EQ(budget.spent(), (Spend{1, 2, 3}));
}

TEST(Budget, AReservationThatNobodySettlesIsSpent) {
  Budget budget({});
  { Reservation forgotten(budget, *budget.reserve({1, 10, 20}), {1, 10, 20}); }
  EXPECT_EQ(budget.spent(), (Spend{1, 10, 20}));
  EXPECT_EQ(budget.reserved(), Spend{});
}

TEST(Budget, ItsJsonCarriesWhatWasReservedAsSpent) {
  Budget budget({.calls = 5, .nano_usd = 100});
  budget.settle(*budget.reserve({1, 10, 20}), {1, 4, 8});
  ASSERT_TRUE(budget.reserve({1, 10, 20}));
  auto again = Budget::from_json(budget.to_json());
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->spent(), (Spend{2, 14, 28}));
  EXPECT_EQ((*again)->limits().calls, 5);
  EXPECT_EQ((*again)->limits().tokens, std::nullopt);
  EXPECT_EQ((*again)->limits().nano_usd, 100);
}

TEST(Budget, RefusesJsonThatIsNoBudget) {
  for (const char* text : {"3", "{}", R"({"limits": {"calls": -1}})", R"({"limits": {}})",
                           R"({"limits": {}, "spent": {"calls": 1}})"})
    EXPECT_FALSE(Budget::from_json(*parse_json(text))) << text;
}

TEST(Budget, GoesOnFromItsFile) {
  std::string path = temporary_path("budget");
  {
    auto budget = *Budget::open(path, {.tokens = 100});
    budget->settle(*budget->reserve({1, 50, 0}), {1, 30, 0});
    ASSERT_TRUE(budget->reserve({1, 20, 0}));
    budget->charge({1, 1, 0});
  }
  for (int i = 0; i < 2; ++i) {
    auto budget = Budget::open(path, {.tokens = 100});
    ASSERT_TRUE(budget);
    EXPECT_EQ((*budget)->spent(), (Spend{3, 51, 0}));
    EXPECT_FALSE((*budget)->reserve({1, 50, 0}));
  }
}

TEST(Budget, IgnoresALineThatAKillLeftHalfWritten) {
  std::string path = temporary_path("budget");
  std::string line = R"({"charge": {"calls": 1, "tokens": 5, "nano_usd": 0}})";
  ASSERT_TRUE(write_file_atomic(path, line + "\n" + line.substr(0, 20)));
  EXPECT_EQ((*Budget::open(path, {}))->spent().tokens, 5);
  ASSERT_TRUE(write_file_atomic(path, line.substr(0, 20) + "\n" + line));
  EXPECT_FALSE(Budget::open(path, {}));
}

TEST(Budget, RefusesCallsThatItCannotWriteDown) {
  std::string path = temporary_path("budget");
  auto budget = Budget::open(path, {});
  ASSERT_TRUE(budget);
  rlimit old{}, none{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  none = {1, old.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &none);
  auto id = (*budget)->reserve({1, 1, 1});
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(id);
  EXPECT_EQ((*budget)->reserved(), Spend{});
}

/// Calls that end in every way: settled, settled for more than reserved, forgotten, refused.
Spend random_call(Budget& budget, std::mt19937_64& random) {
  Spend worst{1, int64_t(random() % 500), int64_t(random() % 5000)};
  auto id = budget.reserve(worst);
  if (!id) return {};
  Reservation reservation(budget, *id, worst);
  Spend actual{1, int64_t(random() % (worst.tokens + 1)), int64_t(random() % (worst.nano_usd + 1))};
  int ending = static_cast<int>(random() % 4);
  if (random() % 3 == 0) std::this_thread::yield();
  if (ending == 0) return actual;  // lost track of: it was spent all the same
  if (ending == 1) {
    reservation.settle({});  // turned away
    return {};
  }
  reservation.settle(actual);
  return actual;
}

TEST(Budget, SpendNeverExceedsALimitInAnyInterleaving) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    BudgetLimits limits;
    std::mt19937_64 random(seed);
    if (random() % 2) limits.calls = static_cast<int64_t>(random() % 60);
    if (random() % 2) limits.tokens = static_cast<int64_t>(random() % 8000);
    limits.nano_usd = static_cast<int64_t>(random() % 80000);
    Budget budget(limits);
    std::atomic<int64_t> calls = 0, tokens = 0, nano_usd = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 mine(seed * 16 + static_cast<uint64_t>(t));
        for (int i = 0; i < 40; ++i) {
          Spend truth = random_call(budget, mine);
          calls += truth.calls;
          tokens += truth.tokens;
          nano_usd += truth.nano_usd;
          Spend now = budget.spent();
          EXPECT_LE(now.nano_usd, *limits.nano_usd);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    Spend spent = budget.spent();
    ASSERT_EQ(budget.reserved(), Spend{});
    ASSERT_LE(spent.calls, limits.calls.value_or(INT64_MAX));
    ASSERT_LE(spent.tokens, limits.tokens.value_or(INT64_MAX));
    ASSERT_LE(spent.nano_usd, *limits.nano_usd);
    // What was truly spent is never more than what the budget knows of.
    ASSERT_LE(calls, spent.calls);
    ASSERT_LE(tokens, spent.tokens);
    ASSERT_LE(nano_usd, spent.nano_usd);
  }
}

/// What a killed process truly spent, in memory that outlives it.
struct Truth {
  std::atomic<int64_t> tokens = 0;
  std::atomic<int64_t> steps = 0;
};

[[noreturn]] void spend_until_killed(const std::string& path, int64_t limit, uint64_t seed,
                                     Truth& truth) {
  auto budget = Budget::open(path, {.tokens = limit});
  std::mt19937_64 random(seed);
  while (budget) {
    Spend worst{1, int64_t(random() % 50), 0};
    ++truth.steps;
    auto id = (*budget)->reserve(worst);
    if (!id) continue;
    int64_t used = static_cast<int64_t>(random() % (worst.tokens + 1));
    truth.tokens += used;  // the server bills at once, whether or not we live to hear of it
    (*budget)->settle(*id, {1, used, 0});
  }
  ::_exit(1);
}

TEST(Budget, SpendNeverExceedsTheLimitOverKillsAndResumes) {
  constexpr int64_t kLimit = 200'000;
  auto* truth = new (::mmap(nullptr, sizeof(Truth), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Truth;
  std::string path = temporary_path("budget");
  std::mt19937_64 random(3);
  for (uint64_t life = 0; life < 60; ++life) {
    int64_t until = truth->steps + static_cast<int64_t>(random() % 400);
    pid_t child = ::fork();
    if (child == 0) spend_until_killed(path, kLimit, life, *truth);
    while (truth->steps < until && ::waitpid(child, nullptr, WNOHANG) == 0)
      std::this_thread::yield();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    auto budget = Budget::open(path, {.tokens = kLimit});
    ASSERT_TRUE(budget) << budget.error().message;
    ASSERT_LE(truth->tokens, (*budget)->spent().tokens);
    ASSERT_LE((*budget)->spent().tokens, kLimit);
  }
  EXPECT_GT(truth->tokens, kLimit / 2);
  ::munmap(truth, sizeof(Truth));
}

}  // namespace
}  // namespace quern::llm
