// SPDX-License-Identifier: Apache-2.0
// Quern's prelude for CUDA kernels. The first half has the names of quern_opencl.h, so that one
// generated text serves both targets: positions, barriers, scalar functions, vectors, reductions.
// The second half wraps what the chip has beyond: shuffles, asynchronous copies, tensor cores,
// barriers in shared memory, tensor maps, clusters. No other include; NVRTC and nvcc compile it.
// Facts: CUDA C++ programming guide; PTX ISA, sections named below.
#pragma once

// ---- words of the two languages
#define Q_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
/// … of which at least `blocks` shall fit a multiprocessor.
#define Q_KERNEL_RESIDENT(threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks)
#define Q_GLOBAL
/// Q_SHARED declares an array of the block, Q_SHARED_VECTORS one that is aligned to 16 bytes;
/// Q_LOCAL stands in types of pointers to it.
#define Q_SHARED __shared__
#define Q_SHARED_VECTORS __shared__ __align__(16)
#define Q_LOCAL
#define Q_RESTRICT __restrict__
#define Q_INLINE static __device__ __forceinline__
#define Q_UNROLL _Pragma("unroll")

// ---- where a thread is
#define q_block() ((long)blockIdx.x)
#define q_blocks() ((long)gridDim.x)
#define q_thread() ((int)threadIdx.x)
#define q_threads() ((int)blockDim.x)
/// Orders memory among the threads of a block.
#define q_barrier() __syncthreads()

// ---- scalar functions, for float and double
#define Q_FUNCTION(NAME, F32, F64)                \
  Q_INLINE float NAME(float x) { return F32(x); } \
  Q_INLINE double NAME(double x) { return F64(x); }
Q_FUNCTION(q_exp, expf, exp)
Q_FUNCTION(q_log, logf, log)
Q_FUNCTION(q_log1p, log1pf, log1p)
Q_FUNCTION(q_expm1, expm1f, expm1)
Q_FUNCTION(q_sqrt, sqrtf, sqrt)
Q_FUNCTION(q_rsqrt, rsqrtf, rsqrt)
Q_FUNCTION(q_tanh, tanhf, tanh)
Q_FUNCTION(q_erf, erff, erf)
Q_FUNCTION(q_sin, sinf, sin)
Q_FUNCTION(q_cos, cosf, cos)
Q_FUNCTION(q_floor, floorf, floor)
Q_FUNCTION(q_abs, fabsf, fabs)
#undef Q_FUNCTION
Q_INLINE float q_pow(float x, float y) { return powf(x, y); }
Q_INLINE double q_pow(double x, double y) { return pow(x, y); }
template <class T>
Q_INLINE T q_max(T a, T b) {
  return a > b ? a : b;
}
template <class T>
Q_INLINE T q_min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
Q_INLINE T q_sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
}

// Division rounds down, and a remainder has the sign of the divisor.
#define Q_INDEX(T)                                                                          \
  Q_INLINE T q_floordiv(T a, T b) { return a / b - ((a % b != 0) & ((a < 0) != (b < 0))); } \
  Q_INLINE T q_mod(T a, T b) { return a - b * q_floordiv(a, b); }                           \
  Q_INLINE T q_imin(T a, T b) { return a < b ? a : b; }                                     \
  Q_INLINE T q_imax(T a, T b) { return a > b ? a : b; }                                     \
  Q_INLINE bool q_inside(T i, T extent) { return i >= 0 && i < extent; }
Q_INDEX(int)
Q_INDEX(long)
#undef Q_INDEX

#define Q_INFINITY __int_as_float(0x7f800000)
#define Q_NAN __int_as_float(0x7fffffff)

// ---- 16-byte vectors of float
/// Whether a pointer may be read in vectors of four.
#define q_aligned(p) ((((unsigned long)(p)) & 15) == 0)
Q_INLINE void q_load4(float* into, const float* from) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  into[0] = v.x, into[1] = v.y, into[2] = v.z, into[3] = v.w;
}
Q_INLINE void q_store4(float* to, const float* from) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
/// Two neighbours, to an address aligned to 8 bytes.
Q_INLINE void q_store2(float* to, const float* from) {
  *reinterpret_cast<float2*>(to) = make_float2(from[0], from[1]);
}
/// Stores that are not read again soon.
Q_INLINE void q_store4_stream(float* to, const float* from) {
  __stcs(reinterpret_cast<float4*>(to), make_float4(from[0], from[1], from[2], from[3]));
}
Q_INLINE void q_store_stream(float* to, float value) { __stcs(to, value); }

// ---- reductions across `width` neighbouring threads, a power of two; every one gets the result
/// All threads of the block take part. `scratch` holds one element a thread of the block.
#define Q_REDUCE(NAME, T, COMBINE)                                         \
  Q_INLINE T NAME(T value, int width, T* scratch) {                        \
    T a = value;                                                           \
    for (int step = width < 32 ? width / 2 : 16; step > 0; step /= 2) {    \
      const T b = __shfl_xor_sync(0xffffffffu, a, step);                   \
      a = COMBINE;                                                         \
    }                                                                      \
    if (width <= 32) return a;                                             \
    const int thread = q_thread(), warps = width / 32, warp = thread / 32; \
    if (thread % 32 == 0) scratch[warp] = a;                               \
    __syncthreads();                                                       \
    const int first = warp & ~(warps - 1);                                 \
    a = scratch[first + (thread & (warps - 1))];                           \
    for (int step = warps / 2; step > 0; step /= 2) {                      \
      const T b = __shfl_xor_sync(0xffffffffu, a, step);                   \
      a = COMBINE;                                                         \
    }                                                                      \
    __syncthreads();                                                       \
    return a;                                                              \
  }
Q_REDUCE(q_reduce_sum, float, a + b)
Q_REDUCE(q_reduce_prod, float, a* b)
Q_REDUCE(q_reduce_max, float, q_max(a, b))
Q_REDUCE(q_reduce_min, float, q_min(a, b))
Q_REDUCE(q_reduce_sum, double, a + b)
Q_REDUCE(q_reduce_prod, double, a* b)
Q_REDUCE(q_reduce_max, double, q_max(a, b))
Q_REDUCE(q_reduce_min, double, q_min(a, b))
Q_REDUCE(q_reduce_first, long, a < b ? a : b)
#undef Q_REDUCE

/// Reductions among threads that lie `columns` apart, `slices` of them; every one gets the result,
/// combined in the order of the slices. All threads of the block take part; `scratch` holds one
/// element a thread.
#define Q_APART(NAME, T, COMBINE)                                         \
  Q_INLINE T NAME(T value, int columns, int slices, Q_LOCAL T* scratch) { \
    const int column = q_thread() % columns;                              \
    scratch[q_thread()] = value;                                          \
    q_barrier();                                                          \
    T a = scratch[column];                                                \
    for (int slice = 1; slice < slices; ++slice) {                        \
      const T b = scratch[column + slice * columns];                      \
      a = COMBINE;                                                        \
    }                                                                     \
    q_barrier();                                                          \
    return a;                                                             \
  }
#define Q_APARTS(T)                    \
  Q_APART(q_apart_sum, T, a + b)       \
  Q_APART(q_apart_prod, T, a* b)       \
  Q_APART(q_apart_max, T, q_max(a, b)) \
  Q_APART(q_apart_min, T, q_min(a, b))
Q_APARTS(float)
Q_APARTS(double)
Q_APART(q_apart_first, long, a < b ? a : b)
#undef Q_APARTS
#undef Q_APART

/// The combination of the values of all threads before this one among `width` neighbours, `neutral`
/// for the first of them; the combination of all values goes to `total`.
#define Q_SCAN(NAME, T, COMBINE)                                                   \
  Q_INLINE T NAME(T value, T neutral, int width, T* scratch, T* total) {           \
    const int thread = q_thread(), lane = thread & (width - 1);                    \
    T own = value;                                                                 \
    for (int step = 1; step < width && step < 32; step *= 2) {                     \
      const T a = __shfl_up_sync(0xffffffffu, own, step), b = own;                 \
      if ((lane & 31) >= step) own = COMBINE;                                      \
    }                                                                              \
    T before = __shfl_up_sync(0xffffffffu, own, 1);                                \
    if (width <= 32) {                                                             \
      *total = __shfl_sync(0xffffffffu, own, (thread & 31) | (width - 1));         \
      return lane > 0 ? before : neutral;                                          \
    }                                                                              \
    const int warp = thread / 32, warps = width / 32, first = warp & ~(warps - 1); \
    if ((thread & 31) == 31) scratch[warp] = own;                                  \
    __syncthreads();                                                               \
    T whole = neutral, earlier = neutral;                                          \
    for (int w = first; w < first + warps; ++w) {                                  \
      if (w == warp) earlier = whole;                                              \
      const T a = whole, b = scratch[w];                                           \
      whole = COMBINE;                                                             \
    }                                                                              \
    *total = whole;                                                                \
    __syncthreads();                                                               \
    if ((thread & 31) == 0) return earlier;                                        \
    const T a = earlier, b = before;                                               \
    return COMBINE;                                                                \
  }
#define Q_SCANS(T)                   \
  Q_SCAN(q_scan_sum, T, a + b)       \
  Q_SCAN(q_scan_prod, T, a* b)       \
  Q_SCAN(q_scan_max, T, q_max(a, b)) \
  Q_SCAN(q_scan_min, T, q_min(a, b))
Q_SCANS(float)
Q_SCANS(double)
#undef Q_SCANS
#undef Q_SCAN

// ---- addresses in shared memory
Q_INLINE unsigned q_shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// ---- asynchronous copies to shared memory, compute capability 8.0 (PTX: cp.async)
/// Copies 16 bytes, both sides aligned to 16. Only the first `bytes` are read, the rest are 0.
Q_INLINE void q_copy16(void* shared, const void* global, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(q_shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}
/// Copies 4 bytes, or writes a 0 where `bytes` is 0.
Q_INLINE void q_copy4(void* shared, const void* global, int bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(q_shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}
Q_INLINE void q_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `kPending` of this thread's committed groups are under way.
template <int kPending>
Q_INLINE void q_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
#define Q_COPY_WAIT(pending) q_copy_wait<pending>()

// ---- matrix instructions of a warp (PTX: mma.sync)
/// The TF32 number nearest to x, as its bits.
Q_INLINE unsigned q_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
/// x, finite, as a sum of two TF32 numbers: about 22 bits. `high` is the nearest (ties away from
/// 0), `low` the rest as a float, of which tensor cores read what is a TF32 number. Three
/// instructions, where two conversions are nine.
Q_INLINE void q_tf32_split(float x, unsigned* high, unsigned* low) {
  *high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
  *low = __float_as_uint(x - __uint_as_float(*high));
}
/// d [16, 8] += a [16, 8] · b [8, 8] in TF32. Lane l holds a at rows l / 4 and l / 4 + 8, columns
/// l % 4 and l % 4 + 4 (row fastest); b at rows l % 4 and l % 4 + 4, column l / 4; d at rows l / 4
/// and l / 4 + 8, columns 2 (l % 4) and the next (column fastest).
Q_INLINE void q_mma_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// d [16, 8] += a [16, 16] · b [16, 8] in BF16, two to a register.
Q_INLINE void q_mma_bf16(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// Two floats rounded to BF16; `low` in the low half.
Q_INLINE unsigned q_bf16_pair(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
/// The float that a BF16 (low 16 bits) stands for.
Q_INLINE float q_bf16_value(unsigned bits) { return __uint_as_float(bits << 16); }
/// Loads four 8 by 8 matrices of 16-bit elements; lane l names row l % 8 of matrix l / 8.
Q_INLINE void q_load_matrices(unsigned into[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(into[0]), "=r"(into[1]), "=r"(into[2]), "=r"(into[3])
               : "r"(q_shared_address(row)));
}

// ---- from here on compute capability 9.0

// ---- barriers in shared memory (PTX: mbarrier)
typedef unsigned long long q_mbarrier;
Q_INLINE void q_mbarrier_init(q_mbarrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(q_shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
/// Makes initialised barriers visible to the copy engine and to the cluster.
Q_INLINE void q_mbarrier_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
Q_INLINE void q_mbarrier_arrive(q_mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(q_shared_address(barrier))
               : "memory");
}
/// Arrives, and says how many bytes the copy engine will bring.
Q_INLINE void q_mbarrier_expect(q_mbarrier* barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(q_shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
/// Waits for the phase of that parity to end.
Q_INLINE void q_mbarrier_wait(q_mbarrier* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni over;\n"
      "bra.uni again;\n"
      "over:\n"
      "}" ::"r"(q_shared_address(barrier)),
      "r"(parity)
      : "memory");
}
/// Orders this thread's ordinary writes to shared memory before what the copy engine and the tensor
/// cores do with them after the next barrier.
Q_INLINE void q_fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- tensor maps and bulk copies (PTX: cp.async.bulk, cp.async.bulk.tensor)
/// A tensor map, a kernel argument made by the launcher: `const __grid_constant__ q_tensor_map m`.
struct alignas(64) q_tensor_map {
  unsigned char opaque[128];
};
Q_INLINE void q_tensor_prefetch(const q_tensor_map* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/// One thread asks for the box at column x, row y of a two-dimensional map; `barrier` counts its
/// bytes. Outside the tensor the box holds zeros.
Q_INLINE void q_tensor_load(void* shared, const q_tensor_map* map, int x, int y,
                            q_mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
      "%4}], [%2];" ::"r"(q_shared_address(shared)),
      "l"(map), "r"(q_shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
}
/// The same box into the shared memory of every block of the cluster named in `blocks`, one bit
/// each; each block's own barrier at that place counts the bytes.
Q_INLINE void q_tensor_multicast(void* shared, const q_tensor_map* map, int x, int y,
                                 q_mbarrier* barrier, unsigned short blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
      "cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(q_shared_address(shared)),
      "l"(map), "r"(q_shared_address(barrier)), "r"(x), "r"(y), "h"(blocks)
      : "memory");
}
/// Writes a box from shared memory; `q_fence_async` and a barrier come first.
Q_INLINE void q_tensor_store(const q_tensor_map* map, int x, int y, const void* shared) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(q_shared_address(shared)), "r"(x), "r"(y)
      : "memory");
}
/// Copies `bytes`, a multiple of 16, between addresses aligned to 16.
Q_INLINE void q_bulk_load(void* shared, const void* global, unsigned bytes, q_mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(q_shared_address(shared)),
      "l"(global), "r"(bytes), "r"(q_shared_address(barrier))
      : "memory");
}
Q_INLINE void q_bulk_store(void* global, const void* shared, unsigned bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
               "r"(q_shared_address(shared)), "r"(bytes)
               : "memory");
}
Q_INLINE void q_bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until shared memory of this thread's bulk stores may be written again.
Q_INLINE void q_bulk_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// ---- clusters
Q_INLINE unsigned q_cluster_rank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
Q_INLINE unsigned q_cluster_blocks() {
  unsigned blocks;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}
/// Orders memory among the threads of a cluster.
Q_INLINE void q_cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}
/// The float at the place of `shared` in the shared memory of another block of the cluster.
Q_INLINE float q_cluster_load(const float* shared, unsigned rank) {
  unsigned address;
  float value;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(q_shared_address(shared)), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

// ---- dependent launches
/// Waits until the launch before this one has ended; what comes earlier may overlap with it.
Q_INLINE void q_grid_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
/// Lets the launch after this one begin.
Q_INLINE void q_grid_ready() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

// ---- matrix instructions of four warps (PTX: wgmma), target sm_90a
/// Describes a tile in shared memory, K fastest, rows of 128 bytes in the 128-byte swizzle that a
/// tensor map writes; its address is a multiple of 1024. To step along K, add bytes to the address.
Q_INLINE unsigned long long q_wgmma_tile(const void* shared) {
  unsigned long long address = q_shared_address(shared);
  return ((address & 0x3ffff) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
Q_INLINE void q_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
Q_INLINE void q_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
Q_INLINE void q_wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// The 64 accumulators of a [64, 128] tile, as one list of operands.
#define Q_WGMMA_D(d)                                                                              \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define Q_WGMMA_LIST                                                                            \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "  \
  "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "  \
  "%56, %57, %58, %59, %60, %61, %62, %63}"
/// d [64, 128] += a [64, 16] · b [128, 16]ᵀ in BF16. Thread t of the four warps holds, in d[4 j + 2
/// h
/// + c], row 16 (t / 32) + (t % 32) / 4 + 8 h, column 8 j + 2 (t % 4) + c.
Q_INLINE void q_wgmma_bf16(float d[64], unsigned long long a, unsigned long long b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " Q_WGMMA_LIST
               ", %64, %65, 1, 1, 1, 0, 0;"
               : Q_WGMMA_D(d)
               : "l"(a), "l"(b));
}
/// The same with a [64, 8] and b [128, 8] in TF32 (floats whose low 13 bits are ignored).
Q_INLINE void q_wgmma_tf32(float d[64], unsigned long long a, unsigned long long b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 " Q_WGMMA_LIST
               ", %64, %65, 1, 1, 1;"
               : Q_WGMMA_D(d)
               : "l"(a), "l"(b));
}
