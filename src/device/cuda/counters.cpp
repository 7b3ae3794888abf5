// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "base/dynamic_library.h"
#include "device/cuda/blas.h"
#include "device/cuda/cupti_api.h"

namespace quern::cuda {
namespace {

constexpr int kMostPasses = 200;

#define QUERN_STALL(reason) "smsp__average_warps_issue_stalled_" reason "_per_issue_active.ratio"

const std::vector<Metric>& metrics() {
  static const auto& list = *new std::vector<Metric>{
      {"gpu__time_duration.sum", "duration", "ns", nullptr},
      {"dram__throughput.avg.pct_of_peak_sustained_elapsed", "memory bandwidth", "%", nullptr},
      {"sm__throughput.avg.pct_of_peak_sustained_elapsed", "multiprocessors", "%", nullptr},
      {"sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active", "tensor pipe", "%",
       nullptr},
      {"smsp__issue_active.avg.pct_of_peak_sustained_active", "issue slots used", "%", nullptr},
      {"sm__warps_active.avg.pct_of_peak_sustained_active", "resident warps", "%", nullptr},
      {"dram__bytes_read.sum", "memory read", "bytes", nullptr},
      {"dram__bytes_write.sum", "memory written", "bytes", nullptr},
      {"lts__t_sector_hit_rate.pct", "L2 hits", "%", nullptr},
      {"l1tex__t_sector_hit_rate.pct", "L1 hits", "%", nullptr},
      {"smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.ratio",
       "bytes used of a sector of 32 loaded", "bytes", nullptr},
      {"smsp__sass_average_data_bytes_per_sector_mem_global_op_st.ratio",
       "bytes used of a sector of 32 stored", "bytes", nullptr},
      {"l1tex__data_bank_conflicts_pipe_lsu.sum", "bank conflicts of shared memory and L1", "",
       nullptr},
      {"smsp__sass_inst_executed_op_local.sum", "local-memory instructions", "", nullptr},
      {"smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "multiply-adds of threads", "",
       nullptr},
      {QUERN_STALL("long_scoreboard"), "long scoreboard", "warps",
       "waiting for global memory: more independent loads in flight, cp.async or TMA stages, wider "
       "loads, more warps"},
      {QUERN_STALL("short_scoreboard"), "short scoreboard", "warps",
       "waiting for shared memory or special functions: wider shared loads, ldmatrix, fewer bank "
       "conflicts, values kept in registers"},
      {QUERN_STALL("barrier"), "barrier", "warps",
       "waiting at barriers: smaller blocks, mbarriers in place of __syncthreads, warps with "
       "roles"},
      {QUERN_STALL("mio_throttle"), "memory input/output throttle", "warps",
       "the shared-memory queue is full: wider shared accesses, register tiles, fewer of them"},
      {QUERN_STALL("lg_throttle"), "local/global throttle", "warps",
       "the global-memory queue is full: 16-byte accesses, no local memory"},
      {QUERN_STALL("math_pipe_throttle"), "math pipe throttle", "warps",
       "an arithmetic pipe is at its peak: another pipe (tensor cores) or another algorithm"},
      {QUERN_STALL("gmma"), "warpgroup matrix", "warps",
       "waiting for warpgroup products: more of them in flight, or the tensor pipe is at its peak"},
      {QUERN_STALL("membar"), "memory fence", "warps",
       "waiting for memory fences: fewer of them, or of a smaller scope"},
      {QUERN_STALL("wait"), "fixed latency", "warps",
       "fixed latencies of instructions: more independent work a thread would hide them"},
      {QUERN_STALL("not_selected"), "not selected", "warps",
       "more warps are ready than can issue: nothing to gain here"},
  };
  return list;
}

std::vector<const char*> metric_names() {
  std::vector<const char*> names;
  for (const Metric& metric : metrics()) names.push_back(metric.name);
  return names;
}

}  // namespace

const std::vector<Metric>& profile_metrics() { return metrics(); }

LaunchProfile launch_profile(const std::string& kernel, const std::vector<double>& values) {
  LaunchProfile launch;
  launch.kernel = kernel;
  for (size_t i = 0; i < metrics().size() && i < values.size(); ++i) {
    const Metric& metric = metrics()[i];
    std::vector<Counter>& list = metric.meaning == nullptr ? launch.counters : launch.stalls;
    list.push_back({metric.name, metric.label, metric.unit, values[i]});
  }
  // What has no value comes last.
  std::ranges::stable_sort(launch.stalls, std::ranges::greater(), [](const Counter& stall) {
    return std::isnan(stall.value) ? -1.0 : stall.value;
  });
  if (launch.stalls.empty() || !(launch.stalls.front().value > 0)) return launch;
  for (const Metric& metric : metrics()) {
    if (launch.stalls.front().name == metric.name) launch.meaning = metric.meaning;
  }
  return launch;
}

struct Counters::Api {
#define QUERN_FIELD(field, symbol, type) int (*field)(cupti::type*) = nullptr;
  QUERN_CUPTI_FUNCTIONS(QUERN_FIELD)
#undef QUERN_FIELD
  int (*error_message)(int status, const char** text) = nullptr;
};

struct Counters::Session {
  std::vector<const char*> names = metric_names();
  std::string chip;
  int passes = 0;
  cupti::Object host = nullptr, profiler = nullptr;
  std::vector<uint8_t> availability, config;
};

Counters::Counters(Gpu& gpu, std::unique_ptr<Api> api)
    : gpu_(&gpu), api_(std::move(api)), session_(std::make_unique<Session>()) {}

Counters::~Counters() {
  disable();
  if (session_->host == nullptr) return;
  cupti::HostObject host;
  host.host = session_->host;
  (void)api_->host_deinitialize(&host);
}

Result<std::unique_ptr<Counters>> Counters::open(Gpu& gpu, const std::string& path) {
  auto library = DynamicLibrary::open({path.empty() ? "libcupti.so" : path});
  if (!library) {
    return Error{ErrorKind::kEnvironment, "there is no CUPTI here: " + library.error().message,
                 "it comes with CUDA toolkits and as the Python package nvidia-cuda-cupti"};
  }
  auto api = std::make_unique<Api>();
  std::string missing;
#define QUERN_FIND(field, name, type) library->find(name, api->field, missing);
  QUERN_CUPTI_FUNCTIONS(QUERN_FIND)
#undef QUERN_FIND
  library->find("cuptiGetErrorMessage", api->error_message);
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
  counters->session_->chip = chip.name;
  QUERN_TRY(counters->configure());
  QUERN_TRY(counters->enable());
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

Result<void> Counters::configure() {
  Session& session = *session_;
  cupti::Availability availability;
  if (api_->availability(&availability) == 0 && availability.bytes > 0) {
    session.availability.resize(availability.bytes);
    availability.image = session.availability.data();
    QUERN_TRY(check(api_->availability(&availability), "what is available"));
  }
  cupti::HostInitialize host;
  host.chip = session.chip.c_str();
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
  session.passes = static_cast<int>(passes.passes);
  return {};
}

Result<void> Counters::enable() {
  cupti::Enable enable;
  QUERN_TRY(check(api_->enable(&enable), "enabling"));
  session_->profiler = enable.profiler;
  return {};
}

void Counters::disable() {
  if (session_->profiler == nullptr) return;
  cupti::Profiler disable;
  disable.profiler = std::exchange(session_->profiler, nullptr);
  (void)api_->disable(&disable);
}

/// Room for the data of so many launches, known to the profiler.
Result<void> Counters::prepare(size_t launches, std::vector<uint8_t>& data) const {
  Session& session = *session_;
  // With no more room than launches, the last of three is not seen.
  const size_t ranges = 2 * launches + 16;
  cupti::DataSize size;
  size.profiler = session.profiler;
  size.names = session.names.data();
  size.count = session.names.size();
  size.ranges = ranges;
  size.nodes = static_cast<uint32_t>(ranges);
  QUERN_TRY(check(api_->data_size(&size), "room for data"));
  data.assign(size.bytes, 0);
  cupti::DataInitialize initialize;
  initialize.profiler = session.profiler;
  initialize.bytes = data.size();
  initialize.data = data.data();
  QUERN_TRY(check(api_->data_initialize(&initialize), "room for data"));
  cupti::SetConfig config;
  config.profiler = session.profiler;
  config.config_bytes = session.config.size();
  config.config = session.config.data();
  config.data_bytes = data.size();
  config.data = data.data();
  config.ranges = ranges;
  return check(api_->set_config(&config), "the configuration");
}

Result<void> Counters::collect(const std::function<Status()>& call) const {
  cupti::Stop stop;
  stop.profiler = session_->profiler;
  for (int pass = 0; pass < kMostPasses && stop.all_passes == 0; ++pass) {
    cupti::Profiler start;
    start.profiler = session_->profiler;
    QUERN_TRY(check(api_->start(&start), "starting"));
    QUERN_TRY(gpu_->check(call(), "a call"));
    QUERN_TRY(gpu_->synchronize("a call"));
    QUERN_TRY(check(api_->stop(&stop), "stopping"));
  }
  cupti::Decode decode;
  decode.profiler = session_->profiler;
  return check(api_->decode(&decode), "decoding");
}

Result<Profile> Counters::evaluate(const std::vector<std::string>& kernels,
                                   const std::vector<uint8_t>& data) const {
  Session& session = *session_;
  cupti::DataInfo info;
  info.data = data.data();
  info.bytes = data.size();
  QUERN_TRY(check(api_->data_info(&info), "the data"));
  if (info.ranges != kernels.size()) {
    return Error{ErrorKind::kEnvironment,
                 fmt::format("hardware counters: {} launches were seen instead of {}", info.ranges,
                             kernels.size()),
                 ""};
  }
  Profile profile;
  profile.passes = session.passes;
  for (size_t range = 0; range < info.ranges; ++range) {
    std::vector<double> values(session.names.size(), std::numeric_limits<double>::quiet_NaN());
    cupti::Evaluate evaluate;
    evaluate.host = session.host;
    evaluate.data = data.data();
    evaluate.bytes = data.size();
    evaluate.range = range;
    evaluate.names = session.names.data();
    evaluate.count = session.names.size();
    evaluate.values = values.data();
    QUERN_TRY(check(api_->evaluate(&evaluate), "the values"));
    profile.launches.push_back(launch_profile(kernels[range], values));
  }
  return profile;
}

Result<Profile> Counters::read(const std::vector<std::string>& kernels,
                               const std::function<Status()>& call) {
  std::vector<uint8_t> data;
  Result<void> ready = prepare(kernels.size(), data);
  if (!ready) {
    // A profiler that does not take another configuration takes it when it is new.
    disable();
    QUERN_TRY(enable());
    ready = prepare(kernels.size(), data);
  }
  QUERN_TRY(std::move(ready));
  QUERN_TRY(collect(call));
  return evaluate(kernels, data);
}

std::string find_cupti(const std::string& nvrtc_path,
                       const std::vector<std::string>& python_environments) {
  return find_cuda_library("libcupti.so.1[23]", nvrtc_path, python_environments);
}

}  // namespace quern::cuda
