// SPDX-License-Identifier: Apache-2.0
#pragma once
// Included after quern_cpu.h.
// Packed matrix multiplication over two *views*, for generated CPU kernels. A view gives every
// element of an operand as base[batch[b] + outer[o] + inner[k]]: three offset tables, so that
// transposes, windows, strides, dilations and groups are all one case. Guards zero-fill padding.
// Loop structure: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication".

namespace qg {

constexpr int kW = QN;
typedef qv AVec;
#define QG_INLINE inline __attribute__((always_inline))

QG_INLINE int64_t imin(int64_t a, int64_t b) { return a < b ? a : b; }
QG_INLINE int64_t imax(int64_t a, int64_t b) { return a > b ? a : b; }
QG_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Scratch that is kept between calls; one per use and thread, never freed.
struct Scratch {
  char* data;
  uint64_t bytes;
  template <class T>
  T* get(int64_t count) {
    uint64_t need = (uint64_t)(count + 64) * sizeof(T);
    if (need > bytes) {
      free(data);
      bytes = (need + need / 4 + 4095) & ~(uint64_t)4095;
      data = (char*)aligned_alloc(4096, bytes);
      if (!data) __builtin_trap();
    }
    return (T*)data;
  }
};

/// Scratch handed out in pieces.
struct Arena {
  Scratch scratch;
  char* next;
  void reset(int64_t bytes) { next = scratch.get<char>(bytes + 4096); }
  template <class T>
  T* take(int64_t count) {
    T* out = (T*)next;
    next += ((uint64_t)(count + 1) * sizeof(T) + 63) & ~(uint64_t)63;
    return out;
  }
};

/// Offsets along one dimension (a flattened group of axes), with the end of the run that each
/// position lies in: of unit stride, and of stride 2 (one phase of a transposed window).
struct Table {
  const int64_t* at;
  const int32_t *run, *twos;
  bool zero;  ///< every offset is 0
};
/// `runs` has room for 2 n.
QG_INLINE Table make_table(const int64_t* at, int32_t* runs, int64_t n) {
  bool zero = true;
  int32_t* const twos = runs + n;
  for (int64_t i = n; i-- > 0;) {
    const int64_t step = i + 1 < n ? at[i + 1] - at[i] : 0;
    runs[i] = step == 1 ? runs[i + 1] : (int32_t)(i + 1);
    twos[i] = step == 2 ? twos[i + 1] : (int32_t)(i + 1);
    zero &= at[i] == 0;
  }
  return {at, runs, twos, zero};
}

/// base[t[n]], base[t[n + 1]], …: broadcast, vector load or gather, whichever holds.
template <class W, class T>
QG_INLINE qv load_n(W w, const T* base, const Table& t, int64_t n) {
  if (t.zero) return q_splat((float)*base);
  if (t.run[n] >= n + w.n) return q_ld(w, base + t.at[n]);
  qv r{};
  for (int l = 0; l < w.n; ++l) r[l] = (float)base[t.at[n + l]];
  return r;
}
template <class W>
QG_INLINE void store_n(W w, float* base, const Table& t, int64_t n, qv v) {
  if (t.run[n] >= n + w.n) return q_st(w, base + t.at[n], v);
  if (t.twos[n] >= n + w.n) return q_st_twos(w, base + t.at[n], v);
  for (int l = 0; l < w.n; ++l) base[t.at[n + l]] = v[l];
}

/// A padded dimension: the element is 0 unless 0 <= batch[b] + outer[o] + inner[k] < extent.
struct Guard {
  const int64_t *batch, *outer, *inner;
  int64_t extent;
};
template <int G>
struct View {
  const float* base;
  const int64_t* batch;
  Table outer, inner;
  Guard guard[G > 0 ? G : 1];
};

/// One stretch of a panel along which offsets and guarded coordinates step evenly.
template <int G>
struct Segment {
  int start, len;
  int64_t offset, step;
  int64_t at[G > 0 ? G : 1], by[G > 0 ? G : 1];
};

template <int R>
QG_INLINE void copy_row(float* dst, const float* src, int count) {
  if (count == R) {
    for (int i = 0; i + kW <= R; i += kW) *(q_unaligned*)(dst + i) = *(const q_unaligned*)(src + i);
    for (int i = R - R % kW; i < R; ++i) dst[i] = src[i];
    return;
  }
  for (int i = 0; i < R; ++i) dst[i] = i < count ? src[i] : 0.0f;
}

/// dst[i] = src[i * step] for lo <= i < hi, 0 elsewhere up to len. May write up to kW - 1 floats
/// past dst[len - 1]; what lies there must be written later or be slack.
QG_INLINE void copy_span(float* dst, const float* src, int64_t step, int lo, int hi, int len) {
  if (lo > 0)
    for (int i = 0; i < lo; i += kW) *(q_unaligned*)(dst + i) = qv{};
  if (hi <= lo) {
    for (int i = lo; i < len; i += kW) *(q_unaligned*)(dst + i) = qv{};
    return;
  }
  if (step == 1) {
    int i = lo;
    for (; i + kW <= hi; i += kW) *(q_unaligned*)(dst + i) = *(const q_unaligned*)(src + i);
    if (i < hi) *(q_unaligned*)(dst + i) = q_ld(QPart{hi - i}, src + i);
  } else {
    for (int i = lo; i < hi; ++i) dst[i] = src[i * step];
  }
  for (int i = hi; i < len; ++i) dst[i] = 0.0f;
}

template <int R, int G>
QG_INLINE int find_segments(const View<G>& v, int64_t b, int64_t o, int count, Segment<G>* out) {
  int n = 0;
  for (int i = 0; i < count;) {
    Segment<G>& s = out[n++];
    s.start = i;
    s.offset = v.outer.at[o + i];
    for (int g = 0; g < G; ++g)
      s.at[g] = v.guard[g].batch[b] + v.guard[g].outer[o + i], s.by[g] = 0;
    s.step = i + 1 < count ? v.outer.at[o + i + 1] - s.offset : 1;
    for (int g = 0; g < G && i + 1 < count; ++g)
      s.by[g] = v.guard[g].outer[o + i + 1] - v.guard[g].outer[o + i];
    int e = i + 1;
    for (; e < count; ++e) {
      bool even = v.outer.at[o + e] == s.offset + (e - i) * s.step;
      for (int g = 0; g < G; ++g)
        even &= v.guard[g].outer[o + e] == v.guard[g].outer[o + i] + (e - i) * s.by[g];
      if (!even) break;
    }
    s.len = e - i;
    i = e;
  }
  return n;
}

/// The columns [lo, hi) of a segment that lie inside every guarded dimension at position k.
template <int G>
QG_INLINE void clip(const View<G>& v, const Segment<G>& s, int64_t k, int& lo, int& hi) {
  for (int g = 0; g < G; ++g) {
    const int64_t first = s.at[g] + v.guard[g].inner[k], by = s.by[g];
    const int64_t last = first + (s.len - 1) * by, extent = v.guard[g].extent;
    if (first >= 0 && last >= 0 && first < extent && last < extent) continue;
    if (by == 0) {
      hi = 0;
    } else if (by == 1) {
      lo = (int)imax(lo, -first), hi = (int)imin(hi, extent - first);
    } else if (by > 0) {
      lo = (int)imax(lo, -q_floordiv(first, by)),
      hi = (int)imin(hi, q_floordiv(extent - 1 - first, by) + 1);
    } else {
      lo = (int)imax(lo, q_floordiv(first - extent, -by) + 1),
      hi = (int)imin(hi, q_floordiv(first, -by) + 1);
    }
  }
}

/// Packs inner positions [k0, k0 + kc) of `count` <= R outer positions as dst[k][R], zero-padded.
template <int R, int G>
struct ViewPacker {
  View<G> v;
  void operator()(float* dst, int64_t b, int64_t o, int count, int64_t k0, int64_t kc) const {
    const float* base = v.base + v.batch[b];
    const int64_t* inner = v.inner.at;
    if (G == 0 && v.outer.run[o] >= o + count) {
      base += v.outer.at[o];
      for (int64_t k = k0; k < k0 + kc; ++k, dst += R) copy_row<R>(dst, base + inner[k], count);
      return;
    }
    if (G == 0 && v.inner.run[k0] >= k0 + imin(kc, 4))
      return transpose(dst, base, o, count, k0, kc);
    Segment<G> segments[R];
    const int n = find_segments<R, G>(v, b, o, count, segments);
    for (int64_t k = k0; k < k0 + kc; ++k, dst += R) {
      const float* row = base + inner[k];
      for (int i = 0; i < n; ++i) {
        const Segment<G>& s = segments[i];
        int lo = 0, hi = s.len;
        clip<G>(v, s, k, lo, hi);
        copy_span(dst + s.start, row + s.offset, s.step, lo, hi, s.len);
      }
      for (int i = count; i < R; ++i) dst[i] = 0.0f;
    }
  }
  void transpose(float* dst, const float* base, int64_t o, int count, int64_t k0,
                 int64_t kc) const {
    const float* rows[R];
    for (int i = 0; i < R; ++i) rows[i] = base + v.outer.at[o + (i < count ? i : 0)];
    for (int64_t k = k0; k < k0 + kc;) {
      const int64_t end = imin(v.inner.run[k], k0 + kc), at = v.inner.at[k] - k;
      for (; k + kW <= end; k += kW, dst += kW * R) {
        transpose_block(dst, rows, at + k, count, QFull{}, kW);
      }
      if (k < end) {
        const int rest = (int)(end - k);
        transpose_block(dst, rows, at + k, count, QPart{rest}, rest);
        dst += rest * R;
        k = end;
      }
    }
  }
  /// Positions [at, at + len) of all rows, kW rows at a time through registers.
  template <class W>
  QG_INLINE void transpose_block(float* dst, const float* const* rows, int64_t at, int count, W w,
                                 int len) const {
    for (int i = 0; i < R; i += kW) {
      qv t[kW];
#pragma GCC unroll 16
      for (int r = 0; r < kW; ++r)
        t[r] = i + r < R && i + r < count ? q_ld(w, rows[i + r] + at) : qv{};
      q_transpose(t);
      if (R - i >= kW) {
        for (int r = 0; r < len; ++r) q_st(QFull{}, dst + r * R + i, t[r]);
      } else {
        for (int r = 0; r < len; ++r) q_st(QPart{R - i}, dst + r * R + i, t[r]);
      }
    }
  }
};

/// Packs an operand given by a function of (batch, outer, inner): any expression at all.
template <int R, class Element>
struct ElementPacker {
  Element element;
  void operator()(float* dst, int64_t b, int64_t o, int count, int64_t k0, int64_t kc) const {
    for (int64_t k = k0; k < k0 + kc; ++k, dst += R)
      for (int i = 0; i < R; ++i) dst[i] = i < count ? element(b, o + i, k) : 0.0f;
  }
};

/// tile[MR][NV * kW] (+)= a[kc][MR] x b[kc][NV * kW].
template <int MR, int NV, int U, int P>
__attribute__((noinline)) void micro(int64_t kc, const float* a, const float* b, float* tile,
                                     bool accumulate) {
  AVec c[MR][NV];
  if (accumulate) {
#pragma GCC unroll 32
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) c[i][j] = *(const AVec*)(tile + (i * NV + j) * kW);
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) c[i][j] = AVec{};
  }
  auto step = [&]() __attribute__((always_inline)) {
    AVec bv[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) bv[j] = *(const AVec*)(b + j * kW);
    if (P > 0) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) __builtin_prefetch(b + (P * NV + j) * kW, 0, 3);
    }
#pragma GCC unroll 32
    for (int i = 0; i < MR; ++i) {
      const AVec av = a[i] - AVec{};
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) c[i][j] += av * bv[j];
    }
    a += MR;
    b += NV * kW;
  };
  int64_t k = 0;
  for (; k + U <= kc; k += U) {
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) step();
  }
  for (; k < kc; ++k) step();
#pragma GCC unroll 32
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) *(AVec*)(tile + (i * NV + j) * kW) = c[i][j];
}

/// How the loops are cut. `share_a`, `share_b`: pack the whole operand once, for all threads;
/// otherwise every task packs what it needs.
struct Plan {
  int64_t kc, mc, nc;
  bool share_a, share_b;
  bool a_batched, b_batched;
};

/// Register tile: MR rows of NV vectors, U steps of k unrolled, prefetch P steps ahead (0: none).
template <int MR_, int NV_, int U_, int P_>
struct Tile {
  static constexpr int MR = MR_, NV = NV_, NR = NV_ * kW, U = U_, P = P_;
};
#if defined(__AVX512F__)
typedef Tile<14, 2, 4, 8> DefaultTile;
#else
typedef Tile<6, 2, 4, 8> DefaultTile;
#endif

/// Fills in what a plan leaves open (0). `parallel`: 0 cuts rows, 1 cuts columns, 2 gives every
/// thread whole products of the batch, -1 chooses. The operand that is not cut is packed once.
inline Plan make_plan(int64_t parallel, int64_t kc, int64_t mc, int64_t nc, bool a_batched,
                      bool b_batched, int64_t batch, int64_t M, int64_t N) {
  Plan p{kc ? kc : 512, mc, nc, false, false, batch > 1 && a_batched, batch > 1 && b_batched};
  if (parallel < 0) {
    const bool many = batch >= 2 * q_threads() && M <= 512 && N <= 512;
    if (p.a_batched && p.b_batched && many)
      parallel = 2;
    else if (p.a_batched != p.b_batched)
      parallel = p.a_batched ? 0 : 1;
    else
      parallel = M >= N ? 0 : 1;
  }
  p.share_a = parallel == 1, p.share_b = parallel == 0;
  if (!p.mc) p.mc = parallel == 0 ? 128 : 2048;
  if (!p.nc) p.nc = parallel == 1 ? 256 : 2048;
  return p;
}

/// `epilogue(b, m)` gives what takes the vectors of one row: `row(lanes, n, sums)`.
template <class T, class Epilogue>
QG_INLINE void finish_tile(const float* tile, int64_t b, int64_t m, int rows, int64_t n, int cols,
                           const Epilogue& epilogue) {
  for (int i = 0; i < rows; ++i, tile += T::NR) {
    const auto row = epilogue(b, m + i);
    int j = 0;
    for (; j + kW <= cols; j += kW) row(QFull{}, n + j, *(const AVec*)(tile + j));
    if (j < cols) row(QPart{cols - j}, n + j, *(const AVec*)(tile + j));
  }
}

/// Floats of B below which a task goes row by row of tiles rather than column by column.
constexpr int64_t kRowOrder = 1 << 18;

struct ThreadScratch {
  Scratch a, b, c;
};
inline ThreadScratch& thread_scratch() {
  static thread_local ThreadScratch scratch;
  return scratch;
}

/// One task: rows [m0, m1) and columns [n0, n1) of batch b over all of K.
template <class T, class PackA, class PackB, class Epilogue>
void run_task(const Plan& p, int64_t K, int64_t b, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
              const float* shared_a, const float* shared_b, const PackA& pack_a,
              const PackB& pack_b, const Epilogue& epilogue) {
  constexpr int MR = T::MR, NR = T::NR;
  ThreadScratch& scratch = thread_scratch();
  const int64_t mp = ceil_div(m1 - m0, MR), np = ceil_div(n1 - n0, NR), kc = imin(p.kc, K);
  float* own_a = shared_a ? nullptr : scratch.a.get<float>(mp * MR * kc);
  float* own_b = shared_b ? nullptr : scratch.b.get<float>(np * NR * kc);
  const bool once = K <= kc;
  float* tiles = scratch.c.get<float>(once ? MR * NR : mp * np * MR * NR);
  int64_t k0 = 0;
  do {
    const int64_t kn = imin(kc, K - k0);
    if (own_a)
      for (int64_t i = 0; i < mp; ++i)
        pack_a(own_a + i * MR * kn, b, m0 + i * MR, (int)imin(MR, m1 - m0 - i * MR), k0, kn);
    auto panel_b = [&](int64_t j) -> const float* {
      if (shared_b) return shared_b + (n0 / NR + j) * NR * K + k0 * NR;
      return own_b + j * NR * kn;
    };
    auto pack_own_b = [&](int64_t j) {
      const int64_t n = n0 + j * NR;
      if (own_b) pack_b(own_b + j * NR * kn, b, n, (int)imin(NR, n1 - n), k0, kn);
    };
    auto block = [&](int64_t i, int64_t j) __attribute__((always_inline)) {
      const int64_t m = m0 + i * MR, n = n0 + j * NR;
      const float* ap = shared_a ? shared_a + (m / MR) * MR * K + k0 * MR : own_a + i * MR * kn;
      float* tile = tiles + (once ? 0 : (j * mp + i) * MR * NR);
      micro<MR, T::NV, T::U, T::P>(kn, ap, panel_b(j), tile, k0 > 0);
      if (k0 + kn == K) {
        finish_tile<T>(tile, b, m, (int)imin(MR, m1 - m), n, (int)imin(NR, n1 - n), epilogue);
      }
    };
    // With a short sum the results are the traffic: write whole rows while B stays in L2.
    if (kn * np * NR <= kRowOrder) {
      for (int64_t j = 0; j < np; ++j) pack_own_b(j);
      for (int64_t i = 0; i < mp; ++i)
        for (int64_t j = 0; j < np; ++j) block(i, j);
    } else {
      for (int64_t j = 0; j < np; ++j) {
        pack_own_b(j);
        for (int64_t i = 0; i < mp; ++i) block(i, j);
      }
    }
    k0 += kn;
  } while (k0 < K);
}

/// C[b, m, n] = sum over k of A[b, m, k] * B[b, n, k], given to `epilogue` in vectors along n.
/// `work` threads share the tasks dynamically; every element is computed by one task, in an order
/// that does not depend on the number of threads.
template <class T, class PackA, class PackB, class Epilogue>
void gemm(Plan p, int64_t batch, int64_t M, int64_t N, int64_t K, const PackA& pack_a,
          const PackB& pack_b, const Epilogue& epilogue) {
  constexpr int MR = T::MR, NR = T::NR;
  static Scratch scratch_a, scratch_b;
  const int64_t mp = ceil_div(M, MR), np = ceil_div(N, NR);
  const bool grouped = (p.share_a && p.a_batched) || (p.share_b && p.b_batched);
  const int64_t groups = grouped ? batch : 1, in_group = grouped ? 1 : batch;
  float* sa = p.share_a ? scratch_a.get<float>(mp * MR * K) : nullptr;
  float* sb = p.share_b ? scratch_b.get<float>(np * NR * K) : nullptr;
  const int threads = q_threads();
  int64_t mc = imax(1, p.mc / MR), nc = imax(1, p.nc / NR);
  mc = imin(mc, mp), nc = imin(nc, np);
  while (in_group * ceil_div(mp, mc) * ceil_div(np, nc) < 2 * threads && (mc > 1 || nc > 1)) {
    if (nc > 1 && (mc == 1 || nc * NR > mc * MR))
      nc = ceil_div(nc, 2);
    else
      mc = ceil_div(mc, 2);
  }
  // As many blocks as a multiple of the threads, so that the last round is full.
  if (in_group == 1 && ceil_div(mp, mc) >= ceil_div(np, nc)) {
    mc = ceil_div(mp, ceil_div(ceil_div(mp, mc), threads) * threads);
  } else if (in_group == 1) {
    nc = ceil_div(np, ceil_div(ceil_div(np, nc), threads) * threads);
  }
  const int64_t mt = ceil_div(mp, mc), nt = ceil_div(np, nc), tasks = in_group * mt * nt;
#pragma omp parallel if (batch * M * N * K > 65536)
  for (int64_t g = 0; g < groups; ++g) {
    if (sa && (g == 0 || p.a_batched)) {
#pragma omp for schedule(dynamic, 4)
      for (int64_t i = 0; i < mp; ++i)
        pack_a(sa + i * MR * K, g, i * MR, (int)imin(MR, M - i * MR), 0, K);
    }
    if (sb && (g == 0 || p.b_batched)) {
#pragma omp for schedule(dynamic, 2)
      for (int64_t j = 0; j < np; ++j)
        pack_b(sb + j * NR * K, g, j * NR, (int)imin(NR, N - j * NR), 0, K);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t t = 0; t < tasks; ++t) {
      const int64_t b = g + t / (mt * nt), mi = t / nt % mt, ni = t % nt;
      run_task<T>(p, K, b, mi * mc * MR, imin(M, (mi + 1) * mc * MR), ni * nc * NR,
                  imin(N, (ni + 1) * nc * NR), sa, sb, pack_a, pack_b, epilogue);
    }
  }
}

}  // namespace qg
