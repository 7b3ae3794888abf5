// SPDX-License-Identifier: Apache-2.0
#include "device/fault_report.h"

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace quern {
namespace {

constexpr size_t kMostRanges = 512;
constexpr uint64_t kReach = uint64_t{2} << 20;

struct Range {
  BufferId id;
  uint64_t start, bytes;
};

/// What a signal handler can reach: nothing but globals. Written only while no device code runs.
struct Reporter {
  std::array<Range, kMostRanges> ranges;
  size_t count = 0;
  int fd = -1;
  std::atomic_flag reporting = ATOMIC_FLAG_INIT;
};

Reporter& reporter() {
  static Reporter the;
  return the;
}

void locate(FaultReport& report) {
  for (size_t i = 0; i < reporter().count; ++i) {
    const Range& range = reporter().ranges[i];
    const uint64_t end = range.start + range.bytes;
    using Place = FaultReport::Place;
    Place place = Place::kElsewhere;
    uint64_t distance = 0;
    if (report.address >= range.start && report.address < end) {
      place = Place::kInside;
      distance = report.address - range.start;
    } else if (report.address >= end && report.address - end < kReach) {
      place = Place::kPastEnd;
      distance = report.address - end;
    } else if (report.address < range.start && range.start - report.address <= kReach) {
      place = Place::kBeforeStart;
      distance = range.start - report.address;
    }
    const bool nearer = report.place == Place::kElsewhere || place == Place::kInside ||
                        (report.place != Place::kInside && distance < report.distance);
    if (place == Place::kElsewhere || !nearer) continue;
    report.place = place;
    report.buffer = range.id;
    report.distance = distance;
  }
}

void on_fault(int signal, siginfo_t* info, void* context) {
  // The first thread reports; others that fault meanwhile wait for the end.
  while (reporter().reporting.test_and_set()) pause();
  FaultReport report;
  report.signal = signal;
  if (signal == SIGSEGV || signal == SIGBUS) {
    report.address = reinterpret_cast<uint64_t>(info->si_addr);
#if defined(__x86_64__)
    constexpr uint64_t kWriteFault = 2;  // of the page fault's error code
    const auto* state = static_cast<const ucontext_t*>(context);
    report.wrote =
        (static_cast<uint64_t>(state->uc_mcontext.gregs[REG_ERR]) & kWriteFault) != 0 ? 1 : 0;
#endif
    locate(report);
  }
  (void)!write(reporter().fd, &report, sizeof report);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, signal);
  pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
  raise(signal);
}

}  // namespace

void name_range(BufferId id, const void* data, uint64_t bytes) {
  Reporter& the = reporter();
  if (the.count < kMostRanges)
    the.ranges[the.count++] = {id, reinterpret_cast<uint64_t>(data), bytes};
}

void forget_range(BufferId id) {
  Reporter& the = reporter();
  for (size_t i = 0; i < the.count; ++i) {
    if (the.ranges[i].id != id) continue;
    the.ranges[i] = the.ranges[--the.count];
    return;
  }
}

void install_fault_reporter(int fd) {
  reporter().fd = fd;
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace quern
