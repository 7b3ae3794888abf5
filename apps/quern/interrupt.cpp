// SPDX-License-Identifier: Apache-2.0
#include "interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace quern::cli {
namespace {

// A signal handler can reach nothing but a global.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t interrupts = 0;
// Several threads may prepare something.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> nothing_to_save = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler reads it");

[[noreturn]] void stop_at_once() {
  static constexpr char kMessage[] = "\nstopped\n";
  (void)!::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(130);
}

void on_interrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1 || nothing_to_save > 0) stop_at_once();
  static constexpr char kMessage[] = "\nfinishing and saving; press Ctrl-C again to stop at once\n";
  (void)!::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return interrupts > 0; }

NothingToSave::NothingToSave() { ++nothing_to_save; }
NothingToSave::~NothingToSave() { --nothing_to_save; }

}  // namespace quern::cli
