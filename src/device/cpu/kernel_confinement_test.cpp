// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <string>

#include "device/cpu/kernel_process_testing.h"

namespace quern {
namespace {

using testing::HasSubstr;

/// What a kernel may not do, and what it is told when it tries.
class KernelConfinementTest : public KernelProcessTest {};

TEST_F(KernelConfinementTest, ForkIsRejected) {
  std::string head =
      "#include <unistd.h>\n#include <stdlib.h>\n#include <spawn.h>\n#include <signal.h>";
  EXPECT_EQ(breach(kernel("fork();", head)), "fork");
  EXPECT_EQ(breach(kernel("if (vfork() == 0) _exit(0);", head)), "fork");
  EXPECT_EQ(breach(kernel("y[0] = system(\"true\");", head)), "fork");
  EXPECT_EQ(breach(kernel("execl(\"/bin/true\", \"true\", nullptr);", head)), "exec");
}

TEST_F(KernelConfinementTest, FilesAreRejected) {
  std::string head =
      "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n#include <sys/stat.h>";
  Rejected verdict = expect<Rejected>(verdict_of(kernel("open(\"/etc/passwd\", O_RDONLY);", head)));
  EXPECT_EQ(verdict.breach, "file_access");
  EXPECT_EQ(verdict.reason, "system call openat is not allowed in a kernel");
  EXPECT_EQ(breach(kernel("FILE* f = fopen(\"/quern_x\", \"w\"); if (f) fclose(f);", head)),
            "file_access");
  EXPECT_EQ(breach(kernel("unlink(\"/quern_x\");", head)), "file_access");
  EXPECT_EQ(breach(kernel("struct stat s; stat(\"/etc/passwd\", &s);", head)), "file_access");
  EXPECT_EQ(breach(kernel("char c = 0; y[0] = write(3, &c, 1);", head)), "file_access");
}

TEST_F(KernelConfinementTest, NetworkIsRejected) {
  std::string head = "#include <sys/socket.h>";
  EXPECT_EQ(breach(kernel("socket(AF_INET, SOCK_STREAM, 0);", head)), "network");
  EXPECT_EQ(breach(kernel("int s[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, s);", head)), "network");
}

TEST_F(KernelConfinementTest, OtherSystemCallsAreRejected) {
  std::string head =
      "#include <signal.h>\n#include <sys/mman.h>\n#include <sys/prctl.h>\n#include "
      "<sys/resource.h>\n"
      "#include <sys/ptrace.h>\n#include <unistd.h>\n#include <sys/syscall.h>";
  EXPECT_EQ(breach(kernel("kill(getppid(), 0);", head)), "system_call");
  EXPECT_EQ(breach(kernel("syscall(SYS_tgkill, 1, 1, 0);", head)), "system_call");
  EXPECT_EQ(breach(kernel(
                "mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);", head)),
            "system_call");
  EXPECT_EQ(breach(kernel("prctl(PR_SET_DUMPABLE, 1);", head)), "system_call");
  EXPECT_EQ(breach(kernel("ptrace(PTRACE_TRACEME, 0, 0, 0);", head)), "system_call");
  EXPECT_EQ(breach(kernel("rlimit r{}; setrlimit(RLIMIT_AS, &r);", head)), "system_call");
}

TEST_F(KernelConfinementTest, AForbiddenCallInAThreadIsRejectedToo) {
  EXPECT_EQ(breach(kernel("_Pragma(\"omp parallel num_threads(3)\") socket(2, 1, 0);",
                          "#include <sys/socket.h>")),
            "network");
}

TEST_F(KernelConfinementTest, SignalHandlersCannotBeReplaced) {
  EXPECT_EQ(breach(kernel("signal(SIGSYS, SIG_IGN); signal(SIGSEGV, SIG_IGN); socket(2, 1, 0);",
                          "#include <signal.h>\n#include <sys/socket.h>")),
            "network");
}

TEST_F(KernelConfinementTest, LoadTimeCodeIsConfinedToo) {
  std::string head = "#include <unistd.h>\n__attribute__((constructor)) void f() { fork(); }";
  EXPECT_EQ(breach(kernel("", head)), "fork");
  head =
      "#include <stdio.h>\n#include <stdlib.h>\n"
      "bool ok; __attribute__((constructor)) void f() { ok = fopen(\"/etc/passwd\", \"r\"); }";
  KernelProcess* process = start(kernel("y[0] = ok;", head), layout());
  ASSERT_NE(process, nullptr);
  if (process->sandbox_text().find("landlock") == std::string::npos) {
    GTEST_SKIP() << "this kernel has no Landlock to keep files from code that is loading";
  }
  ASSERT_TRUE(process->run(1, 10));
  EXPECT_EQ(floats(process->output(0, 0))[0], 0);
}

TEST_F(KernelConfinementTest, LoadTimeCodeCannotPassForAFaultOfThisMachine) {
  std::string head = "#include <unistd.h>\n__attribute__((constructor)) void f() { _exit(123); }";
  Verdict verdict = verdict_of(kernel("", head));
  EXPECT_EQ(expect<LaunchFailed>(verdict).reason, "the candidate's library cannot be loaded");
}

TEST_F(KernelConfinementTest, WritingPastTheEndIsRejectedAtTheFirstByte) {
  KernelLayout right = layout();
  right.align = Align::kRight;
  Rejected verdict = expect<Rejected>(verdict_of(kernel("y[n] = 1;"), right));
  EXPECT_EQ(verdict.breach, "out_of_bounds_write");
  EXPECT_EQ(verdict.reason, "wrote past the end of output y, 0 bytes from its end");
  EXPECT_EQ(verdict.evidence, "output y has 4000 bytes");
  verdict = expect<Rejected>(verdict_of(kernel("y[n + 100000] = 1;")));
  EXPECT_EQ(verdict.reason, "wrote past the end of output y, 400000 bytes from its end");
}

TEST_F(KernelConfinementTest, ReadingPastTheEndOfAnInputIsRejected) {
  KernelLayout right = layout();
  right.align = Align::kRight;
  Rejected verdict = expect<Rejected>(verdict_of(kernel("y[0] = x[n];"), right));
  EXPECT_EQ(verdict.breach, "out_of_bounds_read");
  EXPECT_THAT(verdict.reason, HasSubstr("past the end of input x"));
}

TEST_F(KernelConfinementTest, TouchingWhatIsBeforeABufferIsRejected) {
  Rejected verdict = expect<Rejected>(verdict_of(kernel("((volatile float*)y)[-1] = 1;")));
  EXPECT_EQ(verdict.reason, "wrote before the start of output y, 4 bytes from its start");
  EXPECT_EQ(breach(kernel("y[0] = ((volatile const float*)x)[-2];")), "out_of_bounds_read");
}

TEST_F(KernelConfinementTest, ASmallOverrunInsideThePageBreaksTheCanaries) {
  for (const char* body : {"y[n] = 1;", "((volatile float*)y)[-1] = 1;"}) {
    KernelLayout shape = layout();
    shape.align = body[0] == 'y' ? Align::kLeft : Align::kRight;
    KernelProcess* process = start(kernel(body), shape);
    ASSERT_NE(process, nullptr);
    EXPECT_TRUE(process->canaries_ok());
    ASSERT_TRUE(process->run(1, 10));
    EXPECT_FALSE(process->canaries_ok()) << body;
    process->poison_outputs();
    EXPECT_TRUE(process->canaries_ok());
  }
}

TEST_F(KernelConfinementTest, WritingAnInputIsRejected) {
  Rejected verdict = expect<Rejected>(verdict_of(kernel("((volatile float*)x)[5] = 1;")));
  EXPECT_EQ(verdict.breach, "modified_input");
  EXPECT_EQ(verdict.reason, "wrote to input x at byte 20");
}

TEST_F(KernelConfinementTest, AnInputCannotBeMadeWritable) {
  std::string body =
      "char* page = (char*)((uintptr_t)x & ~4095ul);\n"
      "y[0] = mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;";
  KernelProcess* process = start(kernel(body, "#include <sys/mman.h>"), layout());
  ASSERT_NE(process, nullptr);
  ASSERT_TRUE(process->run(1, 10));
  EXPECT_EQ(floats(process->output(0, 0))[0], 0);
}

TEST_F(KernelConfinementTest, TrustedCodeRunsWithoutFilters) {
  auto started = KernelProcess::start(
      build(kernel("y[0] = access(\"/etc\", 0) == 0;", "#include <unistd.h>"), true), "k", layout(),
      {}, true);
  ASSERT_TRUE(started) << trouble(started);
  ASSERT_TRUE((*started)->run(1, 10));
  EXPECT_EQ(floats((*started)->output(0, 0))[0], 1);
}

TEST_F(KernelConfinementTest, SaysHowItIsConfined) {
  KernelProcess* process = start(kernel(""), layout());
  ASSERT_NE(process, nullptr);
  EXPECT_NE(process->sandbox_text(), "");
  bool whole = process->sandbox_text().find("landlock") != std::string::npos &&
               process->sandbox_text().find("network namespace") != std::string::npos &&
               process->sandbox_text().find("seccomp") != std::string::npos;
  EXPECT_EQ(whole, process->sandbox_notes().empty()) << process->sandbox_text();
}

}  // namespace
}  // namespace quern
