// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/file.h"
#include "base/sandbox.h"
#include "base/subprocess.h"
#include "commands.h"
#include "cuda_tools.h"
#include "device/cpu/kernel_process.h"
#include "device_wiring.h"
#include "task_source.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct Finding {
  std::string name;
  bool ok = true;
  bool required = true;
  std::string detail, remedy;
};

struct DoctorArguments {
  bool quick = false;
  std::string compiler = "g++";
  int threads = 0;
};

Finding compiler_finding(const Context& context, const std::string& name, bool required,
                         std::unique_ptr<CpuCompiler>& made) {
  Result<std::unique_ptr<CpuCompiler>> compiler =
      CpuCompiler::make(compiler_options(context, name));
  if (!compiler) return {name, false, required, compiler.error().message, compiler.error().hint};
  made = std::move(*compiler);
  return {name, true, required, made->version(), ""};
}

std::vector<Finding> findings(const Context& context, const DoctorArguments& arguments,
                              std::unique_ptr<CpuCompiler>& compiler) {
  std::vector<Finding> list;
  list.push_back(compiler_finding(context, arguments.compiler, true, compiler));
  std::unique_ptr<CpuCompiler> second;
  if (arguments.compiler == "g++") {
    list.push_back(compiler_finding(context, "clang++", false, second));
  }
  Result<std::string> runner = find_runner();
  list.push_back({"quern-runner", runner.has_value(), true,
                  runner ? *runner : runner.error().message, runner ? "" : runner.error().hint});
  size_t tasks = task_names(context).size();
  list.push_back({"tasks", tasks > 0, true, fmt::format("{} in {}", tasks, context.tasks_directory),
                  "start quern from its own folder"});
  Result<void> cache = make_directories(context.cache_directory);
  list.push_back({"cache", cache.has_value(), true, context.cache_directory,
                  cache ? "" : cache.error().message});
  int landlock = landlock_abi();
  list.push_back({"landlock", landlock > 0, false,
                  landlock > 0 ? fmt::format("version {}", landlock) : "not in this kernel",
                  "a kernel from 5.13 on with lsm=landlock,…; until then seccomp alone confines "
                  "candidates"});
  ::quern::Command trial;
  trial.argv = {"true"};
  trial.sandbox.no_network = true;
  const auto alone = run_process(trial);
  const bool network_removed = alone && alone->sandbox.network_removed;
  list.push_back({"namespaces", network_removed, false,
                  network_removed ? "candidates have a network of their own, without interfaces"
                                  : "cannot make a network namespace",
                  "sysctl kernel.unprivileged_userns_clone=1 (as root)"});
  for (CudaFinding& finding : cuda_findings(context)) {
    list.push_back({finding.name, finding.ok, false, finding.detail, finding.remedy});
  }
  return list;
}

/// One finding a device, or one that says why there is none.
std::vector<Finding> device_findings(const Context& context, const std::string& kind) {
  const auto devices = list_devices(context, kind);
  if (!devices) return {{kind, false, false, devices.error().message, devices.error().hint}};
  std::vector<Finding> list;
  for (const DeviceProperties& device : *devices) {
    list.push_back(
        {fmt::format("{} {}", kind, list.size()), true, false,
         fmt::format("{}, {}, {} units, {:.1f} GiB{}", device.name, device.platform,
                     device.compute_units, static_cast<double>(device.memory_bytes) / (1 << 30),
                     device.shares_host ? ", on the CPU" : ""),
         ""});
  }
  return list;
}

Json peaks_json(const Peaks& peaks) {
  Json curve = Json::array();
  for (const BandwidthPoint& point : peaks.curve) {
    curve.push_back(Json{{"working_set_bytes", point.working_set_bytes},
                         {"copy_gbs", point.copy_gbs},
                         {"read_gbs", point.read_gbs}});
  }
  return Json{{"cpu", peaks.cpu},
              {"threads", peaks.threads},
              {"fma_gflops", peaks.fma_gflops},
              {"copy_gbs", peaks.copy_gbs()},
              {"read_gbs", peaks.read_gbs()},
              {"curve", curve}};
}

std::string peaks_text(const Peaks& peaks) {
  std::string text = fmt::format("{}, {} threads: f32 FMA {:.0f} GFLOP/s\n", peaks.cpu,
                                 peaks.threads, peaks.fma_gflops);
  for (const BandwidthPoint& point : peaks.curve) {
    text += fmt::format("  {:>8.2f} MiB   copy {:>6.1f} GB/s   read {:>6.1f} GB/s\n",
                        static_cast<double>(point.working_set_bytes) / (1 << 20), point.copy_gbs,
                        point.read_gbs);
  }
  return text;
}

std::string findings_text(const std::vector<Finding>& list) {
  std::string text;
  for (const Finding& finding : list) {
    const char* mark = finding.ok ? "ok" : finding.required ? "MISSING" : "absent";
    text += fmt::format("{:<8} {:<13} {}\n", mark, finding.name, finding.detail);
    if (!finding.ok && !finding.remedy.empty()) {
      text += fmt::format("{:<22} {}\n", "", finding.remedy);
    }
  }
  return text;
}

Result<int> doctor(const Context& context, const DoctorArguments& arguments) {
  std::unique_ptr<CpuCompiler> compiler;
  std::vector<Finding> list = findings(context, arguments, compiler);
  for (Finding& finding : device_findings(context, "opencl")) list.push_back(std::move(finding));
  bool ok = true;
  Json json = {{"ok", ok}, {"findings", Json::array()}, {"peaks", nullptr}};
  for (const Finding& finding : list) {
    ok = ok && (finding.ok || !finding.required);
    json["findings"].push_back(Json{{"name", finding.name},
                                    {"ok", finding.ok},
                                    {"required", finding.required},
                                    {"detail", finding.detail},
                                    {"remedy", finding.ok ? "" : finding.remedy}});
  }
  json["ok"] = ok;
  std::string text = findings_text(list);
  if (ok && !arguments.quick) {
    int threads = arguments.threads > 0 ? arguments.threads : available_processors();
    say("measuring, about two seconds\n");
    QUERN_ASSIGN(Peaks peaks, measure_peaks(*compiler, threads));
    auto kept = load_peaks(peaks_path(context, threads));
    if (kept && kept->cpu == peaks.cpu && kept->threads == threads) peaks = best_of(peaks, *kept);
    QUERN_TRY(save_peaks(peaks, peaks_path(context, threads)));
    json["peaks"] = peaks_json(peaks);
    json["environment"] = to_json(probe_machine(*compiler, threads, &peaks));
    text += peaks_text(peaks);
  }
  if (context.json) {
    print_json(json);
  } else {
    print(text + (ok ? "Ready.\n" : "Not ready: see MISSING above.\n"));
  }
  return ok ? kImproved : kEnvironmentError;
}

}  // namespace

Action add_doctor(CLI::App& app) {
  auto a = std::make_shared<DoctorArguments>();
  app.add_flag("--quick", a->quick, "Check only, measure nothing");
  app.add_option("--threads", a->threads, "Threads to measure with [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  return [a](const Context& context) {
    Result<int> code = doctor(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
