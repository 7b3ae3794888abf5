// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace quern {

/// c = a · b as a vendor's BLAS does it, on row-major tensors that are whole buffers of a task.
/// Strides and offsets are in elements.
struct MatrixProduct {
  DType type = DType::kF32;
  uint32_t a = 0, b = 0;  ///< which inputs
  bool a_transposed = false, b_transposed = false;
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, b_row = 0, c_row = 0;  ///< from one row, as stored, to the next
  int64_t batch = 1, a_batch = 0, b_batch = 0, c_batch = 0;
  std::vector<std::array<int64_t, 3>> starts = {{0, 0, 0}};  ///< in a, b, c: one batch each

  bool operator==(const MatrixProduct&) const = default;
};

/// What a device worker loads in place of a binary: a call of the vendor's library. It is loaded
/// only by workers that were given the library, and those run no candidates.
std::string library_image(const MatrixProduct& product);
/// Nothing for an image that is none of `library_image`.
std::optional<MatrixProduct> read_library_image(std::string_view image);

}  // namespace quern
