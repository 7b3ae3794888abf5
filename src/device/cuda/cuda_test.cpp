// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "device/cuda/cubin.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/driver.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Driver, SaysThatThereIsNoneAndWhatToDo) {
  auto none = Driver::open("/no/such/libcuda.so.1");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kEnvironment);
  EXPECT_THAT(none.error().message, HasSubstr("/no/such/libcuda.so.1"));
  EXPECT_THAT(none.error().hint, HasSubstr("libcuda.so.1"));
}

TEST(Driver, FindsEverySymbolInTheToolkitsStub) {
  const std::string stub = "/usr/local/cuda/lib64/stubs/libcuda.so";
  if (!file_exists(stub)) GTEST_SKIP() << "no CUDA toolkit, so no stub of its driver: " << stub;
  // The stub has all symbols and no function: it is refused for another reason than a missing one.
  auto refused = Driver::open(stub);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, Not(HasSubstr("lacks")));
}

TEST(Driver, RefusesALibraryThatIsNone) {
  auto refused = Driver::open("libm.so.6");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("lacks cuInit, "));
}

TEST(CudaSource, PutsMacrosBehindThePreludeAndKeepsLineNumbers) {
  const auto prepared = prepare_source(
      "// a plan\n/* more */ #include \"quern_cuda.h\"  // first\nint x;\n", {{"n", 8}});
  EXPECT_TRUE(prepared.starts_with_prelude);
  EXPECT_EQ(prepared.text,
            "// a plan\n/* more */ #include \"quern_cuda.h\"  // first\n#define QUERN_SIZE_n 8\n"
            "#line 3 \"candidate.cu\"\nint x;\n");
}

TEST(CudaSource, PutsMacrosAtTheTopOtherwise) {
  for (const char* source :
       {"int x;\n", "#include <mma.h>\n", "", "// \\\n#include \"quern_cuda.h\"\nint y;",
        "#include \"quern_cuda.h\" int z;"}) {
    const auto prepared = prepare_source(source, {{"n", 8}});
    EXPECT_FALSE(prepared.starts_with_prelude) << source;
    EXPECT_EQ(prepared.text,
              std::string("#define QUERN_SIZE_n 8\n#line 1 \"candidate.cu\"\n") + source);
  }
}

TEST(CudaSource, LeavesASourceWithoutMacrosAsItIs) {
  EXPECT_EQ(prepare_source("#include \"quern_cuda.h\"", {}).text, "#include \"quern_cuda.h\"");
  EXPECT_TRUE(prepare_source("#include \"quern_cuda.h\"", {}).starts_with_prelude);
}

TEST(Cubin, RefusesWhatIsNone) {
  EXPECT_FALSE(read_cubin(""));
  EXPECT_FALSE(read_cubin("\177ELF"));
  EXPECT_FALSE(read_cubin(std::string(4096, 'x')));
}

TEST(Cubin, ReadsTheAssemblersReportKernelByKernel) {
  std::vector<CubinKernel> kernels(2);
  kernels[0].name = "first";
  kernels[1].name = "second";
  add_assembler_report(
      "ptxas info    : 4 bytes gmem\n"
      "ptxas info    : Compiling entry function 'second' for 'sm_90a'\n"
      "ptxas info    : Function properties for second\n"
      "ptxas         .     256 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n"
      "ptxas info    : Used 42 registers, used 1 barriers, 1024 bytes smem\n"
      "ptxas info    : Compiling entry function 'first' for 'sm_90a'\n"
      "ptxas info    : Used 12 registers\n",
      kernels);
  EXPECT_EQ(kernels[1].spill_store_bytes, 12);
  EXPECT_EQ(kernels[1].spill_load_bytes, 20);
  EXPECT_EQ(kernels[1].barriers, 1);
  EXPECT_EQ(kernels[1].shared_bytes, 1024);
  EXPECT_EQ(kernels[0].spill_store_bytes, 0);
}

}  // namespace
}  // namespace quern::cuda
