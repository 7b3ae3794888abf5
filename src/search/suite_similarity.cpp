// SPDX-License-Identifier: Apache-2.0
#include "search/suite_similarity.h"

#include <algorithm>

#include "search/code_similarity.h"

namespace quern {
namespace {

using metrics::Syntax;

Syntax syntax_of(const std::string& source) {
  const bool python = source.find("import torch") != std::string::npos;
  return python ? Syntax::kPython : Syntax::kC;
}

/// The measure is of a candidate against a reference; of a pair, its mean over both orders.
double alike(const std::string& a, const std::string& b) {
  if (a == b) return 1;
  const Syntax syntax = syntax_of(a);
  if (syntax != syntax_of(b)) return 0;
  return (metrics::code_similarity(a, b, syntax).total +
          metrics::code_similarity(b, a, syntax).total) /
         2;
}

}  // namespace

void add_similarity(SuiteRow& row) {
  std::vector<SuiteSample*> samples;
  for (SuiteSample& sample : row.samples) {
    if (!sample.source.empty()) samples.push_back(&sample);
  }
  samples.resize(std::min(samples.size(), static_cast<size_t>(kComparedSamples)));
  double sum = 0;
  int pairs = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const double value = alike(samples[i]->source, samples[j]->source);
      samples[i]->nearest = std::max(samples[i]->nearest.value_or(0), value);
      samples[j]->nearest = std::max(samples[j]->nearest.value_or(0), value);
      sum += value;
      ++pairs;
    }
  }
  if (pairs > 0) row.similarity = sum / pairs;
}

}  // namespace quern
