// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <thread>

#include "base/file.h"
#include "base/strings.h"
#include "commands.h"
#include "task_source.h"

namespace quern::cli {
namespace {

struct Finding {
  std::string name;
  bool ok = true;
  bool required = true;
  std::string detail, remedy;
};

std::string find_program(const std::string& name, const std::string& path) {
  for (const std::string& folder : split(path, ':')) {
    std::string file = folder + "/" + name;
    std::error_code code;
    auto status = std::filesystem::status(file, code);
    bool runs =
        (status.permissions() & std::filesystem::perms::owner_exec) != std::filesystem::perms::none;
    if (!code && runs && std::filesystem::is_regular_file(status)) return file;
  }
  return "";
}

Finding program_finding(const std::string& name, bool required, const std::string& remedy) {
  const char* path = std::getenv("PATH");
  std::string found = find_program(name, path ? path : "/usr/bin:/bin");
  return {name, !found.empty(), required, found.empty() ? "not found" : found, remedy};
}

std::vector<Finding> findings(const Context& context) {
  std::vector<Finding> list;
  list.push_back(program_finding("g++", true, "apt install g++"));
  list.push_back(program_finding("ld", true, "apt install binutils"));
  list.push_back(program_finding("clang++", false, "apt install clang (a second compiler)"));
  size_t tasks = task_names(context).size();
  list.push_back({"tasks", tasks > 0, true, fmt::format("{} in {}", tasks, context.tasks_directory),
                  "start quern from its own folder"});
  Result<void> cache = make_directories(context.cache_directory);
  list.push_back({"cache", cache.has_value(), true, context.cache_directory,
                  cache ? "" : cache.error().message});
  Result<std::string> lsm = read_file("/sys/kernel/security/lsm");
  bool landlock = lsm && lsm->find("landlock") != std::string::npos;
  list.push_back({"landlock", landlock || !lsm, false,
                  landlock ? "active"
                  : lsm    ? "not active"
                           : "cannot tell",
                  "boot with lsm=landlock,…: candidates are confined by seccomp alone"});
  return list;
}

int doctor(const Context& context) {
  bool ok = true;
  Json list = Json::array();
  std::string text;
  for (const Finding& finding : findings(context)) {
    ok = ok && (finding.ok || !finding.required);
    list.push_back(Json{{"name", finding.name},
                        {"ok", finding.ok},
                        {"required", finding.required},
                        {"detail", finding.detail},
                        {"remedy", finding.ok ? "" : finding.remedy}});
    const char* mark = finding.ok ? "ok" : finding.required ? "MISSING" : "absent";
    text += fmt::format("{:<8} {:<10} {}\n", mark, finding.name, finding.detail);
    if (!finding.ok && !finding.remedy.empty())
      text += fmt::format("{:19} {}\n", "→", finding.remedy);
  }
  if (context.json) {
    print_json(Json{{"ok", ok}, {"findings", list}});
  } else {
    print(text + (ok ? "Ready.\n" : "Not ready: see MISSING above.\n"));
  }
  return ok ? kImproved : kEnvironmentError;
}

}  // namespace

Action add_doctor(CLI::App&) {
  return [](const Context& context) { return doctor(context); };
}

}  // namespace quern::cli
