// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codegen/library_activation.h"
#include "ir/program.h"

/// Programs that a library offers as one call, recognised by structure.
namespace quern {

/// c[batch, m, n] = sum over k of a * b, every dimension with one stride (in elements) a tensor.
struct MatmulShape {
  struct Dimension {
    ir::IntExpr extent, a, b, c;
  };
  size_t statement = 0;
  std::string a, b;
  std::vector<Dimension> batch;
  Dimension m, n, k;
  bool blas = false;  ///< strides that a BLAS can express; then:
  bool a_transposed = false, b_transposed = false;
  std::string last_axis;  ///< of the statement, where N is that axis alone
};
std::optional<MatmulShape> match_matmul(const ir::Program& program, size_t statement,
                                        const ir::Sizes& sizes);

/// A convolution or transposed convolution of x [batch, in, …] with any number of groups
/// (depthwise included), in the terms of oneDNN.
struct ConvolutionShape {
  size_t statement = 0;
  bool transposed = false;
  std::string x, w, channel_axis;
  std::vector<ir::IntExpr> x_dims, y_dims;
  std::vector<ir::IntExpr> w_dims, w_strides;  ///< [groups, out, in, …]
  std::vector<ir::IntExpr> stride, gap, before, after;
};
std::optional<ConvolutionShape> match_convolution(const ir::Program& program, size_t statement,
                                                  const ir::Sizes& sizes);

/// `coefficient * axis` inside an index that is affine in it; 0 where the axis is absent.
std::optional<ir::IntExpr> coefficient(const ir::IntExpr& index, const ir::Axis& axis);

/// Statements after `statement` that a primitive does itself: a bias along `axis`, an activation.
struct Fused {
  size_t last = 0;  ///< the statement whose tensor the primitive writes
  std::optional<std::string> bias;
  std::optional<Activation> activation;
};
Fused fuse_tail(const ir::Program& program, size_t statement, bool allow_bias,
                const std::string& axis);

}  // namespace quern
