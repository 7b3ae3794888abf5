// SPDX-License-Identifier: Apache-2.0
#include "schedule/actions.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "commands.h"

namespace quern::cli {
namespace {

std::string signature(const ActionInfo& action) {
  std::vector<std::string> parts;
  for (const ActionParam& param : action.params) {
    if (param.name.empty()) continue;
    parts.push_back(fmt::format("{}{}", param.name, param.optional ? "?" : ""));
  }
  return fmt::format("{}({})", action.name, join(parts, ", "));
}

Json action_json(const ActionInfo& action) {
  Json params = Json::array();
  for (const ActionParam& param : action.params) {
    if (param.name.empty()) continue;
    Json json = {{"name", param.name}, {"kind", param.kind}, {"optional", param.optional}};
    if (param.kind == "integer") json["range"] = {param.low, param.high};
    params.push_back(json);
  }
  return Json{{"id", action.id},
              {"name", action.name},
              {"summary", action.summary},
              {"params", params},
              {"legality", action.legality},
              {"exactness", exactness_name(action.exactness)},
              {"resource", resource_name(action.resource)},
              {"cpu", action.cpu},
              {"gpu", action.gpu},
              {"support", support_name(action.support)},
              {"how", action.how}};
}

}  // namespace

Action add_actions(CLI::App&) {
  return [](const Context& context) {
    Json list = Json::array();
    std::string text;
    for (const ActionInfo& action : all_actions()) {
      list.push_back(action_json(action));
      text += fmt::format("{:>2} {}\n   {}\n   {} · {} · {}{}\n", action.id, signature(action),
                          action.summary, exactness_name(action.exactness),
                          resource_name(action.resource), support_name(action.support),
                          action.how.empty() ? "" : ": " + std::string(action.how));
    }
    if (context.json) {
      print_json(Json{{"actions", list}});
    } else {
      print(text);
    }
    return int{kImproved};
  };
}

}  // namespace quern::cli
