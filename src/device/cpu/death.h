// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "device/cpu/kernel_process.h"
#include "record/verdict.h"

namespace quern {

/// What is known of a candidate's process that ended by itself. The status is the kernel's word;
/// the rest is the runner's last report, which decides the wording and no more.
struct Death {
  ExitStatus status;
  bool loading = false;  ///< before the first order
  int signal = 0;        ///< that the runner's handler caught
  int system_call = -1;  ///< that was trapped
  bool wrote = false;    ///< the fault was a write
  uint64_t address = 0;  ///< of the fault
  uint64_t stack_pointer = 0;
  uint64_t refused_bytes = 0;                    ///< an allocation that failed
  std::vector<std::vector<uint64_t>> addresses;  ///< of the data: [slot][buffer]
  std::string printed;
};

/// The verdict a death amounts to: `Rejected` for a forbidden system call, a write to an input or
/// an access beside a buffer; `Crashed` for everything else.
Verdict explain_death(const Death& death, const KernelLayout& layout, const KernelLimits& limits);

/// What the end of a process by a signal means, as part of a sentence: "aborted".
std::string signal_meaning(int signal);

}  // namespace quern
