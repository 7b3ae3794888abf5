// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/landlock.h"
#include "base/memory.h"
#include "device/device_backend.h"
#include "device/device_protocol.h"
#include "device/device_server.h"
#include "device/fault_report.h"
#include "device/worker_filter.h"

/// Drivers are not ours to check: what they leak or mix up is no finding.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the sanitizer's name
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:alloc_dealloc_mismatch=0:detect_odr_violation=0";
}

namespace {

/// On a GPU orders are many and short; where device code shares our processor, it is not ours to
/// keep busy.
constexpr double kLookS = 1e-3;
constexpr uint64_t kCompilerBytes = uint64_t{8} << 30;

/// Files from now on: those of the worker's own folder, which it runs in. Descriptors that are open
/// stay open, those of the device among them.
void restrict_files() {
  quern::Sandbox sandbox;
  sandbox.restrict_files = true;
  sandbox.read_write = {"."};
  if (const int failed = quern::PreparedSandbox(sandbox).restrict_files(); failed != 0) {
    std::fprintf(stderr, "files are not restricted: error %d\n", failed);
  }
}

}  // namespace

/// quern-device-worker KIND DEVICE ROLE: drives a device for the process that started it.
int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("quern-device-worker is started by quern, with: KIND DEVICE run|compile\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  auto backend = quern::make_device_backend(argv[1], std::atoi(argv[2]));
  if (backend == nullptr) {
    std::fprintf(stderr, "there is no kind of device called '%s'\n", argv[1]);
    return 2;
  }
  const bool compiles = std::string(argv[3]) == "compile";
  if (compiles) quern::limit_address_space(kCompilerBytes);
  const bool cuda = std::string(argv[1]) == "cuda";
  const bool library = quern::file_exists(quern::kWorkerLibraryFile);
  const auto confine = [compiles, cuda, library] {
    if (compiles) return;  // compilers start programs
    if (library) return;   // it runs no candidates, and a vendor's library opens what it likes
    if (cuda) restrict_files();
    quern::install_fault_reporter(quern::kWorkerFaultFd);
    if (const int failed = quern::filter_worker_calls(); failed != 0) {
      std::fprintf(stderr, "system calls are not restricted: error %d\n", failed);
    }
  };
  quern::DeviceServer server(*backend, quern::Staging::attach(quern::kWorkerStagingFd), confine);
  const int code = server.serve(quern::kWorkerOrderFd, quern::kWorkerReplyFd, cuda ? kLookS : 0);
  // Drivers may hang or crash as they are torn down, and nothing here is worth saving.
  std::fflush(stderr);
  _exit(code);
}
