// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "device/opencl/opencl_image.h"
#include "device/opencl/opencl_memory.h"

namespace quern {

/// A candidate's binary on an OpenCL device, with its scratch and every launch ready: a kernel
/// object with its arguments for each launch and each set of buffers.
class OpenClProgram {
 public:
  using FindBuffer = std::function<const OpenClMemory*(BufferId)>;

  /// As `DeviceBackend::load`. `device` must outlive the program.
  static Outcome<OpenClProgram> load(OpenClDevice& device, const std::string& image,
                                     const BoundPlan& plan, const std::vector<BufferSet>& sets,
                                     const FindBuffer& find);

  OpenClProgram(OpenClProgram&& other) noexcept;
  OpenClProgram& operator=(OpenClProgram&&) = delete;
  ~OpenClProgram();

  const std::vector<KernelResources>& resources() const { return resources_; }
  Result<void> poison_scratch(uint8_t byte);
  Result<bool> scratch_intact() const;
  /// Queues one call on a set of buffers.
  Outcome<Done> enqueue(size_t set);

 private:
  struct Launch {
    const BoundLaunch* bound;
    std::vector<cl_kernel> kernels;  ///< one a set
  };

  OpenClProgram(OpenClDevice& device, const BoundPlan& plan) : device_(&device), plan_(plan) {}
  Outcome<Done> build(const std::string& image);
  Outcome<Done> make_scratch();
  Outcome<Done> make_launch(const BoundLaunch& launch, const std::vector<BufferSet>& sets,
                            const FindBuffer& find);
  Outcome<Done> set_argument(cl_kernel kernel, cl_uint index, const BoundLaunch& launch,
                             const BufferSet& set, const FindBuffer& find);
  Outcome<Done> set_whole(cl_kernel kernel, cl_uint index, const BoundLaunch& launch);
  cl_int set_scalar(cl_kernel kernel, cl_uint index, const BoundArgument& argument);
  Verdict bad_argument(cl_uint index, const BoundLaunch& launch, const std::string& why) const;
  std::string parameter_text(const BoundLaunch& launch, cl_uint index) const;
  Outcome<Done> add_resources(cl_kernel kernel, const BoundLaunch& launch);

  OpenClDevice* device_;
  BoundPlan plan_;
  OpenClImage image_;
  cl_program program_ = nullptr;
  std::vector<OpenClMemory> scratch_;
  std::vector<Launch> launches_;  ///< in the order of the plan's launches
  std::vector<KernelResources> resources_;
};

}  // namespace quern
