// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "device/cpu/kernel_process.h"
#include "device/cpu/runner_protocol.h"

namespace quern {
namespace {

using Json = nlohmann::json;

/// One entry for all probes; `order` says which: {what, bytes, repeats}. Every thread works on its
/// own part, `repeats` times, so that a cache-sized part stays in its cache.
constexpr const char* kProbe = R"code(
typedef float V __attribute__((vector_size(64)));
typedef long long I __attribute__((vector_size(64)));
extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();

static void copy(const char* x, char* y, long bytes, bool streaming) {
  for (long i = 0; i < bytes; i += 64) {
    I v = *(const I*)(x + i);
#if defined __AVX512F__
    if (streaming) { __builtin_ia32_movntdq512((I*)(y + i), v); continue; }
#elif defined __AVX__
    typedef long long H __attribute__((vector_size(32)));
    const H* h = (const H*)(x + i);
    if (streaming) {
      __builtin_ia32_movntdq256((H*)(y + i), h[0]);
      __builtin_ia32_movntdq256((H*)(y + i) + 1, h[1]);
      continue;
    }
#endif
    *(I*)(y + i) = v;
  }
}

static inline I read(const char* x, long bytes, bool ahead) {
  I s[4] = {};
  long i = 0;
  for (; i + 256 <= bytes; i += 256) {
    if (ahead) {
      for (int k = 0; k < 4; ++k) __builtin_prefetch(x + i + 4096 + 64 * k);
    }
    s[0] |= *(const I*)(x + i);
    s[1] |= *(const I*)(x + i + 64);
    s[2] |= *(const I*)(x + i + 128);
    s[3] |= *(const I*)(x + i + 192);
  }
  return s[0] | s[1] | s[2] | s[3];
}

static V multiply_add(long steps, float start) {
  V a[16], m = V{} + 0.999f, c = V{} + start;
  for (int k = 0; k < 16; ++k) a[k] = V{} + start * (float)k;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) a[k] = a[k] * m + c;
  }
  for (int k = 1; k < 16; ++k) a[0] += a[k];
  return a[0];
}

extern "C" void probe(const long* order, const char* x, char* y, char* sink) {
  long what = order[0], bytes = order[1], repeats = order[2];
#pragma omp parallel
  {
    long thread = omp_get_thread_num(), threads = omp_get_num_threads();
    long part = bytes / threads / 4096 * 4096, from = part * thread;
    I seen = {};
    for (long r = 0; r < repeats; ++r) {
      if (what == 0) copy(x + from, y + from, part, false);
      if (what == 1) copy(x + from, y + from, part, true);
      if (what == 2) seen |= read(x + from, part, false);
      if (what == 4) seen |= read(x + from, part, true);
      asm volatile("" : : : "memory");
    }
    if (what == 3) seen |= (I)multiply_add(repeats, (float)order[3]);
    *(I*)(sink + 64 * thread) = seen;
  }
}
)code";

enum Probe : int64_t { kCopy, kStreamingCopy, kRead, kMultiplyAdd, kPrefetchedRead };

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kWorkingSets[] = {kMiB / 4, kMiB, 4 * kMiB, 16 * kMiB, 64 * kMiB, 256 * kMiB};
constexpr int64_t kLargest = 256 * kMiB;

/// Short runs and many of them: other work on the machine then spoils some and not all.
constexpr double kBudgetNs = 60e6;
constexpr int kFewestRuns = 5;

/// The shortest of several runs of a probe, in ns.
Result<double> shortest(KernelProcess& process, Probe what, int64_t bytes, int64_t repeats) {
  int64_t order[4] = {what, bytes, repeats, 1};
  std::memcpy(process.input(0, 0).data(), order, sizeof order);
  double best = 0, spent = 0;
  for (int i = 0; i < kFewestRuns || spent < kBudgetNs; ++i) {
    Outcome<double> time = process.run(1, 20);
    if (!time) return Error{ErrorKind::kEnvironment, "a measurement of this machine failed", ""};
    if (i == 0 || *time < best) best = *time;
    spent += *time;
  }
  return best;
}

/// Moves about this much in one run, so that it takes a millisecond or two.
constexpr int64_t kTraffic = 64 * kMiB;

Result<double> rate(KernelProcess& process, Probe what, int64_t working_set, int threads) {
  bool copies = what == kCopy || what == kStreamingCopy;
  int64_t bytes = copies ? working_set / 2 : working_set;
  int64_t repeats = std::max<int64_t>(1, kTraffic / working_set);
  int64_t moved = bytes / threads / 4096 * 4096 * threads * (copies ? 2 : 1) * repeats;
  QUERN_ASSIGN(double ns, shortest(process, what, bytes, repeats));
  return static_cast<double>(moved) / ns;
}

Result<BandwidthPoint> measure_point(KernelProcess& process, int64_t working_set, int threads) {
  QUERN_ASSIGN(double plain, rate(process, kCopy, working_set, threads));
  QUERN_ASSIGN(double streaming, rate(process, kStreamingCopy, working_set, threads));
  QUERN_ASSIGN(double read, rate(process, kRead, working_set, threads));
  QUERN_ASSIGN(double ahead, rate(process, kPrefetchedRead, working_set, threads));
  return BandwidthPoint{working_set, std::max(plain, streaming), std::max(read, ahead)};
}

Result<double> measure_fma(KernelProcess& process, int threads) {
  constexpr int64_t kSteps = 200'000;
  constexpr double kLanes = 16, kChains = 16, kOperations = 2;
  QUERN_ASSIGN(double ns, shortest(process, kMultiplyAdd, 0, kSteps));
  return kSteps * kLanes * kChains * kOperations * threads / ns;
}

Result<std::unique_ptr<KernelProcess>> start_probe(const CpuCompiler& compiler, int threads) {
  Outcome<Binary> binary = compiler.compile({kProbe});
  if (binary.has_error()) return binary.error();
  if (!binary) {
    return Error{ErrorKind::kEnvironment,
                 "the probes of this machine do not compile: " +
                     std::get<CompileFailed>(binary.verdict()).evidence,
                 ""};
  }
  KernelLayout layout;
  layout.inputs = {64, static_cast<uint64_t>(kLargest)};
  layout.outputs = {static_cast<uint64_t>(kLargest / 2), 64 * uint64_t{kRunnerMaxThreads}};
  auto started = KernelProcess::start(*binary, "probe", layout, {.threads = threads});
  if (started.has_error()) return started.error();
  if (!started) return Error{ErrorKind::kEnvironment, "the probes of this machine do not run", ""};
  return std::move(*started);
}

std::string instruction_set(const Processor& processor) {
  for (const char* name : {"avx512f", "avx2", "avx", "sse4_2"}) {
    if (processor.has(name)) return name;
  }
  return "sse2";
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

double Peaks::bandwidth_gbs(int64_t working_set_bytes) const {
  double best = 0;
  for (size_t i = 0; i < curve.size(); ++i) {
    // A point counts when it is as large as the set, or is the largest one below it.
    bool below = i + 1 < curve.size() && curve[i + 1].working_set_bytes <= working_set_bytes;
    if (!below) best = std::max({best, curve[i].copy_gbs, curve[i].read_gbs});
  }
  return best;
}

Result<Peaks> measure_peaks(const CpuCompiler& compiler, int threads) {
  QUERN_ASSIGN(std::unique_ptr<KernelProcess> process, start_probe(compiler, threads));
  std::memset(process->input(0, 1).data(), 1, kLargest);
  Peaks peaks;
  peaks.cpu = this_processor().model;
  peaks.threads = threads;
  for (int64_t working_set : kWorkingSets) {
    QUERN_ASSIGN(BandwidthPoint point, measure_point(*process, working_set, threads));
    peaks.curve.push_back(point);
  }
  QUERN_ASSIGN(peaks.fma_gflops, measure_fma(*process, threads));
  return peaks;
}

Peaks best_of(const Peaks& a, const Peaks& b) {
  Peaks best = a;
  best.fma_gflops = std::max(a.fma_gflops, b.fma_gflops);
  for (size_t i = 0; i < best.curve.size() && i < b.curve.size(); ++i) {
    best.curve[i].copy_gbs = std::max(a.curve[i].copy_gbs, b.curve[i].copy_gbs);
    best.curve[i].read_gbs = std::max(a.curve[i].read_gbs, b.curve[i].read_gbs);
  }
  return best;
}

Result<void> save_peaks(const Peaks& peaks, const std::string& path) {
  Json curve = Json::array();
  for (const BandwidthPoint& point : peaks.curve) {
    curve.push_back({{"working_set_bytes", point.working_set_bytes},
                     {"copy_gbs", point.copy_gbs},
                     {"read_gbs", point.read_gbs}});
  }
  Json json = {{"cpu", peaks.cpu},
               {"threads", peaks.threads},
               {"fma_gflops", peaks.fma_gflops},
               {"curve", curve}};
  return write_file_atomic(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Result<Peaks> load_peaks(const std::string& path) {
  QUERN_ASSIGN(std::string text, read_file(path));
  Json json = Json::parse(text, nullptr, false);
  Error malformed{ErrorKind::kInput, path + " is not a file of measured peaks",
                  "remove it and measure again"};
  if (!json.is_object()) return malformed;
  auto number = [](const Json& object, const char* name) {
    return object.is_object() && object.contains(name) && object[name].is_number()
               ? object[name].get<double>()
               : -1.0;
  };
  Peaks peaks;
  if (json.contains("cpu") && json["cpu"].is_string()) peaks.cpu = json["cpu"];
  peaks.threads = static_cast<int>(number(json, "threads"));
  peaks.fma_gflops = number(json, "fma_gflops");
  if (peaks.threads < 1 || peaks.fma_gflops <= 0 || !json["curve"].is_array()) return malformed;
  for (const Json& item : json["curve"]) {
    BandwidthPoint point{static_cast<int64_t>(number(item, "working_set_bytes")),
                         number(item, "copy_gbs"), number(item, "read_gbs")};
    if (point.working_set_bytes <= 0 || point.copy_gbs <= 0 || point.read_gbs <= 0) {
      return malformed;
    }
    peaks.curve.push_back(point);
  }
  if (peaks.curve.empty()) return malformed;
  return peaks;
}

Environment probe_machine(const CpuCompiler& compiler, int threads, const Peaks* peaks) {
  Environment environment;
  Processor processor = this_processor();
  environment.cpu = processor.model;
  environment.threads = threads;
  environment.isa = instruction_set(processor);
  environment.compiler = compiler.version();
  utsname names{};
  if (uname(&names) == 0) environment.kernel = std::string(names.sysname) + " " + names.release;
  environment.sandbox = compiler.sandbox().text();
  if (peaks != nullptr) {
    environment.copy_bandwidth_gbs = peaks->copy_gbs();
    environment.read_bandwidth_gbs = peaks->read_gbs();
    environment.fma_gflops = peaks->fma_gflops;
  }
  return environment;
}

}  // namespace quern
