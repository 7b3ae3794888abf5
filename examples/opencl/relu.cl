// Four elements a work-item, the rest one by one.
// quern: target = opencl
// quern: launch relu grid (ceil_div(ceil_div(batch * dim, 4), 256)) block (256)
// quern:   args (x, y, batch * dim)
__kernel void relu(__global const float* x, __global float* y, long n) {
  const long first = 4 * (long)get_global_id(0);
  if (first + 4 <= n) {
    vstore4(fmax(vload4(0, x + first), (float4)(0.0f)), 0, y + first);
  } else {
    for (long i = first; i < n; ++i) y[i] = fmax(x[i], 0.0f);
  }
}
