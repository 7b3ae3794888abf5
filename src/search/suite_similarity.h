// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "search/suite.h"

namespace quern {

/// How alike the samples of a task are, from their sources (docs/metrics.md): the mean over its
/// pairs, and for each sample the greatest to another one. Of many samples the first
/// `kComparedSamples`. Nothing where fewer than two have a source.
void add_similarity(SuiteRow& row);

inline constexpr int kComparedSamples = 32;

}  // namespace quern
