// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

/// A file that is part of the program (cmake/quern.cmake, quern_embed_folder). Tables of them end
/// with an empty row.
struct EmbeddedFile {
  const char* name = nullptr;  ///< without folder and extension
  const char* text = nullptr;  ///< NUL-terminated
};

}  // namespace quern
