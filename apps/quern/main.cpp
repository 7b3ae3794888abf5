// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/suggest.h"
#include "commands.h"
#include "context.h"

namespace quern::cli {
namespace {

/// The folder that holds `tasks/`: the nearest one above the executable, else the current one.
std::string find_tasks(const std::string& program) {
  std::filesystem::path folder = std::filesystem::path(program).parent_path();
  for (; !folder.empty() && folder != folder.root_path(); folder = folder.parent_path()) {
    std::error_code code;
    if (std::filesystem::is_directory(folder / "tasks", code)) return folder / "tasks";
  }
  return "tasks";
}

std::string find_cache() {
  const char* base = std::getenv("XDG_CACHE_HOME");
  if (base && *base) return std::string(base) + "/quern";
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.cache/quern" : ".quern-cache";
}

Context make_context(int argc, char** argv) {
  Context context;
  std::error_code code;
  context.program = std::filesystem::read_symlink("/proc/self/exe", code).string();
  context.tasks_directory = find_tasks(context.program);
  context.cache_directory = find_cache();
  const char* term = std::getenv("TERM");
  context.terminal = ::isatty(STDERR_FILENO) && term && std::strcmp(term, "dumb") != 0;
  const char* no_color = std::getenv("NO_COLOR");
  context.color = context.terminal && !(no_color && *no_color);
  // Known before parsing, so that a usage error is JSON too.
  for (int i = 1; i < argc; ++i) context.json = context.json || !std::strcmp(argv[i], "--json");
  return context;
}

/// The command that the arguments led to.
const CLI::App* place_of(const CLI::App& app) {
  const CLI::App* place = &app;
  while (!place->get_subcommands().empty()) place = place->get_subcommands().back();
  return place;
}

/// What else could have been meant where `argument` was not expected.
std::vector<std::string> expected(const CLI::App& app, const std::string& argument) {
  std::vector<std::string> names;
  if (argument.starts_with("-")) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  } else {
    for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  }
  return names;
}

Error usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* place = place_of(app);
  std::string help = place->get_name() + " --help";
  for (const CLI::App* above = place->get_parent(); above; above = above->get_parent()) {
    help = above->get_name() + " " + help;
  }
  std::string hint = fmt::format("see: {}", help);
  std::vector<std::string> extra = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) && !extra.empty()) {
    bool flag = extra[0].starts_with("-");
    bool commands_expected = !flag && !place->get_subcommands({}).empty();
    std::string what = flag ? "flag" : commands_expected ? "command" : "argument";
    std::string meant = what == "argument" ? ""
                                           : did_you_mean(extra[0].substr(0, extra[0].find('=')),
                                                          expected(*place, extra[0]));
    return {ErrorKind::kUsage, fmt::format("unknown {} '{}'", what, extra[0]),
            meant.empty() ? hint : meant + " " + hint};
  }
  return {ErrorKind::kUsage, error.what(), hint};
}

/// A network has hundreds of tensors, and each buffer of a kernel is a file.
void allow_many_files() {
  constexpr rlim_t kFiles = 16384;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kFiles) return;
  limit.rlim_cur = std::min(limit.rlim_max, kFiles);
  setrlimit(RLIMIT_NOFILE, &limit);
}

int run(int argc, char** argv) {
  Context context = make_context(argc, argv);
  CLI::App app;
  Action action;
  declare(app, context, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* place = place_of(app);
    const CLI::App* above = place->get_parent();
    print(place->help(!above ? "" : above == &app ? "quern" : "quern " + above->get_name()));
    return 0;
  } catch (const CLI::CallForVersion&) {
    print("quern " QUERN_VERSION "\n");
    return 0;
  } catch (const CLI::ParseError& error) {
    return fail(context, usage_error(app, error));
  }
  if (!action) {
    say(app.help());
    return kUsageError;
  }
  return action(context);
}

}  // namespace
}  // namespace quern::cli

int main(int argc, char** argv) {
  // A file-size limit is then an error of the write, with a message, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  quern::cli::allow_many_files();
  try {
    return quern::cli::run(argc, argv);
  } catch (const std::exception& error) {
    return quern::cli::fail({}, {quern::ErrorKind::kInternal, error.what(), ""});
  }
}
