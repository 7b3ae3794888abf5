// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the referee's own: they draw inputs and compare outputs where the data is. They follow
// tensor/fill.cpp and verify/dataset.cpp line by line; compiled behind compare.cuh, without
// contraction, so that the draws agree bit for bit (but for kWide, which takes exp and log from
// another library).

typedef unsigned long long u64;
typedef long long i64;

namespace {

__device__ u64 mix(u64 x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__device__ double unit(u64 word) { return ((double)(word >> 11) + 0.5) * 0x1p-53; }

__device__ double normal(u64 word, u64 other) {
  // Sums of eight 16-bit numbers: exact in integers, so the order is free.
  unsigned sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum += (unsigned)((word >> (16 * i)) & 0xffff) + (unsigned)((other >> (16 * i)) & 0xffff);
  }
  return ((double)sum - 8 * 32767.5) / 53510.2;
}

enum FillKind {
  kUniform,
  kNormal,
  kIntegers,
  kConstant,
  kWide,
  kSparse,
  kCancelling,
  kSparseSigns,
  kOddIntegers
};

__device__ double draw(int kind, double a, double b, u64 seed, u64 index) {
  const u64 word = mix(seed ^ (index * 0xd1342543de82ef95ull));
  switch (kind) {
    case kUniform:
      return a + (b - a) * unit(word);
    case kNormal:
      return a + b * normal(word, mix(word));
    case kIntegers:
      return floor(a) + floor(unit(word) * (floor(b) - floor(a) + 1));
    case kConstant:
      return a;
    case kWide: {
      const double magnitude = a * exp(unit(word) * log(b / a));
      return (mix(word) & 1) != 0 ? magnitude : -magnitude;
    }
    case kSparse:
      return (word & 15) != 0 ? 0.0 : a + b * normal(mix(word), mix(~word));
    case kCancelling: {
      const u64 pair = mix(seed ^ ((index & ~1ull) * 0xd1342543de82ef95ull));
      const double value = a + b * normal(pair, mix(pair));
      return (index & 1) == 0 ? value : -value * (1 + 1e-3 * unit(word));
    }
    case kSparseSigns:
      if (unit(word) >= a) return 0.0;
      return (mix(word) & 1) != 0 ? 1.0 : -1.0;
    case kOddIntegers: {
      const double magnitude = 2 * floor(unit(word) * (floor((b - 1) / 2) + 1)) + 1;
      return (mix(word) & 1) != 0 ? magnitude : -magnitude;
    }
  }
  return 0;
}

template <class T>
__device__ T converted(double value) {
  return (T)floor(value);
}
template <>
__device__ float converted<float>(double value) {
  return (float)value;
}
template <>
__device__ double converted<double>(double value) {
  return value;
}

template <class T>
__device__ void fill(T* out, i64 count, int kind, double a, double b, u64 seed) {
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    out[i] = converted<T>(draw(kind, a, b, seed, (u64)i));
  }
}

/// Draws the elements of an alteration anew (tensor/fill.h).
template <class T>
__device__ void alter(T* out, i64 count, i64 blocks, u64 places, int kind, double a, double b,
                      u64 seed) {
  const i64 margin = count / 3 < 64 ? count / 3 : 64;
  for (i64 block = thread_index(); block < blocks; block += thread_count()) {
    const i64 first = margin + 64 * block, left = count - margin - first;
    const u64 room = left < 64 ? left : 64;
    const i64 at = first + (i64)(mix(mix(places) ^ mix(~(u64)first)) % room);
    out[at] = converted<T>(draw(kind, a, b, seed, (u64)at));
  }
}

/// Square matrices, lower (1), upper (2) or symmetric (3).
template <class T>
__device__ void impose(T* data, i64 elements, i64 n, int structure) {
  for (i64 e = thread_index(); e < elements; e += thread_count()) {
    const i64 i = e / n % n, j = e % n;
    if (structure == 1 && j > i) data[e] = 0;
    if (structure == 2 && j < i) data[e] = 0;
    if (structure == 3 && j > i) data[e] = data[e + (j - i) * n - (j - i)];
  }
}

template <class T>
__device__ void compare(const T* got, const double* values, const double* scales, i64 count,
                        double factor, int bitwise, Partial* found) {
  Partial mine = nothing_found();
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    look(got + i, values[i], scales[i], factor, bitwise != 0, i, mine);
  }
  gather(mine, found + 1 + blockIdx.x);
}

}  // namespace

#define QUERN_REFEREE(T, suffix)                                                                  \
  extern "C" __global__ void fill_##suffix(T* out, i64 count, int kind, double a, double b,       \
                                           u64 seed) {                                            \
    fill(out, count, kind, a, b, seed);                                                           \
  }                                                                                               \
  extern "C" __global__ void alter_##suffix(T* out, i64 count, i64 blocks, u64 places, int kind,   \
                                            double a, double b, u64 seed) {                       \
    alter(out, count, blocks, places, kind, a, b, seed);                                          \
  }                                                                                               \
  extern "C" __global__ void __launch_bounds__(256)                                               \
      compare_##suffix(const T* got, const double* values, const double* scales, i64 count,       \
                       double factor, int bitwise, Partial* found) {                           \
    compare(got, values, scales, count, factor, bitwise, found);                                  \
  }

QUERN_REFEREE(float, f32)
QUERN_REFEREE(double, f64)
QUERN_REFEREE(int, i32)
QUERN_REFEREE(i64, i64)

extern "C" __global__ void impose_4(unsigned* data, i64 elements, i64 n, int structure) {
  impose(data, elements, n, structure);
}
extern "C" __global__ void impose_8(u64* data, i64 elements, i64 n, int structure) {
  impose(data, elements, n, structure);
}

/// The same for the same words in the same places, whatever the order of threads.
extern "C" __global__ void digest(const unsigned* words, i64 count, u64 seed, u64* sum) {
  u64 mine = 0;
  const ulonglong2* pairs = (const ulonglong2*)words;
  const i64 whole = count / 4;
#pragma unroll 4
  for (i64 i = thread_index(); i < whole; i += thread_count()) {
    const ulonglong2 pair = pairs[i];
    mine += mix(mix(seed ^ (u64)(2 * i)) ^ pair.x) + mix(mix(seed ^ (u64)(2 * i + 1)) ^ pair.y);
  }
  for (i64 i = 4 * whole + thread_index(); i < count; i += thread_count()) {
    mine += mix(mix(~seed ^ (u64)i) ^ words[i]);
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(~0u, mine, lanes);
  if (threadIdx.x % 32 == 0 && mine != 0) atomicAdd(sum, mine);
}

/// Counts bytes that differ from a pattern: canaries, and poison that should have gone.
extern "C" __global__ void count_other_bytes(const unsigned char* at, i64 count, int pattern,
                                             u64* others) {
  u64 mine = 0;
  for (i64 i = thread_index(); i < count; i += thread_count()) mine += at[i] != pattern;
  if (mine != 0) atomicAdd(others, mine);
}

/// Cycles and nanoseconds across a fixed chain of dependent multiply-adds: the clock at which the
/// multiprocessors run, and a sentinel whose time depends on that clock alone.
extern "C" __global__ void sentinel(i64* cycles, i64* ns, float* sink, int rounds) {
  float x = threadIdx.x * 1e-3f;
  i64 start_ns, end_ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start_ns)::"memory");
  const i64 start = clock64();
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (int j = 0; j < 64; ++j) x = fmaf(x, 0.999f, 1e-3f);
  }
  const i64 end = clock64();
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(end_ns)::"memory");
  sink[threadIdx.x] = x;
  if (threadIdx.x == 0) *cycles = end - start, *ns = end_ns - start_ns;
}
