// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

/// NVIDIA's run-time compiler, found and opened at run time; nothing of CUDA is needed to build
/// Quern. Numbers and signatures: the NVRTC guide, CUDA 12.0 and later.
namespace quern::cuda {

using ProgramHandle = struct ProgramTag*;

/// nvrtcResult, as far as it matters here.
enum class NvrtcStatus : int {
  kSuccess = 0,
  kInvalidOption = 5,
  kCompilation = 6,
  kCancelled = 16
};

// One row a function: field of `Nvrtc`, symbol, arguments.
#define QUERN_NVRTC_FUNCTIONS(FUNCTION)                                                 \
  FUNCTION(version, "nvrtcVersion", (int* major, int* minor))                           \
  FUNCTION(create, "nvrtcCreateProgram",                                                \
           (ProgramHandle * program, const char* source, const char* name, int headers, \
            const char* const* texts, const char* const* names))                        \
  FUNCTION(destroy, "nvrtcDestroyProgram", (ProgramHandle * program))                   \
  FUNCTION(compile, "nvrtcCompileProgram",                                              \
           (ProgramHandle program, int count, const char* const* options))              \
  FUNCTION(log_size, "nvrtcGetProgramLogSize", (ProgramHandle program, size_t * bytes)) \
  FUNCTION(log, "nvrtcGetProgramLog", (ProgramHandle program, char* text))              \
  FUNCTION(cubin_size, "nvrtcGetCUBINSize", (ProgramHandle program, size_t * bytes))    \
  FUNCTION(cubin, "nvrtcGetCUBIN", (ProgramHandle program, char* image))                \
  FUNCTION(ptx_size, "nvrtcGetPTXSize", (ProgramHandle program, size_t * bytes))        \
  FUNCTION(ptx, "nvrtcGetPTX", (ProgramHandle program, char* text))
// Functions that older versions lack: null there.
#define QUERN_NVRTC_NEWER_FUNCTIONS(FUNCTION)                              \
  FUNCTION(pch_status, "nvrtcGetPCHCreateStatus", (ProgramHandle program)) \
  FUNCTION(set_flow_callback, "nvrtcSetFlowCallback",                      \
           (ProgramHandle program, int (*callback)(void*, void*), void* payload))

/// The compiler's functions. One table for the life of the process: the library stays open.
struct Nvrtc {
#define QUERN_FIELD(field, symbol, arguments) NvrtcStatus(*field) arguments = nullptr;
  QUERN_NVRTC_FUNCTIONS(QUERN_FIELD)
  QUERN_NVRTC_NEWER_FUNCTIONS(QUERN_FIELD)
#undef QUERN_FIELD
  const char* (*error_text)(NvrtcStatus status) = nullptr;

  int major = 0, minor = 0;

  /// Opens the library at `path`. Errors: kEnvironment.
  static Result<std::unique_ptr<Nvrtc>> open(const std::string& path);
};

/// Where NVRTC lies on this machine.
struct NvrtcLibrary {
  std::string path;                        ///< of libnvrtc.so
  std::vector<std::string> include_paths;  ///< CUDA's own headers, where they lie beside it
};

/// Looks in `path` if given and nowhere else; otherwise in CUDA toolkits in their usual places,
/// the packages nvidia-cuda-nvrtc and torch of the Python environments given (folders that hold
/// lib/python3*), and on the loader's path. Errors: kEnvironment, with every place looked in.
Result<NvrtcLibrary> find_nvrtc(const std::string& path,
                                const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
