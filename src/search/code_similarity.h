// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace quern::metrics {

/// How a source is cut into tokens and statements.
enum class Syntax {
  kC,
  kPython,  ///< statements end with their line; text in triple quotes is code of C
};

/// How alike two sources of one language are; every part 0–1, 1 for equal ones. White space
/// and comments do not count.
struct CodeSimilarity {
  double ngram = 0;     ///< BLEU-4 of their tokens
  double weighted = 0;  ///< the same, where a keyword counts five times among single tokens
  double tree = 0;      ///< share of the reference's statements and brackets, names left out
  double total = 0;     ///< mean of the three
};

/// `candidate` against `reference`: not symmetric. After CodeBLEU (arXiv 2009.10297), with its tree
/// taken from brackets and semicolons in place of a parser's, and without its data-flow part, which
/// needs one; docs/metrics.md has the formulas.
CodeSimilarity code_similarity(std::string_view candidate, std::string_view reference,
                               Syntax syntax = Syntax::kC);

}  // namespace quern::metrics
