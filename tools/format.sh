#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Formats every C++ source with clang-format 14; with --check, only says which are not formatted.
set -eu
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
clang_format=$(command -v clang-format-14 || command -v clang-format) ||
  { echo "format.sh: install clang-format" >&2; exit 5; }
mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run --Werror)
find src apps tests bench -type f \( -name '*.h' -o -name '*.cpp' \) -not -path 'tests/cheats/*' -print0 |
  xargs -0 -r "$clang_format" "${mode[@]}"
