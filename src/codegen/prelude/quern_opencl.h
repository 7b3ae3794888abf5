// SPDX-License-Identifier: Apache-2.0
// Quern's prelude for OpenCL C kernels. The first half has the names of quern_cuda.h, so that one
// generated text serves both targets: positions, barriers, scalar functions, vectors, reductions.
// OpenCL C 1.2 with doubles; no other include. Functions that reduce across a block must be reached
// by all its threads.
#pragma OPENCL EXTENSION cl_khr_fp64 : enable

// ---- words of the two languages
#define Q_KERNEL(threads) __kernel __attribute__((reqd_work_group_size(threads, 1, 1))) void
/// … of which at least `blocks` shall fit a compute unit: OpenCL C has no word for it.
#define Q_KERNEL_RESIDENT(threads, blocks) Q_KERNEL(threads)
#define Q_GLOBAL __global
/// Q_SHARED declares an array of the block, Q_SHARED_VECTORS one that is aligned to 16 bytes;
/// Q_LOCAL stands in types of pointers to it.
#define Q_SHARED __local
#define Q_SHARED_VECTORS __local __attribute__((aligned(16)))
#define Q_LOCAL __local
#define Q_RESTRICT restrict
#define Q_INLINE static inline __attribute__((overloadable))
#define Q_UNROLL _Pragma("unroll")

// ---- where a thread is
#define q_block() ((long)get_group_id(0))
#define q_blocks() ((long)get_num_groups(0))
#define q_thread() ((int)get_local_id(0))
#define q_threads() ((int)get_local_size(0))
/// Orders memory among the threads of a block.
#define q_barrier() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)

// ---- scalar functions, for float and double
#define q_exp(x) exp(x)
#define q_log(x) log(x)
#define q_log1p(x) log1p(x)
#define q_expm1(x) expm1(x)
#define q_sqrt(x) sqrt(x)
#define q_tanh(x) tanh(x)
#define q_erf(x) erf(x)
#define q_sin(x) sin(x)
#define q_cos(x) cos(x)
#define q_floor(x) floor(x)
#define q_abs(x) fabs(x)
#define q_pow(x, y) pow(x, y)

#define Q_SCALAR(T, ZERO, ONE)                                               \
  Q_INLINE T q_max(T a, T b) { return a > b ? a : b; }                       \
  Q_INLINE T q_min(T a, T b) { return a < b ? a : b; }                       \
  Q_INLINE T q_sign(T x) { return x > ZERO ? ONE : x < ZERO ? -ONE : ZERO; } \
  Q_INLINE T q_rsqrt(T x) { return ONE / sqrt(x); }
Q_SCALAR(float, 0.0f, 1.0f)
Q_SCALAR(double, 0.0, 1.0)
#undef Q_SCALAR

#define Q_INDEX(T)                                                                          \
  Q_INLINE T q_floordiv(T a, T b) { return a / b - ((a % b != 0) & ((a < 0) != (b < 0))); } \
  Q_INLINE T q_mod(T a, T b) { return a - b * q_floordiv(a, b); }                           \
  Q_INLINE T q_imin(T a, T b) { return a < b ? a : b; }                                     \
  Q_INLINE T q_imax(T a, T b) { return a > b ? a : b; }                                     \
  Q_INLINE bool q_inside(T i, T extent) { return i >= 0 && i < extent; }
Q_INDEX(int)
Q_INDEX(long)
#undef Q_INDEX

#define Q_INFINITY INFINITY
#define Q_NAN NAN

// ---- 16-byte vectors of float
/// Whether a pointer may be read in vectors of four.
#define q_aligned(p) ((((size_t)(p)) & 15) == 0)
#define q_load4(into, from)                                                     \
  do {                                                                          \
    const float4 q_v = *(const Q_GLOBAL float4*)(from);                         \
    (into)[0] = q_v.x, (into)[1] = q_v.y, (into)[2] = q_v.z, (into)[3] = q_v.w; \
  } while (0)
#define q_store4(to, from) \
  (*(Q_GLOBAL float4*)(to) = (float4)((from)[0], (from)[1], (from)[2], (from)[3]))
/// Two neighbours, to an address aligned to 8 bytes.
#define q_store2(to, from) (*(Q_GLOBAL float2*)(to) = (float2)((from)[0], (from)[1]))
/// A store that is not read again soon.
#define q_store4_stream(to, from) q_store4(to, from)
#define q_store_stream(to, value) (*(to) = (value))

// ---- copies of floats to local memory, in the background where the hardware can: here at once
#define q_copy16(shared, from, bytes)                     \
  do {                                                    \
    const int q_n = (bytes);                              \
    for (int q_c = 0; q_c < 4; ++q_c) {                   \
      (shared)[q_c] = 4 * q_c < q_n ? (from)[q_c] : 0.0f; \
    }                                                     \
  } while (0)
#define q_copy4(shared, from, bytes) (*(shared) = (bytes) > 0 ? *(from) : 0.0f)
#define q_copy_commit()
#define Q_COPY_WAIT(pending)

// ---- reductions across `width` neighbouring threads, a power of two; every one gets the result
/// `scratch` holds one element a thread of the block.
#define Q_REDUCE(NAME, T, COMBINE)                               \
  Q_INLINE T NAME(T value, int width, Q_LOCAL T* scratch) {      \
    const int thread = q_thread();                               \
    scratch[thread] = value;                                     \
    q_barrier();                                                 \
    for (int step = width / 2; step > 0; step /= 2) {            \
      if ((thread & (width - 1)) < step) {                       \
        const T a = scratch[thread], b = scratch[thread + step]; \
        scratch[thread] = COMBINE;                               \
      }                                                          \
      q_barrier();                                               \
    }                                                            \
    const T result = scratch[thread & ~(width - 1)];             \
    q_barrier();                                                 \
    return result;                                               \
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
#define Q_SCAN(NAME, T, COMBINE)                                                       \
  Q_INLINE T NAME(T value, T neutral, int width, Q_LOCAL T* scratch, T* total) {       \
    const int thread = q_thread(), lane = thread & (width - 1);                        \
    scratch[thread] = value;                                                           \
    q_barrier();                                                                       \
    for (int step = 1; step < width; step *= 2) {                                      \
      const T b = scratch[thread], a = scratch[lane >= step ? thread - step : thread]; \
      q_barrier();                                                                     \
      if (lane >= step) scratch[thread] = COMBINE;                                     \
      q_barrier();                                                                     \
    }                                                                                  \
    const T before = lane > 0 ? scratch[thread - 1] : neutral;                         \
    *total = scratch[thread | (width - 1)];                                            \
    q_barrier();                                                                       \
    return before;                                                                     \
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
