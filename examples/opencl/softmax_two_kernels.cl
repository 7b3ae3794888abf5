// The row's maximum and sum go through scratch memory; the second kernel has one work-item for each
// four elements.
// quern: target = opencl
// quern: scratch largest : f32[batch]
// quern: scratch sums : f32[batch]
// quern: launch reduce_rows grid (ceil_div(batch, 16)) block (16) args (x, largest, sums, batch, dim)
// quern: launch divide grid (ceil_div(ceil_div(dim, 4), 64), batch) block (64)
// quern:   args (x, largest, sums, y, dim)
__kernel void reduce_rows(__global const float* x, __global float* largest, __global float* sums,
                          int batch, long dim) {
  const int row = get_global_id(0);
  if (row >= batch) return;
  __global const float* in = x + row * dim;
  float most = -INFINITY;
  float sum = 0;
  for (long j = 0; j < dim; ++j) most = fmax(most, in[j]);
  for (long j = 0; j < dim; ++j) sum += exp(in[j] - most);
  largest[row] = most;
  sums[row] = sum;
}

__kernel void divide(__global const float* x, __global const float* largest,
                     __global const float* sums, __global float* y, long dim) {
  const long row = get_global_id(1);
  const long first = 4 * (long)get_global_id(0);
  const long end = min(first + 4, dim);
  for (long j = first; j < end; ++j) {
    y[row * dim + j] = exp(x[row * dim + j] - largest[row]) / sums[row];
  }
}
