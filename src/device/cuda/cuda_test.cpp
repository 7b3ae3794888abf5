// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "device/cuda/advice.h"
#include "device/cuda/cubin.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/driver.h"
#include "device/cuda/sass.h"

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
      "// a plan\n/* more */ #include \"quern_cuda.h\"  // first\nint x;\n", {{"QUERN_SIZE_n", 8}});
  EXPECT_TRUE(prepared.starts_with_prelude);
  EXPECT_EQ(prepared.text,
            "// a plan\n/* more */ #include \"quern_cuda.h\"  // first\n#define QUERN_SIZE_n 8\n"
            "#line 3 \"candidate.cu\"\nint x;\n");
}

TEST(CudaSource, PutsMacrosAtTheTopOtherwise) {
  for (const char* source :
       {"int x;\n", "#include <mma.h>\n", "", "// \\\n#include \"quern_cuda.h\"\nint y;",
        "#include \"quern_cuda.h\" int z;"}) {
    const auto prepared = prepare_source(source, {{"QUERN_SIZE_n", 8}});
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

TEST(Occupancy, IsWhatTheVendorsTablesGive) {
  const auto limits = limits_of("sm_90a");
  ASSERT_TRUE(limits);
  const struct {
    int registers, threads;
    int64_t shared;
    int blocks;
    const char* limited_by;
  } cases[] = {
      {32, 256, 0, 8, "threads"},
      {33, 256, 0, 6, "registers"},
      {255, 128, 0, 2, "registers"},
      {32, 32, 0, 32, "blocks"},
      {32, 256, 57 << 10, 3, "shared memory"},
      {168, 384, 200 << 10, 1, "shared memory"},
      {64, 1024, 0, 1, "registers"},
      {32, 1024, 0, 2, "threads"},
  };
  for (const auto& one : cases) {
    const Occupancy found = occupancy_of(*limits, one.registers, one.threads, one.shared);
    EXPECT_EQ(found.blocks, one.blocks) << one.registers << " " << one.threads;
    EXPECT_STREQ(found.limited_by, one.limited_by) << one.registers << " " << one.threads;
  }
  EXPECT_EQ(occupancy_of(*limits, 16, 128, 300 << 10).blocks, 0);
  EXPECT_FALSE(limits_of("gfx90a"));
  EXPECT_FALSE(limits_of("sm_12"));
}

KernelFacts quiet_facts() {
  KernelFacts facts;
  facts.resources.registers = 32;
  facts.block_threads = 256;
  facts.blocks = 132 * 64;
  facts.multiprocessors = 132;
  facts.occupancy = {8, 1, "threads"};
  return facts;
}

TEST(Advice, SaysNothingWhereNothingStandsOut) { EXPECT_TRUE(advise(quiet_facts()).empty()); }

TEST(Advice, PutsIdleMultiprocessorsBeforeSpills) {
  KernelFacts facts = quiet_facts();
  facts.blocks = 4;
  facts.resources.spill_store_bytes = 12;
  const auto list = advise(facts);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_THAT(list[0].finding, HasSubstr("4 blocks for 132 multiprocessors: 97 % of them idle"));
  EXPECT_THAT(list[1].finding, HasSubstr("12 bytes a thread are spilled"));
}

TEST(Advice, ReadsTheMachineCode) {
  KernelFacts facts = quiet_facts();
  SassStatistics sass;
  sass.global_loads = {0, 0, 6, 0, 0};
  sass.f64 = 3;
  facts.sass = &sass;
  const auto list = advise(facts);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_THAT(list[0].finding, HasSubstr("100 % of the 6 global accesses"));
  EXPECT_THAT(list[1].remedy, HasSubstr("without f"));
}

TEST(Sass, CountsWhatAKernelIsMadeOf) {
  const auto kernels = parse_sass(R"(
	.section	.text.relu,"ax",@progbits
.text.relu:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;
        /*0020*/                   LDG.E.U8 R8, desc[UR4][R2.64] ;
        /*0030*/                   LDS.64 R8, [R3] ;
        /*0040*/                   FFMA R4, R4, R5, R6 ;
        /*0050*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*0060*/                   STL [R1], R4 ;
        /*0070*/                   EXIT ;
.L_x_0:
        /*0080*/                   BRA `(.L_x_0);
        /*0090*/                   NOP;
.text.gemm:
        /*0000*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24, gsb0 ;
        /*0010*/                   UTMALDG.2D [UR8], [UR4], desc[URZ] ;
        /*0020*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
)");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].kernel, "relu");
  EXPECT_EQ(kernels[0].instructions, 9);
  EXPECT_EQ(kernels[0].global_loads, (WidthCounts{1, 0, 0, 0, 1}));
  EXPECT_EQ(kernels[0].global_stores, (WidthCounts{0, 0, 0, 0, 1}));
  EXPECT_EQ(kernels[0].shared_loads, (WidthCounts{0, 0, 0, 1, 0}));
  EXPECT_EQ(kernels[0].local_stores, 1);
  EXPECT_EQ(kernels[0].fma_f32, 1);
  EXPECT_EQ(kernels[0].branches, 1);
  EXPECT_EQ(kernels[1].warpgroup_matrix, 1);
  EXPECT_EQ(kernels[1].bulk_copies, 1);
  EXPECT_EQ(kernels[1].barriers, 1);
}

}  // namespace
}  // namespace quern::cuda
