// SPDX-License-Identifier: Apache-2.0
#include "device/matrix_product.h"

#include "device/device_wire.h"

namespace quern {
namespace {

constexpr std::string_view kMagic = "quern matrix product\n";

}  // namespace

template <class W>
void wire(W& w, MatrixProduct& p) {
  w(p.type), w(p.a), w(p.b), w(p.a_transposed), w(p.b_transposed);
  w(p.m), w(p.n), w(p.k), w(p.a_row), w(p.b_row), w(p.c_row);
  w(p.batch), w(p.a_batch), w(p.b_batch), w(p.c_batch), w(p.starts);
}

std::string library_image(const MatrixProduct& product) {
  return std::string(kMagic) + to_wire(product);
}

std::optional<MatrixProduct> read_library_image(std::string_view image) {
  if (!image.starts_with(kMagic)) return std::nullopt;
  auto product = from_wire<MatrixProduct>(image.substr(kMagic.size()));
  if (!product) return std::nullopt;
  return std::get<0>(*product);
}

}  // namespace quern
