// SPDX-License-Identifier: Apache-2.0
// Each recipe against what its source says: who is asked for what and in which order, what is
// shown, what is kept. A scripted model writes the kernels, a function of their number is their
// time. The closed forms of selectors are in select_test.cpp and select_more_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "search/recipe_testing.h"

namespace quern {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

/// One course of a recipe: what was asked, and what was made.
struct Course {
  ScriptedModel model;
  std::unique_ptr<RecipeProposer> by;
  std::vector<std::string> actions;

  Course(const std::string& name, int candidates, const std::function<double(int)>& cost) {
    by = make_proposer(built_in(name), &model);
    actions = run_recipe(*by, candidates, cost);
  }
  const SearchGraph& graph() const { return by->graph(); }
  long asked(const std::string& kind) const { return std::ranges::count(model.kinds, kind); }
  std::string prompt(const std::string& kind, int nth = 0) const {
    for (size_t i = 0; i < model.kinds.size(); ++i) {
      if (model.kinds[i] == kind && nth-- == 0) return model.prompts[i];
    }
    return "";
  }
};

double faster(int number) { return 900.0 / number; }
double slower(int number) { return 500.0 + number; }
double always_wrong(int) { return 0; }

/// The roles that each recipe asks at a first draft, on a kernel that passed and on one that
/// failed.
struct Chain {
  const char* recipe;
  std::vector<std::string> correct, failed;
};

TEST(Parity, RolesSpeakInTheOrderOfTheirSource) {
  const Chain chains[] = {
      {"caesar", {"rewrite"}, {"repair"}},
      {"maxcode", {"critique", "rewrite"}, {"critique", "repair"}},
      {"cudaforge", {"judge_slow", "rewrite"}, {"judge_wrong", "repair"}},
      {"tritonforge", {"tests", "profiler", "rewrite"}, {"repair"}},
      {"pragma", {"profiler", "sketch", "rewrite"}, {"repair"}},
      {"kforge", {"profiler", "rewrite"}, {"repair"}},
      {"astra", {"tests", "profiler", "plan", "rewrite"}, {"repair"}},
      {"geak", {"plan", "rewrite"}, {"critique", "repair"}},
      {"stark", {"plan", "rewrite"}, {"repair"}},
      {"intelliperf", {"judge_slow", "rewrite"}, {"repair"}},
      {"kernelskill", {"profiler", "menu"}, {"repair"}},
      {"two-stage", {"plan", "template"}, {"repair"}},
      {"qimeng-tensorop", {"sketch", "template"}, {"repair"}},
      {"ai-cuda-engineer", {"rewrite"}, {"explain_error", "repair"}},
      {"kernelevolve", {"rewrite"}, {"repair"}},
  };
  for (const Chain& chain : chains) {
    const Recipe recipe = built_in(chain.recipe);
    SearchGraph graph;
    SearchNode node;
    node.state = NodeState::kCorrect;
    graph.add(node);
    node.parents = {0};
    graph.add(node);
    node.state = NodeState::kWrong;
    graph.add(node);
    for (const auto& [base, roles] : {std::pair{1, chain.correct}, {2, chain.failed}}) {
      const auto row = std::ranges::find_if(recipe.operators, [&, at = base](const auto& one) {
        return condition_holds(one, graph, {{at}}, 1000);
      });
      ASSERT_NE(row, recipe.operators.end()) << chain.recipe;
      EXPECT_EQ(row->roles, roles) << chain.recipe;
    }
  }
}

TEST(Kevin, ChainsOfRefinementWithTheirOwnPast) {
  const Course course("kevin", 34, faster);
  EXPECT_EQ(std::ranges::count(course.actions, "draft"), 16) << "16 chains begin";
  // The second turn of the first chain goes on from its first, which it is shown.
  EXPECT_THAT(course.graph().node(17).parents, ElementsAre(1));
  EXPECT_THAT(course.prompt("rewrite"), HasSubstr("// number 1\n"));
  EXPECT_DOUBLE_EQ(course.graph().node(1).score, 0.3 + course.graph().node(1).speedup);
}

TEST(TritorX, EndsWithTheFirstKernelThatPasses) {
  const Course course("tritorx", 30, [](int number) { return number < 4 ? 0 : 500.0; });
  EXPECT_THAT(course.actions, ElementsAre("generate", "mend", "mend", "mend"));
  EXPECT_EQ(course.asked("explain_error"), 3) << "errors are summed up before they are mended";
}

TEST(TritorX, StartsANewDialogueAfterFifteenFailures) {
  const Course course("tritorx", 17, always_wrong);
  EXPECT_EQ(course.actions[15], "new dialogue");
  EXPECT_EQ(std::ranges::count(course.actions, "new dialogue"), 1);
  EXPECT_THAT(course.prompt("repair", 14), HasSubstr("// number 15")) << "seeded with the last one";
}

TEST(EvoEngineer, VariantsDifferInWhatTheyShow) {
  const Course free("evoengineer-free", 8, faster), insight("evoengineer-insight", 8, faster);
  const Course full("evoengineer-full", 12, faster);
  EXPECT_EQ(free.asked("summarise"), 0);
  EXPECT_THAT(free.prompt("rewrite", 7), Not(HasSubstr("Learnt in this search")));
  EXPECT_THAT(free.prompt("rewrite", 7), HasSubstr("// number 7")) << "the best so far";
  EXPECT_THAT(insight.prompt("rewrite", 7), HasSubstr("Learnt in this search"));
  EXPECT_THAT(insight.prompt("rewrite", 7), Not(HasSubstr("## Attempt"))) << "no other code";
  EXPECT_GT(full.asked("rewrite") + full.asked("edit"), 11);
  EXPECT_TRUE(std::ranges::any_of(full.model.prompts, [](const std::string& prompt) {
    return prompt.find("## Attempt") != std::string::npos;
  })) << "past solutions";
}

TEST(KernelScientist, WritesThreeExperimentsOfEachDesign) {
  ScriptedModel model;
  model.replies["select"] =
      "base: 0\nreference: 0\n[{\"description\": \"A\", \"min\": 1, \"max\": 90, \"innovation\": "
      "2},"
      "{\"description\": \"B\", \"min\": 2, \"max\": 20, \"innovation\": 9},"
      "{\"description\": \"C\", \"min\": 30, \"max\": 40, \"innovation\": 1},"
      "{\"description\": \"D\", \"min\": 3, \"max\": 30, \"innovation\": 3}]";
  const auto by = make_proposer(built_in("kernel-scientist"), &model);
  const auto actions = run_recipe(*by, 6, faster);
  EXPECT_THAT(actions,
              ElementsAre("write: B", "write: A", "write: C", "write: B", "write: A", "write: C"));
  EXPECT_EQ(std::ranges::count(model.kinds, "select"), 2);
}

TEST(KSearch, WorksOnTheBestDecisionUntilFiveAttemptsBringNothing) {
  ScriptedModel model;
  model.replies["hypotheses"] =
      "[{\"parent\": 0, \"title\": \"tile\", \"score\": 0.6, \"difficulty\": 2},"
      "{\"parent\": 0, \"title\": \"fuse\", \"score\": 0.9, \"difficulty\": 2}]";
  const auto by = make_proposer(built_in("k-search"), &model);
  // The first attempt gains, five more do not; then the model edits the tree again.
  const auto actions =
      run_recipe(*by, 7, [](int number) { return number == 1 ? 500.0 : 600.0 + number; });
  for (int i = 0; i < 6; ++i) EXPECT_THAT(actions[static_cast<size_t>(i)], HasSubstr(": fuse"));
  EXPECT_EQ(std::ranges::count(model.kinds, "hypotheses"), 2);
  const SearchGraph& graph = by->graph();
  EXPECT_THAT(graph.node(2).parents, ElementsAre(1)) << "on from the best of the decision";
  EXPECT_EQ(graph.current(), 1) << "kept only where no other is better";
  EXPECT_THAT(model.prompts[1], HasSubstr("fuse [open; score 0.90"));
  EXPECT_LE(model.prompts[1].find("tile"), 6000u);
}

TEST(KernelFoundry, TunesTemplatesAndEditsTheGuidanceEveryTenAttempts) {
  const Course course("kernelfoundry", 40, faster);
  EXPECT_GE(course.asked("guidance"), 1);
  EXPECT_THAT(course.model.prompts[0], HasSubstr("Philosophy: a kernel is fast"));
  EXPECT_THAT(course.model.prompts.back(), HasSubstr("Advice: guidance")) << "the new guidance";
  EXPECT_THAT(course.actions, Contains(HasSubstr("tune: TILE=")));
  EXPECT_THAT(course.graph().node(1).cell, SizeIs(3));
}

TEST(Avo, KeepsOneLineAndIsToldWhereToGoWhenItStalls) {
  const Course course("avo", 6, [](int number) { return number == 1 ? 500.0 : 600.0; });
  EXPECT_EQ(course.graph().current(), 1);
  EXPECT_THAT(course.model.kinds, Contains("avenues")) << "after four attempts without gain";
  EXPECT_THAT(course.model.prompts.back(), HasSubstr("What the avenues wrote:"));
}

TEST(AiCudaEngineer, TranslatesThenCrossesSeveralParents) {
  const Course course("ai-cuda-engineer", 12, faster);
  EXPECT_THAT(std::vector<std::string>(course.actions.begin(), course.actions.begin() + 2),
              Each("translate"));
  EXPECT_THAT(course.actions, Contains("cross"));
}

TEST(KernelEvolve, DraftsTenTimesBeforeItSearchesTheTree) {
  const Course course("kernelevolve", 14, faster);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(course.actions[i], "draft") << i;
  for (size_t i = 10; i < 14; ++i) EXPECT_EQ(course.actions[i], "universal") << i;
}

TEST(ReGraphT, FollowsTheEdgesOfItsGraph) {
  const Course course("regrapht", 30, faster);
  const Recipe recipe = built_in("regrapht");
  for (int id = 1; id < course.graph().size(); ++id) {
    const SearchNode& node = course.graph().node(id);
    const auto row = std::ranges::find(recipe.settings.strategies, node.strategy, &Strategy::name);
    ASSERT_NE(row, recipe.settings.strategies.end());
    const std::string& before = course.graph().node(node.parents[0]).strategy;
    EXPECT_THAT(row->after, Contains(before.empty() ? "start" : before)) << node.strategy;
  }
}

TEST(KernelSkill, TheModelChoosesAmongAllowedMethodsOnly) {
  // 8e5 bytes at 1000 GB/s are 800 ns: at 1000 ns the memory is loaded to 80 %, at 850 ns to 94 %.
  const Course course("kernelskill", 2, [](int) { return 850.0; });
  EXPECT_THAT(course.prompt("menu"), HasSubstr("fuse loops"));
  EXPECT_THAT(course.prompt("menu"), Not(HasSubstr("- share the outermost")));
  EXPECT_THAT(course.prompt("menu", 1), HasSubstr("stream stores"));
  EXPECT_THAT(course.prompt("menu", 1), Not(HasSubstr("- vectorise")));
}

TEST(EvoKernel, ShowsItemsOfSuccessAndOfFailure) {
  const Course course("evokernel", 9, improving_cost);
  EXPECT_GT(course.asked("summarise"), 0);
  EXPECT_GT(course.asked("rules"), 0);
  EXPECT_THAT(course.model.prompts.back(), HasSubstr("- Advice: "));
  EXPECT_GT(course.by->memory().at(0).uses, 0);
}

TEST(AdaExplore, ShowsARuleOnceThreeFailuresTaughtIt) {
  const Course course("adaexplore", 5, always_wrong);
  EXPECT_EQ(course.asked("rules"), 4) << "one for each failure before the last";
  for (size_t i = 0; i < course.model.kinds.size(); ++i) {
    const bool shown = course.model.prompts[i].find("Advice: rules") != std::string::npos;
    const auto taught = std::count(course.model.kinds.begin(),
                                   course.model.kinds.begin() + static_cast<long>(i), "rules");
    const bool sees = course.model.kinds[i] == "draft" || course.model.kinds[i] == "rewrite";
    EXPECT_EQ(shown, sees && taught >= 3) << i;
  }
}

TEST(AccelOpt, RemembersClearGainsAndClearLossesOnly) {
  // Ratios to the parent (1000 ns): 2, 1.02, 1 / 1.1, 1 / 1.5.
  const std::vector<double> times = {500, 980, 1100, 1500};
  const Course course("accelopt", 5, [&](int number) {
    return times[static_cast<size_t>(number - 1) % times.size()];
  });
  EXPECT_EQ(course.asked("summarise"), 2) << "above 1.04, and below 1 / 1.15";
  EXPECT_EQ(built_in("accelopt").memory.capacity, 16);
}

TEST(Tuning, OneCallOfTheModelPaysForAWholeSearchOfNumbers) {
  for (const char* name : {"two-stage", "qimeng-gemm", "qimeng-tensorop"}) {
    const Course course(name, 3, slower);
    EXPECT_EQ(course.asked("template"), 1) << name;
    EXPECT_EQ(course.actions[0], "tune: TILE=8") << name << ": the author's value first";
    EXPECT_THAT(course.actions, Each(HasSubstr("tune: TILE="))) << name;
  }
}

TEST(Tuning, TheBestValuesStandForTheNode) {
  const Course course("two-stage", 4, [](int number) { return number == 2 ? 200.0 : 400.0; });
  EXPECT_DOUBLE_EQ(course.graph().node(1).speedup, 5) << "1000 ns over 200 ns";
  EXPECT_THAT(course.by->record(1).source, HasSubstr("#define TILE"));
}

TEST(CudaLlm, SendsTwoCandidatesAtATime) {
  ScriptedModel model;
  const auto by = make_proposer(built_in("cuda-llm"), &model);
  by->tell(naive_baseline(1000));
  EXPECT_THAT(*by->next(8), SizeIs(2));
}

TEST(TritonForge, GoesOnFromWhatIsBetterOnly) {
  const Course course("tritonforge", 4, [](int number) { return number == 2 ? 300.0 : 600.0; });
  EXPECT_EQ(course.graph().current(), 2);
  EXPECT_THAT(course.graph().node(4).parents, ElementsAre(2));
}

TEST(KernelSkill, MovesItsBaseAtALeapOnly) {
  const AcceptRule& leap = **find_accept_rule("leap");
  SearchNode base, child;
  base.state = child.state = NodeState::kCorrect;
  base.speedup = 2;
  const auto accepts = [&](double speedup) {
    child.speedup = speedup;
    return leap.accept(child, base, base, 1.3);
  };
  EXPECT_FALSE(accepts(2.29));
  EXPECT_TRUE(accepts(2.3)) << "0.3 of the plain version's speed";
  base.speedup = 0.5;
  EXPECT_TRUE(accepts(0.66)) << "1.3 times its own";
  child.state = NodeState::kWrong;
  EXPECT_FALSE(accepts(9));
}

TEST(Swizzle, ComparesWhatWasExpectedWithWhatWasMeasured) {
  ScriptedModel model;
  model.replies["swizzle"] = "Visit blocks in squares.\nExpected: 1.5x";
  const auto by = make_proposer(built_in("swizzleperf"), &model);
  run_recipe(*by, 2, [](int) { return 800.0; });
  EXPECT_DOUBLE_EQ(by->graph().node(1).predicted, 1.5);
  EXPECT_THAT(by->record(1).outcome,
              HasSubstr("Expected 1.50× its parent's speed, measured 1.25×."));
}

TEST(Akg, TakesANewDesignWhenItStandsStill) {
  const Course course("akg", 9, [](int number) { return number < 3 ? 500.0 : 600.0; });
  EXPECT_THAT(course.actions, Contains("new design"));
  EXPECT_EQ(course.asked("sketch"),
            course.asked("draft") + std::ranges::count(course.actions, "design and code"))
      << "a design before each code that is not a variation";
}

TEST(KernelFalcon, AsksForEachPartAndLetsTheFirstWorkerThatPassesWin) {
  ScriptedModel model;
  model.replies["decompose"] = "- load\n- compute\n- store\n";
  const auto by = make_proposer(built_in("kernelfalcon"), &model);
  const auto actions = run_recipe(*by, 3, [](int number) { return number < 3 ? 0 : 500.0; });
  EXPECT_EQ(std::ranges::count(model.kinds, "part"), 3);
  EXPECT_EQ(std::ranges::count(model.kinds, "compose"), 4) << "four workers";
  EXPECT_THAT(actions, Each("decompose and compose")) << "two failed, the third passed";
  run_recipe(*by, 2, [](int) { return 400.0; });
  EXPECT_EQ(std::ranges::count(model.kinds, "repair"), 0) << "the fourth was not needed";
  EXPECT_THAT(model.kinds, Contains("judge_slow"));
}

TEST(KernelFalcon, GoesBackFromWhatIsHalfSlowerThanTheBest) {
  const Course course("kernelfalcon", 3, [](int number) { return number == 1 ? 400.0 : 700.0; });
  EXPECT_EQ(course.graph().current(), 1);
}

TEST(Geak, ShowsTheFiveBestInTheOrderOfTheirTimes) {
  const Course course("geak", 12, faster);
  const std::string prompt = course.model.prompts.back();
  std::vector<size_t> at;
  // The kernel that is worked on, the second best, is shown by itself.
  for (int number : {11, 9, 8, 7}) {
    const size_t found = prompt.find("// number " + std::to_string(number) + "\n");
    ASSERT_NE(found, std::string::npos) << number;
    at.push_back(found);
  }
  EXPECT_TRUE(std::ranges::is_sorted(at)) << "fastest first";
  EXPECT_EQ(built_in("geak").repairs, 5);
}

TEST(Astra, EndsAfterFifteenAttemptsWithoutGain) {
  EXPECT_THAT(Course("astra", 40, slower).actions, SizeIs(16));
}

TEST(CuPilot, CrossesStrategiesInWordsBeforeCode) {
  const Course course("cupilot", 20, faster);
  EXPECT_GT(course.asked("cross_strategies"), 0);
  EXPECT_THAT(course.prompt("cross_strategies"), HasSubstr("Its strategy: Advice: plan"));
}

TEST(OpenEvolve, RecordsLengthAndDiversityOnAGridOfTen) {
  const Course course("openevolve", 6, faster);
  EXPECT_THAT(course.graph().node(2).cell, SizeIs(2));
  EXPECT_EQ(built_in("openevolve").settings.numbers.at("migrate_every"), 50);
}

TEST(Peak, AppliesItsSequenceWhateverEachStepBrings) {
  const Course course("peak", 5, slower);
  const auto& strategies = built_in("peak").settings.strategies;
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(course.actions[i], "transform: " + strategies[i].name);
    EXPECT_THAT(course.graph().node(static_cast<int>(i) + 1).parents,
                ElementsAre(static_cast<int>(i)));
  }
}

TEST(KernelBand, MasksStrategiesOfAnExhaustedResource) {
  // 800 ns of memory at 1000 ns: 80 %, above the limit of 70 %.
  const Course course("kernelband", 12, [](int) { return 1000.0; });
  EXPECT_THAT(course.actions, Not(Contains("apply: wider vectors")));
  EXPECT_THAT(course.actions, Contains("apply: reordering loops"));
}

/// Rules that make so many candidates and then have none left.
class FewRules : public Proposer {
 public:
  explicit FewRules(int left) : left_(left) {}
  Result<std::vector<ProposedCandidate>> next(int count) override {
    std::vector<ProposedCandidate> made;
    for (; left_ > 0 && static_cast<int>(made.size()) < count; --left_) {
      made.push_back({make_candidate("// rule " + std::to_string(left_), "rules"), "a rule"});
    }
    asked.push_back(count);
    return made;
  }
  void tell(const Attempt& attempt) override { told.push_back(attempt.candidate.source); }
  std::vector<int> asked;
  std::vector<std::string> told;

 private:
  int left_;
};

TEST(House, WithoutAModelItIsTheRulesAlone) {
  FewRules* rules = nullptr;
  const auto by = make_proposer(built_in("quern"), nullptr, [&](uint64_t) {
    auto made = std::make_unique<FewRules>(37);
    rules = made.get();
    return made;
  });
  EXPECT_FALSE(built_in("quern").needs_model());
  const auto actions = run_recipe(*by, 100, faster);
  EXPECT_THAT(actions, SizeIs(37));
  EXPECT_THAT(actions, Each("a rule"));
  EXPECT_THAT(rules->told, SizeIs(38)) << "the baseline too";
  EXPECT_THAT(rules->asked, Each(8)) << "asked as if nobody stood between";
}

TEST(House, AsksTheModelAfterTheRulesAndGoesOnWithThemWhenTheBudgetIsSpent) {
  ScriptedModel model;
  const auto by = make_proposer(built_in("quern"), &model,
                                [](uint64_t) { return std::make_unique<FewRules>(60); });
  auto actions = run_recipe(*by, 30, improving_cost);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(actions[i], "a rule");
  EXPECT_GT(model.kinds.size(), 0u);
  model.failure = llm::Failure{llm::FailureKind::kBudget, "spent", "", 0, ""};
  const size_t calls = model.kinds.size();
  actions = run_recipe(*by, 12, improving_cost);
  EXPECT_THAT(actions, Contains("a rule"));
  EXPECT_LE(model.kinds.size(), calls + 3) << "asked no more";
}

TEST(SubSearch, ARecipeInARecipeHasTheRulesForItsOwn) {
  const Recipe recipe = *parse_recipe(
      "[select]\nuse = \"best\"\n[[operator]]\nname = \"inner\"\nsub = \"quern\"\nattempts = 20\n",
      "outer");
  ScriptedModel model;
  const auto by =
      make_proposer(recipe, &model, [](uint64_t) { return std::make_unique<FewRules>(60); });
  const auto actions = run_recipe(*by, 40, improving_cost);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(actions[i], "a rule");
  EXPECT_NE(actions[16], "a rule") << "what the inner recipe does after its rules";
  const SearchGraph& graph = by->graph();
  EXPECT_THAT(graph.node(2).parents, ElementsAre(1)) << "each inner search makes one node";
}

TEST(SubSearch, ARecipeMakesANodeOfAnother) {
  const Recipe recipe = *parse_recipe(
      "[select]\nuse = \"best\"\n[[operator]]\nname = \"inner\"\nsub = \"caesar\"\nattempts = 3\n",
      "outer");
  ScriptedModel model;
  const auto by = make_proposer(recipe, &model);
  const auto actions = run_recipe(*by, 6, [](int number) { return number == 2 ? 200.0 : 500.0; });
  EXPECT_THAT(actions, ElementsAre("draft", "refine", "refine", "draft", "refine", "refine"));
  const SearchGraph& graph = by->graph();
  EXPECT_DOUBLE_EQ(graph.node(1).speedup, 5) << "the best of the three";
  EXPECT_THAT(graph.node(2).parents, ElementsAre(1));
}

}  // namespace
}  // namespace quern
