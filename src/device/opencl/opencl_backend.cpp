// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_backend.h"

#include <fmt/format.h>
#include <unistd.h>

#include <map>
#include <optional>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strings.h"
#include "device/opencl/opencl_program.h"

namespace quern {
namespace {

constexpr size_t kLogBytes = size_t{64} << 10;
constexpr int kCallsInFlight = 256;

Error no_such(const char* what, uint32_t id) {
  return Error{ErrorKind::kInternal, fmt::format("there is no {} {}", what, id), ""};
}

class OpenClBackend : public DeviceBackend {
 public:
  explicit OpenClBackend(int device) : index_(device) {}

  Result<DeviceProperties> open() override {
    QUERN_ASSIGN(OpenClDevice opened, OpenClDevice::open(index_));
    device_.emplace(std::move(opened));
    return device_->properties;
  }

  Outcome<DeviceBinary> compile(const DeviceCompileJob& job) override;

  Result<void> allocate(BufferId id, uint64_t bytes, Placement placement) override {
    QUERN_ASSIGN(OpenClMemory memory, OpenClMemory::make(*device_, id, bytes, placement));
    buffers_.insert_or_assign(id, std::move(memory));
    return {};
  }
  Result<void> release(BufferId id) override {
    buffers_.erase(id);
    return {};
  }
  Result<void> allow(BufferId id, DeviceAccess access) override {
    return with(id, [&](OpenClMemory& memory) { return memory.allow(access); });
  }
  Result<void> upload(BufferId id, std::span<const std::byte> bytes) override {
    return with(id, [&](OpenClMemory& memory) { return memory.upload(bytes); });
  }
  Result<void> download(BufferId id, std::span<std::byte> bytes) override {
    return with(id, [&](OpenClMemory& memory) { return memory.download(bytes); });
  }
  Result<void> copy(BufferId to, BufferId from) override {
    const OpenClMemory* source = find(from);
    if (source == nullptr) return no_such("buffer", from);
    std::vector<std::byte> block(source->bytes());
    QUERN_TRY(source->download(block));
    return upload(to, block);
  }
  Result<void> fill(BufferId id, uint8_t byte) override {
    return with(id, [&](OpenClMemory& memory) { return memory.fill(byte); });
  }
  Result<bool> guards_intact(BufferId id) override {
    const OpenClMemory* memory = find(id);
    if (memory == nullptr) return no_such("buffer", id);
    return memory->intact();
  }

  Outcome<std::vector<KernelResources>> load(ProgramId id, const std::string& image,
                                             const BoundPlan& plan,
                                             const std::vector<BufferSet>& sets) override {
    if (sets.empty()) return Error{ErrorKind::kInternal, "a program without buffers", ""};
    auto program = OpenClProgram::load(*device_, image, plan, sets,
                                       [this](BufferId buffer) { return find(buffer); });
    if (!program) return pass_on(program);
    auto loaded = std::make_unique<OpenClProgram>(std::move(program.value()));
    auto resources = loaded->resources();
    programs_[id] = {std::move(loaded), sets.size()};
    return resources;
  }
  Result<void> unload(ProgramId id) override {
    programs_.erase(id);
    return {};
  }
  Result<void> poison_scratch(ProgramId id, uint8_t byte) override {
    const auto found = programs_.find(id);
    if (found == programs_.end()) return no_such("program", id);
    return found->second.program->poison_scratch(byte);
  }
  Result<bool> scratch_guards_intact(ProgramId id) override {
    const auto found = programs_.find(id);
    if (found == programs_.end()) return no_such("program", id);
    return found->second.program->scratch_intact();
  }
  Outcome<double> run(ProgramId id, int calls, int first) override;

 private:
  struct Loaded {
    std::unique_ptr<OpenClProgram> program;
    size_t sets = 0;
  };

  const OpenClMemory* find(BufferId id) const {
    const auto found = buffers_.find(id);
    return found == buffers_.end() ? nullptr : &found->second;
  }
  template <class Act>
  Result<void> with(BufferId id, Act act) {
    const auto found = buffers_.find(id);
    if (found == buffers_.end()) return no_such("buffer", id);
    return act(found->second);
  }
  Outcome<Done> finish();
  std::string build_log(cl_program program) const;
  Outcome<std::string> image_of(cl_program program) const;

  int index_;
  std::optional<OpenClDevice> device_;
  std::map<BufferId, OpenClMemory> buffers_;
  std::map<ProgramId, Loaded> programs_;
};

Outcome<Done> OpenClBackend::finish() {
  const cl_int status = device_->api.Finish(device_->queue);
  if (status == CL_SUCCESS) return Done{};
  return Verdict(Crashed{"the device gave up: " + opencl_status_name(status), "", 0});
}

Outcome<double> OpenClBackend::run(ProgramId id, int calls, int first) {
  const auto found = programs_.find(id);
  if (found == programs_.end()) return no_such("program", id);
  const size_t sets = found->second.sets;
  const int64_t start_ns = steady_now_ns();
  for (int call = 0; call < calls; ++call) {
    const size_t set = (static_cast<size_t>(first) + static_cast<size_t>(call)) % sets;
    if (auto queued = found->second.program->enqueue(set); !queued) return pass_on(queued);
    if ((call + 1) % kCallsInFlight != 0) continue;
    if (auto done = finish(); !done) return pass_on(done);
  }
  if (auto done = finish(); !done) return pass_on(done);
  return static_cast<double>(steady_now_ns() - start_ns);
}

/// The compiler's messages, with the names of our folder and its files taken out.
std::string OpenClBackend::build_log(cl_program program) const {
  size_t size = 0;
  device_->api.GetProgramBuildInfo(program, device_->device, CL_PROGRAM_BUILD_LOG, 0, nullptr,
                                   &size);
  std::string log(size, '\0');
  device_->api.GetProgramBuildInfo(program, device_->device, CL_PROGRAM_BUILD_LOG, size, log.data(),
                                   nullptr);
  while (!log.empty() && log.back() == '\0') log.pop_back();
  char folder[4096];
  if (getcwd(folder, sizeof folder) == nullptr) return shorten(log, kLogBytes);
  const std::string ours = std::string(folder) + "/";
  for (size_t at = log.find(ours); at != std::string::npos; at = log.find(ours, at)) {
    const size_t end = std::min(log.find_first_of(":' \n\"", at), log.size());
    log.replace(at, end - at, "candidate.cl");
  }
  return shorten(log, kLogBytes);
}

Outcome<std::string> OpenClBackend::image_of(cl_program program) const {
  size_t size = 0;
  cl_int status =
      device_->api.GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, nullptr);
  std::string image(size, '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(image.data());
  if (status == CL_SUCCESS && size > 0) {
    status = device_->api.GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bytes,
                                         static_cast<void*>(&bytes), nullptr);
  }
  if (status != CL_SUCCESS || size == 0) {
    return Verdict(CompileFailed{"the compiler made no binary: " + opencl_status_name(status),
                                 build_log(program)});
  }
  return image;
}

Outcome<DeviceBinary> OpenClBackend::compile(const DeviceCompileJob& job) {
  if (!device_) return Error{ErrorKind::kInternal, "the device is not open", ""};
  for (const auto& [name, text] : job.headers) {
    if (auto written = write_file_atomic(name, text); !written) return written.error();
  }
  std::string options = "-cl-std=CL1.2 -cl-kernel-arg-info -I.";
  if (job.fast_math) options += " -cl-fast-relaxed-math";
  for (const auto& [name, value] : job.macros) options += fmt::format(" -D{}={}", name, value);
  const int64_t start_ns = steady_now_ns();
  const char* source = job.source.c_str();
  cl_int status = CL_SUCCESS;
  cl_program program =
      device_->api.CreateProgramWithSource(device_->context, 1, &source, nullptr, &status);
  if (auto made = device_->check(status, "take a source"); !made) return made.error();
  status =
      device_->api.BuildProgram(program, 1, &device_->device, options.c_str(), nullptr, nullptr);
  DeviceBinary binary;
  binary.build.compiler = device_->properties.platform;
  binary.build.flags = options;
  binary.build.log = build_log(program);
  if (status != CL_SUCCESS) {
    device_->api.ReleaseProgram(program);
    return Verdict(
        CompileFailed{"the OpenCL compiler reports errors",
                      binary.build.log.empty() ? opencl_status_name(status) : binary.build.log});
  }
  OpenClImage parts;
  parts.kernels = read_kernels(*device_, program);
  auto image = image_of(program);
  device_->api.ReleaseProgram(program);
  if (!image) return pass_on(image);
  parts.binary = std::move(image.value());
  binary.build.binary_hash = sha256_hex(parts.binary);
  binary.image = to_wire(parts);
  binary.build.compile_ms = seconds_between(start_ns, steady_now_ns()) * 1e3;
  return binary;
}

}  // namespace

std::unique_ptr<DeviceBackend> make_opencl_backend(int device) {
  return std::make_unique<OpenClBackend>(device);
}

}  // namespace quern
