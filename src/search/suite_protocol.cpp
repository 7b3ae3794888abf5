// SPDX-License-Identifier: Apache-2.0
#include "search/suite.h"

namespace quern {
namespace {

/// A sample as KernelBench's protocol sees it. It has no interval: one mean over one other.
SuiteSample as_theirs(const SuiteSample& sample) {
  SuiteSample made = sample;
  if (!sample.counted()) return made;
  made.provisional = false;
  made.roofline = made.median_ns = made.speedup = made.low = made.high = 0;
  made.baseline = "";
  if (!sample.kernelbench) {
    made.state = "unsupported";
    made.reason = "KernelBench's protocol did not judge it: it is no candidate in PyTorch";
    return made;
  }
  const KernelBenchVerdict& theirs = *sample.kernelbench;
  made.reason = theirs.reason;
  if (theirs.correct()) {
    made.state = "passed";
    made.speedup = made.low = made.high = theirs.speedup;
    made.baseline = "eager";
    made.median_ns = 1e6 * theirs.result.value("runtime", 0.0);
  } else if (!theirs.result.is_object()) {
    made.state = "no_result";
  } else {
    made.state = theirs.result.value("compiled", false) ? "wrong_result" : "compile_failed";
  }
  return made;
}

}  // namespace

SuiteResult under_protocol(const SuiteResult& result, const std::string& protocol) {
  SuiteResult made = result;
  made.protocol = protocol;
  if (protocol != "kernelbench") return made;
  for (SuiteRow& row : made.rows) {
    for (SuiteSample& sample : row.samples) sample = as_theirs(sample);
  }
  return made;
}

std::string other_protocol(const std::string& protocol) {
  return protocol == "kernelbench" ? "strict" : "kernelbench";
}

Agreement agreement_of(const SuiteResult& result) {
  Agreement agreement;
  for (const SuiteRow& row : result.rows) {
    for (const SuiteSample& sample : row.samples) {
      if (!sample.kernelbench || !sample.counted()) continue;
      const bool ours = sample.passed(), theirs = sample.kernelbench->correct();
      ++agreement.samples;
      agreement.both += ours && theirs ? 1 : 0;
      agreement.neither += !ours && !theirs ? 1 : 0;
      agreement.only_kernelbench += !ours && theirs ? 1 : 0;
      agreement.only_strict += ours && !theirs ? 1 : 0;
    }
  }
  return agreement;
}

}  // namespace quern
