// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_baselines.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "codegen/contraction_cases.h"
#include "codegen/kernel_testing.h"

namespace quern {
namespace {

using testing::ElementsAre;

/// Calls an entry through the one function type that fits all of them.
void call_entry(void* entry, const std::vector<int64_t>& sizes, const std::vector<float*>& data) {
  std::array<uint64_t, 32> a{};
  size_t n = 0;
  for (int64_t size : sizes) a[n++] = static_cast<uint64_t>(size);
  for (float* pointer : data) a[n++] = reinterpret_cast<uint64_t>(pointer);
  using U = uint64_t;
  reinterpret_cast<void (*)(U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U)>(entry)(
      a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14],
      a[15]);
}

bool has_library(const std::string& name) {
  std::string log;
  return load_source(name == "dnnl" ? "#include <oneapi/dnnl/dnnl.h>\n" : "", "-l" + name, &log) !=
             nullptr &&
         (name != "dl" || dlopen("libopenblas.so.0", RTLD_NOW) != nullptr);
}

void check_baselines(const ContractionCase& item) {
  ir::Program program = item.program;
  program.name = item.name;
  auto first = ir::bind_sizes(program, item.sizes.back());
  ASSERT_TRUE(first.has_value());
  for (const BaselineSource& baseline : library_baselines(program, *first)) {
    SCOPED_TRACE(item.name + " " + baseline.name);
    std::string log;
    void* library = load_source(baseline.source, "-O0 -l" + baseline.libraries[0], &log);
    ASSERT_NE(library, nullptr) << log << baseline.source;
    void* entry = dlsym(library, item.name.c_str());
    ASSERT_NE(entry, nullptr);
    std::vector<std::string> reads, writes;
    for (const ir::InputDecl& input : program.inputs) reads.push_back(input.name);
    for (const ir::Statement* output : program.outputs()) writes.push_back(output->name);
    for (const auto& free : item.sizes) {
      auto sizes = ir::bind_sizes(program, free);
      Tensors tensors = draw_inputs(program, *sizes);
      run_oracle(program, *sizes, tensors);
      std::vector<int64_t> values;
      for (const std::string& size : program.free_sizes()) values.push_back(sizes->at(size));
      check_call(item.name, tensors, reads, writes,
                 [&](const std::vector<float*>& data) { call_entry(entry, values, data); });
    }
  }
}

TEST(LibraryBaselines, AgreeWithTheDefinition) {
  if (!has_library("dnnl") || !has_library("dl")) {
    GTEST_SKIP() << "oneDNN or OpenBLAS is not installed";
  }
  const std::set<std::string> chosen = {
      "matmul_nt",   "batched_rows",           "epilogue",
      "einsum",      "conv_strided_far",       "conv_grouped",
      "conv_padded", "transposed_conv_padded", "transposed_conv_dilated"};
  for (const ContractionCase& item : contraction_cases()) {
    if (chosen.count(item.name)) check_baselines(item);
  }
}

std::vector<std::string> names(const ContractionCase& item) {
  std::vector<std::string> out;
  auto sizes = ir::bind_sizes(item.program, item.sizes.back());
  for (const BaselineSource& source : library_baselines(item.program, *sizes))
    out.push_back(source.name);
  return out;
}

TEST(LibraryBaselines, AreOfferedWhereALibraryHasTheOperation) {
  std::map<std::string, std::vector<std::string>> got;
  for (const ContractionCase& item : contraction_cases()) got[item.name] = names(item);
  for (const char* name : {"matmul_nn", "matmul_nt", "matmul_tn", "matmul_tt", "batched_rows",
                           "shared_weights", "epilogue", "einsum"}) {
    EXPECT_THAT(got[name], ElementsAre("openblas", "onednn")) << name;
  }
  for (const char* name : {"conv_plain", "conv_padded", "conv_strided", "conv_dilated",
                           "conv_grouped", "transposed_conv", "transposed_conv_dilated"}) {
    EXPECT_THAT(got[name], ElementsAre("onednn", "onednn-plain")) << name;
  }
  for (const char* name : {"triangular", "prologue"}) EXPECT_THAT(got[name], ElementsAre()) << name;
}

}  // namespace
}  // namespace quern
