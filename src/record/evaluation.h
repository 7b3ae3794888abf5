// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "record/candidate.h"
#include "record/verdict.h"

namespace quern {

/// What the compiler said and made.
struct Build {
  std::string compiler;  ///< "g++ 12.2.0"
  std::string flags;
  std::string log;  ///< diagnostics, at most 64 KiB
  std::string binary_hash;
  double compile_ms = 0;
  bool cached = false;
};

/// One step of the verification ladder, in the order run.
struct Check {
  std::string name;   ///< "hidden shape batch=3 dim=17, normal"
  std::string level;  ///< "V0", "V1", "V2"
  bool passed = false;
  double max_error = 0;  ///< in units of the rounding-error scale; 0 where bitwise
  double rms_error = 0;
  std::string detail;
};

/// What one kernel of a loaded device program takes of the device; 0 where that is not known.
struct KernelResources {
  std::string kernel;
  int registers = 0;         ///< of a thread
  int64_t spill_bytes = 0;   ///< local (private) memory of a thread
  int64_t shared_bytes = 0;  ///< static and dynamic, of a block
  int max_threads = 0;       ///< of a block, for this kernel
  double occupancy = 0;      ///< at the plan's block and shared memory, 0–1
};

/// Everything learnt from evaluating one candidate on one task and size.
struct Evaluation {
  std::string candidate_id;
  Verdict verdict = CompileFailed{};
  Build build;
  std::vector<Check> checks;
  std::vector<KernelResources> resources;   ///< of device code, one a launch of the plan
  std::map<std::string, double> stages_ms;  ///< "compile", "verify", "time", "overhead", "total"
  double roofline = 0;                      ///< floor time / median time, 0–1; 0 if not timed
  std::optional<std::string> alarm;         ///< "faster than the physics floor: …"
  std::vector<std::string> notes;           ///< degraded sandbox features and the like
  bool cached = false;                      ///< answered from the evaluation cache
};

/// Facts about the machine an evaluation ran on; part of every record.
struct Environment {
  std::string cpu;
  std::string device;  ///< that device code runs on, with its driver; "" for native code
  int threads = 1;
  int multiprocessors = 0;  ///< of `device`; 0: not known, or native code
  std::string isa;          ///< "avx512f", "avx2", …
  std::string compiler;
  std::string kernel;             ///< operating system release
  std::string sandbox;            ///< "landlock 7, seccomp, network namespace"
  double copy_bandwidth_gbs = 0;  ///< measured, all threads, 10^9 bytes read + written per second
  double read_bandwidth_gbs = 0;
  double fma_gflops = 0;  ///< measured f32 peak, all threads
};

/// One turn of the loop, in a run. `number` counts from 0 in the order of the trajectory.
struct Attempt {
  int number = 0;
  Candidate candidate;
  std::string action;  ///< what leads from the parent to this: trace steps, or a role's name
  Evaluation evaluation;
  std::string time;  ///< when it was judged, UTC, ISO 8601; "" under a clock that is not steady
};

/// What a run was asked to do; fixed at its start and kept across `resume`.
struct RunOptions {
  std::string task_text;  ///< canonical task text: the run does not depend on the file
  std::string task_name;
  std::string size = "cpu";
  std::string target = "cpu";  ///< "cpu", "opencl"
  int device = 0;              ///< among the target's devices, where there are several
  std::string recipe = "rules";
  uint64_t seed = 0;
  int budget_attempts = 64;      ///< 0: no limit
  double budget_s = 0;           ///< 0: no limit
  int threads = 0;               ///< kernel threads; 0: all
  std::string compiler = "g++";  ///< name or path
  /// Or "simulated": verified as ever, times from a hash; "pretend": nothing is compiled or run.
  /// Both for tests.
  std::string clock = "steady";
  std::string checker_version;
  std::string recipe_text;   ///< the recipe as it was; "" for "rules"
  std::string model;         ///< "provider/model"; "" where the recipe needs none
  std::string models_text;   ///< servers and prices of models as they were (docs/models.md)
  std::string prompts_text;  ///< templates of prompts as they were, a JSON object; "": Quern's
  std::vector<std::string> agent_env;     ///< variables that agents are given, by name
  std::vector<std::string> agent_writes;  ///< what they may write, beside their folder
  double agent_s = 900;                   ///< that one call of an agent may take
  uint64_t budget_calls = 0;              ///< of models; 0: no limit
  uint64_t budget_tokens = 0;             ///< 0: no limit
  double budget_usd = 0;                  ///< 0: no limit
};

}  // namespace quern
