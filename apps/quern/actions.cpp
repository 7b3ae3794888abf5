// SPDX-License-Identifier: Apache-2.0
#include "schedule/actions.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/strings.h"
#include "commands.h"
#include "device/cpu/machine.h"
#include "propose/rules_source.h"
#include "task_source.h"

namespace quern::cli {
namespace {

/// Plans for a device are shown as for a large GPU: none need be there.
constexpr int kUsualMultiprocessors = 132;

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
              {"how", action.how},
              {"device_support", support_name(action.device_support)},
              {"device_how", action.device_how},
              {"cuda_support", support_name(support_on(action, ScheduleTarget::kCuda))},
              {"cuda_how", how_on(action, ScheduleTarget::kCuda)}};
}

ScheduleTarget schedule_target(const std::string& target) {
  if (target == "cpu") return ScheduleTarget::kCpu;
  return target == "cuda" ? ScheduleTarget::kCuda : ScheduleTarget::kDevice;
}

/// The plans that the rules begin with on a task, each a trace of actions, and their sources.
Result<int> plans(const Context& context, const std::string& name, const std::string& size,
                  const std::string& target) {
  QUERN_ASSIGN(const TaskAtSize task, load_task_at(context, name, size));
  RulesMachine machine;
  machine.threads = target == "cpu" ? available_processors() : kUsualMultiprocessors;
  if (target == "cuda") machine.device = DeviceLanguage::kCuda;
  if (target == "opencl") machine.device = DeviceLanguage::kOpencl;
  RulesSource rules(task.program, task.sizes, machine, 0);
  constexpr int kPlans = 24;
  QUERN_ASSIGN(const std::vector<ProposedCandidate> made, rules.next(kPlans));
  Json list = Json::array();
  std::string text;
  for (const ProposedCandidate& plan : made) {
    list.push_back({{"trace", plan.candidate.trace}, {"source", plan.candidate.source}});
    text += fmt::format("{}\n\n", plan.candidate.trace);
  }
  if (context.json) {
    print_json(Json{{"plans", list}});
  } else {
    print(text);
  }
  return int{kImproved};
}

}  // namespace

Action add_actions(CLI::App& app) {
  auto task = std::make_shared<std::string>();
  auto size = std::make_shared<std::string>();
  auto target = std::make_shared<std::string>("cpu");
  app.add_option("TASK", *task, "Show the plans that the rules begin with on this task instead");
  app.add_option("--size", *size, "Size set [cpu where the task has it, else full]");
  app.add_option("--target", *target, "Whose transformations, or plans")
      ->check(CLI::IsMember({"cpu", "cuda", "opencl"}))
      ->capture_default_str();
  return [=](const Context& context) {
    if (!task->empty()) {
      const Result<int> code = plans(context, *task, *size, *target);
      return code ? *code : fail(context, code.error());
    }
    Json list = Json::array();
    std::string text;
    const ScheduleTarget whose = schedule_target(*target);
    for (const ActionInfo& action : all_actions()) {
      list.push_back(action_json(action));
      const std::string how(how_on(action, whose));
      text += fmt::format("{:>2} {}\n   {}\n   {} · {} · {}{}\n", action.id, signature(action),
                          action.summary, exactness_name(action.exactness),
                          resource_name(action.resource), support_name(support_on(action, whose)),
                          how.empty() ? "" : ": " + how);
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
