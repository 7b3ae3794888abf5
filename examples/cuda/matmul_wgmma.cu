// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/matmul.task on Hopper's tensor cores (wgmma), fed by tensor maps. Two launches
// split the operands into two TF32 numbers each, in scratch memory padded to whole tiles, the right
// one transposed; the third multiplies: one warp asks for tiles, two groups of four warps consume
// them, three stages deep. Sums of 32 terms are added up in ordinary registers, since tensor cores
// truncate as they add.
// quern: target = cuda
// quern: scratch ah : f32[round_up(m, 128), round_up(k, 32)]
// quern: scratch al : f32[round_up(m, 128), round_up(k, 32)]
// quern: scratch bh : f32[round_up(n, 128), round_up(k, 32)]
// quern: scratch bl : f32[round_up(n, 128), round_up(k, 32)]
// quern: tensor_map map_ah : ah box (128, 32) swizzle 128b l2 128b
// quern: tensor_map map_al : al box (128, 32) swizzle 128b l2 128b
// quern: tensor_map map_bh : bh box (128, 32) swizzle 128b l2 128b
// quern: tensor_map map_bl : bl box (128, 32) swizzle 128b l2 128b
// quern: launch split_left grid (ceil_div(k, 32), ceil_div(m, 128)) block (256)
// quern:   args (a, ah, al, i32(m), i32(k))
// quern: launch split_right grid (ceil_div(k, 32), ceil_div(n, 128)) block (256)
// quern:   args (b, bh, bl, i32(n), i32(k))
// quern: launch multiply grid (ceil_div(n, 128), ceil_div(m, 128)) block (384)
// quern:   shared (3 * 65536 + 1024 + 64) args (map_ah, map_al, map_bh, map_bl, c, i32(m), i32(n),
// quern:   i32(ceil_div(k, 32)))
#include "quern_cuda.h"

constexpr int kStages = 3, kTile = 128 * 32 * 4;  // bytes of one of the four tiles of a stage

Q_INLINE void put_split(float x, float* high, float* low) {
  unsigned h, l;
  q_tf32_split(x, &h, &l);
  *high = __uint_as_float(h);
  *low = __uint_as_float(l);
}

extern "C" __global__ void __launch_bounds__(256)
    split_left(const float* __restrict__ a, float* __restrict__ ah, float* __restrict__ al, int m,
               int k) {
  const long pitch = (k + 31) / 32 * 32;
  const int q = blockIdx.x * 32 + q_thread() % 32;
  for (int r = q_thread() / 32; r < 128; r += 8) {
    const long i = blockIdx.y * 128 + r;
    put_split(i < m && q < k ? a[i * k + q] : 0.0f, ah + i * pitch + q, al + i * pitch + q);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    split_right(const float* __restrict__ b, float* __restrict__ bh, float* __restrict__ bl, int n,
                int k) {
  __shared__ float tile[32][129];
  const long pitch = (k + 31) / 32 * 32;
  const int p0 = blockIdx.x * 32;
  const long j0 = blockIdx.y * 128;
  for (int e = q_thread(); e < 32 * 128; e += 256) {
    const int q = e / 128, j = e % 128;
    tile[q][j] = p0 + q < k && j0 + j < n ? b[static_cast<long>(p0 + q) * n + j0 + j] : 0.0f;
  }
  __syncthreads();
  const int q = q_thread() % 32;
  for (int j = q_thread() / 32; j < 128; j += 8) {
    put_split(tile[q][j], bh + (j0 + j) * pitch + p0 + q, bl + (j0 + j) * pitch + p0 + q);
  }
}

struct Stage {
  unsigned char* tiles;
  q_mbarrier *full, *empty;
};

/// Asks for the tiles of every step, as soon as the consumers have emptied a stage.
Q_INLINE void produce(const Stage& stage, const q_tensor_map* const maps[4], int i0, int j0,
                      int steps) {
  for (int step = 0; step < steps; ++step) {
    const int s = step % kStages;
    if (step >= kStages) q_mbarrier_wait(&stage.empty[s], (step / kStages + 1) & 1);
    q_mbarrier_expect(&stage.full[s], 4 * kTile);
    for (int t = 0; t < 4; ++t) {
      q_tensor_load(stage.tiles + (s * 4 + t) * kTile, maps[t], step * 32, t < 2 ? i0 : j0,
                    &stage.full[s]);
    }
  }
}

/// sum [64, 128] of this group of warps, whose rows begin at `row` of the tile.
Q_INLINE void consume(const Stage& stage, float sum[64], int row, int steps) {
  for (int step = 0; step < steps; ++step) {
    const int s = step % kStages;
    q_mbarrier_wait(&stage.full[s], (step / kStages) & 1);
    const unsigned char* tiles = stage.tiles + s * 4 * kTile;
    float d[64];
#pragma unroll
    for (int e = 0; e < 64; ++e) d[e] = 0.0f;
    q_wgmma_fence();
#pragma unroll
    for (int q = 0; q < 4; ++q) {  // 8 floats of depth are 32 bytes
      const unsigned char* left = tiles + row * 128 + q * 32;
      const unsigned char* right = tiles + 2 * kTile + q * 32;
      q_wgmma_tf32(d, q_wgmma_tile(left + kTile), q_wgmma_tile(right));
      q_wgmma_tf32(d, q_wgmma_tile(left), q_wgmma_tile(right + kTile));
      q_wgmma_tf32(d, q_wgmma_tile(left), q_wgmma_tile(right));
    }
    q_wgmma_commit();
    q_wgmma_wait<0>();
#pragma unroll
    for (int e = 0; e < 64; ++e) sum[e] += d[e];
    if (q_thread() % 128 == 0) q_mbarrier_arrive(&stage.empty[s]);
  }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    multiply(const __grid_constant__ q_tensor_map map_ah, const __grid_constant__ q_tensor_map map_al,
             const __grid_constant__ q_tensor_map map_bh, const __grid_constant__ q_tensor_map map_bl,
             float* __restrict__ c, int m, int n, int steps) {
  extern __shared__ unsigned char memory[];
  // Tiles in the 128-byte swizzle begin at multiples of 1024.
  unsigned char* tiles = memory + (1024 - q_shared_address(memory) % 1024) % 1024;
  q_mbarrier* barriers = reinterpret_cast<q_mbarrier*>(tiles + kStages * 4 * kTile);
  const Stage stage = {tiles, barriers, barriers + kStages};
  if (q_thread() == 0) {
    for (int s = 0; s < kStages; ++s) {
      q_mbarrier_init(&stage.full[s], 1);
      q_mbarrier_init(&stage.empty[s], 2);
    }
    q_mbarrier_fence();
  }
  __syncthreads();
  const int i0 = blockIdx.y * 128, j0 = blockIdx.x * 128;
  const int group = q_thread() / 128;
  if (group == 2) {
    const q_tensor_map* const maps[4] = {&map_ah, &map_al, &map_bh, &map_bl};
    if (q_thread() == 256) produce(stage, maps, i0, j0, steps);
    return;
  }
  float sum[64];
#pragma unroll
  for (int e = 0; e < 64; ++e) sum[e] = 0.0f;
  consume(stage, sum, group * 64, steps);
  const int t = q_thread() % 128;
#pragma unroll
  for (int e = 0; e < 64; ++e) {
    const int row = i0 + group * 64 + t / 32 * 16 + t % 32 / 4 + e / 2 % 2 * 8;
    const int column = j0 + e / 4 * 8 + t % 4 * 2 + e % 2;
    if (row < m && column < n) c[static_cast<long>(row) * n + column] = sum[e];
  }
}
