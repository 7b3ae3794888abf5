// oneDNN primitives made once per size and kept: reorders to and from its own layouts are part of
// every call.
#include <oneapi/dnnl/dnnl.h>
#include <stdint.h>

#include <map>
#include <vector>

#include "quern_cpu.h"

namespace {

typedef std::vector<int64_t> Dims;

void must(dnnl_status_t status) {
  if (status != dnnl_success) __builtin_trap();
}
dnnl_engine_t engine() {
  static dnnl_engine_t made = [] {
    dnnl_engine_t e;
    must(dnnl_engine_create(&e, dnnl_cpu, 0));
    return e;
  }();
  return made;
}
dnnl_stream_t stream() {
  static dnnl_stream_t made = [] {
    dnnl_stream_t s;
    must(dnnl_stream_create(&s, engine(), dnnl_stream_default_flags));
    return s;
  }();
  return made;
}
Dims dense(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}
dnnl_memory_desc_t plain(const Dims& dims, const Dims& strides) {
  dnnl_memory_desc_t md;
  must(dnnl_memory_desc_init_by_strides(&md, (int)dims.size(), dims.data(), dnnl_f32,
                                        strides.data()));
  return md;
}
dnnl_memory_desc_t plain(const Dims& dims) { return plain(dims, dense(dims)); }
dnnl_memory_desc_t any(const Dims& dims) {
  dnnl_memory_desc_t md;
  must(dnnl_memory_desc_init_by_tag(&md, (int)dims.size(), dims.data(), dnnl_f32,
                                    dnnl_format_tag_any));
  return md;
}

/// An argument of a primitive: the caller's memory, and the primitive's own where they differ.
struct Port {
  int arg;
  bool output;
  dnnl_memory_desc_t user;
  dnnl_memory_t outer, inner;
  dnnl_primitive_t reorder;
};
struct Post {
  dnnl_alg_kind_t kind;
  float alpha, beta;
};

struct Op {
  dnnl_primitive_t primitive;
  std::vector<Port> ports;
  std::vector<dnnl_exec_arg_t> args;

  Op(const void* desc, const std::vector<Post>& posts, std::vector<Port> given)
      : ports(std::move(given)) {
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    must(dnnl_primitive_attr_create(&attr));
    must(dnnl_post_ops_create(&ops));
    for (const Post& post : posts)
      must(dnnl_post_ops_append_eltwise(ops, 1.0f, post.kind, post.alpha, post.beta));
    must(dnnl_primitive_attr_set_post_ops(attr, ops));
    dnnl_primitive_desc_t pd;
    must(dnnl_primitive_desc_create(&pd, desc, attr, engine(), nullptr));
    must(dnnl_primitive_create(&primitive, pd));
    for (Port& port : ports) connect(port, pd);
    must(dnnl_primitive_desc_destroy(pd));
    must(dnnl_post_ops_destroy(ops));
    must(dnnl_primitive_attr_destroy(attr));
  }
  void connect(Port& port, dnnl_primitive_desc_t pd) {
    const dnnl_memory_desc_t* own =
        dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, port.arg);
    must(dnnl_memory_create(&port.outer, &port.user, engine(), DNNL_MEMORY_NONE));
    port.inner = port.outer;
    port.reorder = nullptr;
    if (!dnnl_memory_desc_equal(own, &port.user)) {
      must(dnnl_memory_create(&port.inner, own, engine(), DNNL_MEMORY_ALLOCATE));
      dnnl_primitive_desc_t move;
      const dnnl_memory_desc_t* from = port.output ? own : &port.user;
      const dnnl_memory_desc_t* to = port.output ? &port.user : own;
      must(dnnl_reorder_primitive_desc_create(&move, from, engine(), to, engine(), nullptr));
      must(dnnl_primitive_create(&port.reorder, move));
      must(dnnl_primitive_desc_destroy(move));
    }
    args.push_back({port.arg, port.inner});
  }
  static void move(const Port& port) {
    const dnnl_exec_arg_t both[] = {{DNNL_ARG_FROM, port.output ? port.inner : port.outer},
                                    {DNNL_ARG_TO, port.output ? port.outer : port.inner}};
    must(dnnl_primitive_execute(port.reorder, stream(), 2, both));
  }
  /// `data`: one pointer a port, in their order.
  void run(std::initializer_list<const void*> data) {
    auto at = data.begin();
    for (Port& port : ports)
      must(dnnl_memory_set_data_handle(port.outer, const_cast<void*>(*at++)));
    for (Port& port : ports)
      if (port.reorder && !port.output) move(port);
    must(dnnl_primitive_execute(primitive, stream(), (int)args.size(), args.data()));
    for (Port& port : ports)
      if (port.reorder && port.output) move(port);
    must(dnnl_stream_wait(stream()));
  }
};

/// y[outer, n, inner] * scale[n] + shift[n] in place, for what a primitive does not do itself.
[[maybe_unused]] void scale_and_shift(float* y, const float* scale, const float* shift,
                                      int64_t outer, int64_t n, int64_t inner) {
#pragma omp parallel for
  for (int64_t row = 0; row < outer * n; ++row) {
    const float a = scale ? scale[row % n] : 1.0f, b = shift ? shift[row % n] : 0.0f;
    float* at = y + row * inner;
    for (int64_t i = 0; i < inner; ++i) at[i] = at[i] * a + b;
  }
}

[[maybe_unused]] const float* ones(int64_t count) {
  static std::vector<float>& kept = *new std::vector<float>;
  if ((int64_t)kept.size() < count) kept.assign(count, 1.0f);
  return kept.data();
}

}  // namespace
