// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/nvrtc.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>

#include "base/dynamic_library.h"
#include "base/file.h"
#include "base/strings.h"

namespace quern::cuda {
namespace {

/// Existing paths that match, the last in order (the newest version) first.
std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  std::ranges::reverse(paths);
  return paths;
}

std::vector<std::string> places(const std::vector<std::string>& python_environments) {
  std::vector<std::string> list;
  for (const char* toolkit :
       {"/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda", "/usr/lib/cuda"}) {
    list.push_back(std::string(toolkit) + "/lib64/libnvrtc.so.1[23]");
  }
  for (const std::string& environment : python_environments) {
    const std::string packages = environment + "/lib/python3*/site-packages/";
    for (const char* folder : {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "torch/lib"}) {
      list.push_back(packages + folder + "/libnvrtc.so.1[23]");
    }
  }
  return list;
}

/// Headers beside the library: in a toolkit, or in a wheel; CUDA 13 keeps CCCL's in a folder below.
std::vector<std::string> include_paths_of(const std::string& library) {
  const std::string folder = library.substr(0, library.rfind('/'));
  std::vector<std::string> paths;
  for (const char* place : {"/../include", "/../../include", "/../targets/x86_64-linux/include"}) {
    const std::string include = folder + place;
    if (!file_exists(include + "/cuda_fp16.h")) continue;
    paths.push_back(include);
    if (file_exists(include + "/cccl")) paths.push_back(include + "/cccl");
    break;
  }
  return paths;
}

}  // namespace

Result<std::unique_ptr<Nvrtc>> Nvrtc::open(const std::string& path) {
  QUERN_ASSIGN(DynamicLibrary library, DynamicLibrary::open({path}));
  auto nvrtc = std::make_unique<Nvrtc>();
  std::string missing;
#define QUERN_FIND(field, symbol, arguments) library.find(symbol, nvrtc->field, missing);
  QUERN_NVRTC_FUNCTIONS(QUERN_FIND)
#undef QUERN_FIND
#define QUERN_FIND(field, symbol, arguments) library.find(symbol, nvrtc->field);
  QUERN_NVRTC_NEWER_FUNCTIONS(QUERN_FIND)
#undef QUERN_FIND
  library.find("nvrtcGetErrorString", nvrtc->error_text, missing);
  if (!missing.empty()) {
    return Error{
        ErrorKind::kEnvironment,
        fmt::format("{} is no NVRTC of CUDA 12 or newer: it lacks {}", library.path(), missing),
        ""};
  }
  library.keep();
  (void)nvrtc->version(&nvrtc->major, &nvrtc->minor);
  return nvrtc;
}

Result<NvrtcLibrary> find_nvrtc(const std::string& path,
                                const std::vector<std::string>& python_environments) {
  std::vector<std::string> looked =
      path.empty() ? places(python_environments) : std::vector<std::string>{path};
  for (const std::string& pattern : looked) {
    for (const std::string& found : matches(pattern)) {
      return NvrtcLibrary{found, include_paths_of(found)};
    }
  }
  if (path.empty()) {
    auto library = DynamicLibrary::open({"libnvrtc.so.13", "libnvrtc.so.12"});
    if (library) {
      // Its exit handlers do not expect it to be closed.
      library->keep();
      return NvrtcLibrary{library->path(), include_paths_of(library->path())};
    }
    looked.emplace_back("the loader's path (libnvrtc.so.13, libnvrtc.so.12)");
  }
  return Error{ErrorKind::kEnvironment,
               "there is no NVRTC, CUDA's run-time compiler; looked for " + join(looked, ", "),
               "install CUDA 12 or newer, or the Python package nvidia-cuda-nvrtc"};
}

}  // namespace quern::cuda
