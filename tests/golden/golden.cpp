// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "task/parse.h"

/// Compares what a room makes of an input with what it is known to make of it.
namespace quern {
namespace {

constexpr const char* kSeparator = "----\n";

/// The canonical text of a task, or the error and its hint.
std::string golden_task(const std::string& input) {
  Result<ir::Program> program = parse_task(input, "t.task");
  if (program) return print_task(*program);
  const Error& error = program.error();
  return error.message + "\n" + (error.hint.empty() ? "" : "hint: " + error.hint + "\n");
}

const std::map<std::string, std::function<std::string(const std::string&)>>& rooms() {
  static const std::map<std::string, std::function<std::string(const std::string&)>> table = {
      {"task", golden_task}};
  return table;
}

std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool holds(const std::filesystem::path& path, bool update) {
  std::string room = path.parent_path().filename();
  std::string text = slurp(path);
  size_t at = text.rfind(kSeparator);
  if (at == std::string::npos) at = text.size();
  std::string input = text.substr(0, at), wanted;
  if (at < text.size()) wanted = text.substr(at + 5);
  std::string found = rooms().at(room)(input);
  if (found == wanted) return true;
  if (update) {
    std::ofstream(path, std::ios::binary) << input << kSeparator << found;
    return true;
  }
  std::fprintf(stderr, "%s differs\n--- wanted\n%s--- found\n%s", path.c_str(), wanted.c_str(),
               found.c_str());
  return false;
}

int run(bool update, const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  for (const auto& [room, transform] : rooms()) {
    for (const auto& entry : std::filesystem::directory_iterator(root / room)) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  auto failed = std::count_if(files.begin(), files.end(), [&](const std::filesystem::path& path) {
    return !holds(path, update);
  });
  std::printf("%zu golden files, %td differ\n", files.size(), failed);
  return failed == 0 && !files.empty() ? 0 : 1;
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  bool update = argc > 2 && std::string(argv[1]) == "--update";
  if (argc != (update ? 3 : 2)) {
    std::fprintf(stderr, "usage: golden [--update] FOLDER\n");
    return 2;
  }
  return quern::run(update, argv[argc - 1]);
}
