// One work-group a row; maximum and sum by a tree in local memory.
// quern: target = opencl
// quern: launch softmax grid (batch) block (64) shared (64 * 4) args (x, y, shared, dim)
__kernel void softmax(__global const float* x, __global float* y, __local float* tile, long dim) {
  const int lane = get_local_id(0);
  const int lanes = get_local_size(0);
  __global const float* in = x + get_group_id(0) * dim;
  __global float* out = y + get_group_id(0) * dim;

  float largest = -INFINITY;
  for (long j = lane; j < dim; j += lanes) largest = fmax(largest, in[j]);
  tile[lane] = largest;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int step = lanes / 2; step > 0; step /= 2) {
    if (lane < step) tile[lane] = fmax(tile[lane], tile[lane + step]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  largest = tile[0];
  barrier(CLK_LOCAL_MEM_FENCE);

  float sum = 0;
  for (long j = lane; j < dim; j += lanes) sum += exp(in[j] - largest);
  tile[lane] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int step = lanes / 2; step > 0; step /= 2) {
    if (lane < step) tile[lane] += tile[lane + step];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  sum = tile[0];

  for (long j = lane; j < dim; j += lanes) out[j] = exp(in[j] - largest) / sum;
}
