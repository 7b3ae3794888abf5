// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "commands.h"
#include "compute.h"
#include "ir/check.h"
#include "ir/counts.h"
#include "ir/interpret_json.h"
#include "task/parse.h"
#include "task_source.h"
#include "verify/mutants.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct TasksArguments {
  std::vector<std::string> names;
  bool check = false, only_names = false;
  std::string interpret, compute, size = "tiny";
  ComputeFiles files;
  uint64_t seed = 0;
};

std::string sizes_text(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<std::string> parts;
  for (const std::string& name : program.free_sizes()) {
    parts.push_back(fmt::format("{}={}", name, sizes.at(name)));
  }
  return join(parts, " ");
}

/// What the named operators of a task are; plain statements count as "loops".
std::string family(const ir::Program& program) {
  std::vector<std::string> names;
  for (const ir::Statement& statement : program.statements) {
    std::string name = statement.origin.empty() ? "loops" : statement.origin;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return join(names, " + ");
}

Json task_json(const ir::Program& program, const std::string& path) {
  Json json = {{"name", program.name}, {"path", path}, {"family", family(program)}};
  json["description"] = program.doc.empty() ? "" : program.doc[0];
  Json sets = Json::object();
  for (const std::string& set : size_sets(program)) {
    Result<ir::Sizes> sizes = ir::bind_sizes(program, set);
    if (!sizes) continue;
    ir::Counts counts = ir::count(program, *sizes);
    Json values = Json::object();
    for (const std::string& name : program.free_sizes()) values[name] = sizes->at(name);
    sets[set] = {
        {"sizes", values}, {"flops", counts.flops}, {"bytes", counts.bytes_in + counts.bytes_out}};
  }
  json["sizes"] = sets;
  return json;
}

int list_tasks(const Context& context) {
  Json list = Json::array();
  std::string text;
  int faults = 0;
  for (const std::string& name : task_names(context)) {
    std::string path = fmt::format("{}/{}.task", context.tasks_directory, name);
    Result<ir::Program> program = load_task(path);
    if (!program) {
      say(fmt::format("{}\n", program.error().message));
      list.push_back(Json{{"name", name}, {"path", path}, {"error", program.error().message}});
      ++faults;
      continue;
    }
    list.push_back(task_json(*program, path));
    std::string description = program->doc.empty() ? family(*program) : program->doc[0];
    text += fmt::format("{:<20} {}\n", program->name, shorten(description, 76));
    for (const std::string& set : size_sets(*program)) {
      Result<ir::Sizes> sizes = ir::bind_sizes(*program, set);
      if (sizes) text += fmt::format("  {:<6} {}\n", set, sizes_text(*program, *sizes));
    }
  }
  if (list.empty()) {
    return fail(context, {ErrorKind::kEnvironment,
                          fmt::format("no tasks in {}", context.tasks_directory), ""});
  }
  if (context.json) {
    print_json(Json{{"tasks", list}});
  } else {
    print(text);
  }
  return faults ? kUsageError : kImproved;
}

Result<int> show_task(const Context& context, const std::string& name) {
  QUERN_ASSIGN(std::string path, find_task(context, name));
  QUERN_ASSIGN(ir::Program program, load_task(path));
  if (context.json) {
    Json json = task_json(program, path);
    json["text"] = print_task(program);
    print_json(json);
    return kImproved;
  }
  QUERN_ASSIGN(std::string text, read_file(path));
  for (const std::string& set : size_sets(program)) {
    QUERN_ASSIGN(ir::Sizes sizes, ir::bind_sizes(program, set));
    ir::Counts counts = ir::count(program, sizes);
    text += fmt::format("# {:<6} {:>10.4g} MFLOP {:>10.4g} MB   {}\n", set, counts.flops / 1e6,
                        (counts.bytes_in + counts.bytes_out) / 1e6, sizes_text(program, sizes));
  }
  print(text);
  return kImproved;
}

/// Offers wrong kernels in place of each task's answer; a fit task refuses them all.
Result<int> check_tasks(const Context& context, std::vector<std::string> names) {
  if (names.empty()) names = task_names(context);
  QUERN_ASSIGN(std::unique_ptr<CpuCompiler> compiler,
               CpuCompiler::make(compiler_options(context, "g++")));
  Json list = Json::array();
  std::string text;
  bool fit = true;
  for (const std::string& name : names) {
    QUERN_ASSIGN(std::string path, find_task(context, name));
    QUERN_ASSIGN(ir::Program program, load_task(path));
    // What the widest contract refuses, the others do.
    QUERN_ASSIGN(Oracle oracle, Oracle::make(program, *compiler, available_processors(),
                                             contract_on(program, ScheduleTarget::kCuda)));
    QUERN_ASSIGN(std::vector<Mutant> mutants, try_mutants(program, oracle, 0));
    Json json = {{"name", program.name}, {"fit", true}, {"mutants", Json::array()}};
    text += fmt::format("{:<20}", program.name);
    for (const Mutant& mutant : mutants) {
      json["fit"] = json["fit"].get<bool>() && mutant.caught;
      json["mutants"].push_back(
          Json{{"name", mutant.name}, {"caught", mutant.caught}, {"detail", mutant.detail}});
      if (!mutant.caught) text += fmt::format(" UNFIT: accepts {}: {}", mutant.name, mutant.detail);
    }
    fit = fit && json["fit"].get<bool>();
    text += json["fit"].get<bool>() ? fmt::format(" fit: refuses {} mutants\n", mutants.size())
                                    : std::string("\n");
    list.push_back(json);
  }
  if (context.json) {
    print_json(Json{{"fit", fit}, {"tasks", list}});
  } else {
    print(text);
  }
  return fit ? kImproved : kIncorrect;
}

/// Draws inputs and prints them with what the task means by them.
Result<int> interpret_task(const Context& context, const TasksArguments& arguments) {
  // The interpreter takes about 0.1 us an operation; beyond this it is not what one wants.
  constexpr double kMostBytes = 64 << 20;
  QUERN_ASSIGN(std::string path, find_task(context, arguments.interpret));
  QUERN_ASSIGN(ir::Program program, load_task(path));
  QUERN_ASSIGN(ir::Sizes sizes, ir::bind_sizes(program, arguments.size));
  QUERN_TRY(ir::check_sizes(program, sizes));
  double bytes = ir::io_bytes(program, sizes);
  if (bytes > kMostBytes) {
    return Error{ErrorKind::kUsage,
                 fmt::format("size set `{}` has {:.3g} MB of tensors; the interpreter takes 64",
                             arguments.size, bytes / 1e6),
                 "interpret `tiny`"};
  }
  print(ir::interpret_json(program, sizes, arguments.seed) + "\n");
  return kImproved;
}

Result<int> run_tasks(const Context& context, const TasksArguments& arguments) {
  if (arguments.only_names) {
    for (const std::string& name : task_names(context)) print(name + "\n");
    return kImproved;
  }
  if (!arguments.interpret.empty()) return interpret_task(context, arguments);
  if (!arguments.compute.empty()) {
    QUERN_TRY(compute_task(context, arguments.compute, arguments.size, arguments.files));
    return kImproved;
  }
  if (arguments.check) return check_tasks(context, arguments.names);
  if (arguments.names.empty()) return list_tasks(context);
  int worst = kImproved;
  for (const std::string& name : arguments.names) {
    QUERN_ASSIGN(int code, show_task(context, name));
    worst = std::max(worst, code);
  }
  return worst;
}

}  // namespace

Action add_tasks(CLI::App& app) {
  auto a = std::make_shared<TasksArguments>();
  app.add_option("NAME", a->names, "Tasks to show");
  app.add_flag("--check", a->check,
               "Try wrong kernels on the tasks named (or on all): is each refused?");
  app.add_option("--interpret", a->interpret,
                 "Draw inputs of this task and print them with its outputs, as JSON");
  auto* compute = app.add_option("--compute", a->compute,
                                 "Compute this task in double precision on inputs from a file");
  compute->needs(
      app.add_option("--inputs", a->files.inputs, "Raw float64, in the task's order"),
      app.add_option("--outputs", a->files.outputs, "Where --compute writes, raw float64"));
  app.add_option("--size", a->size, "Size set to interpret or compute at")->capture_default_str();
  app.add_option("--seed", a->seed, "Seed of the inputs")->capture_default_str();
  app.add_flag("--names", a->only_names, "Print names only, for shell completion")->group("");
  return [a](const Context& context) {
    Result<int> code = run_tasks(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
