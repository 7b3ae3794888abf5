// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend on a real GPU: skips, with the reason, where there is none. Each test is run in
// a process of its own, since a fault of device code is final for its process.
#include "device/cuda/cuda_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "cuda_testing.h"
#include "ir/program.h"
#include "verify/compare.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;

constexpr const char* kRelu = R"(// quern: target = cuda
// quern: launch relu grid (ceil_div(n, 1024)) block 256 args (x, y, n)
extern "C" __global__ void relu(const float4* x, float4* y, long n) {
  long i = blockIdx.x * 256l + threadIdx.x;
  if (4 * i < n) {
    float4 v = x[i];
    y[i] = {fmaxf(v.x, 0), fmaxf(v.y, 0), fmaxf(v.z, 0), fmaxf(v.w, 0)};
  }
}
)";

class CudaBackend : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (pool_ == nullptr) return;
    CudaBackendOptions options;
    options.referee = referee_;
    backend_ = make_cuda_backend(std::move(options));
    auto properties = backend_->open();
    ASSERT_TRUE(properties) << properties.error().message;
    properties_ = *properties;
  }

  /// Input 2i and output 2i + 1 of each set, drawn and poisoned; inputs read-only.
  std::vector<BufferSet> make_sets(int sets, int64_t n, Placement placement = Placement::kLeft) {
    std::vector<BufferSet> made;
    const auto bytes = static_cast<uint64_t>(4 * n);
    for (int i = 0; i < sets; ++i) {
      const auto x = static_cast<BufferId>(2 * i), y = x + 1;
      EXPECT_TRUE(backend_->allocate(x, bytes, placement));
      EXPECT_TRUE(backend_->allocate(y, bytes, placement));
      EXPECT_TRUE(backend_->draw(x, {DType::kF32, {FillKind::kNormal, 0, 1}, 17 + x}));
      EXPECT_TRUE(backend_->fill(y, 0xff));
      EXPECT_TRUE(backend_->allow(x, DeviceAccess::kRead));
      made.push_back({{x}, {y}});
    }
    return made;
  }

  std::vector<float> floats(BufferId id, int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    auto got = backend_->download(id, std::as_writable_bytes(std::span(values)));
    EXPECT_TRUE(got) << (got ? "" : got.error().message);
    return values;
  }

  Outcome<double> try_source(const std::string& source, int64_t n,
                             Placement placement = Placement::kLeft, int calls = 1) {
    auto sets = make_sets(1, n, placement);
    auto loaded = backend_->load(1, cubin(source), plan(source, n), sets);
    if (!loaded) return pass_on(loaded);
    return backend_->run(1, calls, 0);
  }

  int capability() const { return std::atoi(properties_.architecture.c_str() + 3); }

  std::unique_ptr<DeviceBackend> backend_;
  DeviceProperties properties_;
};

TEST_F(CudaBackend, SaysWhatTheGpuIs) {
  EXPECT_EQ(properties_.kind, "cuda");
  EXPECT_THAT(properties_.architecture, HasSubstr("sm_"));
  EXPECT_GT(properties_.memory_bytes, uint64_t{1} << 30);
  EXPECT_GT(properties_.compute_units, 0);
  EXPECT_GT(properties_.cache_bytes, 0u);
  EXPECT_TRUE(properties_.draws && properties_.compares && !properties_.shares_host);
  RecordProperty("gpu", properties_.name);
}

TEST_F(CudaBackend, DrawsTheSameNumbersAsTheHost) {
  constexpr int64_t kCount = 10'007;
  for (DType type : {DType::kF32, DType::kF64, DType::kI32, DType::kI64}) {
    const auto bytes = static_cast<uint64_t>(kCount * dtype_bytes(type));
    ASSERT_TRUE(backend_->allocate(7, bytes, Placement::kRight));
    for (int kind = 0; kind <= static_cast<int>(FillKind::kOddIntegers); ++kind) {
      FillSpec spec{static_cast<FillKind>(kind), 0.25, 900.5};
      auto drawn = backend_->draw(7, {type, spec, 0x1234'5678'9abc'def0ull});
      ASSERT_TRUE(drawn) << drawn.error().message;
      std::vector<std::byte> got(bytes), want(bytes);
      ASSERT_TRUE(backend_->download(7, got));
      fill(want, type, spec, 0x1234'5678'9abc'def0ull);
      EXPECT_TRUE(got == want) << dtype_name(type) << " kind " << kind;
    }
  }
}

TEST_F(CudaBackend, ExchangesInputsUnderTheAddressACandidateKnows) {
  constexpr int64_t kCount = 4096;
  const auto sets = make_sets(1, kCount);
  const auto first = floats(0, kCount);
  ASSERT_TRUE(backend_->load(1, cubin(kRelu), plan(kRelu, kCount), sets));
  ASSERT_TRUE(backend_->allocate(9, 4 * kCount, Placement::kLeft));
  ASSERT_TRUE(backend_->draw(9, {DType::kF32, {FillKind::kNormal, 0, 1}, 99}));
  const auto second = floats(9, kCount);
  ASSERT_NE(first, second);
  for (const auto* wanted : {&second, &first, &second}) {
    const auto exchanged = backend_->exchange(0, 9);
    ASSERT_TRUE(exchanged) << exchanged.error().message;
    EXPECT_EQ(floats(0, kCount), *wanted);
    ASSERT_TRUE(backend_->run(1, 1, 0));
    const auto got = floats(1, kCount);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], std::max((*wanted)[i], 0.0F));
  }
}

TEST_F(CudaBackend, TimesSeveralBatchesInOneOrder) {
  const auto sets = make_sets(2, 1 << 20);
  ASSERT_TRUE(backend_->load(1, cubin(kRelu), plan(kRelu, 1 << 20), sets));
  ASSERT_TRUE(backend_->run(1, 2, 0));
  auto ns = backend_->run_batches(1, 40, 0, 70);
  ASSERT_TRUE(ns);
  ASSERT_EQ(ns->size(), 70U);
  for (const double each : *ns) EXPECT_GT(each, 0);
  EXPECT_GT(backend_->last_clock_mhz(), 0);
}

TEST_F(CudaBackend, ComparesAsTheHostDoes) {
  constexpr int64_t kCount = 100'003;
  std::vector<float> got(kCount);
  ExpectedOutput expected{"y", DType::kF32, {kCount}, {}, {}};
  for (int64_t i = 0; i < kCount; ++i) {
    const double value = std::sin(static_cast<double>(i)) * 10;
    expected.value.push_back(value);
    expected.scale.push_back(std::abs(value) + 1);
    got[static_cast<size_t>(i)] =
        static_cast<float>(value * (1 + 1e-7 * static_cast<double>(i % 3)));
  }
  got[5] = 100;
  std::memset(&got[70'000], 0xff, 8);
  got[80'000] = INFINITY;
  expected.value[81'000] = INFINITY;
  got[81'000] = INFINITY;
  expected.scale[82'000] = INFINITY;
  got[82'000] = 1e6;
  got[83'000] = NAN;
  expected.value[84'000] = 3.3e38;
  for (bool bitwise : {false, true}) {
    const CompareReport want = compare(std::as_bytes(std::span(got)), expected, {4, bitwise});
    ASSERT_TRUE(backend_->allocate(1, 4 * kCount, Placement::kLeft));
    ASSERT_TRUE(backend_->allocate(2, 8 * kCount, Placement::kLeft));
    ASSERT_TRUE(backend_->allocate(3, 8 * kCount, Placement::kLeft));
    ASSERT_TRUE(backend_->upload(1, std::as_bytes(std::span(got))));
    ASSERT_TRUE(backend_->upload(2, std::as_bytes(std::span(expected.value))));
    ASSERT_TRUE(backend_->upload(3, std::as_bytes(std::span(expected.scale))));
    CompareOrder order{1, 2, 3, 0, 0, 0, DType::kF32, kCount, 4, bitwise};
    auto inspection = backend_->inspect({{}, 0, {order, order}});
    ASSERT_TRUE(inspection) << inspection.error().message;
    ASSERT_EQ(inspection->counts.size(), 2u);
    const CompareCounts* counts = &inspection->counts[1];
    EXPECT_EQ(inspection->counts[0].wrong, counts->wrong);
    EXPECT_EQ(static_cast<int64_t>(counts->wrong), want.wrong);
    EXPECT_EQ(static_cast<int64_t>(counts->unwritten), want.unwritten);
    EXPECT_EQ(static_cast<int64_t>(counts->compared), want.compared);
    EXPECT_EQ(counts->max_error, want.max_error);
    EXPECT_NEAR(counts->rms_error, want.rms_error, 1e-9 * want.rms_error);
    EXPECT_EQ(counts->worst_expected, expected.value[counts->worst]);
  }
}

TEST_F(CudaBackend, DrawsTwinsAndStructuresAsTheHostDoes) {
  constexpr int64_t kSide = 101;
  constexpr uint64_t kPlaces = 77;
  std::vector<float> want(kSide * kSide), other(want.size());
  const FillSpec spec{FillKind::kNormal, 0, 1};
  ASSERT_TRUE(backend_->allocate(7, 4 * want.size(), Placement::kRight));
  fill(std::as_writable_bytes(std::span(want)), DType::kF32, spec, 5);
  fill(std::as_writable_bytes(std::span(other)), DType::kF32, spec, 6);
  const auto count = static_cast<int64_t>(want.size());
  for (int64_t block = 0; block < altered_blocks(count); ++block) {
    const auto at = static_cast<size_t>(altered_place(count, kPlaces, block));
    want[at] = other[at];
  }
  ASSERT_TRUE(backend_->draw(7, {DType::kF32, spec, 5}));
  ASSERT_TRUE(backend_->alter(7, {DType::kF32, spec, 6}, kPlaces));
  EXPECT_EQ(floats(7, count), want);
  using Structure = DrawOrder::Structure;
  for (Structure structure : {Structure::kLower, Structure::kUpper, Structure::kSymmetric}) {
    fill(std::as_writable_bytes(std::span(want)), DType::kF32, spec, 5);
    ir::impose(static_cast<ir::Distribution::Structure>(structure), {kSide, kSide}, want.data());
    ASSERT_TRUE(backend_->draw(7, {DType::kF32, spec, 5, structure, kSide}));
    EXPECT_EQ(floats(7, count), want);
  }
}

TEST_F(CudaBackend, DigestsTellOutputsApart) {
  ASSERT_TRUE(backend_->allocate(7, 4000, Placement::kRight));
  const auto digest = [&] {
    InspectOrder order;
    order.digested = {7};
    order.digest_seed = 3;
    auto found = backend_->inspect(order);
    EXPECT_TRUE(found) << found.error().message;
    return found ? found->digests.at(0) : 0;
  };
  std::vector<float> values(1000, 1);
  ASSERT_TRUE(backend_->upload(7, std::as_bytes(std::span(values))));
  const uint64_t first = digest();
  EXPECT_EQ(digest(), first);
  std::swap(values[3], values[5] = 2);
  ASSERT_TRUE(backend_->upload(7, std::as_bytes(std::span(values))));
  const uint64_t second = digest();
  EXPECT_NE(second, first);
  std::swap(values[3], values[5]);
  ASSERT_TRUE(backend_->upload(7, std::as_bytes(std::span(values))));
  EXPECT_NE(digest(), second);
}

TEST_F(CudaBackend, RunsACandidateOnEverySetOfBuffers) {
  constexpr int64_t kCount = 4096;
  auto sets = make_sets(3, kCount);
  auto loaded = backend_->load(1, cubin(kRelu), plan(kRelu, kCount), sets);
  ASSERT_TRUE(loaded) << trouble(loaded);
  EXPECT_EQ(loaded->at(0).kernel, "relu");
  EXPECT_GT(loaded->at(0).occupancy, 0.5);
  // Singly first, then as a graph with a rest, from the second set on.
  for (int calls : {1, 1, 1, 700}) {
    auto ns = backend_->run(1, calls, calls == 1 ? 0 : 1);
    ASSERT_TRUE(ns) << trouble(ns);
    EXPECT_GT(*ns, 0);
  }
  auto second = backend_->run(1, 2, 2);
  ASSERT_TRUE(second) << trouble(second);
  for (const BufferSet& set : sets) {
    const auto x = floats(set.inputs[0], kCount), y = floats(set.outputs[0], kCount);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], std::max(x[i], 0.f)) << i;
    auto intact = backend_->guards_intact(set.outputs[0]);
    ASSERT_TRUE(intact);
    EXPECT_TRUE(*intact);
  }
}

TEST_F(CudaBackend, SeesWritesBesideABuffer) {
  const std::string source = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(const float* x, float* y) { y[threadIdx.x] = 0; y[1000] = 1; })";
  auto ran = try_source(source, 1000);
  ASSERT_TRUE(ran) << verdict_of(ran);
  auto intact = backend_->guards_intact(1);
  ASSERT_TRUE(intact);
  EXPECT_FALSE(*intact);
}

TEST_F(CudaBackend, FaultsOnAWriteToAnInput) {
  const std::string source = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(float* x, float* y) { x[threadIdx.x] = y[threadIdx.x] = 0; })";
  EXPECT_THAT(verdict_of(try_source(source, 4096)), HasSubstr("rejected: a kernel read or wrote"));
}

TEST_F(CudaBackend, FaultsOnAReadPastTheEnd) {
  const std::string source = R"(// quern: launch f grid 1 block 32 args (x, y, n)
extern "C" __global__ void f(const float* x, float* y, int n) { y[threadIdx.x] = x[n]; })";
  EXPECT_THAT(verdict_of(try_source(source, 4096, Placement::kRight)),
              HasSubstr("ILLEGAL_ADDRESS"));
}

TEST_F(CudaBackend, HidesMemoryFromDeviceCode) {
  auto sets = make_sets(2, 4096);
  const std::string source = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; })";
  ASSERT_TRUE(backend_->load(1, cubin(source), plan(source, 4096), sets));
  ASSERT_TRUE(backend_->allow(2, DeviceAccess::kNone));
  EXPECT_TRUE(backend_->run(1, 1, 0));
  ASSERT_TRUE(backend_->allow(2, DeviceAccess::kRead));
  EXPECT_TRUE(backend_->run(1, 1, 1));
  ASSERT_TRUE(backend_->allow(2, DeviceAccess::kNone));
  EXPECT_THAT(verdict_of(backend_->run(1, 1, 1)), HasSubstr("ILLEGAL_ADDRESS"));
}

TEST_F(CudaBackend, NamesTheKernelThatTraps) {
  const std::string source = R"(// quern: launch f grid 1 block 32 args (x, y)
extern "C" __global__ void f(const float* x, float* y) { if (x[0] > -100) __trap(); })";
  EXPECT_THAT(verdict_of(try_source(source, 4096)), HasSubstr("crashed: a kernel faulted; f: "));
}

TEST_F(CudaBackend, RefusesLaunchesThatCannotBe) {
  const std::string head = "// quern: launch f grid 1 block 32 ";
  const std::string kernel =
      "\nextern \"C\" __global__ void f(const float* x, float* y, int n) { y[n] = *x; }\n";
  EXPECT_THAT(verdict_of(try_source(head + "args (x, y)" + kernel, 64)),
              HasSubstr("launch_failed: launch f: 2 arguments for 3 parameters; f takes 3"));
  EXPECT_THAT(verdict_of(try_source(head + "args (x, y, f64(1))" + kernel, 64)),
              HasSubstr("argument 3 has 8 bytes, the parameter 4"));
  EXPECT_THAT(verdict_of(try_source(head + "args (x, y, n * 100000000)" + kernel, 64)),
              HasSubstr("too large for a parameter of 4 bytes"));
  EXPECT_THAT(verdict_of(try_source(head + "shared 300000 args (x, y, n)" + kernel, 64)),
              HasSubstr("bytes of shared memory"));
  EXPECT_THAT(
      verdict_of(try_source("// quern: launch g grid 1 block 32 args (x, y, n)" + kernel, 64)),
      HasSubstr("no such kernel"));
  EXPECT_THAT(
      verdict_of(try_source("// quern: launch f grid 1 block 512 args (x, y)\nextern \"C\" "
                            "__global__ void __launch_bounds__(128) f(float* x, float* y) {}",
                            64)),
      HasSubstr("__launch_bounds__ allows 128"));
}

TEST_F(CudaBackend, RunsClustersWithLargeSharedMemory) {
  if (capability() < 90) GTEST_SKIP() << "no clusters on " << properties_.name;
  // Each block keeps 128 values of x; its neighbour in the cluster writes them out.
  const std::string source =
      R"(// quern: launch f grid (n / 128) block 128 cluster 2 shared 131072 args (x, y)
extern "C" __global__ void f(const float* x, float* y) {
  extern __shared__ float mine[];
  mine[threadIdx.x] = x[blockIdx.x * 128 + threadIdx.x];
  asm volatile("barrier.cluster.arrive.aligned;\n barrier.cluster.wait.aligned;" ::: "memory");
  unsigned here = (unsigned)__cvta_generic_to_shared(mine + threadIdx.x), there;
  float value;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"((blockIdx.x & 1) ^ 1));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
  y[(blockIdx.x ^ 1) * 128 + threadIdx.x] = value;
  asm volatile("barrier.cluster.arrive.aligned;\n barrier.cluster.wait.aligned;" ::: "memory");
})";
  auto ran = try_source(source, 4096);
  ASSERT_TRUE(ran) << verdict_of(ran);
  EXPECT_EQ(floats(0, 4096), floats(1, 4096));
}

TEST_F(CudaBackend, CopiesThroughATensorMap) {
  if (capability() < 90) GTEST_SKIP() << "no TMA on " << properties_.name;
  const std::string source = R"(// quern: tensor_map tile : x[n / 256, 256] box (8, 64)
// quern: launch f grid (4, n / 2048) block 64 args (tile, y)
struct alignas(64) CUtensorMap { char bytes[128]; };
extern "C" __global__ void f(const __grid_constant__ CUtensorMap map, float* y) {
  __shared__ alignas(128) float tile[8 * 64];
  __shared__ alignas(8) unsigned long long bar;
  unsigned to = (unsigned)__cvta_generic_to_shared(tile), b = (unsigned)__cvta_generic_to_shared(&bar);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(b));
    asm volatile("fence.mbarrier_init.release.cluster;");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 2048;" :: "r"(b));
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];"
                 :: "r"(to), "l"(&map), "r"(blockIdx.x * 64), "r"(blockIdx.y * 8), "r"(b) : "memory");
  }
  __syncthreads();
  asm volatile("{ .reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], 0; @!p bra again; }"
               :: "r"(b) : "memory");
  for (int row = 0; row < 8; ++row) {
    y[(blockIdx.y * 8 + row) * 256 + blockIdx.x * 64 + threadIdx.x] = tile[row * 64 + threadIdx.x];
  }
})";
  auto ran = try_source(source, 8192);
  ASSERT_TRUE(ran) << verdict_of(ran);
  EXPECT_EQ(floats(0, 8192), floats(1, 8192));
}

TEST_F(CudaBackend, RunsTwoKernelsWithScratchBetween) {
  const std::string source = R"(// quern: scratch part : f32[32]
// quern: memset part 0
// quern: launch add grid 32 block 128 args (x, part)
// quern: launch spread grid 32 block 128 args (part, y) programmatic
extern "C" __global__ void add(const float* x, float* part) {
  atomicAdd(part + blockIdx.x, x[blockIdx.x * 128 + threadIdx.x] > 0 ? 1.f : 0.f);
}
extern "C" __global__ void spread(const float* part, float* y) {
  asm volatile("griddepcontrol.wait;" ::: "memory");
  y[blockIdx.x * 128 + threadIdx.x] = part[blockIdx.x];
})";
  const int calls = capability() < 90 ? 1 : 40;
  auto first = try_source(source, 4096);
  ASSERT_TRUE(first) << verdict_of(first);
  auto ran = backend_->run(1, calls, 0);
  ASSERT_TRUE(ran) << verdict_of(ran);
  const auto x = floats(0, 4096), y = floats(1, 4096);
  for (size_t block = 0; block < 32; ++block) {
    float positive = 0;
    for (size_t i = 0; i < 128; ++i) positive += x[block * 128 + i] > 0 ? 1.f : 0.f;
    ASSERT_EQ(y[block * 128 + 5], positive) << block;
  }
  ASSERT_TRUE(backend_->poison_scratch(1, 0xff));
  auto intact = backend_->scratch_guards_intact(1);
  ASSERT_TRUE(intact);
  EXPECT_TRUE(*intact);
}

}  // namespace
}  // namespace quern::cuda
