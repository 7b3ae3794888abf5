// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "codegen/device_text.h"
#include "ir/program.h"

/// Running generated device programs in tests, over the OpenCL API.
namespace quern {

/// Elements of tensors as whole numbers or not; `double` holds every type but large i64.
using HostTensors = std::map<std::string, std::vector<double>>;

class OpenclMachine {
 public:
  /// The first platform's first device; null where there is none.
  static OpenclMachine* get();

  /// Builds the source and runs the launches in order; the outputs. Buffers that kernels write are
  /// filled with a pattern of NaNs first.
  Result<HostTensors> run(const ir::Program& program, const ir::Sizes& sizes,
                          const DeviceProgram& made, const std::string& source,
                          const HostTensors& inputs);
  /// As above, and the fastest of `repeats` runs of all launches, in ns.
  Result<double> time(const ir::Program& program, const ir::Sizes& sizes, const DeviceProgram& made,
                      const std::string& source, const HostTensors& inputs, int repeats);

 private:
  struct State;
  explicit OpenclMachine(State* state) : state_(state) {}
  State* state_;
};

/// Inputs as a task declares them, small in magnitude; deterministic.
HostTensors draw_host_inputs(const ir::Program& program, const ir::Sizes& sizes, unsigned seed);

/// The elements in memory, as `type`.
std::vector<std::byte> element_bytes(DType type, const std::vector<double>& values);

/// Compares with the interpreter: what differs by more than rounding explains, or nothing.
std::string difference_from_meaning(const ir::Program& program, const ir::Sizes& sizes,
                                    const HostTensors& inputs, const HostTensors& outputs);

}  // namespace quern
