// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace quern {

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

/// SHA-256 over a list of parts; each part's length is hashed with it, so that moving a byte from
/// one part to the next changes the answer.
class Hasher {
 public:
  Hasher& add(std::string_view part);
  std::string hex() const { return sha256_hex(text_); }

 private:
  std::string text_;
};

}  // namespace quern
