// SPDX-License-Identifier: Apache-2.0
#include "search/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "propose/prompt.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const char* const kSmall =
    "[select]\nuse = \"best\"\n[[operator]]\nname = \"mutate\"\nroles = [\"rewrite\"]\n";

Error error_of(const std::string& text) {
  const auto recipe = parse_recipe(text, "mine");
  EXPECT_FALSE(recipe.has_value()) << text;
  return recipe ? Error{} : recipe.error();
}

TEST(Recipe, AllBuiltInOnesParseAndSayWhatTheyReproduce) {
  EXPECT_GE(built_in_recipes().size(), 10u);
  const Prompts prompts = *Prompts::make();
  for (const auto& [name, text] : built_in_recipes()) {
    const auto recipe = parse_recipe(text, name);
    ASSERT_TRUE(recipe.has_value()) << recipe.error().message << " " << recipe.error().hint;
    EXPECT_FALSE(recipe->title.empty()) << name;
    EXPECT_FALSE(recipe->source.empty()) << name;
    EXPECT_FALSE(recipe->faithful.empty()) << name;
    for (const RecipeRole& role : recipe->roles) {
      EXPECT_TRUE(prompts.render(role.prompt, Json::object()).has_value()) << name << role.prompt;
    }
  }
}

TEST(Recipe, ANewOneNeedsOnlyAFile) {
  const auto recipe = parse_recipe(
      "repairs = 2\nwidth = 4\n[score]\nnode = \"kevin\"\n[accept]\nrule = \"at-least\"\n"
      "factor = 1.3\n[select]\nuse = \"epsilon-tree\"\nepsilon = 0.5\n"
      "[[operator]]\nname = \"a\"\nwhen = \"failed\"\nroles = [\"plan\", \"repair\"]\n"
      "[role.plan]\noutput = \"text\"\nview = [\"root\", \"leaders 3\"]\ntemperature = 0.8\n",
      "mine");
  ASSERT_TRUE(recipe.has_value()) << recipe.error().message;
  EXPECT_EQ(recipe->name, "mine");
  EXPECT_EQ(recipe->repairs, 2);
  EXPECT_EQ(recipe->accept_factor, 1.3);
  EXPECT_EQ(recipe->settings.numbers.at("epsilon"), 0.5);
  EXPECT_EQ(recipe->operators.at(0).when, "failed");
  EXPECT_EQ(recipe->find_role("plan")->temperature, 0.8);
  EXPECT_EQ(recipe->find_role("plan")->view.terms.size(), 2u);
  EXPECT_EQ(recipe->find_role("repair")->prompt, "repair");
}

TEST(Recipe, UnknownNamesAreErrorsWithLineAndSuggestion) {
  const Error key = error_of(std::string("repair = 2\n") + kSmall);
  EXPECT_THAT(key.message, HasSubstr("mine.toml, line 1: unknown key `repair`"));
  EXPECT_THAT(key.hint, HasSubstr("repairs"));
  EXPECT_THAT(error_of("[select]\nuse = \"bestt\"\n").hint, HasSubstr("best"));
  EXPECT_THAT(error_of("[select]\nuse = \"top\"\nbst = 2\n").hint, HasSubstr("best"));
  EXPECT_THAT(error_of(std::string(kSmall) + "when = \"corect\"\n").hint, HasSubstr("correct"));
  EXPECT_THAT(error_of(std::string(kSmall) + "[role.rewrit]\nmodel = \"x\"\n").message,
              HasSubstr("no operator has a role 'rewrit'"));
  EXPECT_THAT(error_of(std::string(kSmall) + "[role.rewrite]\nview = [\"leader 3\"]\n").hint,
              HasSubstr("leaders"));
  EXPECT_THAT(error_of(std::string("[score]\nnode = \"kelvin\"\n") + kSmall).hint,
              HasSubstr("kevin"));
}

TEST(Recipe, WrongTypesAndMissingPartsAreErrors) {
  EXPECT_THAT(error_of("").message, HasSubstr("there is no [select]"));
  EXPECT_THAT(error_of("[select]\nuse = \"best\"\n").message,
              HasSubstr("there is no [[operator]]"));
  EXPECT_THAT(error_of("[select\n").message, HasSubstr("line 1"));
  EXPECT_THAT(error_of(std::string("width = \"four\"\n") + kSmall).message,
              HasSubstr("a whole number"));
  EXPECT_THAT(error_of(std::string("width = 1000\n") + kSmall).message, HasSubstr("between"));
  EXPECT_THAT(
      error_of("[select]\nuse = \"best\"\n[[operator]]\nname = \"x\"\nroles = [1]\n").message,
      HasSubstr("a list of texts"));
  EXPECT_THAT(error_of("[select]\nuse = \"script\"\n").message, HasSubstr("needs strategies"));
}

TEST(Recipe, NumbersThatMakeNoSenseAreErrors) {
  const std::string rest = "[[operator]]\nname = \"x\"\nroles = [\"rewrite\"]\n";
  EXPECT_THAT(error_of("[select]\nuse = \"boltzmann\"\ntemperature = 0\n" + rest).message,
              HasSubstr("above 0"));
  EXPECT_THAT(error_of("[select]\nuse = \"top\"\nbest = inf\n" + rest).message,
              HasSubstr("at most 1e9"));
  EXPECT_THAT(error_of(std::string(kSmall) + "weight = nan\n").message, HasSubstr("at most 1e9"));
}

TEST(Recipe, RulesReflectionsAndSubSearchesAreChecked) {
  const std::string small = kSmall;
  EXPECT_THAT(error_of(small + "[[rule]]\nwhen = \"no-gain 5\"\ndo = \"switch x\"\n").message,
              HasSubstr("no operator 'x'"));
  EXPECT_THAT(error_of(small + "[[rule]]\nwhen = \"no-gian 5\"\ndo = \"stop\"\n").hint,
              HasSubstr("no-gain"));
  EXPECT_THAT(error_of(small + "[[reflect]]\nrole = \"x\"\nwhen = \"gain\"\n").message,
              HasSubstr("one number"));
  EXPECT_THAT(error_of(small + "[[reflect]]\nrole = \"x\"\ninto = \"memory\"\n").hint,
              HasSubstr("insights"));
  EXPECT_THAT(error_of(small + "[[operator]]\nname = \"y\"\nsub = \"caesr\"\n").hint,
              HasSubstr("caesar"));
  EXPECT_TRUE(parse_recipe(small + "[[operator]]\nname = \"y\"\nsub = \"quern\"\n", "x"))
      << "whose own sub-search are the rules";
  EXPECT_THAT(error_of("feedback = [\"tme\"]\n" + small).hint, HasSubstr("time"));
  EXPECT_THAT(error_of("choose = \"best\"\n" + small).hint, HasSubstr("weight"));
  EXPECT_THAT(error_of(small + "[grid]\naxes = [\"lenght\"]\n").hint, HasSubstr("length"));
  EXPECT_THAT(error_of(small + "[tune]\nsearch = \"climb\"\n").hint, HasSubstr("hill-climb"));
  EXPECT_THAT(error_of(small + "[role.rewrite]\neach = \"plan\"\n").message,
              HasSubstr("no role 'plan' stands before"));
}

TEST(Recipe, EveryOperatorEndsInCode) {
  EXPECT_THAT(error_of(std::string(kSmall) + "[role.rewrite]\noutput = \"text\"\n").message,
              HasSubstr("writes no code"));
  EXPECT_THAT(
      error_of(
          "[select]\nuse = \"best\"\n[[operator]]\nname = \"x\"\nroles = [\"plan\", \"code\"]\n")
          .message,
      HasSubstr("writes code before the last"));
}

TEST(Prompts, RenderSectionsWithoutGapsAndWithoutEscaping) {
  const Prompts prompts = *Prompts::make();
  const Json data = {{"base", {{"outcome", "Correct."}, {"source", "a < b && c;"}}},
                     {"strategy", ""},
                     {"large", false},
                     {"notes", Json::array({{{"role", "judge"}, {"text", "Loop i."}}})}};
  const std::string text = *prompts.render("rewrite", data);
  EXPECT_THAT(text, HasSubstr("a < b && c;"));
  EXPECT_THAT(text, HasSubstr("What the judge wrote:\nLoop i."));
  EXPECT_THAT(text, testing::Not(HasSubstr("Apply this")));
  EXPECT_THAT(text, testing::Not(HasSubstr("\n\n\n")));
  EXPECT_THAT(prompts.render("rewritten", data).error().hint, HasSubstr("rewrite"));
  EXPECT_FALSE(Prompts::make("/no/such/folder").has_value());
}

}  // namespace
}  // namespace quern
