// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "search/report.h"

namespace quern {

/// "3.21 ms", "812 µs".
std::string duration_text(double ns);

/// Time per call of every attempt, the best so far, baselines and floor; failures by verdict
/// along the bottom. An SVG element, "" when nothing was tried.
std::string search_picture(const ReportData& data);

/// Kernels under the machine's roofs; "" where flops or peaks are not known.
std::string roofline_picture(const ReportData& data, const Attempt* best);

}  // namespace quern
