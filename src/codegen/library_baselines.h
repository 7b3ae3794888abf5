// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"

namespace quern {

/// A complete candidate source (plan lines, entry, any sizes) that leaves the work to a library.
struct BaselineSource {
  std::string name;  ///< "openblas", "onednn", "onednn-plain", …
  std::string source;
  std::vector<std::string> libraries;  ///< to link, as `-l` takes them
};

/// Library implementations of the whole program, where it has the shape of something a library
/// offers; recognised by structure. `sizes` serve to check strides, the sources run at any sizes.
/// - "openblas": cblas_sgemm, one call for each product of a batch, then loops for what follows.
/// - "onednn": the primitive in layouts of its own choice, reorders included; "onednn-plain": the
///   same on the tensors as they are. Bias and activation are fused where oneDNN can.
///   Beside products and convolutions: softmax, layer and group norm, pooling, activations,
///   reductions.
/// - "onednn-matmul", "onednn-pooling": a reduction as the product with ones, or as pooling.
std::vector<BaselineSource> library_baselines(const ir::Program& program, const ir::Sizes& sizes);

}  // namespace quern
