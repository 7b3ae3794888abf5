// SPDX-License-Identifier: Apache-2.0
#include "record/evaluator.h"

namespace quern {

Result<Profile> Evaluator::profile(const Candidate&) {
  return Error{ErrorKind::kEnvironment, "hardware counters are read on GPUs of NVIDIA's alone", ""};
}

}  // namespace quern
