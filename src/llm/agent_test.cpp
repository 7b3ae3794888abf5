// SPDX-License-Identifier: Apache-2.0
#include "llm/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

using testing::HasSubstr;

AgentCommand shell(const std::string& script) {
  AgentCommand command;
  command.argv = {"sh", "-c", script};
  return command;
}

TEST(Agent, WorksInAPreparedDirectoryAndLeavesAFile) {
  std::string directory = temporary_path("agent");
  auto end = run_agent(shell("cat {prompt_file} notes/a.txt > {output_file}; cat; pwd"), directory,
                       "Write it.\n", {{"notes/a.txt", "a note\n"}});
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->process.status.ok());
  EXPECT_EQ(end->file, "Write it.\na note\n");
  EXPECT_THAT(end->process.out, HasSubstr("Write it.\n"));
  EXPECT_THAT(end->process.out, HasSubstr(directory));
}

TEST(Agent, SeesOnlyTheEnvironmentItIsGiven) {
  AgentCommand command = shell("echo $LAB_KEY:$HOME");
  command.env = {"LAB_KEY=k"};
  auto end = run_agent(command, temporary_path("agent"), "");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->process.out, "k:\n");
}

TEST(Agent, IsStoppedAtItsTimeLimit) {
  AgentCommand command = shell("echo begun; sleep 100 & sleep 100");
  command.deadline_s = 0.2;
  auto end = run_agent(command, temporary_path("agent"), "");
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->process.timed_out);
  EXPECT_EQ(end->process.out, "begun\n");
  EXPECT_EQ(end->file, std::nullopt);
}

TEST(Agent, DoesNotTakeAFileOfAnEarlierAttemptForItsOwn) {
  std::string directory = temporary_path("agent");
  ASSERT_TRUE(run_agent(shell("echo old > {output_file}"), directory, ""));
  auto end = run_agent(shell("true"), directory, "");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->file, std::nullopt);
}

TEST(Agent, MayImproveAFileThatItWasGiven) {
  auto end = run_agent(shell("echo more >> {output_file}"), temporary_path("agent"), "",
                       {{"kernel.cpp", "given\n"}});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->file, "given\nmore\n");
}

TEST(Agent, PutsThePromptInOneArgumentWithoutReadingIt) {
  AgentCommand command;
  command.argv = {"printf", "%s|", "{prompt}", "{\"a\": 1}", "$(id)"};
  auto end = run_agent(command, temporary_path("agent"), "two {directory} 'words'");
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->process.out, "two {directory} 'words'|{\"a\": 1}|$(id)|");
}

TEST(Agent, RefusesWhatMakesNoSense) {
  std::string directory = temporary_path("agent");
  EXPECT_FALSE(run_agent(shell("true"), directory, "", {{"../out", ""}}));
  EXPECT_FALSE(run_agent(shell("true"), directory, "", {{"/etc/out", ""}}));
  EXPECT_FALSE(run_agent({}, directory, ""));
  AgentCommand command = shell("true");
  command.output_file = "../kernel.cpp";
  EXPECT_FALSE(run_agent(command, directory, ""));
  auto typo = run_agent(shell("cat {promt_file}"), directory, "");
  ASSERT_FALSE(typo);
  EXPECT_THAT(typo.error().message, HasSubstr("{promt_file}"));
  command.output_file = "kernel.cpp";
  command.argv = {"no-such-agent"};
  EXPECT_FALSE(run_agent(command, directory, ""));
}

}  // namespace
}  // namespace quern::llm
