// SPDX-License-Identifier: Apache-2.0
#include "cuda_tools.h"

#include <fmt/format.h>

#include <cstdlib>

#include "device/cuda/sass.h"

namespace quern::cli {

std::vector<std::string> python_environments(const Context& context) {
  std::vector<std::string> list;
  if (const char* active = std::getenv("VIRTUAL_ENV")) list.emplace_back(active);
  const std::string& tasks = context.tasks_directory;
  list.push_back(tasks.substr(0, tasks.rfind('/')) + "/.venv");
  return list;
}

Result<std::unique_ptr<cuda::CompilePool>> make_compile_pool(const Context& context,
                                                             const std::string& architecture,
                                                             int workers) {
  cuda::CompilePoolOptions options;
  QUERN_ASSIGN(options.library, cuda::find_nvrtc("", python_environments(context)));
  options.cache_dir = context.cache_directory + "/cuda";
  options.workers = workers;
  if (!architecture.empty()) {
    options.architecture = architecture;
  } else if (auto driver = cuda::Driver::open()) {
    if (auto gpus = cuda::list_gpus(**driver); gpus && !gpus->empty()) {
      options.architecture = gpus->front().architecture();
    }
  }
  return cuda::CompilePool::make(std::move(options));
}

std::vector<CudaFinding> cuda_findings(const Context& context) {
  std::vector<CudaFinding> list;
  auto driver = cuda::Driver::open();
  if (!driver) {
    list.push_back({"cuda", false, driver.error().message, driver.error().hint});
  } else if (auto gpus = cuda::list_gpus(**driver); !gpus) {
    list.push_back({"cuda", false, gpus.error().message, gpus.error().hint});
  } else {
    for (const cuda::GpuProperties& gpu : *gpus) {
      list.push_back(
          {fmt::format("cuda:{}", gpu.ordinal), true,
           fmt::format("{}, {} GiB, {} multiprocessors, {}, driver for CUDA {}.{}", gpu.name,
                       gpu.memory_bytes >> 30, gpu.multiprocessors, gpu.architecture(),
                       gpu.driver_version / 1000, gpu.driver_version % 1000 / 10),
           ""});
    }
  }
  auto library = cuda::find_nvrtc("", python_environments(context));
  if (!library) {
    list.push_back({"nvrtc", false, library.error().message, library.error().hint});
    return list;
  }
  auto pool = make_compile_pool(context, "", 1);
  list.push_back({"nvrtc", pool.has_value(),
                  pool ? fmt::format("{}, {}, confined by {}", (*pool)->version(), library->path,
                                     (*pool)->sandbox().text())
                       : pool.error().message,
                  pool ? "" : pool.error().hint});
  const std::string nvdisasm = cuda::find_nvdisasm(library->path, python_environments(context));
  list.push_back(
      {"nvdisasm", !nvdisasm.empty(),
       nvdisasm.empty() ? "not found: quern profile does without machine code" : nvdisasm,
       "it comes with CUDA toolkits and with the Python package triton"});
  return list;
}

}  // namespace quern::cli
