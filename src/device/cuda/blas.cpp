// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/blas.h"

#include <fmt/format.h>
#include <glob.h>

#include "base/dynamic_library.h"

namespace quern::cuda {
namespace {

constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;  // what cuBLAS takes on Hopper by itself
constexpr Status kUnknown = 999;

/// An address on the device as the library takes it; nobody here reads through it.
template <class T>
T* pointer(DevicePointer address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace

// cuBLAS, as far as Quern uses it: its C interface with sizes of 64 bits (12.0 and later).
struct Blas::Api {
  int (*create)(void** handle) = nullptr;
  int (*destroy)(void* handle) = nullptr;
  int (*set_stream)(void* handle, StreamHandle stream) = nullptr;
  int (*set_workspace)(void* handle, void* memory, size_t bytes) = nullptr;
  int (*products_f32)(void* handle, int a_operation, int b_operation, int64_t m, int64_t n,
                      int64_t k, const float* alpha, const float* a, int64_t lda, int64_t stride_a,
                      const float* b, int64_t ldb, int64_t stride_b, const float* beta, float* c,
                      int64_t ldc, int64_t stride_c, int64_t batch) = nullptr;
  int (*products_f64)(void* handle, int a_operation, int b_operation, int64_t m, int64_t n,
                      int64_t k, const double* alpha, const double* a, int64_t lda,
                      int64_t stride_a, const double* b, int64_t ldb, int64_t stride_b,
                      const double* beta, double* c, int64_t ldc, int64_t stride_c,
                      int64_t batch) = nullptr;

  /// Row-major matrices are column-major ones transposed: the factors change places.
  template <class T, class Function>
  int multiply(Function function, void* handle, const MatrixProduct& p, DevicePointer a,
               DevicePointer b, DevicePointer c) const {
    const T one = 1, zero = 0;
    return function(handle, p.b_transposed ? 1 : 0, p.a_transposed ? 1 : 0, p.n, p.m, p.k, &one,
                    pointer<const T>(b), p.b_row, p.b_batch, pointer<const T>(a), p.a_row,
                    p.a_batch, &zero, pointer<T>(c), p.c_row, p.c_batch, p.batch);
  }
};

Blas::Blas(Gpu& gpu) : gpu_(&gpu), api_(std::make_unique<Api>()) {}

Blas::~Blas() {
  if (handle_ != nullptr && gpu_->fault() == kSuccess) (void)api_->destroy(handle_);
}

Result<std::unique_ptr<Blas>> Blas::open(Gpu& gpu, const std::string& path) {
  QUERN_ASSIGN(DynamicLibrary library, DynamicLibrary::open({path}));
  std::unique_ptr<Blas> blas(new Blas(gpu));
  std::string missing;
  Api& api = *blas->api_;
  library.find("cublasCreate_v2", api.create, missing);
  library.find("cublasDestroy_v2", api.destroy, missing);
  library.find("cublasSetStream_v2", api.set_stream, missing);
  library.find("cublasSetWorkspace_v2", api.set_workspace, missing);
  library.find("cublasSgemmStridedBatched_64", api.products_f32, missing);
  library.find("cublasDgemmStridedBatched_64", api.products_f64, missing);
  if (!missing.empty()) {
    return Error{ErrorKind::kEnvironment, library.path() + " lacks " + missing,
                 "cuBLAS 12 and later have them"};
  }
  library.keep();
  QUERN_TRY(blas->start());
  return blas;
}

Result<void> Blas::start() {
  const auto check = [](int status, const char* what) -> Result<void> {
    if (status == 0) return {};
    return Error{ErrorKind::kEnvironment, fmt::format("cuBLAS: {}: status {}", what, status), ""};
  };
  QUERN_TRY(check(api_->create(&handle_), "a handle"));
  QUERN_TRY(check(api_->set_stream(handle_, gpu_->stream()), "the stream"));
  // Memory of its own cannot be taken while a graph is recorded.
  QUERN_ASSIGN(GpuMemory memory, GpuMemory::make(*gpu_, kWorkspaceBytes, GpuMemory::Place::kLeft));
  workspace_.emplace(std::move(memory));
  void* at = pointer<void>(workspace_->data());
  return check(api_->set_workspace(handle_, at, kWorkspaceBytes), "the workspace");
}

Status Blas::enqueue(const MatrixProduct& product, const CallBuffers& buffers) const {
  if (product.a >= buffers.inputs.size() || product.b >= buffers.inputs.size() ||
      buffers.outputs.empty()) {
    return kUnknown;
  }
  const auto size = static_cast<uint64_t>(dtype_bytes(product.type));
  const auto at = [&](DevicePointer start, int64_t offset) {
    return start + static_cast<uint64_t>(offset) * size;
  };
  for (const auto& start : product.starts) {
    const DevicePointer a = at(buffers.inputs[product.a], start[0]);
    const DevicePointer b = at(buffers.inputs[product.b], start[1]);
    const DevicePointer c = at(buffers.outputs[0], start[2]);
    const int status = product.type == DType::kF64
                           ? api_->multiply<double>(api_->products_f64, handle_, product, a, b, c)
                           : api_->multiply<float>(api_->products_f32, handle_, product, a, b, c);
    if (status != 0) return kUnknown;
  }
  return kSuccess;
}

std::string find_cublas(const std::string& nvrtc_path,
                        const std::vector<std::string>& python_environments) {
  return find_cuda_library("libcublas.so.1[23]", nvrtc_path, python_environments);
}

std::string find_cuda_library(const std::string& pattern, const std::string& nvrtc_path,
                              const std::vector<std::string>& python_environments) {
  const std::string beside = nvrtc_path.substr(0, nvrtc_path.rfind('/'));
  std::vector<std::string> places = {beside, beside + "/../extras/CUPTI/lib64",
                                     "/usr/local/cuda/lib64", "/usr/local/cuda/extras/CUPTI/lib64"};
  for (const std::string& environment : python_environments) {
    for (const char* folder : {"nvidia/cu13/lib", "nvidia/cublas/lib", "nvidia/cuda_cupti/lib",
                               "nvidia/nvjitlink/lib", "torch/lib"}) {
      places.push_back(environment + "/lib/python3*/site-packages/" + folder);
    }
  }
  for (const std::string& place : places) {
    glob_t found{};
    std::string path;
    if (glob((place + "/" + pattern).c_str(), 0, nullptr, &found) == 0) {
      path = found.gl_pathv[found.gl_pathc - 1];
    }
    globfree(&found);
    if (!path.empty()) return path;
  }
  return "";
}

}  // namespace quern::cuda
