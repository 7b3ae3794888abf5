// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/counters.h"

#include <fmt/format.h>
#include <glob.h>

#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/dynamic_library.h"
#include "device/cuda/cupti_api.h"

namespace quern::cuda {
namespace {

constexpr int kMostPasses = 200;

#define QUERN_STALL(reason) "smsp__average_warps_issue_stalled_" reason "_per_issue_active.ratio"

const std::vector<Metric>& metrics() {
  static const auto& list = *new std::vector<Metric>{
      {"gpu__time_duration.sum", "duration", "ns"},
      {"sm__throughput.avg.pct_of_peak_sustained_elapsed", "multiprocessor throughput", "%"},
      {"dram__throughput.avg.pct_of_peak_sustained_elapsed", "memory bandwidth", "%"},
      {"dram__bytes_read.sum", "memory read", "bytes"},
      {"dram__bytes_write.sum", "memory written", "bytes"},
      {"lts__t_sector_hit_rate.pct", "L2 hits", "%"},
      {"l1tex__t_sector_hit_rate.pct", "L1 hits", "%"},
      {"sm__warps_active.avg.pct_of_peak_sustained_active", "resident warps", "%"},
      {"sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active", "tensor pipe", "%"},
      {"smsp__issue_active.avg.pct_of_peak_sustained_active", "issue slots used", "%"},
      {"l1tex__data_bank_conflicts_pipe_lsu.sum", "shared-memory bank conflicts", ""},
      {QUERN_STALL("long_scoreboard"), "long scoreboard", "warps"},
      {QUERN_STALL("short_scoreboard"), "short scoreboard", "warps"},
      {QUERN_STALL("barrier"), "barrier", "warps"},
      {QUERN_STALL("mio_throttle"), "memory input/output throttle", "warps"},
      {QUERN_STALL("lg_throttle"), "local/global throttle", "warps"},
      {QUERN_STALL("math_pipe_throttle"), "math pipe throttle", "warps"},
      {QUERN_STALL("wait"), "fixed latency", "warps"},
      {QUERN_STALL("not_selected"), "not selected", "warps"},
  };
  return list;
}

struct StallRow {
  const char* metric;
  const char* advice;
};

constexpr StallRow kStalls[] = {
    {QUERN_STALL("long_scoreboard"),
     "waiting for global memory: more independent loads in flight, cp.async or TMA stages, wider "
     "loads, more warps"},
    {QUERN_STALL("short_scoreboard"),
     "waiting for shared memory or special functions: wider shared loads, ldmatrix, fewer bank "
     "conflicts, values kept in registers"},
    {QUERN_STALL("barrier"),
     "waiting at barriers: smaller blocks, mbarriers in place of __syncthreads, warps with roles"},
    {QUERN_STALL("mio_throttle"),
     "the shared-memory queue is full: wider shared accesses, register tiles, fewer of them"},
    {QUERN_STALL("lg_throttle"),
     "the global-memory queue is full: 16-byte accesses, no local memory"},
    {QUERN_STALL("math_pipe_throttle"),
     "an arithmetic pipe is at its peak: another pipe (tensor cores) or another algorithm"},
    {QUERN_STALL("wait"), "fixed latencies: more independent work a thread would hide them"},
    {QUERN_STALL("not_selected"), "more warps are ready than can issue: nothing to gain here"},
};

}  // namespace

const std::vector<Metric>& profile_metrics() { return metrics(); }

const char* stall_advice(const std::string& metric) {
  for (const StallRow& row : kStalls) {
    if (metric == row.metric) return row.advice;
  }
  return nullptr;
}

struct Counters::Api {
#define QUERN_FIELD(field, symbol, type) int (*field)(cupti::type*) = nullptr;
  QUERN_CUPTI_FUNCTIONS(QUERN_FIELD)
#undef QUERN_FIELD
  int (*error_message)(int status, const char** text) = nullptr;
};

/// What one reading needs from its first call to its last.
struct Counters::Session {
  std::vector<const char*> names;
  size_t launches = 0;
  size_t passes = 0;
  cupti::Object host = nullptr, profiler = nullptr;
  std::vector<uint8_t> availability, config, data;
};

Counters::Counters(Gpu& gpu, std::unique_ptr<Api> api) : gpu_(&gpu), api_(std::move(api)) {}
Counters::~Counters() = default;

Result<std::unique_ptr<Counters>> Counters::open(Gpu& gpu, const std::string& path) {
  auto library = DynamicLibrary::open({path.empty() ? "libcupti.so" : path});
  if (!library) {
    return Error{ErrorKind::kEnvironment, "there is no CUPTI here: " + library.error().message,
                 "it comes with CUDA toolkits and as the Python package nvidia-cuda-cupti"};
  }
  auto api = std::make_unique<Api>();
  std::string missing;
#define QUERN_FIND(field, name, type)                                          \
  api->field = reinterpret_cast<int (*)(cupti::type*)>(library->symbol(name)); \
  if (api->field == nullptr) missing += std::string(missing.empty() ? "" : ", ") + (name);
  QUERN_CUPTI_FUNCTIONS(QUERN_FIND)
#undef QUERN_FIND
  api->error_message =
      reinterpret_cast<int (*)(int, const char**)>(library->symbol("cuptiGetErrorMessage"));
  if (!missing.empty()) {
    return Error{ErrorKind::kEnvironment, library->path() + " lacks " + missing,
                 "its range profiler is part of CUDA 12.6 and later"};
  }
  library->keep();
  std::unique_ptr<Counters> counters(new Counters(gpu, std::move(api)));
  cupti::Initialize initialize;
  QUERN_TRY(counters->check(counters->api_->initialize(&initialize), "CUPTI"));
  cupti::ChipName chip;
  chip.device = static_cast<size_t>(gpu.properties().ordinal);
  QUERN_TRY(counters->check(counters->api_->chip_name(&chip), "the chip's name"));
  counters->chip_ = chip.name;
  return counters;
}

Result<void> Counters::check(int status, const char* what) const {
  if (status == 0) return {};
  const char* text = nullptr;
  if (api_->error_message != nullptr) (void)api_->error_message(status, &text);
  return Error{ErrorKind::kEnvironment,
               fmt::format("hardware counters: {}: {}", what,
                           text == nullptr ? fmt::format("status {}", status) : text),
               "the driver may keep counters for the administrator "
               "(NVreg_RestrictProfilingToAdminUsers)"};
}

Result<void> Counters::configure(Session& session) const {
  cupti::Availability availability;
  if (api_->availability(&availability) == 0 && availability.bytes > 0) {
    session.availability.resize(availability.bytes);
    availability.image = session.availability.data();
    QUERN_TRY(check(api_->availability(&availability), "what is available"));
  }
  cupti::HostInitialize host;
  host.chip = chip_.c_str();
  host.availability = session.availability.empty() ? nullptr : session.availability.data();
  QUERN_TRY(check(api_->host_initialize(&host), "the chip"));
  session.host = host.host;
  cupti::AddMetrics add;
  add.host = session.host;
  add.names = session.names.data();
  add.count = session.names.size();
  QUERN_TRY(check(api_->add_metrics(&add), "the metrics"));
  cupti::ConfigSize size;
  size.host = session.host;
  QUERN_TRY(check(api_->config_size(&size), "the configuration"));
  session.config.resize(size.bytes);
  cupti::ConfigImage image;
  image.host = session.host;
  image.bytes = session.config.size();
  image.image = session.config.data();
  QUERN_TRY(check(api_->config_image(&image), "the configuration"));
  cupti::PassCount passes;
  passes.bytes = session.config.size();
  passes.image = session.config.data();
  QUERN_TRY(check(api_->pass_count(&passes), "the passes"));
  session.passes = passes.passes;
  return {};
}

Result<void> Counters::collect(Session& session, const std::function<Status()>& call) const {
  cupti::Enable enable;
  QUERN_TRY(check(api_->enable(&enable), "enabling"));
  session.profiler = enable.profiler;
  cupti::DataSize size;
  size.profiler = session.profiler;
  size.names = session.names.data();
  size.count = session.names.size();
  size.ranges = session.launches;
  size.nodes = static_cast<uint32_t>(session.launches);
  QUERN_TRY(check(api_->data_size(&size), "room for data"));
  session.data.resize(size.bytes);
  cupti::DataInitialize initialize;
  initialize.profiler = session.profiler;
  initialize.bytes = session.data.size();
  initialize.data = session.data.data();
  QUERN_TRY(check(api_->data_initialize(&initialize), "room for data"));
  cupti::SetConfig config;
  config.profiler = session.profiler;
  config.config_bytes = session.config.size();
  config.config = session.config.data();
  config.data_bytes = session.data.size();
  config.data = session.data.data();
  config.ranges = session.launches;
  QUERN_TRY(check(api_->set_config(&config), "the configuration"));
  cupti::Stop stop;
  stop.profiler = session.profiler;
  for (int pass = 0; pass < kMostPasses && stop.all_passes == 0; ++pass) {
    cupti::Profiler start;
    start.profiler = session.profiler;
    QUERN_TRY(check(api_->start(&start), "starting"));
    QUERN_TRY(gpu_->check(call(), "a call"));
    QUERN_TRY(gpu_->synchronize("a call"));
    QUERN_TRY(check(api_->stop(&stop), "stopping"));
  }
  cupti::Decode decode;
  decode.profiler = session.profiler;
  return check(api_->decode(&decode), "decoding");
}

Result<CounterReport> Counters::evaluate(Session& session) const {
  cupti::DataInfo info;
  info.data = session.data.data();
  info.bytes = session.data.size();
  QUERN_TRY(check(api_->data_info(&info), "the data"));
  CounterReport report;
  report.passes = static_cast<int>(session.passes);
  for (size_t range = 0; range < info.ranges; ++range) {
    std::vector<double> values(session.names.size(), std::numeric_limits<double>::quiet_NaN());
    cupti::Evaluate evaluate;
    evaluate.host = session.host;
    evaluate.data = session.data.data();
    evaluate.bytes = session.data.size();
    evaluate.range = range;
    evaluate.names = session.names.data();
    evaluate.count = session.names.size();
    evaluate.values = values.data();
    QUERN_TRY(check(api_->evaluate(&evaluate), "the values"));
    report.launches.push_back(std::move(values));
  }
  return report;
}

void Counters::end(Session& session) const {
  if (session.profiler != nullptr) {
    cupti::Profiler disable;
    disable.profiler = session.profiler;
    (void)api_->disable(&disable);
  }
  if (session.host != nullptr) {
    cupti::HostObject host;
    host.host = session.host;
    (void)api_->host_deinitialize(&host);
  }
}

Result<CounterReport> Counters::read(const std::vector<Metric>& metrics, size_t launches,
                                     const std::function<Status()>& call) {
  Session session;
  session.launches = launches;
  for (const Metric& metric : metrics) session.names.push_back(metric.name);
  Result<void> done = configure(session);
  if (done) done = collect(session, call);
  Result<CounterReport> report = done ? evaluate(session) : Result<CounterReport>(done.error());
  end(session);
  return report;
}

std::string find_cupti(const std::string& nvrtc_path,
                       const std::vector<std::string>& python_environments) {
  const std::string beside = nvrtc_path.substr(0, nvrtc_path.rfind('/'));
  std::vector<std::string> places = {beside, beside + "/../extras/CUPTI/lib64",
                                     "/usr/local/cuda/lib64", "/usr/local/cuda/extras/CUPTI/lib64"};
  for (const std::string& environment : python_environments) {
    for (const char* folder : {"nvidia/cu13/lib", "nvidia/cuda_cupti/lib", "torch/lib"}) {
      places.push_back(environment + "/lib/python3*/site-packages/" + folder);
    }
  }
  for (const std::string& place : places) {
    glob_t found{};
    std::string path;
    if (glob((place + "/libcupti.so.1[23]").c_str(), 0, nullptr, &found) == 0) {
      path = found.gl_pathv[found.gl_pathc - 1];
    }
    globfree(&found);
    if (!path.empty()) return path;
  }
  return "";
}

}  // namespace quern::cuda
