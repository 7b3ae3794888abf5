// SPDX-License-Identifier: Apache-2.0
#include "nvrtc.h"

#include <dlfcn.h>

#include "codegen/prelude.h"

namespace quern {
namespace {

// The few entry points used, as in nvrtc.h.
using Handle = struct Opaque*;
struct Nvrtc {
  int (*create)(Handle*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Handle, int, const char* const*);
  int (*log_size)(Handle, size_t*);
  int (*log)(Handle, char*);
  int (*destroy)(Handle*);
  bool found = false;
};

template <class F>
void look_up(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
}

Nvrtc load() {
  Nvrtc nvrtc{};
  void* library = nullptr;
  for (const char* name :
       {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so"}) {
    if (library == nullptr) library = dlopen(name, RTLD_NOW);
  }
  if (library == nullptr) return nvrtc;
  look_up(library, "nvrtcCreateProgram", &nvrtc.create);
  look_up(library, "nvrtcCompileProgram", &nvrtc.compile);
  look_up(library, "nvrtcGetProgramLogSize", &nvrtc.log_size);
  look_up(library, "nvrtcGetProgramLog", &nvrtc.log);
  look_up(library, "nvrtcDestroyProgram", &nvrtc.destroy);
  nvrtc.found = nvrtc.create != nullptr && nvrtc.compile != nullptr;
  return nvrtc;
}

const Nvrtc& nvrtc() {
  static const Nvrtc loaded = load();
  return loaded;
}

}  // namespace

std::string nvrtc_missing() {
  return nvrtc().found ? "" : "NVRTC is not installed (libnvrtc.so of a CUDA toolkit)";
}

std::string nvrtc_refuses(const std::string& source, const std::vector<std::string>& options) {
  const std::string prelude(cuda_prelude());
  const char* header = prelude.c_str();
  const char* name = "quern_cuda.h";
  Handle program = nullptr;
  if (nvrtc().create(&program, source.c_str(), "candidate.cu", 1, &header, &name) != 0) {
    return "NVRTC makes no program";
  }
  std::vector<const char*> arguments = {"-arch=sm_90a", "-std=c++17"};
  for (const std::string& option : options) arguments.push_back(option.c_str());
  const int status = nvrtc().compile(program, static_cast<int>(arguments.size()), arguments.data());
  size_t size = 0;
  nvrtc().log_size(program, &size);
  std::string log(size, '\0');
  nvrtc().log(program, log.data());
  nvrtc().destroy(&program);
  if (status == 0) return "";
  return "error " + std::to_string(status) + ": " + log.c_str();
}

}  // namespace quern
