// SPDX-License-Identifier: Apache-2.0
//
// What the CUDA backend's operations cost on this machine: one JSON object on stdout.
//   cuda_costs CACHE_FOLDER [NVRTC]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "device/cuda/compile_pool.h"
#include "device/cuda/cuda_backend.h"
#include "device/cuda/referee.h"
#include "record/launch_plan.h"

namespace quern::cuda {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message);
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
template <class T>
T must(Outcome<T> outcome) {
  if (outcome.has_error()) return must(Result<T>(outcome.error()));
  if (outcome.has_verdict()) {
    fmt::print(stderr, "{}: {}\n{}\n", verdict_name(outcome.verdict()),
               verdict_reason(outcome.verdict()), verdict_evidence(outcome.verdict()));
    std::exit(1);
  }
  return std::move(*outcome);
}

double ms(const std::function<void()>& work) {
  const int64_t start = steady_now_ns();
  work();
  return seconds_between(start, steady_now_ns()) * 1e3;
}

struct Spread {
  double median, low, high, sd_percent;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double sum = 0, squares = 0;
  for (double v : values) sum += v;
  const double mean = sum / static_cast<double>(values.size());
  for (double v : values) squares += (v - mean) * (v - mean);
  return {values[values.size() / 2], values.front(), values.back(),
          100 * std::sqrt(squares / static_cast<double>(values.size())) / mean};
}

constexpr const char* kMap =
    R"(// quern: launch map grid (ceil_div(n, 1024)) block 256 args (x, y, n)
extern "C" __global__ void map(const float4* x, float4* y, long n) {
  long i = blockIdx.x * 256l + threadIdx.x;
  if (4 * i < n) {
    float4 v = x[i];
    y[i] = {fmaxf(v.x, 0), fmaxf(v.y, 0), fmaxf(v.z, 0), fmaxf(v.w, 0)};
  }
}
)";
constexpr const char* kEmpty = R"(// quern: launch map grid 1 block 32 args (x, y, n)
extern "C" __global__ void map(const float4* x, float4* y, long n) { y[0] = x[0]; }
)";

BoundPlan plan_of(const std::string& source, int64_t n) {
  PlanWorkload workload{{{"n", n}}, {{"x", DType::kF32, {n}}}, {{"y", DType::kF32, {n}}}};
  return must(bind_plan(must(parse_launch_plan(source, workload, PlanTarget::kCuda)), workload,
                        PlanTarget::kCuda));
}

void line(const std::string& name, const std::string& value) {
  fmt::print("{{\"what\": \"{}\", {}}}\n", name, value);
  std::fflush(stdout);
}

void time_map(DeviceBackend& backend, const std::string& image, const char* name,
              const std::string& source, int64_t n, int sets, int calls) {
  std::vector<BufferSet> buffers;
  const auto bytes = static_cast<uint64_t>(4 * n);
  for (int i = 0; i < sets; ++i) {
    const auto x = static_cast<BufferId>(100 + 2 * i);
    must(backend.allocate(x, bytes, Placement::kLeft));
    must(backend.allocate(x + 1, bytes, Placement::kLeft));
    must(backend.draw(x, {DType::kF32, {FillKind::kNormal, 0, 1}, x}));
    must(backend.allow(x, DeviceAccess::kRead));
    buffers.push_back({{x}, {x + 1}});
  }
  const double load_ms = ms([&] { must(backend.load(1, image, plan_of(source, n), buffers)); });
  const double first_ms = ms([&] { must(backend.run(1, 1, 0)); });
  const double second_ns = must(backend.run(1, 1, 0));
  const double graph_ms = ms([&] { must(backend.run(1, calls, 0)); });
  std::vector<double> medians, all;
  double wall = 0;
  for (int repeat = 0; repeat < 60; ++repeat) {
    std::vector<double> samples;
    wall += ms([&] {
      for (int i = 0; i < 6; ++i) samples.push_back(must(backend.run(1, calls, 0)) / calls);
    });
    all.insert(all.end(), samples.begin(), samples.end());
    medians.push_back(spread_of(samples).median);
  }
  const Spread each = spread_of(all), middle = spread_of(medians);
  line(name,
       fmt::format("\"n\": {}, \"sets\": {}, \"calls\": {}, \"load_ms\": {:.3f}, \"first_ms\": "
                   "{:.3f}, \"single_ns\": {:.0f}, \"graph_ms\": {:.3f}, \"median_ns\": {:.1f}, "
                   "\"low_ns\": {:.1f}, \"high_ns\": {:.1f}, \"sample_sd_percent\": {:.3f}, "
                   "\"median_sd_percent\": {:.3f}, \"six_samples_wall_ms\": {:.3f}",
                   n, sets, calls, load_ms, first_ms, second_ns, graph_ms, each.median, each.low,
                   each.high, each.sd_percent, middle.sd_percent, wall / 60));
  must(backend.unload(1));
  for (int i = 0; i < 2 * sets; ++i) must(backend.release(static_cast<BufferId>(100 + i)));
}

void memory_costs(DeviceBackend& backend, uint64_t bytes) {
  const std::string size = fmt::format("{} MiB", bytes >> 20);
  line("allocate " + size, fmt::format("\"ms\": {:.3f}", ms([&] {
                                         must(backend.allocate(1, bytes, Placement::kLeft));
                                       })));
  for (auto [name, access] :
       {std::pair{"read", DeviceAccess::kRead}, std::pair{"none", DeviceAccess::kNone},
        std::pair{"read-write", DeviceAccess::kReadWrite}}) {
    line(fmt::format("allow {} {}", name, size),
         fmt::format("\"ms\": {:.3f}", ms([&] { must(backend.allow(1, access)); })));
  }
  std::byte one[4];
  const auto settle = [&] { must(backend.download(1, one)); };
  settle();
  line("fill " + size, fmt::format("\"ms\": {:.3f}", ms([&] {
                                     must(backend.fill(1, 0xff));
                                     settle();
                                   })));
  for (int kind : {0, 1}) {
    line(fmt::format("draw {} kind {}", size, kind),
         fmt::format("\"ms\": {:.3f}", ms([&] {
                       must(backend.draw(1, {DType::kF32, {static_cast<FillKind>(kind), 0, 1}, 7}));
                       settle();
                     })));
  }
  line("guards " + size,
       fmt::format("\"ms\": {:.3f}", ms([&] { (void)must(backend.guards_intact(1)); })));
  must(backend.allocate(2, 2 * bytes, Placement::kLeft));
  must(backend.allocate(3, 2 * bytes, Placement::kLeft));
  must(backend.draw(2, {DType::kF64, {FillKind::kUniform, 0, 1}, 7}));
  must(backend.draw(3, {DType::kF64, {FillKind::kConstant, 1, 0}, 7}));
  const InspectOrder order{{}, 0, {{1, 2, 3, 0, 0, 0, DType::kF32, bytes / 4, 4, false}}};
  must(backend.inspect(order));
  line("compare " + size, fmt::format("\"ms\": {:.3f}", ms([&] { must(backend.inspect(order)); })));
  line("release " + size, fmt::format("\"ms\": {:.3f}", ms([&] { must(backend.release(1)); })));
  must(backend.release(2));
  must(backend.release(3));
}

void compile_rate(CompilePool& pool, int jobs) {
  std::vector<CudaJob> list;
  for (int i = 0; i < jobs; ++i) list.push_back({fmt::format("{}// {}\n", kMap, i)});
  for (auto& job : list) job.source += fmt::format("__device__ int v{};\n", steady_now_ns());
  const double wall = ms([&] {
    for (auto& outcome : pool.compile_all(list)) must(std::move(outcome));
  });
  line("compile pool", fmt::format("\"jobs\": {}, \"per_s\": {:.1f}", jobs, jobs / wall * 1e3));
}

/// Takes the GPU and uses it once; exit code 0 if that works.
int open_only() {
  auto backend = make_cuda_backend({});
  auto opened = backend->open();
  if (!opened) {
    fmt::print("{}\n", opened.error().message);
    return 1;
  }
  must(backend->allocate(1, 1 << 20, Placement::kLeft));
  must(backend->fill(1, 7));
  std::byte byte[1];
  must(backend->download(1, byte));
  return byte[0] == std::byte{7} ? 0 : 1;
}

/// Which confinements of files the driver can be opened under.
void try_sandboxes(const std::string& program, const std::string& folder) {
  std::vector<std::string> devices = {"/dev/null",       "/dev/zero",       "/dev/urandom",
                                      "/dev/nvidiactl",  "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
                                      "/dev/nvidia-caps"};
  for (int i = 0; i < 16; ++i) devices.push_back(fmt::format("/dev/nvidia{}", i));
  const auto attempt = [&](const char* name, Sandbox sandbox) {
    Command command;
    command.argv = {program, "--open"};
    command.env = {"LC_ALL=C", "HOME=" + folder, "TMPDIR=" + folder};
    if (const char* path = std::getenv("LD_LIBRARY_PATH")) {
      command.env.push_back(std::string("LD_LIBRARY_PATH=") + path);
    }
    command.cwd = folder;
    command.deadline_s = 30;
    sandbox.read_exec.push_back(program.substr(0, program.rfind('/')) + "/..");
    command.sandbox = std::move(sandbox);
    auto end = must(run_process(command));
    line(std::string("sandbox ") + name,
         fmt::format("\"works\": {}, \"ms\": {:.0f}, \"sandbox\": \"{}\", \"said\": \"{}\"",
                     end.status.ok(), end.wall_ms, end.sandbox.text(),
                     replace_all(trim(end.out + end.err), "\n", " ")));
  };
  attempt("none", {});
  Sandbox files;
  files.restrict_files = true;
  files.read_exec = {"/usr", "/lib", "/lib64"};
  files.read_only = {"/etc", "/proc", "/sys"};
  files.devices = devices;
  files.read_write = {folder};
  attempt("files", files);
  Sandbox alone = files;
  alone.no_network = true;
  attempt("files, no network", alone);
  Sandbox fewer = files;
  fewer.read_only = {"/proc"};
  attempt("no /etc, no /sys", fewer);
  fewer.read_only = {"/etc", "/sys"};
  attempt("no /proc", fewer);
  Sandbox more = files;
  more.read_only.emplace_back("/dev");
  more.read_exec.emplace_back("/opt");
  attempt("files, /dev and /opt readable", more);
}

int main_of_costs(int count, char** arguments) {
  if (count < 2) return 2;
  if (std::string(arguments[1]) == "--open") return open_only();
  must(make_directories(arguments[1]));
  try_sandboxes(executable_folder() + "/cuda_costs", std::string(arguments[1]));
  CompilePoolOptions options;
  options.library = must(find_nvrtc(count > 2 ? arguments[2] : "", {}));
  options.cache_dir = arguments[1];
  options.workers = 14;
  auto pool = must(CompilePool::make(options));
  compile_rate(*pool, 100);
  compile_rate(*pool, 400);
  CudaJob job;
  job.source = referee_source();
  job.separate = true;
  auto backend = make_cuda_backend({0, "", must(pool->compile(job)).image, ""});
  DeviceProperties p;
  const double open_ms = ms([&] { p = must(backend->open()); });
  line("open",
       fmt::format("\"gpu\": \"{}\", \"platform\": \"{}\", \"arch\": \"{}\", \"ms\": {:.1f}",
                   p.name, p.platform, p.architecture, open_ms));
  for (uint64_t mib : {1, 64, 6144}) memory_costs(*backend, mib << 20);
  const std::string map = must(pool->compile({kMap})).image,
                    empty = must(pool->compile({kEmpty})).image;
  for (int calls : {1, 20, 100, 500}) {
    time_map(*backend, empty, "empty", kEmpty, 1 << 14, 1, calls);
    time_map(*backend, map, "map 16K", kMap, 1 << 14, 1, calls);
  }
  time_map(*backend, map, "map 1M", kMap, 1 << 20, 1, 100);
  time_map(*backend, map, "map 1M cold", kMap, 1 << 20, 16, 96);
  for (int calls : {1, 2, 8, 16}) time_map(*backend, map, "map 16M", kMap, 1 << 24, 1, calls);
  time_map(*backend, map, "map 16M cold", kMap, 1 << 24, 2, 8);
  time_map(*backend, map, "map 1.6G", kMap, 1'610'612'736, 1, 1);
  return 0;
}

}  // namespace
}  // namespace quern::cuda

int main(int count, char** arguments) { return quern::cuda::main_of_costs(count, arguments); }
