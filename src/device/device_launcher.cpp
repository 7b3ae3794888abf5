// SPDX-License-Identifier: Apache-2.0
#include "device/device_launcher.h"

#include <fmt/format.h>

#include <utility>

#include "base/dynamic_library.h"
#include "base/file.h"
#include "base/strings.h"
#include "device/device_protocol.h"

namespace quern {
namespace {

constexpr uint64_t kCompilerFiles = uint64_t{1} << 30;

/// What drivers of GPUs open. Those that are missing are skipped.
std::vector<std::string> device_files() {
  std::vector<std::string> files = {
      "/dev/null", "/dev/zero",      "/dev/urandom",    "/dev/dri",
      "/dev/kfd",  "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
  for (int gpu = 0; gpu < 16; ++gpu) files.push_back(fmt::format("/dev/nvidia{}", gpu));
  return files;
}

/// Where a self-contained folder has the shared libraries of a program.
std::string libraries_beside(const std::string& program) {
  return program.substr(0, program.rfind('/')) + "/../lib";
}

/// OpenCL drivers are libraries that may compile in our process, keep caches in files and, on a
/// CPU, link with the system's linker: they get a folder for all that, and nothing else to write.
void confine_opencl(const WorkerOptions& options, const std::string& folder, Command& command) {
  command.env = {"LC_ALL=C",         "PATH=/usr/bin:/bin",       "HOME=" + folder,
                 "TMPDIR=" + folder, "XDG_CACHE_HOME=" + folder, "POCL_CACHE_DIR=" + folder};
  // PoCL: a worker that runs takes the code that was compiled for any size of work-group, instead
  // of compiling again for each.
  if (!options.compiles) command.env.emplace_back("POCL_WORK_GROUP_SPECIALIZATION=0");
  Sandbox& sandbox = command.sandbox;
  sandbox.restrict_files = true;
  sandbox.no_network = true;
  sandbox.read_exec = {command.argv.front(), "/lib64", "/lib", "/usr/lib", "/usr/lib64"};
  sandbox.read_exec.push_back(libraries_beside(command.argv.front()));
  if (options.compiles) sandbox.read_exec.emplace_back("/usr/bin");
  sandbox.read_only = {"/etc", "/proc", "/sys", "/usr", "/opt"};
  sandbox.devices = device_files();
  sandbox.read_write = {folder, "/dev/null"};
}

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

/// NVIDIA's driver does not open under Landlock without device ioctl: its worker
/// confines itself once it has the device.
void prepare_cuda(const WorkerOptions& options, const std::string& folder, Command& command) {
  // Of a library's thousands of kernels, few are wanted.
  const std::string loading = options.library.empty() ? "EAGER" : "LAZY";
  command.env = {"LC_ALL=C", "HOME=" + folder, "TMPDIR=" + folder, "CUDA_CACHE_DISABLE=1",
                 "CUDA_MODULE_LOADING=" + loading,
                 // One stream needs one queue; a context with eight takes three times as long.
                 "CUDA_DEVICE_MAX_CONNECTIONS=1"};
  // The driver may lie where only this process's environment says.
  std::vector<std::string> folders;
  if (auto driver = DynamicLibrary::open({"libcuda.so.1"})) {
    folders.push_back(folder_of(driver->path()));
    driver->keep();
  }
  // CUPTI and cuBLAS open libraries that lie beside them.
  for (const std::string* library : {&options.counters, &options.library}) {
    if (!library->empty()) folders.push_back(folder_of(*library));
  }
  if (!folders.empty()) command.env.push_back("LD_LIBRARY_PATH=" + join(folders, ":"));
}

}  // namespace

Result<Command> device_worker_command(const WorkerOptions& options, const std::string& folder) {
  Command command;
  QUERN_ASSIGN(const std::string program, find_device_worker());
  command.argv = {program, options.kind, std::to_string(options.device),
                  options.compiles ? "compile" : "run"};
  command.cwd = folder;
  command.drop_output_when_full = true;
  if (options.compiles) command.limits.file_size_bytes = kCompilerFiles;
  if (options.kind == "opencl") confine_opencl(options, folder, command);
  if (options.kind == "cuda") {
    prepare_cuda(options, folder, command);
    for (const auto& [file, path] : {std::pair{kWorkerCountersFile, options.counters},
                                     {kWorkerLibraryFile, options.library}}) {
      if (!path.empty()) QUERN_TRY(write_file_atomic(folder + "/" + file, path));
    }
    if (!options.kernels.empty()) {
      QUERN_ASSIGN(const std::string image, read_file(options.kernels));
      QUERN_TRY(write_file_atomic(folder + "/" + kWorkerKernelsFile, image));
    }
  }
  return command;
}

Result<std::string> find_device_worker() {
  const std::string folder = executable_folder();
  for (const char* place :
       {"/quern-device-worker", "/../apps/quern-device-worker", "/../../apps/quern-device-worker",
        "/../quern-device-worker", "/../libexec/quern/quern-device-worker",
        "/../lib/quern/quern-device-worker"}) {
    if (std::string path = find_program(folder + place); !path.empty()) return path;
  }
  return Error{ErrorKind::kEnvironment, "there is no quern-device-worker beside " + folder,
               "build the target quern-device-worker, or install the whole package"};
}

}  // namespace quern
