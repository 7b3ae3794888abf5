// SPDX-License-Identifier: Apache-2.0
#include "base/subprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

#include "base/landlock.h"
#include "base/strings.h"

namespace quern {
namespace {

using testing::HasSubstr;

Command shell(const std::string& script) {
  Command command;
  command.argv = {"/bin/sh", "-c", script};
  command.deadline_s = 20;
  return command;
}

ProcessEnd run(const Command& command) {
  auto end = run_process(command);
  EXPECT_TRUE(end) << (end ? "" : end.error().message);
  return end ? std::move(*end) : ProcessEnd{};
}

/// True when no process of the group is left; waits a moment for the kernel to bury the killed.
bool group_is_gone(pid_t group) {
  for (int i = 0; i < 200 && ::kill(-group, 0) == 0; ++i) usleep(10'000);
  return ::kill(-group, 0) != 0;
}

TEST(RunProcess, CapturesBothStreamsAndTheExitCode) {
  ProcessEnd end = run(shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(end.out, "out\n");
  EXPECT_EQ(end.err, "err\n");
  EXPECT_EQ(end.status.exit_code, 3);
  EXPECT_FALSE(end.timed_out);
}

TEST(RunProcess, GivesTheChildItsInputAndExactlyItsEnvironment) {
  Command command = shell("cat; echo $A$HOME");
  command.stdin_text = std::string(200'000, 'x') + "\n";
  command.env = {"A=b"};
  command.output_cap_bytes = 1 << 20;
  EXPECT_EQ(run(command).out, command.stdin_text + "b\n");
}

TEST(RunProcess, KeepsOnlyTheCapOfALongOutputAndDoesNotBlock) {
  Command command = shell("head -c 3000000 /dev/zero; echo done >&2");
  command.output_cap_bytes = 1000;
  ProcessEnd end = run(command);
  EXPECT_EQ(end.out.size(), 1000u);
  EXPECT_EQ(end.err, "done\n");
}

TEST(RunProcess, KillsTheWholeGroupAtTheDeadline) {
  Command command = shell("sleep 1000 & sleep 1000 & echo $$; wait");
  command.deadline_s = 0.3;
  ProcessEnd end = run(command);
  EXPECT_TRUE(end.timed_out);
  EXPECT_EQ(end.status.signal, SIGKILL);
  EXPECT_TRUE(group_is_gone(std::stoi(end.out)));
}

TEST(RunProcess, KillsStragglersThatOutliveTheProgram) {
  ProcessEnd end = run(shell("sleep 1000 & echo $$"));
  EXPECT_TRUE(end.status.ok());
  EXPECT_TRUE(group_is_gone(std::stoi(end.out)));
}

TEST(RunProcess, SaysThatAProgramIsMissing) {
  Command command;
  command.argv = {"no-such-program-here"};
  auto end = run_process(command);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().kind, ErrorKind::kEnvironment);
  EXPECT_THAT(end.error().message, HasSubstr("no-such-program-here"));
}

TEST(RunProcess, ReportsTheSignalThatEndedTheProgram) {
  EXPECT_EQ(run(shell("kill -SEGV $$")).status.signal, SIGSEGV);
}

TEST(RunProcess, AppliesLimits) {
  Command command = shell("ulimit -v; ulimit -c");
  command.limits.address_space_bytes = 512 << 20;
  EXPECT_EQ(run(command).out, "524288\n0\n");
}

TEST(RunProcess, PassesOnlyTheNamedDescriptors) {
  int secret = memfd_create("secret", 0);  // inheritable on purpose
  int shared = memfd_create("shared", MFD_CLOEXEC);
  ASSERT_EQ(write(shared, "hello", 5), 5);
  ASSERT_EQ(lseek(shared, 0, SEEK_SET), 0);
  Command command = shell("cat <&7; ls /proc/self/fd | tr '\\n' ' '");
  command.fds = {{shared, 7}};
  // ls opens one more to list with.
  EXPECT_EQ(run(command).out, "hello0 1 2 3 7 ");
  close(secret);
  close(shared);
}

TEST(Sandbox, RefusesFilesThatWereNotNamed) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  Command command = shell("cat /etc/hostname; cat /etc/passwd; echo x > /tmp/quern_must_not_exist");
  command.sandbox.restrict_files = true;
  command.sandbox.read_exec = {"/usr", "/bin", "/lib", "/lib64"};
  command.sandbox.read_only = {"/etc/hostname", "/no/such/path"};
  ProcessEnd end = run(command);
  EXPECT_TRUE(end.sandbox.files_restricted) << join(end.sandbox.notes, "; ");
  EXPECT_THAT(end.err, HasSubstr("/etc/passwd: Permission denied"));
  EXPECT_THAT(end.err, Not(HasSubstr("hostname")));
  EXPECT_FALSE(file_exists("/tmp/quern_must_not_exist"));
  EXPECT_THAT(end.sandbox.text(), HasSubstr("landlock"));
}

TEST(Sandbox, AllowsWritingWhereItWasAllowedOnly) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  std::string folder = testing::TempDir() + "quern_sandbox_" + std::to_string(getpid());
  ASSERT_TRUE(make_directories(folder));
  Command command =
      shell("echo x > inside && echo y > ../quern_outside_" + std::to_string(getpid()));
  command.cwd = folder;
  command.sandbox.restrict_files = true;
  command.sandbox.read_exec = {"/usr", "/bin", "/lib", "/lib64"};
  command.sandbox.read_write = {folder};
  EXPECT_NE(run(command).status.exit_code, 0);
  EXPECT_EQ(read_file(folder + "/inside").value(), "x\n");
  EXPECT_FALSE(file_exists(folder + "/../quern_outside_" + std::to_string(getpid())));
  ASSERT_TRUE(remove_all(folder));
}

TEST(Sandbox, LeavesNoNetworkInterfaceUp) {
  Command command = shell("tail -n +3 /proc/net/dev | grep -vc ' lo:'; wc -l < /proc/net/route");
  command.sandbox.no_network = true;
  ProcessEnd end = run(command);
  if (!end.sandbox.network_removed) GTEST_SKIP() << join(end.sandbox.notes, "; ");
  EXPECT_EQ(split_words(end.out)[0], "0") << end.out;
}

TEST(Child, FreezesAndThaws) {
  Command command = shell("while :; do :; done");
  auto child = ChildProcess::spawn(command);
  ASSERT_TRUE(child);
  auto ticks = [&] {
    auto stat = read_file("/proc/" + std::to_string(child->pid()) + "/stat").value();
    return split_words(stat)[13];
  };
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(child->freeze());
    std::string before = ticks();
    usleep(60'000);
    EXPECT_EQ(ticks(), before);
    child->thaw();
  }
  EXPECT_EQ(child->kill().signal, SIGKILL);
  EXPECT_FALSE(child->freeze());
}

TEST(Child, DiesWithItsOwner) {
  pid_t pid = 0;
  {
    auto child = ChildProcess::spawn(shell("sleep 1000"));
    ASSERT_TRUE(child);
    pid = child->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
    EXPECT_FALSE(child->poll());
  }
  EXPECT_TRUE(group_is_gone(pid));
}

TEST(Child, DiesWhenTheThreadThatSpawnedItIsGone) {
  pid_t pid = 0;
  std::optional<Result<ChildProcess>> child;
  std::thread([&] {
    child = ChildProcess::spawn(shell("sleep 1000"));
    pid = (*child)->pid();
  }).join();
  auto status = (*child)->wait(10);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGKILL);
}

TEST(Child, AFullPipeDoesNotBlockAChildThatMayDropOutput) {
  Command command = shell("head -c 1000000 /dev/zero 2>/dev/null; echo end >&2");
  command.drop_output_when_full = true;
  auto child = ChildProcess::spawn(command);
  ASSERT_TRUE(child);
  for (int i = 0; i < 500 && !child->poll(); ++i) usleep(10'000);  // nobody reads meanwhile
  EXPECT_TRUE(child->poll());
  EXPECT_EQ(child->err(), "end\n");
}

}  // namespace
}  // namespace quern
