// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <sys/types.h>
// sha2.h needs the fixed-width types of sys/types.h first.
#include <sha2.h>

namespace quern {

std::string sha256_hex(std::string_view bytes) {
  SHA2_CTX context;
  SHA256Init(&context);
  SHA256Update(&context, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  char hex[SHA256_DIGEST_STRING_LENGTH];
  SHA256End(&context, hex);
  return hex;
}

Hasher& Hasher::add(std::string_view part) {
  text_ += std::to_string(part.size());
  text_ += ':';
  text_ += part;
  return *this;
}

}  // namespace quern
