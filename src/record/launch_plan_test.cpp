// SPDX-License-Identifier: Apache-2.0
#include "record/launch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "record/bound_plan.h"

namespace quern {
namespace {

using testing::HasSubstr;

PlanWorkload softmax_at(int64_t batch, int64_t dim) {
  return {{{"batch", batch}, {"dim", dim}},
          {{"x", DType::kF32, {batch, dim}}},
          {{"y", DType::kF32, {batch, dim}}}};
}

Result<LaunchPlan> parse(const std::string& source, PlanTarget target = PlanTarget::kCuda) {
  return parse_launch_plan(source, softmax_at(8, 100), target);
}

std::string message_of(const std::string& source, PlanTarget target = PlanTarget::kCuda) {
  const auto plan = parse(source, target);
  return plan ? "accepted" : plan.error().message + " | " + plan.error().hint;
}

Result<BoundPlan> bound_at(const std::string& source, int64_t batch, int64_t dim,
                           PlanTarget target = PlanTarget::kCuda) {
  const PlanWorkload workload = softmax_at(batch, dim);
  QUERN_ASSIGN(const LaunchPlan plan, parse_launch_plan(source, workload, target));
  return bind_plan(plan, workload, target);
}

std::string bind_message(const std::string& source) {
  const auto plan = bound_at(source, 8, 100);
  return plan ? "accepted" : plan.error().message + " | " + plan.error().hint;
}

constexpr const char* kTwoKernels = R"(// A softmax in two kernels.
// quern: target = cuda
// quern: specialize = sizes
// quern: scratch partial : f32[batch, 32]
// quern: memset partial 255
// quern: launch row_max grid (batch) block (256) shared (4 * 256) args (x, partial, batch, i32(dim))
// quern: launch finish grid (ceil_div(dim, 1024), batch) block 256
// quern:   args (x, partial, y, dim, f32(1 / sqrt(dim))) programmatic
extern "C" __global__ void row_max() {}
// quern: this is no longer the head
)";

TEST(LaunchPlan, ReadsScratchStepsAndSettings) {
  const auto joined = parse(kTwoKernels, PlanTarget::kBoth);
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_EQ(joined->target, PlanTarget::kCuda);
  EXPECT_TRUE(joined->specialize);
  ASSERT_EQ(joined->scratch.size(), 1U);
  EXPECT_EQ(joined->scratch[0].type, PlanType::kF32);
  ASSERT_EQ(joined->steps.size(), 3U);
  EXPECT_EQ(std::get<FillDecl>(joined->steps[0]).byte, 255);
  const auto& second = std::get<LaunchDecl>(joined->steps[2]);
  EXPECT_EQ(second.kernel, "finish");
  EXPECT_TRUE(second.programmatic);
  EXPECT_EQ(second.grid.size(), 2U);
  EXPECT_EQ(second.arguments[2].buffer, (BufferRef{BufferRef::Kind::kOutput, 0}));
}

TEST(LaunchPlan, GoesOnInALineThatIsIndented) {
  const auto plan = parse(
      "// quern: launch k grid (batch) block (256)\n"
      "// quern:   args (x, y, dim)\n"
      "// quern: launch k grid (batch) block (256) args (y)\n");
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->steps.size(), 2U);
  EXPECT_EQ(std::get<LaunchDecl>(plan->steps[0]).arguments.size(), 3U);
}

TEST(LaunchPlan, GoesOnInTheNextLineWhileParenthesesAreOpen) {
  const auto plan =
      parse("// quern: launch k grid (batch) block (256) args (x,\n// quern: y, dim)\n");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(std::get<LaunchDecl>(plan->steps[0]).arguments.size(), 3U);
}

TEST(LaunchPlan, BindsToTheNumbersOfAWorkload) {
  const auto plan = bound_at(
      "// quern: scratch s : f16[batch, round_up(dim, 32)]\n"
      "// quern: launch k grid (ceil_div(dim, 32), batch) block (32, 4) shared (dim * 4)\n"
      "// quern: launch k2 grid (max(1, dim / 1000) + batch % 3 - 1) block 64 "
      "args (s, -dim, f64(1 / dim))\n",
      8, 100);
  ASSERT_FALSE(plan) << "a launch without args";
  const auto bound = bound_at(
      "// quern: scratch s : f16[batch, round_up(dim, 32)]\n"
      "// quern: launch k grid (ceil_div(dim, 32), batch) block (32, 4) shared (dim * 4) args ()\n"
      "// quern: launch k2 grid (max(1, dim / 1000) + batch % 3 - 1) block 64 "
      "args (s, -dim, f64(1 / dim))\n",
      8, 100);
  ASSERT_TRUE(bound) << bound.error().message;
  EXPECT_EQ(bound->scratch[0].bytes, 8U * 128 * 2);
  const auto& first = std::get<BoundLaunch>(bound->steps[0]);
  EXPECT_EQ(first.grid, (std::array<uint32_t, 3>{4, 8, 1}));
  EXPECT_EQ(first.block, (std::array<uint32_t, 3>{32, 4, 1}));
  EXPECT_EQ(first.shared_bytes, 400U);
  const auto& second = std::get<BoundLaunch>(bound->steps[1]);
  EXPECT_EQ(second.grid[0], 2U);
  EXPECT_EQ(second.arguments[1].whole, -100);
  EXPECT_DOUBLE_EQ(second.arguments[2].real, 0.01);
}

TEST(LaunchPlan, RefusesWithLineReasonAndHint) {
  const std::string good = "// quern: launch k grid (batch) block (64) args (x, y)\n";
  EXPECT_THAT(message_of("int main;\n" + good), HasSubstr("no launch line"));
  EXPECT_THAT(message_of("// quern: lunch k\n"), HasSubstr("did you mean 'launch'?"));
  EXPECT_THAT(message_of("// quern: target = cudda\n" + good), HasSubstr("did you mean 'cuda'?"));
  EXPECT_THAT(message_of("//\n// quern: launch k grid (bach) block (64) args (x)\n"),
              HasSubstr("line 2: 'bach' is not a size of the task | did you mean 'batch'?"));
  EXPECT_THAT(message_of("// quern: launch k grid (batch) block (64) args (x, partial)\n"),
              HasSubstr("'partial' is not declared"));
  EXPECT_THAT(message_of("// quern: launch k grid (batch) args (x)\n"), HasSubstr("no block"));
  EXPECT_THAT(message_of("// quern: launch k grid (batch) blok (1) args (x)\n"),
              HasSubstr("did you mean 'block'?"));
  EXPECT_THAT(message_of("// quern: launch k grid (1, 2, 3, 4) block 1 args ()\n"),
              HasSubstr("4 dimensions"));
  EXPECT_THAT(message_of("// quern: launch k grid (cieldiv(dim, 4)) block 1 args ()\n"),
              HasSubstr("no function 'cieldiv'"));
  EXPECT_THAT(message_of("// quern: launch k grid (dim / 0.5) block 1 args ()\n"),
              HasSubstr("not a whole number"));
  EXPECT_THAT(message_of("// quern: scratch x : f32[1]\n" + good), HasSubstr("'x' is taken"));
  EXPECT_THAT(message_of("// quern: scratch s : float[1]\n" + good), HasSubstr("no type 'float'"));
  EXPECT_THAT(message_of("// quern: memset x 0\n" + good), HasSubstr("'x' is an input"));
  EXPECT_THAT(message_of("// quern: launch k grid (batch) block 1 args (x) extra\n"),
              HasSubstr("no option 'extra'"));
  EXPECT_THAT(message_of("// quern: launch k grid (batch block 1 args (x)\n"),
              HasSubstr("expected ')'"));
  EXPECT_THAT(message_of("// quern: launch k grid (" + std::string(500, '(') + "1\n"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(message_of("// quern: launch k grid (99999999999999999999) block 1 args ()\n"),
              HasSubstr("out of range"));
}

TEST(LaunchPlan, KeepsWhatOneKindOfDeviceHasFromTheOther) {
  const std::string cluster = "// quern: launch k grid (8) block 1 cluster 2 args ()\n";
  EXPECT_EQ(message_of(cluster), "accepted");
  EXPECT_THAT(message_of(cluster, PlanTarget::kOpenCl), HasSubstr("a cluster cannot be used"));
  EXPECT_THAT(message_of(cluster, PlanTarget::kBoth), HasSubstr("a cluster cannot be used"));
  const std::string hidden = "// quern: launch k grid (8) block 1 shared 64 args (x)\n";
  EXPECT_EQ(message_of(hidden), "accepted");
  EXPECT_THAT(message_of(hidden, PlanTarget::kOpenCl), HasSubstr("through an argument"));
  EXPECT_THAT(message_of("// quern: launch k grid (8) block 1 args (shared)\n"),
              HasSubstr("needs the launch's 'shared (bytes)'"));
}

TEST(LaunchPlan, PassesTheSharedPointerOnOpenClOnly) {
  const std::string source =
      "// quern: target = both\n"
      "// quern: launch k grid (8) block 1 shared 64 args (x, shared, y)\n";
  const auto opencl = bound_at(source, 8, 100, PlanTarget::kOpenCl);
  const auto cuda = bound_at(source, 8, 100, PlanTarget::kCuda);
  ASSERT_TRUE(opencl && cuda);
  EXPECT_EQ(std::get<BoundLaunch>(opencl->steps[0]).arguments.size(), 3U);
  EXPECT_EQ(std::get<BoundLaunch>(cuda->steps[0]).arguments.size(), 2U);
}

TEST(BoundPlan, RefusesWhatNoDeviceCanRun) {
  EXPECT_THAT(bind_message("// quern: launch k grid (dim / 1000) block 1 args ()\n"),
              HasSubstr("'dim / 1000' = 0, and must be 1 to 2147483647 | ceil_div"));
  EXPECT_THAT(bind_message("// quern: launch k grid (1, 65536) block 1 args ()\n"),
              HasSubstr("grid of k y is '65536'"));
  EXPECT_THAT(bind_message("// quern: launch k grid 1 block (64, 32) args ()\n"),
              HasSubstr("2048 threads"));
  EXPECT_THAT(bind_message("// quern: launch k grid (1 / (batch - 8)) block 1 args ()\n"),
              HasSubstr("divides by zero"));
  EXPECT_THAT(bind_message("// quern: launch k grid (9223372036854775807 + dim) block 1 args ()\n"),
              HasSubstr("overflows"));
  EXPECT_THAT(bind_message("// quern: scratch s : f32[1000000, 1000000]\n"
                           "// quern: launch k grid 1 block 1 args (s)\n"),
              HasSubstr("larger than 2^40 bytes"));
  EXPECT_THAT(bind_message("// quern: launch k grid (batch + 1) block 1 cluster 2 args ()\n"),
              HasSubstr("not a multiple of the cluster's 2"));
  EXPECT_THAT(bind_message("// quern: launch k grid 1 block 1 args (i8(200))\n"),
              HasSubstr("must be -128 to 127"));
  EXPECT_THAT(bind_message("// quern: launch k grid 1 block 1 args (u32(-1))\n"),
              HasSubstr("must be 0 to 4294967295"));
}

TEST(BoundPlan, TakesStructsPointersIntoBuffersAndWholeBufferSteps) {
  const auto plan = bound_at(
      "// quern: code = cubin\n"
      "// quern: scratch t : u8[3200]\n"
      "// quern: memset y 7\n"
      "// quern: copy t x\n"
      "// quern: launch k cubin 3 grid 1 block 1 args (x[dim], struct (t[5], i32(-1), x), -1)\n",
      8, 100);
  ASSERT_TRUE(plan) << plan.error().message;
  using Kind = BufferRef::Kind;
  EXPECT_EQ(std::get<BoundFill>(plan->steps[0]), (BoundFill{{Kind::kOutput, 0}, 7, 3200}));
  EXPECT_EQ(std::get<BoundCopy>(plan->steps[1]),
            (BoundCopy{{Kind::kScratch, 0}, {Kind::kInput, 0}, 3200}));
  const auto& launch = std::get<BoundLaunch>(plan->steps[2]);
  EXPECT_EQ(launch.cubin, 3U);
  EXPECT_EQ(launch.arguments[0].offset, 400U);
  const std::vector<BoundArgument>& members = launch.arguments[1].members;
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[0].offset, 5U);
  EXPECT_EQ(members[1].whole, -1);
  EXPECT_EQ(launch.arguments[2].whole, -1);
}

TEST(BoundPlan, RefusesStepsThatDoNotFitTheirBuffers) {
  EXPECT_THAT(bind_message("// quern: scratch t : u8[1]\n// quern: copy t x\n"
                           "// quern: launch k grid 1 block 1 args ()\n"),
              HasSubstr("a copy of 3200 bytes to a buffer of 1"));
  EXPECT_THAT(bind_message("// quern: launch k grid 1 block 1 args (x[800])\n"),
              HasSubstr("an element is '800' = 800, and must be 0 to 799"));
  const std::string launch = "// quern: launch k grid 1 block 1 args (x[0], y)\n";
  EXPECT_THAT(message_of("// quern: launch k grid 1 block 1 args (struct (batch))\n"),
              HasSubstr("a member of a struct is a buffer or a number of a type"));
  EXPECT_THAT(message_of("// quern: copy x y\n" + launch), HasSubstr("'x' is an input"));
  EXPECT_THAT(message_of(launch, PlanTarget::kOpenCl), HasSubstr("with target = cuda only"));
  EXPECT_THAT(message_of("// quern: memset y 0\n" + launch, PlanTarget::kOpenCl),
              HasSubstr("memset of an output cannot be used with target = opencl"));
  EXPECT_THAT(message_of("// quern: code = cubin\n// quern: launch k grid 1 block 1 args ()\n",
                         PlanTarget::kOpenCl),
              HasSubstr("code = cubin cannot be used with target = opencl"));
}

TEST(BoundPlan, LaysOutTensorMapsInnermostFirst) {
  const auto plan = bound_at(
      "// quern: tensor_map tiles : x box (2, 16) swizzle 64b l2 128b\n"
      "// quern: launch k grid 1 block 1 args (tiles)\n",
      8, 96);
  ASSERT_TRUE(plan) << plan.error().message;
  const BoundTensorMap& map = plan->maps.at(0);
  EXPECT_EQ(map.extents, (std::vector<uint64_t>{96, 8}));
  EXPECT_EQ(map.strides_bytes, (std::vector<uint64_t>{96 * 4}));
  EXPECT_EQ(map.box, (std::vector<uint32_t>{16, 2}));
  EXPECT_EQ(map.swizzle, Swizzle::k64B);
}

TEST(BoundPlan, RefusesTensorMapsTheHardwareCannotHold) {
  const auto message = [](const std::string& map, int64_t dim) {
    const auto plan = bound_at(
        "// quern: tensor_map t : " + map + "\n// quern: launch k grid 1 block 1 args (t)\n", 8,
        dim);
    return plan ? "accepted" : plan.error().message;
  };
  EXPECT_EQ(message("x box (2, 32) swizzle 128b", 96), "accepted");
  EXPECT_THAT(message("x box (2, 32)", 97), HasSubstr("388 bytes, not a multiple of 16"));
  EXPECT_THAT(message("x box (2, 64) swizzle 128b", 96), HasSubstr("more than its swizzle's 128"));
  EXPECT_THAT(message("x box (32)", 96), HasSubstr("2 axes, its box 1"));
  EXPECT_THAT(message("x box (2, 3)", 96), HasSubstr("12 bytes wide"));
  EXPECT_THAT(message("x[batch + 1, dim] box (2, 32)", 96), HasSubstr("beyond its buffer"));
  EXPECT_THAT(message("x[2, 2, dim] strides (2 * dim, dim) box (1, 2, 32)", 96), "accepted");
}

}  // namespace
}  // namespace quern
