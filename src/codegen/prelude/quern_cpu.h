// SPDX-License-Identifier: Apache-2.0
// Quern's prelude for CPU kernels: vectors as wide as the target has them, loads and stores with
// tails, vector math, scratch memory. No heavy includes. Vectors are GNU vector types; `W` says how
// many lanes are alive: `QOne` (plain float), `QFull` (all QN lanes), `QPart` (the first n).
//
// One header although it is long: it travels with every candidate, is shown to whoever writes one
// by hand, and is precompiled as one; parts would have to be found, hashed and kept together
// wherever a candidate goes.
#pragma once
#include <stdint.h>

#define QI inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { QN = 16 };
#define Q_EACH_LANE(X)                                                                           \
  X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), \
      X(15)
#elif defined(__AVX2__)
enum { QN = 8 };
#define Q_EACH_LANE(X) X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7)
#else
enum { QN = 4 };
#define Q_EACH_LANE(X) X(0), X(1), X(2), X(3)
#endif

typedef float qv __attribute__((vector_size(QN * 4)));
typedef int32_t qvi __attribute__((vector_size(QN * 4)));
typedef float q_unaligned __attribute__((vector_size(QN * 4), aligned(4), may_alias));

struct QOne {
  static constexpr int n = 1;
};
struct QFull {
  static constexpr int n = QN;
};
struct QPart {
  int n;
};
template <int I>
struct QU {
  static constexpr int v = I;
};
/// True, known when compiling.
struct QYes {
  constexpr operator bool() const { return true; }
};
template <class W>
struct q_of {
  typedef qv value;
  typedef qvi mask;
};
template <>
struct q_of<QOne> {
  typedef float value;
  typedef bool mask;
};

// ---- threads and memory ----
#ifdef _OPENMP
extern "C" int omp_get_thread_num(void) noexcept;
extern "C" int omp_get_max_threads(void) noexcept;
extern "C" int omp_get_num_threads(void) noexcept;
QI int q_threads() { return omp_get_max_threads(); }
QI int q_thread() { return omp_get_thread_num(); }
QI int q_team() { return omp_get_num_threads(); }
#else
QI int q_threads() { return 1; }
QI int q_thread() { return 0; }
QI int q_team() { return 1; }
#endif

extern "C" void* aligned_alloc(decltype(sizeof(0)), decltype(sizeof(0))) noexcept;
extern "C" void free(void*) noexcept;
static void* q_scratch_data[4096];
static int64_t q_scratch_bytes[4096];
/// 64-byte aligned memory that is kept between calls and grows. Not for use inside a parallel
/// region.
[[maybe_unused]] static void* q_scratch(int id, int64_t bytes) {
  if (q_scratch_bytes[id] < bytes) {
    free(q_scratch_data[id]);
    const int64_t rounded = (bytes + 4095) / 4096 * 4096;
    q_scratch_data[id] = aligned_alloc(4096, static_cast<decltype(sizeof(0))>(rounded));
    q_scratch_bytes[id] = rounded;
  }
  return q_scratch_data[id];
}

// ---- integers ----
QI int64_t q_floordiv(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}
QI int64_t q_mod(int64_t a, int64_t b) { return a - b * q_floordiv(a, b); }
QI int64_t q_imin(int64_t a, int64_t b) { return a < b ? a : b; }
QI int64_t q_imax(int64_t a, int64_t b) { return a > b ? a : b; }
/// A block length, a multiple of `granule`, that cuts `extent` so that all threads have work.
QI int64_t q_block(int64_t extent, int64_t rows, int64_t granule, int64_t threads) {
  int64_t parts = rows >= 4 * threads ? 1 : (4 * threads + rows - 1) / rows;
  parts = q_imin(parts, (extent + granule - 1) / granule);
  const int64_t block = (extent + parts - 1) / parts;
  return (block + granule - 1) / granule * granule;
}

// ---- lanes ----
#define Q_IOTA(i) i
QI qv q_iota() { return qv{Q_EACH_LANE(Q_IOTA)}; }
QI qvi q_iotai() { return qvi{Q_EACH_LANE(Q_IOTA)}; }
#undef Q_IOTA
QI qv q_splat(float x) { return x - qv{}; }
QI qvi q_splati(int32_t x) { return x - qvi{}; }
QI float q_wide(QOne, float x) { return x; }
QI qv q_wide(QFull, float x) { return q_splat(x); }
QI qv q_wide(QPart, float x) { return q_splat(x); }
QI qv q_wide(QFull, qv x) { return x; }
QI qv q_wide(QPart, qv x) { return x; }
QI bool q_wide(QOne, bool m) { return m; }
QI qvi q_wide(QFull, bool m) { return q_splati(m ? -1 : 0); }
QI qvi q_wide(QPart, bool m) { return q_splati(m ? -1 : 0); }
QI qvi q_wide(QFull, qvi m) { return m; }
QI qvi q_wide(QPart, qvi m) { return m; }
QI qvi q_alive(QPart w) { return q_iotai() < w.n; }
QI float q_keep(QOne, float x, float) { return x; }
QI qv q_keep(QFull, qv x, float) { return x; }
QI qv q_keep(QPart w, qv x, float other) { return q_alive(w) ? x : q_splat(other); }

QI float q_select(bool m, float a, float b) { return m ? a : b; }
QI qv q_select(qvi m, qv a, qv b) { return m ? a : b; }

// ---- loads ----
QI float q_ld(QOne, const float* p) { return *p; }
QI float q_ld(QOne, const double* p) { return static_cast<float>(*p); }
QI float q_ld(QOne, const int32_t* p) { return static_cast<float>(*p); }
QI float q_ld(QOne, const int64_t* p) { return static_cast<float>(*p); }
QI qv q_ld(QFull, const float* p) { return *reinterpret_cast<const q_unaligned*>(p); }
#if defined(__AVX512F__)
QI unsigned short q_bits(QPart w) { return static_cast<unsigned short>((1u << w.n) - 1u); }
QI qv q_ld(QPart w, const float* p) { return __builtin_ia32_loadups512_mask(p, qv{}, q_bits(w)); }
#elif defined(__AVX2__)
QI qv q_ld(QPart w, const float* p) {
  return __builtin_ia32_maskloadps256(reinterpret_cast<const qv*>(p), q_alive(w));
}
#else
QI qv q_ld(QPart w, const float* p) {
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = p[l];
  return r;
}
#endif
template <class W, class T>
QI qv q_ld(W w, const T* p) {
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = static_cast<float>(p[l]);
  return r;
}

QI float q_ld_strided(QOne, const float* p, int64_t) { return *p; }
QI qv q_ld_strided(QPart w, const float* p, int64_t stride) {
  if (stride == 1) return q_ld(w, p);
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = p[l * stride];
  return r;
}
/// Lanes p[0], p[2], …: two overlapping loads that stay inside the range touched anyway.
QI qv q_even(const float* p) {
  const qv a = q_ld(QFull{}, p), b = q_ld(QFull{}, p + QN - 1);
#define Q_PICK(i) ((i)*2 < QN ? (i)*2 : QN + (i)*2 - (QN - 1))
  return __builtin_shufflevector(a, b, Q_EACH_LANE(Q_PICK));
#undef Q_PICK
}
QI qv q_ld_strided(QFull, const float* p, int64_t stride) {
  if (stride == 1) return q_ld(QFull{}, p);
  if (stride == 2) return q_even(p);
#if defined(__AVX512F__)
  if (stride > -100000000 && stride < 100000000) {
    return __builtin_ia32_gathersiv16sf(qv{}, p, q_iotai() * static_cast<int32_t>(stride),
                                        static_cast<unsigned short>(0xffff), 4);
  }
#endif
  return q_ld_strided(QPart{QN}, p, stride);
}
template <class W, class T>
QI typename q_of<W>::value q_ld_strided(W w, const T* p, int64_t stride);
template <class T>
QI float q_ld_strided(QOne w, const T* p, int64_t) {
  return q_ld(w, p);
}
template <class W, class T>
QI typename q_of<W>::value q_ld_strided(W w, const T* p, int64_t stride) {
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = static_cast<float>(p[l * stride]);
  return r;
}

/// Whether guarded loads are known to be inside their tensors at the points at hand.
struct QInside {
  static constexpr bool v = true;
};
struct QBorder {
  static constexpr bool v = false;
};
template <class W, class T, class V>
QI typename q_of<W>::value q_ld_else(QInside, W w, bool, const T* row, int64_t i, int64_t stride,
                                     int64_t, V) {
  return q_ld_strided(w, row + i, stride);
}
/// row[i], row[i + stride], … where the index is in [0, extent) and `ok`, else `other`.
template <class T>
QI float q_ld_else(QBorder, QOne, bool ok, const T* row, int64_t i, int64_t, int64_t extent,
                   float other) {
  return ok && i >= 0 && i < extent ? static_cast<float>(row[i]) : other;
}
template <class W, class T>
QI qv q_ld_else(QBorder, W w, bool ok, const T* row, int64_t i, int64_t stride, int64_t extent,
                qv other) {
  if (!ok) return other;
  const int64_t last = i + (w.n - 1) * stride;
  if (i >= 0 && last >= 0 && i < extent && last < extent) return q_ld_strided(w, row + i, stride);
#if defined(__AVX512F__)
  if constexpr (__is_same(T, float)) {
    if (stride == 1) {
      const int64_t first = q_imin(QN, q_imax(0, -i)), end = q_imin(w.n, q_imax(first, extent - i));
      const unsigned bits = ((1u << end) - 1u) & ~((1u << first) - 1u);
      return __builtin_ia32_loadups512_mask(row + i, other, static_cast<unsigned short>(bits));
    }
  }
#endif
  for (int l = 0; l < w.n; ++l) {
    const int64_t at = i + l * stride;
    if (at >= 0 && at < extent) other[l] = static_cast<float>(row[at]);
  }
  return other;
}

/// Lane l is f(QOne, v + l): whatever no vector form exists for.
QI bool q_and(bool a, bool b) { return a && b; }
QI bool q_or(bool a, bool b) { return a || b; }
QI bool q_not(bool a) { return !a; }
QI qvi q_and(qvi a, qvi b) { return a & b; }
QI qvi q_or(qvi a, qvi b) { return a | b; }
QI qvi q_not(qvi a) { return ~a; }
template <class F>
QI float q_lanes(QOne w, int64_t v, F f) {
  return f(w, v);
}
template <class W, class F>
QI qv q_lanes(W w, int64_t v, F f) {
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = f(QOne{}, v + l);
  return r;
}
template <class F>
QI bool q_lane_mask(QOne w, int64_t v, F f) {
  return f(w, v);
}
template <class W, class F>
QI qvi q_lane_mask(W w, int64_t v, F f) {
  qvi r{};
  for (int l = 0; l < w.n; ++l) r[l] = f(QOne{}, v + l) ? -1 : 0;
  return r;
}
/// Evaluates only the side that a lane chose, lane by lane where lanes differ.
template <class C, class A, class B>
QI float q_choose(QOne w, int64_t v, C c, A a, B b) {
  return c(w, v) ? a(w, v) : b(w, v);
}
template <class W, class C, class A, class B>
QI qv q_choose(W w, int64_t v, C c, A a, B b) {
  const qvi m = q_wide(w, c(w, v));
  int count = 0;
  for (int l = 0; l < w.n; ++l) count -= m[l];
  if (count == w.n) return q_wide(w, a(w, v));
  if (count == 0) return q_wide(w, b(w, v));
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = m[l] ? a(QOne{}, v + l) : b(QOne{}, v + l);
  return r;
}

// ---- stores ----
QI void q_st(QOne, float* p, float x) { *p = x; }
QI void q_st(QFull, float* p, qv x) { *reinterpret_cast<q_unaligned*>(p) = x; }
#if defined(__AVX512F__)
QI void q_st(QPart w, float* p, qv x) { __builtin_ia32_storeups512_mask(p, x, q_bits(w)); }
#else
QI void q_st(QPart w, float* p, qv x) {
  for (int l = 0; l < w.n; ++l) p[l] = x[l];
}
#endif
template <class T>
QI void q_st(QOne, T* p, float x) {
  *p = static_cast<T>(x);
}
template <class W, class T>
QI void q_st(W w, T* p, qv x) {
  for (int l = 0; l < w.n; ++l) p[l] = static_cast<T>(x[l]);
}
/// p[0], p[2], … of so many lanes; what lies between is not touched.
QI void q_st_twos(QOne w, float* p, float x) { q_st(w, p, x); }
template <class W>
QI void q_st_twos(W w, float* p, qv x) {
#if defined(__AVX512F__)
#define Q_LOW(i) ((i) / 2)
#define Q_HIGH(i) (QN / 2 + (i) / 2)
  const qv low = __builtin_shufflevector(x, x, Q_EACH_LANE(Q_LOW));
  const qv high = __builtin_shufflevector(x, x, Q_EACH_LANE(Q_HIGH));
#undef Q_LOW
#undef Q_HIGH
  const unsigned alive = static_cast<unsigned>((uint64_t{1} << (2 * w.n)) - 1u) & 0x55555555u;
  __builtin_ia32_storeups512_mask(p, low, static_cast<unsigned short>(alive));
  if (w.n > QN / 2) {
    __builtin_ia32_storeups512_mask(p + QN, high, static_cast<unsigned short>(alive >> 16));
  }
#else
  for (int l = 0; l < w.n; ++l) p[2 * l] = x[l];
#endif
}
QI void q_st_strided(QOne w, float* p, int64_t, float x) { q_st(w, p, x); }
template <class T>
QI void q_st_strided(QOne w, T* p, int64_t, float x) {
  q_st(w, p, x);
}
template <class W, class T>
QI void q_st_strided(W w, T* p, int64_t stride, qv x) {
  if constexpr (__is_same(T, float)) {
    if (stride == 2) return q_st_twos(w, p, x);
  }
  for (int l = 0; l < w.n; ++l) p[l * stride] = static_cast<T>(x[l]);
}
/// Past the caches; `p` must be aligned to a whole vector (q_head), else this is a plain store.
QI void q_stream(QFull w, float* p, qv x) {
  if (reinterpret_cast<uintptr_t>(p) % (QN * 4) != 0) return q_st(w, p, x);
#if defined(__clang__)
  __builtin_nontemporal_store(x, reinterpret_cast<qv*>(p));
#elif defined(__AVX512F__)
  __builtin_ia32_movntps512(p, x);
#elif defined(__AVX2__)
  __builtin_ia32_movntps256(p, x);
#elif defined(__SSE__)
  __builtin_ia32_movntps(p, x);
#else
  q_st(w, p, x);
#endif
}
QI void q_stream(QOne w, float* p, float x) { q_st(w, p, x); }
QI void q_stream(QPart w, float* p, qv x) { q_st(w, p, x); }
QI void q_fence() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}
/// Elements from `p` to the next whole-vector boundary.
QI int64_t q_head(const float* p) {
  return static_cast<int64_t>((-reinterpret_cast<uintptr_t>(p)) % (QN * 4)) / 4;
}

// ---- rows that share cache lines ----
// Rows of a tensor stored one after the other, past the caches. Where they end inside cache lines
// and are short, each is made in a buffer and leaves it in whole lines; the rest of its last line
// goes with the next row. Otherwise they are stored in place.
enum { Q_LINE = 16, Q_PAGE = 1024 };  // elements
struct q_rows {
  float* whole;
  int64_t length;
  float* buffers;  ///< one row a thread; null: rows are stored in place
  int64_t room;    ///< elements of each
};
struct q_joint {
  alignas(64) float tail[Q_LINE];  ///< the last line, not full yet
  int64_t from;                    ///< its first element of ours
  float* buffer;
};
QI int64_t q_phase(const float* p) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) / 4 % Q_LINE);
}
/// `skip`: where in a page the buffers begin, in elements; what is read beside a row that is being
/// made should not lie at the same place of its page.
QI q_rows q_rows_of(float* whole, int64_t length, int id, int64_t skip) {
  const bool stays = length % Q_LINE == 0 || length > 8192;
  if (stays) return {whole, length, nullptr, 0};
  int64_t room = (length + Q_LINE - 1) / Q_LINE * Q_LINE + Q_LINE + skip;
  if (skip > 0) room = (room + Q_PAGE - 1) / Q_PAGE * Q_PAGE;
  return {whole, length, static_cast<float*>(q_scratch(id, room * q_threads() * 4)) + skip, room};
}
QI q_joint q_joint_at(const q_rows& rows, int64_t row, int64_t thread) {
  return {{}, q_phase(rows.whole + row * rows.length), rows.buffers + thread * rows.room};
}
/// Where to make row `row`, as if the whole tensor were there.
QI float* q_row(const q_joint& joint, const q_rows& rows, int64_t row) {
  if (rows.buffers == nullptr) return rows.whole;
  return joint.buffer + q_phase(rows.whole + row * rows.length) - row * rows.length;
}
template <class W, class V>
QI void q_stream_row(const q_rows& rows, W w, float* p, V x) {
  if (rows.buffers == nullptr) {
    q_stream(w, p, x);
  } else {
    q_st(w, p, x);
  }
}
/// The row that was made goes out; of its last line only what no later row will complete.
/// Not compiled in place, where the loops around it would lack registers; nor is `rows` a
/// reference, which would keep it out of registers.
[[maybe_unused]] __attribute__((noinline)) static void q_join(q_joint& joint, q_rows rows,
                                                              int64_t row, bool last) {
  if (rows.buffers == nullptr) return;
  float* const out = rows.whole + row * rows.length;
  const int64_t phase = q_phase(out), end = phase + rows.length;
  float* const lines = out - phase;
  int64_t i = 0;
  for (int k = 0; k < Q_LINE; k += QN) {
    const qv before = q_ld(QFull{}, joint.tail + k), made = q_ld(QFull{}, joint.buffer + k);
    q_st(QFull{}, joint.tail + k, q_iotai() + k < static_cast<int32_t>(phase) ? before : made);
  }
  if (end >= Q_LINE) {
    if (joint.from == 0) {
      for (int k = 0; k < Q_LINE; k += QN)
        q_stream(QFull{}, lines + k, q_ld(QFull{}, joint.tail + k));
    }
    for (; joint.from != 0; joint.from = (joint.from + 1) % Q_LINE) {
      lines[joint.from] = joint.tail[joint.from];
    }
    for (i = Q_LINE; i + Q_LINE <= end; i += Q_LINE) {
      for (int k = 0; k < Q_LINE; k += QN) {
        q_stream(QFull{}, lines + i + k, q_ld(QFull{}, joint.buffer + i + k));
      }
    }
    for (int k = 0; k < Q_LINE; k += QN) {
      q_st(QFull{}, joint.tail + k, q_ld(QFull{}, joint.buffer + i + k));
    }
  }
  if (!last) return;
  for (int64_t l = joint.from; i + l < end; ++l) lines[i + l] = joint.tail[l];
}

// ---- arithmetic ----
QI float q_abs(float x) { return __builtin_fabsf(x); }
QI qv q_abs(qv x) { return (qv)((qvi)x & q_splati(0x7fffffff)); }
// max and min give the second operand where one is not a number, like the machine's.
QI float q_max(float a, float b) { return a > b ? a : b; }
QI float q_min(float a, float b) { return a < b ? a : b; }
QI qv q_max(qv a, qv b) {
#if defined(__AVX512F__) && defined(__clang__)
  return __builtin_ia32_maxps512(a, b, 4);
#elif defined(__AVX512F__)
  return __builtin_ia32_maxps512_mask(a, b, qv{}, static_cast<unsigned short>(0xffff), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_maxps256(a, b);
#else
  return a > b ? a : b;
#endif
}
QI qv q_min(qv a, qv b) {
#if defined(__AVX512F__) && defined(__clang__)
  return __builtin_ia32_minps512(a, b, 4);
#elif defined(__AVX512F__)
  return __builtin_ia32_minps512_mask(a, b, qv{}, static_cast<unsigned short>(0xffff), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_minps256(a, b);
#else
  return a < b ? a : b;
#endif
}
QI float q_sqrt(float x) { return __builtin_sqrtf(x); }
QI qv q_sqrt(qv x) {
#if defined(__AVX512F__) && defined(__clang__)
  return __builtin_ia32_sqrtps512(x, 4);
#elif defined(__AVX512F__)
  return __builtin_ia32_sqrtps512_mask(x, qv{}, static_cast<unsigned short>(0xffff), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_sqrtps256(x);
#else
  qv r{};
  for (int l = 0; l < QN; ++l) r[l] = __builtin_sqrtf(x[l]);
  return r;
#endif
}
QI float q_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
QI qv q_rsqrt(qv x) { return 1.0f / q_sqrt(x); }
QI float q_floor(float x) { return __builtin_floorf(x); }
QI qv q_floor(qv x) {
#if defined(__AVX512F__)
  return __builtin_ia32_rndscaleps_mask(x, 9, qv{}, static_cast<unsigned short>(0xffff), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_roundps256(x, 9);
#else
  qv r{};
  for (int l = 0; l < QN; ++l) r[l] = __builtin_floorf(x[l]);
  return r;
#endif
}
/// Nearest integer, for |x| < 2^22.
QI qv q_nearest(qv x) {
#if defined(__AVX512F__)
  return __builtin_ia32_rndscaleps_mask(x, 8, qv{}, static_cast<unsigned short>(0xffff), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_roundps256(x, 8);
#else
  return (x + 12582912.0f) - 12582912.0f;
#endif
}
QI float q_sign(float x) { return x > 0 ? 1.0f : (x < 0 ? -1.0f : x); }
QI qv q_sign(qv x) { return x > 0 ? q_splat(1) : (x < 0 ? q_splat(-1) : x); }
QI qv q_copysign(qv x, qv sign) {
  return (qv)(((qvi)x & 0x7fffffff) | ((qvi)sign & static_cast<int32_t>(0x80000000)));
}

/// x / d for many x: r is 1 / d. Rounds like a division (bar divisors whose significand is all
/// ones).
QI float q_div(float x, float d, float) { return x / d; }
QI qv q_div(qv x, float d, float r) {
  if (!(__builtin_fabsf(r) > 1e-37f && __builtin_fabsf(r) < 1e37f)) return x / d;
  const qv q = x * r;
  const qv y = q + (x - q * d) * r;
  return y == y ? y : q;  // infinities have no remainder
}

/// x / d for many x: r is 1 / d. Within 2 ulp: a product, where r has all its bits.
QI float q_div_approximate(float x, float d, float) { return x / d; }
QI qv q_div_approximate(qv x, float d, float r) {
  if (!(__builtin_fabsf(r) > 1e-37f && __builtin_fabsf(r) < 1e37f)) return x / d;
  return x * r;
}

/// x * 2^n for whole n in [-300, 300], right into the denormals.
QI qv q_scale(qv x, qv n) {
#if defined(__AVX512F__)
  return __builtin_ia32_scalefps512_mask(x, n, qv{}, static_cast<unsigned short>(0xffff), 4);
#else
  const qvi i = __builtin_convertvector(n, qvi);
  const qvi half = i >> 1;
  return x * (qv)((half + 127) << 23) * (qv)((i - half + 127) << 23);
#endif
}
/// exp(x): within 1 ulp; +inf above 88.72, denormals down to 0, NaN stays.
QI qv q_exp(qv x) {
  x = q_min(q_splat(89.0f), q_max(q_splat(-104.0f), x));
  const qv n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  qv r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  qv p = q_splat(0.00138145501f);
  p = p * r + 0.00836874794f;
  p = p * r + 0.0416683909f;
  p = p * r + 0.166665204f;
  p = p * r + 0.499999934f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return q_scale(p, n);
}
/// exp(x): within 2.5 + |x| / 4 ulp, where x - m with a rounding error makes |x| / 2 of them; else
/// as q_exp.
QI qv q_exp_approximate(qv x) {
  x = q_min(q_splat(89.0f), q_max(q_splat(-104.0f), x));
  const qv n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const qv f = x * 1.44269504f - n;
  qv p = q_splat(0.00132647273f);
  p = p * f + 0.00967151299f;
  p = p * f + 0.0555073358f;
  p = p * f + 0.240222424f;
  p = p * f + 0.693147004f;
  p = p * f + 1.0f;
  return q_scale(p, n);
}
/// log(x): within 1 ulp; log(0) = -inf, negative gives NaN.
QI qv q_log(qv x) {
  const qv given = x;
  const qvi tiny = x < 1.17549435e-38f;
  x = tiny ? x * 8388608.0f : x;
  const qvi bits = (qvi)x;
  const qvi offset = (bits - 0x3f3504f3) >> 23;
  const qv e = __builtin_convertvector(offset, qv) + (tiny ? q_splat(-23.0f) : q_splat(0.0f));
  const qv m = (qv)(bits - (offset << 23)) - 1.0f;
  const qv z = m * m;
  qv p = 7.0376836292e-2f - qv{};
  p = p * m + -1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m + -1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m + -1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m + -2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  qv y = p * m * z + e * -2.12194440e-4f;
  y = y - 0.5f * z;
  y = (m + y) + e * 0.693359375f;
  const qv inf = q_splat(__builtin_inff());
  y = given == 0.0f ? -inf : y;
  y = given == inf ? inf : y;
  return ((given < 0.0f) | (given != given)) ? q_splat(__builtin_nanf("")) : y;
}
QI qv q_log1p(qv x) {
  const qv u = 1.0f + x;
  const qv y = q_log(u) * (x / (u - 1.0f));
  return ((u == 1.0f) | (x == __builtin_inff())) ? x : y;
}
QI qv q_expm1(qv x) {
  const qv c = q_min(q_splat(88.0f), q_max(q_splat(-30.0f), x));
  const qv n = q_nearest(c * 1.44269504f);
  qv r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  qv p = 1.9875691500e-4f - qv{};
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  const qv s = (qv)((__builtin_convertvector(n, qvi) + 127) << 23);
  const qv y = p * s + (s - 1.0f);
  return x > 88.0f ? q_exp(x) : (x == 0.0f ? x : y);
}
QI qv q_tanh(qv x) {
  const qv t = q_abs(x), z = x * x;
  qv p = -5.70498872745e-3f - qv{};
  p = p * z + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  const qv small = p * z * x + x;
  const qv large = 1.0f - 2.0f / (q_exp(t + t) + 1.0f);
  return t < 0.625f ? small : q_copysign(large, x);
}
#if defined(__AVX512F__)
/// Lane l is table[at[l] mod 16].
QI qv q_lookup(qv table, qvi at) {
#if defined(__clang__)
  return __builtin_ia32_permvarsf512(table, at);
#else
  return __builtin_ia32_permvarsf512_mask(table, at, qv{}, static_cast<unsigned short>(0xffff));
#endif
}
// erf(x) / x around k / 3.875, as polynomials in the distance times 3.875; [d][k]: of degree d.
static constexpr qv q_erf_table[5] = {
    {1.12837917f, 1.10382279f, 1.03570783f, 0.938303614f, 0.828924617f, 0.722274836f, 0.627399719f,
     0.547688249f, 0.482677721f, 0.43011588f, 0.387398217f, 0.352251745f, 0.322912826f, 0.2980763f,
     0.276785625f, 0.258333322f},
    {0.0f, -0.0481421485f, -0.0856040866f, -0.106215617f, -0.110039137f, -0.101756561f,
     -0.0874636371f, -0.0720735763f, -0.058347395f, -0.0472212468f, -0.0385952187f, -0.0319904034f,
     -0.0269029509f, -0.0229278086f, -0.0197702193f, -0.0172221915f},
    {-0.0250488455f, -0.0221623502f, -0.0147705975f, -0.00586192274f, 0.0016188946f, 0.00613314213f,
     0.00774297896f, 0.00742084137f, 0.00623453871f, 0.00490549283f, 0.003763227f, 0.0028844391f,
     0.00223677282f, 0.00176270523f, 0.00141199751f, 0.00114812276f},
    {0.0f, 0.00183563456f, 0.00288423093f, 0.00285254645f, 0.00203239461f, 0.000985646935f,
     0.000156568921f, -0.000298494592f, -0.000444725608f, -0.000420465857f, -0.00033680933f,
     -0.000251627842f, -0.000184100178f, -0.000135281601f, -0.000100916363f, -7.66319779e-05f},
    {0.000497986844f, 0.0003867423f, 0.000125730639f, -0.00012861444f, -0.000257703161f,
     -0.000247614219f, -0.000161211844f, -6.95675112e-05f, -9.37756105e-06f, 1.70876426e-05f,
     2.25628077e-05f, 1.93712252e-05f, 1.44032717e-05f, 1.01911814e-05f, 7.16591112e-06f,
     5.10158617e-06f}};
/// Within 4 ulp: one table of polynomials for all of [-3.99, 3.99], no division, no branch.
QI qv q_erf(qv x) {
  x = q_min(q_splat(3.99f), q_max(q_splat(-3.99f), x));
  const qv t = q_abs(x);
  const qv k = t * 3.875f + 8388608.0f;  // its last bits are the whole number nearest to t * 3.875
  const qv r = t * 3.875f - (k - 8388608.0f);
  qv p = q_lookup(q_erf_table[4], (qvi)k);
  p = p * r + q_lookup(q_erf_table[3], (qvi)k);
  p = p * r + q_lookup(q_erf_table[2], (qvi)k);
  p = p * r + q_lookup(q_erf_table[1], (qvi)k);
  p = p * r + q_lookup(q_erf_table[0], (qvi)k);
  return x * p;
}
#else
QI qv q_erf(qv x) {
  const qv t = q_abs(x), s = x * x;
  qv a = -1.72853470e-5f * t + 3.83197126e-4f;
  const qv u = -3.88396438e-3f * t + 2.42546219e-2f;
  a = a * s + u;
  a = a * t + -1.06777877e-1f;
  a = a * t + -6.34846687e-1f;
  a = a * t + -1.28717512e-1f;
  a = a * t - t;
  const qv large = q_copysign(1.0f - q_exp(a), x);
  qv b = -5.96761703e-4f - qv{};
  b = b * s + 4.99119423e-3f;
  b = b * s + -2.67681349e-2f;
  b = b * s + 1.12819925e-1f;
  b = b * s + -3.76125336e-1f;
  b = b * s + 1.28379166e-1f;
  b = b * x + x;
  return t > 0.921875f ? large : b;
}
#endif
// By lane through libm.
#define Q_BY_LANE(name, call)                       \
  QI float name(float x) { return call(x); }        \
  QI qv name(qv x) {                                \
    qv r{};                                         \
    for (int l = 0; l < QN; ++l) r[l] = call(x[l]); \
    return r;                                       \
  }
Q_BY_LANE(q_sin, __builtin_sinf)
Q_BY_LANE(q_cos, __builtin_cosf)
#undef Q_BY_LANE
QI float q_pow(float a, float b) { return __builtin_powf(a, b); }
QI qv q_pow(qv a, qv b) {
  qv r{};
  for (int l = 0; l < QN; ++l) r[l] = __builtin_powf(a[l], b[l]);
  return r;
}
// One value at a time: the same algorithm, so that tails and bodies agree.
QI float q_exp(float x) { return q_exp(q_splat(x))[0]; }
QI float q_exp_approximate(float x) { return q_exp_approximate(q_splat(x))[0]; }
QI float q_log(float x) { return q_log(q_splat(x))[0]; }
QI float q_log1p(float x) { return q_log1p(q_splat(x))[0]; }
QI float q_expm1(float x) { return q_expm1(q_splat(x))[0]; }
QI float q_tanh(float x) { return q_tanh(q_splat(x))[0]; }
QI float q_erf(float x) { return q_erf(q_splat(x))[0]; }

// ---- reductions ----
struct QSum {
  static constexpr float id() { return 0.0f; }
  template <class V>
  static QI V op(V a, V b) {
    return a + b;
  }
};
struct QProd {
  static constexpr float id() { return 1.0f; }
  template <class V>
  static QI V op(V a, V b) {
    return a * b;
  }
};
struct QMax {
  static constexpr float id() { return -__builtin_inff(); }
  template <class V>
  static QI V op(V a, V b) {
    return q_max(a, b);
  }
};
struct QMin {
  static constexpr float id() { return __builtin_inff(); }
  template <class V>
  static QI V op(V a, V b) {
    return q_min(a, b);
  }
};
template <class Op>
QI float q_across(qv v) {
  float a[QN];
  __builtin_memcpy(a, &v, sizeof a);
  for (int width = QN / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) a[l] = Op::op(a[l], a[l + width]);
  }
  return a[0];
}
template <class Op>
QI float q_across(float v) {
  return v;
}
/// Folds n accumulators, pairwise, to one.
template <class Op, int N, class V>
QI V q_fold(V (&a)[N]) {
  for (int n = N; n > 1; n = (n + 1) / 2) {
    for (int i = 0; i < n / 2; ++i) a[i] = Op::op(a[i], a[i + (n + 1) / 2]);
  }
  return a[0];
}
/// Best value and its first position, one pair a lane. Sign +1: the largest; -1: the smallest.
template <class V, class I>
struct QBest {
  V value;
  I at;
};
typedef QBest<qv, qvi> q_best;
typedef QBest<float, int32_t> q_best1;
template <class W>
struct q_best_of {
  typedef q_best type;
};
template <>
struct q_best_of<QOne> {
  typedef q_best1 type;
};
template <class Op>
QI void q_none(q_best& b) {
  b = {q_splat(Op::id()), qvi{}};
}
template <class Op>
QI void q_none(q_best1& b) {
  b = {Op::id(), 0};
}
struct QArgMax : QMax {
  template <class V>
  static QI auto better(V a, V b) {
    return a > b;
  }
};
struct QArgMin : QMin {
  template <class V>
  static QI auto better(V a, V b) {
    return a < b;
  }
};
template <class Op>
QI void q_take(QOne, q_best1& b, float x, int32_t at) {
  if (Op::better(x, b.value)) b = {x, at};
}
template <class Op>
QI void q_take(QFull, q_best& b, qv x, qvi at) {
  const qvi m = Op::better(x, b.value);
  b.value = m ? x : b.value;
  b.at = m ? at : b.at;
}
template <class Op>
QI void q_take(QPart w, q_best& b, qv x, qvi at) {
  const qvi m = Op::better(x, b.value) & q_alive(w);
  b.value = m ? x : b.value;
  b.at = m ? at : b.at;
}
template <class Op>
QI void q_join(q_best1& a, float x, int32_t at) {
  if (Op::better(x, a.value) || (x == a.value && at < a.at)) a = {x, at};
}
template <class Op>
QI int64_t q_first(const q_best1* b, int n) {
  q_best1 r = b[0];
  for (int i = 1; i < n; ++i) q_join<Op>(r, b[i].value, b[i].at);
  return r.at;
}
template <class Op>
QI int64_t q_first(const q_best* b, int n) {
  q_best1 r = {b[0].value[0], b[0].at[0]};
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < QN; ++l) q_join<Op>(r, b[i].value[l], b[i].at[l]);
  }
  return r.at;
}
QI int32_t q_at(QOne, int64_t i, int) { return static_cast<int32_t>(i); }
template <class W>
QI qvi q_at(W, int64_t i, int step) {
  return q_splati(static_cast<int32_t>(i)) + (step ? q_iotai() : qvi{});
}
template <class T>
QI void q_st_at(QOne, T* p, int64_t, const q_best1& b) {
  *p = static_cast<T>(b.at);
}
template <class W, class T>
QI void q_st_at(W w, T* p, int64_t stride, const q_best& b) {
  for (int l = 0; l < w.n; ++l) p[l * stride] = static_cast<T>(b.at[l]);
}
QI float q_best_at(const q_best1& b) { return static_cast<float>(b.at); }
QI qv q_best_at(const q_best& b) { return __builtin_convertvector(b.at, qv); }

// ---- scans ----
/// Lane l becomes lane l - S, the first S lanes `fill`; and the other way round.
template <int S>
QI qv q_up(qv v, float fill) {
#define Q_UP(i) ((i) < S ? QN + (i) : (i)-S)
  return __builtin_shufflevector(v, q_splat(fill), Q_EACH_LANE(Q_UP));
#undef Q_UP
}
template <int S>
QI qv q_down(qv v, float fill) {
#define Q_DOWN(i) ((i) + S)
  return __builtin_shufflevector(v, q_splat(fill), Q_EACH_LANE(Q_DOWN));
#undef Q_DOWN
}
/// Lane l becomes lane l - 1 of `now`, lane 0 the last one of `before`.
QI qv q_behind(qv before, qv now) {
#define Q_BEHIND(i) ((i) == 0 ? QN - 1 : QN + (i)-1)
  return __builtin_shufflevector(before, now, Q_EACH_LANE(Q_BEHIND));
#undef Q_BEHIND
}
/// What the next call of q_behind needs of a vector with so many lanes alive.
QI qv q_before(QFull, qv now) { return now; }
QI qv q_before(QPart w, qv now) { return q_splat(now[w.n - 1]); }
/// Running op over lanes, from the first (or the last, for `reverse`).
template <class Op, bool reverse>
QI qv q_prefix(qv v) {
  v = Op::op(v, reverse ? q_down<1>(v, Op::id()) : q_up<1>(v, Op::id()));
  v = Op::op(v, reverse ? q_down<2>(v, Op::id()) : q_up<2>(v, Op::id()));
#if defined(__AVX2__) || defined(__AVX512F__)
  v = Op::op(v, reverse ? q_down<4>(v, Op::id()) : q_up<4>(v, Op::id()));
#endif
#if defined(__AVX512F__)
  v = Op::op(v, reverse ? q_down<8>(v, Op::id()) : q_up<8>(v, Op::id()));
#endif
  return v;
}
/// One step of a scan along lanes: the scanned vector; `carry` moves on.
template <class Op, bool reverse, bool exclusive>
QI float q_scan(QOne, float x, float& carry) {
  const float before = carry;
  carry = Op::op(carry, x);
  return exclusive ? before : carry;
}
template <class Op, bool reverse, bool exclusive, class W>
QI qv q_scan(W w, qv x, float& carry) {
  const qv before = q_splat(carry);
  const qv inside = q_prefix<Op, reverse>(q_keep(w, x, Op::id()));
  const qv after = Op::op(before, inside);
  carry = after[reverse ? 0 : QN - 1];
  if (!exclusive) return after;
  return Op::op(before, reverse ? q_down<1>(inside, Op::id()) : q_up<1>(inside, Op::id()));
}

// ---- loops ----
template <int U>
struct q_times {
  template <class F>
  static QI void run(F& f) {
    q_times<U - 1>::run(f);
    f(QU<U - 1>{});
  }
};
template <>
struct q_times<0> {
  template <class F>
  static QI void run(F&) {}
};
template <int U, class F>
QI void q_unroll(F f) {
  q_times<U>::run(f);
}
/// f(W, i, QU<u>) over [b, e): U whole vectors at a time, then one, then a partial one.
template <int U, class F>
QI void q_loop(QFull w, int64_t b, int64_t e, F f) {
  for (; b + U * QN <= e; b += U * QN) {
    q_unroll<U>([&](auto u) __attribute__((always_inline)) { f(w, b + decltype(u)::v * QN, u); });
  }
  if constexpr (U > 1) {
    for (; b + QN <= e; b += QN) f(w, b, QU<0>{});
  }
  if (b < e) f(QPart{static_cast<int>(e - b)}, b, QU<0>{});
}
template <int U, class F>
QI void q_loop(QOne w, int64_t b, int64_t e, F f) {
  for (; b + U <= e; b += U) {
    q_unroll<U>([&](auto u) __attribute__((always_inline)) { f(w, b + decltype(u)::v, u); });
  }
  for (; b < e; ++b) f(w, b, QU<0>{});
}
/// As q_loop, but first up to where whole-vector stores to `out + b` are aligned.
template <int U, class F>
QI void q_loop_aligned(QFull w, const float* out, int64_t b, int64_t e, F f) {
  const int64_t head = q_imin(q_head(out + b), e - b);
  if (head > 0) f(QPart{static_cast<int>(head)}, b, QU<0>{});
  q_loop<U>(w, b + head, e, f);
}
template <int U, class F>
QI void q_loop_aligned(QOne w, const float*, int64_t b, int64_t e, F f) {
  q_loop<U>(w, b, e, f);
}
/// The same from the last element to the first, for reverse scans.
template <class F>
QI void q_loop_down(QFull w, int64_t b, int64_t e, F f) {
  for (; e - QN >= b; e -= QN) f(w, e - QN, QU<0>{});
  if (b < e) f(QPart{static_cast<int>(e - b)}, b, QU<0>{});
}
template <class F>
QI void q_loop_down(QOne w, int64_t b, int64_t e, F f) {
  for (; e > b; --e) f(w, e - 1, QU<0>{});
}
/// f(W, i, QU<T>) over [b, e): tiles of T vectors, then of one, then a partial one.
template <int T, class F>
QI void q_tiles(QFull w, int64_t b, int64_t e, F f) {
  for (; b + T * QN <= e; b += T * QN) f(w, b, QU<T>{});
  if constexpr (T > 1) {
    for (; b + QN <= e; b += QN) f(w, b, QU<1>{});
  }
  if (b < e) f(QPart{static_cast<int>(e - b)}, b, QU<1>{});
}
template <int T, class F>
QI void q_tiles(QOne w, int64_t b, int64_t e, F f) {
  for (; b < e; ++b) f(w, b, QU<1>{});
}
template <int T, class F>
QI void q_tiles_aligned(QFull w, const float* out, int64_t b, int64_t e, F f) {
  const int64_t head = q_imin(q_head(out + b), e - b);
  if (head > 0) f(QPart{static_cast<int>(head)}, b, QU<1>{});
  q_tiles<T>(w, b + head, e, f);
}
template <int T, class F>
QI void q_tiles_aligned(QOne w, const float*, int64_t b, int64_t e, F f) {
  q_tiles<T>(w, b, e, f);
}
/// As q_tiles_aligned, where `over` is false; else by whole vectors from `b`, the last of which may
/// run over `e`.
template <int T, class F>
QI void q_tiles_over(bool over, QFull w, const float* out, int64_t b, int64_t e, F f) {
  if (!over) return q_tiles_aligned<T>(w, out, b, e, f);
  for (; b + T * QN <= e; b += T * QN) f(w, b, QU<T>{});
  for (; b < e; b += QN) f(w, b, QU<1>{});
}
template <class W>
QI int64_t q_step(W) {
  return QN;
}
QI int64_t q_step(QOne) { return 1; }

/// In-register transpose of QN vectors.
template <int S>
QI void q_swap(qv& a, qv& b) {
#define Q_LOW(i) (((i)&S) == 0 ? (i) : QN + (i)-S)
#define Q_HIGH(i) (((i)&S) == 0 ? (i) + S : QN + (i))
  const qv low = __builtin_shufflevector(a, b, Q_EACH_LANE(Q_LOW));
  b = __builtin_shufflevector(a, b, Q_EACH_LANE(Q_HIGH));
  a = low;
#undef Q_LOW
#undef Q_HIGH
}
template <int S>
QI void q_swaps(qv (&t)[QN]) {
#pragma GCC unroll 16
  for (int i = 0; i < QN; ++i) {
    if ((i & S) == 0) q_swap<S>(t[i], t[i + S]);
  }
}
QI void q_transpose(qv (&t)[QN]) {
  q_swaps<1>(t);
  q_swaps<2>(t);
#if defined(__AVX2__) || defined(__AVX512F__)
  q_swaps<4>(t);
#endif
#if defined(__AVX512F__)
  q_swaps<8>(t);
#endif
}
