// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/frame.h"
#include "base/sandbox.h"
#include "device/cuda/cubin.h"
#include "device/cuda/nvrtc.h"
#include "record/evaluation.h"
#include "record/verdict.h"

namespace quern::cuda {

struct CompilePoolOptions {
  NvrtcLibrary library;
  std::string cache_dir;  ///< ours alone; made if missing; processes may share it
  std::string architecture = "sm_90a";
  std::string prelude;                        ///< text of `quern_cuda.h`; "": none
  std::string linker;                         ///< path of nvJitLink, for guards; "": none
  int workers = 2;                            ///< compilations at once
  double deadline_s = 60;                     ///< wall clock of one compilation
  uint64_t memory_bytes = uint64_t{8} << 30;  ///< address space of a worker
  int recycle_after = 500;                    ///< compilations of one worker process
  int64_t recycle_kib = int64_t{3} << 20;     ///< memory of one, at which it is replaced
};

/// A device source to build.
struct CudaJob {
  std::string source;
  std::vector<std::pair<std::string, int64_t>> macros;       ///< name, value
  std::vector<std::pair<std::string, std::string>> headers;  ///< name and text, to be included
  bool fast_math = false;
  bool separate = false;  ///< multiplications and additions are not contracted
  bool ours = false;      ///< functions without a mark are the device's
  int max_registers = 0;  ///< of a thread; 0: the compiler decides
  /// Leaves most optimisation out: to see whether a source is right, never to time it.
  bool quick = false;
  /// `source` is PTX, to be guarded (device/cuda/ptx_guard.h) and no more; goes before other jobs.
  bool guards = false;
  /// Of jobs that wait, those with a lower number go first; else the first that came.
  uint64_t turn = 0;
};

struct CudaBinary {
  std::string image;  ///< a cubin; of guards, as `pack_guarded` makes it
  std::string ptx;    ///< what it was made of; of guards: ""
  Build build;        ///< `binary_hash`: of the machine code of all kernels, without names
  std::vector<CubinKernel> kernels;  ///< by name
};

/// Compiles device sources to cubins in worker processes (`quern-nvrtc`), each sandboxed: it reads
/// CUDA's headers and ours, and writes a scratch folder. Results are kept by content: source,
/// options, compiler, architecture and prelude. Verdict `CompileFailed` when the source is at
/// fault; failures by diagnostics are kept too. Not thread-safe, and the thread that calls it must
/// outlive it: the kernel kills children with the thread that started them.
class CompilePool {
 public:
  /// Starts one worker. Errors: kEnvironment: no `quern-nvrtc`, NVRTC does not open, the cache
  /// cannot be written; kInput: the prelude has errors.
  static Result<std::unique_ptr<CompilePool>> make(CompilePoolOptions options);
  ~CompilePool();

  using Ticket = uint64_t;
  struct Finished {
    Ticket ticket;
    Outcome<CudaBinary> outcome;
  };

  /// Queues a job. Nothing happens outside of calls: give `next` the chance now and then.
  Ticket submit(CudaJob job);
  /// A finished job, waiting for one up to `wait_s`; nothing when none finished or none is queued.
  std::optional<Finished> next(double wait_s);
  size_t unfinished() const;

  /// Several jobs, answers in their order. Not while tickets are out.
  std::vector<Outcome<CudaBinary>> compile_all(std::vector<CudaJob> jobs);
  Outcome<CudaBinary> compile(CudaJob job);

  /// Starts all workers now, which takes them longer than most compilations.
  void warm();

  const std::string& version() const { return version_; }  ///< "NVRTC 13.0"
  bool precompiled() const { return precompiled_; }        ///< the prelude is
  const std::string& architecture() const { return options_.architecture; }
  const std::string& prelude() const { return options_.prelude; }
  const SandboxReport& sandbox() const { return sandbox_; }
  std::vector<pid_t> processes() const;     ///< workers that are alive
  int started() const { return started_; }  ///< worker processes so far

 private:
  class Worker;
  struct Pending {
    Ticket ticket;
    CudaJob job;
    std::string key, text;
    bool prelude = false;
    int deaths = 0;  ///< workers that died over it
  };

  explicit CompilePool(CompilePoolOptions options);
  Result<void> await_first_worker();
  Result<std::unique_ptr<Worker>> start_worker();
  std::vector<std::string> base_options() const;
  std::vector<std::string> job_options(const CudaJob& job) const;
  void pump(double wait_s);
  void staff();
  void hand_out();
  void queue(Pending pending);
  Frame request_of(const Pending& pending) const;
  void wait_for_workers(double wait_s);
  void tend(Worker& worker);
  void bury(Worker& worker, bool overran);
  void finish(const Pending& pending, Outcome<CudaBinary> outcome);
  void fail_queue(const Error& error);

  CompilePoolOptions options_;
  std::string program_, version_, identity_, cubin_dir_;
  bool precompiled_ = false, quick_known_ = false;
  SandboxReport sandbox_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::deque<Pending> queue_;
  std::deque<Finished> finished_;
  Ticket next_ticket_ = 1;
  int started_ = 0;
  int failed_starts_ = 0;  ///< in a row
};

/// The path of `quern-nvrtc`, as `find_runner` finds its program. Errors: kEnvironment.
Result<std::string> find_nvrtc_worker();

}  // namespace quern::cuda
