// 32 x 32 tiles of both matrices in local memory; a work-item computes 4 rows of one column.
// quern: target = opencl
// quern: launch matmul grid (ceil_div(n, 32), ceil_div(m, 32)) block (32, 8) args (a, b, c, m, n, k)
#define TILE 32
#define ROWS 4

__kernel void matmul(__global const float* a, __global const float* b, __global float* c, int m,
                     int n, int k) {
  __local float a_tile[TILE][TILE];
  __local float b_tile[TILE][TILE];
  const int x = get_local_id(0);
  const int y = get_local_id(1) * ROWS;
  const int column = get_group_id(0) * TILE + x;
  const int row = get_group_id(1) * TILE + y;
  float sums[ROWS] = {0};
  for (int start = 0; start < k; start += TILE) {
    for (int r = 0; r < ROWS; ++r) {
      const bool in_a = row + r < m && start + x < k;
      const bool in_b = start + y + r < k && column < n;
      a_tile[y + r][x] = in_a ? a[(long)(row + r) * k + start + x] : 0;
      b_tile[y + r][x] = in_b ? b[(long)(start + y + r) * n + column] : 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int p = 0; p < TILE; ++p) {
      const float right = b_tile[p][x];
      for (int r = 0; r < ROWS; ++r) sums[r] = fma(a_tile[y + r][p], right, sums[r]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  for (int r = 0; r < ROWS; ++r) {
    if (row + r < m && column < n) c[(long)(row + r) * n + column] = sums[r];
  }
}
