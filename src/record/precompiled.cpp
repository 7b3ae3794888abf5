// SPDX-License-Identifier: Apache-2.0
#include "record/precompiled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/strings.h"

namespace quern {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kNoDigit = 64;

constexpr std::array<uint8_t, 256> digit_values() {
  std::array<uint8_t, 256> values{};
  for (uint8_t& value : values) value = kNoDigit;
  for (size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<uint8_t>(kDigits[i])] = static_cast<uint8_t>(i);
  }
  return values;
}

constexpr auto kValues = digit_values();

Error bad_line(int line, const std::string& what) {
  return Error{
      ErrorKind::kInput, fmt::format("line {}: {}", line, what),
      "behind a plan with `code = cubin`: lines `cubin`, each followed by lines of base64"};
}

}  // namespace

Result<std::string> from_base64(std::string_view text) {
  const auto bad = [] { return Error{ErrorKind::kInput, "this is not base64", ""}; };
  if (text.size() % 4 != 0) return bad();
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t word = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool padded = i >= text.size() - padding;
    const uint8_t digit = padded ? 0 : kValues[static_cast<uint8_t>(text[i])];
    if (digit == kNoDigit) return bad();
    word = word << 6 | digit;
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<char>(word >> shift));
    word = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

Result<std::vector<std::string>> precompiled_cubins(std::string_view source) {
  std::vector<std::string> cubins;
  int number = 0;
  for (size_t start = 0; start < source.size();) {
    const size_t end = std::min(source.find('\n', start), source.size());
    const std::string_view line = trim(source.substr(start, end - start));
    start = end + 1;
    ++number;
    // Base64 may begin with slashes, too: comments are those above the first cubin.
    if (line.empty() || (cubins.empty() && line.starts_with("//"))) continue;
    if (line == "cubin") {
      cubins.emplace_back();
      continue;
    }
    if (cubins.empty()) return bad_line(number, "expected `cubin`");
    const Result<std::string> bytes = from_base64(line);
    if (!bytes) return bad_line(number, bytes.error().message);
    cubins.back() += *bytes;
  }
  if (cubins.empty()) return bad_line(number, "there is no cubin");
  return cubins;
}

}  // namespace quern
