// SPDX-License-Identifier: Apache-2.0
#include "base/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/strings.h"

namespace quern {
namespace {

// Newer than the oldest kernel headers we build with; numbers are the kernel's ABI.
constexpr uint64_t kTruncate = 1ULL << 14;
constexpr uint64_t kIoctlDevice = 1ULL << 15;
struct RulesetAttributes {
  uint64_t file_access;
  uint64_t network_access;
  uint64_t scoped;
};

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kExecute = LANDLOCK_ACCESS_FS_EXECUTE;
constexpr uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                            LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                            LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM |
                            LANDLOCK_ACCESS_FS_REFER | kTruncate;
constexpr uint64_t kFileRights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                 LANDLOCK_ACCESS_FS_EXECUTE | kTruncate;

/// Every file right the kernel of this ABI knows: what a ruleset handles, it refuses by default.
uint64_t known_file_rights(int abi) {
  uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  if (abi >= 2) all |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) all |= kTruncate;
  if (abi >= 5) all |= kIoctlDevice;
  return all;
}

int make_ruleset(int abi, bool allow_tcp) {
  RulesetAttributes attributes{known_file_rights(abi), 0, 0};
  size_t size = sizeof attributes.file_access;
  if (abi >= 4) {
    attributes.network_access = allow_tcp ? 0 : 3;  // bind and connect over TCP
    size = 2 * sizeof(uint64_t);
  }
  if (abi >= 6) {
    attributes.scoped = 3;  // abstract sockets and signals to outside processes
    size = sizeof attributes;
  }
  return static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0));
}

int add_rule(int ruleset, const char* path, uint64_t access) {
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? 0 : errno;
  struct stat status {};
  if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode)) access &= kFileRights;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = fd;
  long failed = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  int reason = failed == 0 ? 0 : errno;
  close(fd);
  return reason;
}

/// A network namespace with no interfaces, and the user namespace that owns it.
struct EmptyNetwork {
  FileDescriptor user, network;
};

/// Namespaces live on in descriptors: a child makes them, we open them, it is killed.
EmptyNetwork make_empty_network() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const FileDescriptor from(ends[0]);
  FileDescriptor to(ends[1]);
  const pid_t child = fork();
  if (child < 0) return {};
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char made = unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 1 : 0;
    if (write(to.get(), &made, 1) == 1) pause();
    _exit(0);
  }
  to.close();
  EmptyNetwork network;
  char made = 0;
  if (read(from.get(), &made, 1) == 1 && made == 1) {
    const std::string folder = "/proc/" + std::to_string(child) + "/ns/";
    network.user = FileDescriptor(open((folder + "user").c_str(), O_RDONLY | O_CLOEXEC));
    network.network = FileDescriptor(open((folder + "net").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ::kill(child, SIGKILL);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return network;
}

}  // namespace

int landlock_abi() {
  long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

std::string SandboxReport::text() const {
  std::vector<std::string> parts;
  if (files_restricted) parts.push_back("landlock " + std::to_string(landlock_abi));
  if (network_removed) parts.push_back("network namespace");
  return parts.empty() ? "none" : join(parts, ", ");
}

PreparedSandbox::PreparedSandbox(const Sandbox& sandbox)
    : abi_(landlock_abi()), allow_tcp_(sandbox.allow_tcp) {
  if (sandbox.no_network) {
    static const EmptyNetwork& shared = *new EmptyNetwork(make_empty_network());
    user_namespace_ = shared.user.get();
    network_namespace_ = shared.network.get();
  }
  uint64_t known = known_file_rights(abi_);
  for (const auto& path : sandbox.read_only) rules_.push_back({path, kRead & known});
  for (const auto& path : sandbox.read_exec) rules_.push_back({path, (kRead | kExecute) & known});
  for (const auto& path : sandbox.read_write) rules_.push_back({path, (kRead | kWrite) & known});
}

int PreparedSandbox::restrict_files() const {
  if (abi_ == 0) return ENOSYS;
  int ruleset = make_ruleset(abi_, allow_tcp_);
  if (ruleset < 0) return errno;
  for (const Rule& rule : rules_) {
    if (int failed = add_rule(ruleset, rule.path.c_str(), rule.access)) {
      close(ruleset);
      return failed;
    }
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  int failed = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0 ? 0 : errno;
  close(ruleset);
  return failed;
}

int PreparedSandbox::remove_network() const {
  const bool shared = network_namespace_ >= 0 && setns(user_namespace_, CLONE_NEWUSER) == 0 &&
                      setns(network_namespace_, CLONE_NEWNET) == 0;
  return shared || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 0 : errno;
}

}  // namespace quern
