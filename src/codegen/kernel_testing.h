// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/program.h"

/// Running generated code in tests: buffers that fault when overrun, and a small oracle.
namespace quern {

/// Floats right-aligned against a page that must not be touched, with another before them.
class Guarded {
 public:
  explicit Guarded(size_t count);
  ~Guarded();
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  float* data() const { return data_; }

 private:
  size_t bytes_ = 0;
  char* base_ = nullptr;
  float* data_ = nullptr;
};

using Tensors = std::map<std::string, std::vector<double>>;

/// Small multiples of 1/8 for every input; deterministic.
Tensors draw_inputs(const ir::Program& program, const ir::Sizes& sizes);
/// Adds the tensors of all statements, evaluated point by point in f64.
void run_oracle(const ir::Program& program, const ir::Sizes& sizes, Tensors& tensors);
/// Compiles and loads C++ with the preludes in reach; null and the compiler's words on failure.
/// Tests run in processes of their own: they share what is compiled, by its text.
void* load_source(const std::string& source, const std::string& flags, std::string* log);
/// Calls `call` with buffers of the named tensors, `reads` filled, and checks `writes`.
void check_call(const std::string& title, const Tensors& tensors,
                const std::vector<std::string>& reads, const std::vector<std::string>& writes,
                const std::function<void(const std::vector<float*>&)>& call);

}  // namespace quern
