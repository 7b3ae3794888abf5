// SPDX-License-Identifier: Apache-2.0
#include "context.h"

#include <fmt/format.h>

#include <cstdio>

namespace quern::cli {
namespace {

struct KindRow {
  ErrorKind kind;
  const char* name;
  int exit_code;
};

constexpr KindRow kKinds[] = {
    {ErrorKind::kUsage, "usage", kUsageError},
    {ErrorKind::kInput, "input", kUsageError},
    {ErrorKind::kEnvironment, "environment", kEnvironmentError},
    {ErrorKind::kBusy, "busy", kEnvironmentError},
    {ErrorKind::kInterrupted, "interrupted", kInterrupted},
    {ErrorKind::kInternal, "internal", kInternalError},
};

const KindRow& row_of(ErrorKind kind) {
  for (const KindRow& row : kKinds) {
    if (row.kind == kind) return row;
  }
  return kKinds[5];
}

}  // namespace

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_json(const Json& json) { print(dump(json, 2) + "\n"); }

void say(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

int fail(const Context& context, const Error& error) {
  const KindRow& row = row_of(error.kind);
  if (context.json) {
    print_json(
        Json{{"error", {{"kind", row.name}, {"message", error.message}, {"hint", error.hint}}}});
  }
  const char* red = context.color ? "\x1b[1;31m" : "";
  const char* plain = context.color ? "\x1b[0m" : "";
  // Messages about a place in a file carry "error:" themselves.
  bool placed = error.message.find(": error: ") != std::string::npos;
  say(fmt::format("{}{}{}{}\n", red, placed ? "" : "quern: error: ", plain, error.message));
  if (!error.hint.empty()) say(fmt::format("  hint: {}\n", error.hint));
  return row.exit_code;
}

}  // namespace quern::cli
