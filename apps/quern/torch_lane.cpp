// SPDX-License-Identifier: Apache-2.0
#include "torch_lane.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/strings.h"
#include "import.h"
#include "interrupt.h"
#include "progress.h"
#include "python_process.h"

namespace quern::cli {
namespace {

constexpr int kOurInput = 0, kOurOutput = 1, kStreamIn = 3, kStreamOut = 4;

Result<quern::Command> lane_command(const Context& context, const LaneOptions& options) {
  QUERN_ASSIGN(quern::Command command, make_python_command(context, "quern.torch_lane"));
  auto& argv = command.argv;
  argv.push_back(options.module);
  if (options.candidate.empty()) {
    argv.emplace_back("--stream");
    command.fds = {{kOurInput, kStreamIn}, {kOurOutput, kStreamOut}};
  } else {
    argv.push_back(options.candidate);
  }
  argv.insert(argv.end(), {"--seed", std::to_string(options.seed), "--protocol", options.protocol,
                           "--baselines", options.baselines, "--cache",
                           context.cache_directory + "/torch_lane"});
  if (!options.device.empty()) argv.insert(argv.end(), {"--device", options.device});
  if (!options.time_baselines) argv.emplace_back("--no-baselines");
  if (!options.certify.empty()) {
    argv.insert(argv.end(), {"--certify", options.certify, "--quern", context.program});
  }
  return command;
}

int exit_code(const Json& report) {
  const std::string verdict = report.value("verdict", "");
  if (verdict == "passed") return kImproved;
  if (verdict == "timed_out") return kTimedOut;
  return verdict == "rejected" ? kRejected : kIncorrect;
}

std::string kernelbench_text(const Json& theirs) {
  if (!theirs.contains("result") || theirs["result"].is_null()) {
    return fmt::format("  kernelbench: no result: {}\n", theirs.value("reason", ""));
  }
  const Json& result = theirs["result"];
  std::string text =
      fmt::format("  kernelbench: compiled {}, correct {}", result.value("compiled", false),
                  result.value("correctness", false));
  if (result.value("runtime", -1.0) > 0) {
    text += fmt::format(", {} ms", result["runtime"].get<double>());
  }
  if (theirs.contains("speedup")) {
    text += fmt::format(", {:.3f}× eager", theirs["speedup"].get<double>());
  }
  return text + "\n";
}

std::string certified_text(const Json& certified) {
  const std::string status = certified.value("status", "");
  if (status != "certified") {
    return fmt::format("  not certified ({}): {}\n", status, certified.value("reason", ""));
  }
  return fmt::format("  certified at level {}: {}\n  {} a call on the device, from {}\n",
                     certified.value("level", ""), certified.value("method", ""),
                     format_ns(certified["timing"]["median_ns"]), certified.value("capture", ""));
}

std::string report_text(const Json& report) {
  std::string text = report.value("verdict", "");
  if (text == "passed") {
    const Json& timing = report["timing"];
    text += fmt::format(" (provisional): {}\n  {} a call ({} to {})\n", report.value("method", ""),
                        format_ns(timing["median_ns"]), format_ns(timing["low_ns"]),
                        format_ns(timing["high_ns"]));
    for (const auto& [name, baseline] : report["baselines"].items()) {
      text += fmt::format("  {:.3f}× {} (95 % interval {:.3f} to {:.3f}, {} pairs)\n",
                          baseline["speedup"].get<double>(), name,
                          baseline["speedup_low"].get<double>(),
                          baseline["speedup_high"].get<double>(), baseline["pairs"].get<int>());
    }
  } else {
    const bool named = report.contains("breach") && report["breach"].is_string();
    text += fmt::format("{}\n  {}\n", named ? ": " + report["breach"].get<std::string>() : "",
                        report.value("reason", ""));
    const std::string evidence(trim(report.value("evidence", "")));
    if (!evidence.empty()) text += evidence + "\n";
  }
  if (report.contains("certified")) text += certified_text(report["certified"]);
  if (report.contains("kernelbench")) text += kernelbench_text(report["kernelbench"]);
  for (const Json& note : report["notes"]) text += "  note: " + note.get<std::string>() + "\n";
  return text;
}

}  // namespace

bool is_lane(const std::string& task, const std::string& candidate, bool stream) {
  return is_module_file(task) && (stream || is_module_file(candidate));
}

Result<int> eval_in_lane(const Context& context, const LaneOptions& options) {
  for (const std::string& path : {options.module, options.candidate}) {
    if (!path.empty() && !file_exists(path)) {
      return Error{ErrorKind::kUsage, fmt::format("{}: there is no such file", path),
                   "give a module file with Model and get_inputs(), and one with ModelNew"};
    }
  }
  catch_interrupts();
  QUERN_ASSIGN(const quern::Command command, lane_command(context, options));
  QUERN_ASSIGN(const ProcessEnd end, run_python(command));
  if (!end.status.ok()) {
    return Error{end.status.exit_code == kUsageError ? ErrorKind::kInput : ErrorKind::kInternal,
                 fmt::format("the PyTorch lane stopped: {}", shorten(trim(end.err), 400)), ""};
  }
  if (options.candidate.empty()) return kImproved;
  const Json report = Json::parse(end.out, nullptr, false);
  if (report.is_discarded() || !report.contains("verdict")) {
    return Error{ErrorKind::kInternal, "the PyTorch lane printed no report", ""};
  }
  if (context.json) {
    print_json(report);
  } else {
    print(report_text(report));
  }
  return exit_code(report);
}

}  // namespace quern::cli
