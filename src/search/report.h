// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "store/run_store.h"

namespace quern {

/// What a report is made of.
struct ReportData {
  RunRecord run;
  std::vector<Attempt> attempts;
  std::vector<DuelRecord> duels;
  std::string directory;
};

/// One self-contained HTML file (inline style and SVG, no script): the claim with hardware,
/// interval and baseline; what was verified; the pictures of search and roofline; lineage, diff and
/// source of the best; one example of each class of failure; how to reproduce it. Works on a run
/// that is not finished: it says so.
std::string render_report(const ReportData& data);

/// Reads the data from a store and renders it.
Result<std::string> render_report(RunStore& store);

}  // namespace quern
