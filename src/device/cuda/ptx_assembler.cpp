// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/ptx_assembler.h"

#include <cstddef>
#include <utility>

#include "base/dynamic_library.h"
#include "device/cuda/blas.h"

namespace quern::cuda {
namespace {

using Handle = struct LinkTag*;
constexpr int kPtx = 2;  // nvJitLinkInputType

}  // namespace

struct PtxAssembler::Api {
  int (*create)(Handle* handle, uint32_t count, const char** options) = nullptr;
  int (*destroy)(Handle* handle) = nullptr;
  int (*add)(Handle handle, int type, const void* data, size_t bytes, const char* name) = nullptr;
  int (*complete)(Handle handle) = nullptr;
  int (*cubin_size)(Handle handle, size_t* bytes) = nullptr;
  int (*cubin)(Handle handle, void* image) = nullptr;
  int (*log_size)(Handle handle, size_t* bytes) = nullptr;
  int (*log)(Handle handle, char* text) = nullptr;
};

PtxAssembler::PtxAssembler() : api_(std::make_unique<Api>()) {}
PtxAssembler::~PtxAssembler() = default;

Result<std::unique_ptr<PtxAssembler>> PtxAssembler::open(const std::string& path) {
  QUERN_ASSIGN(DynamicLibrary library, DynamicLibrary::open({path}));
  std::unique_ptr<PtxAssembler> made(new PtxAssembler());
  Api& api = *made->api_;
  std::string missing;
  library.find("nvJitLinkCreate", api.create, missing);
  library.find("nvJitLinkDestroy", api.destroy, missing);
  library.find("nvJitLinkAddData", api.add, missing);
  library.find("nvJitLinkComplete", api.complete, missing);
  library.find("nvJitLinkGetLinkedCubinSize", api.cubin_size, missing);
  library.find("nvJitLinkGetLinkedCubin", api.cubin, missing);
  library.find("nvJitLinkGetErrorLogSize", api.log_size, missing);
  library.find("nvJitLinkGetErrorLog", api.log, missing);
  if (!missing.empty()) {
    return Error{ErrorKind::kEnvironment, library.path() + " lacks " + missing, ""};
  }
  library.keep();
  return made;
}

Result<std::string> PtxAssembler::assemble(const std::string& ptx,
                                           const std::string& architecture) const {
  const std::string target = "-arch=" + architecture;
  // Guarded code runs on small shapes, once: it need not be quick, but soon there.
  const char* options[] = {target.c_str(), "-Xptxas=-O1"};
  Handle handle = nullptr;
  int status = api_->create(&handle, 2, options);
  std::string image, log;
  if (status == 0) status = api_->add(handle, kPtx, ptx.c_str(), ptx.size() + 1, "candidate");
  if (status == 0) status = api_->complete(handle);
  size_t bytes = 0;
  if (status == 0) status = api_->cubin_size(handle, &bytes);
  if (status == 0) {
    image.resize(bytes);
    status = api_->cubin(handle, image.data());
  } else if (handle != nullptr && api_->log_size(handle, &bytes) == 0) {
    log.resize(bytes);
    (void)api_->log(handle, log.data());
  }
  if (handle != nullptr) (void)api_->destroy(&handle);
  if (status == 0) return image;
  return Error{ErrorKind::kInput, "nvJitLink: " + std::string(log.c_str()), ""};
}

std::string find_nvjitlink(const std::string& nvrtc_path,
                           const std::vector<std::string>& python_environments) {
  return find_cuda_library("libnvJitLink.so.1[23]", nvrtc_path, python_environments);
}

}  // namespace quern::cuda
