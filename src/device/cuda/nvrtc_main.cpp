// SPDX-License-Identifier: Apache-2.0
//
// quern-nvrtc: a process that compiles CUDA C++ with NVRTC, one request after another. NVRTC's
// front end does not run in parallel inside a process, and hostile source may bring any compiler
// down or make it run for ever: both are why it is a process. Its parent has put it under Landlock
// before it was started, and kills it when it overruns.

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/guard_image.h"
#include "device/cuda/nvrtc.h"
#include "device/cuda/nvrtc_protocol.h"
#include "device/cuda/ptx_assembler.h"
#include "device/cuda/ptx_guard.h"

/// The compiler is not ours to check: what it leaks is no finding.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the sanitizer's name
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:alloc_dealloc_mismatch=0:detect_odr_violation=0";
}

namespace quern::cuda {
namespace {

constexpr const char* kPrecompiled = "prelude.pch";

struct Setup {
  std::string folder;  ///< of the house header; "": none
  std::vector<std::string> options;
  bool precompiled = false;
};

struct Deadline {
  int64_t at_ns;
};

int past_deadline(void* deadline, void*) {
  return steady_now_ns() > static_cast<const Deadline*>(deadline)->at_ns ? 1 : 0;
}

int64_t peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

template <class Size, class Get>
std::string fetch(ProgramHandle program, Size size, Get get, size_t terminator) {
  size_t bytes = 0;
  if (size(program, &bytes) != NvrtcStatus::kSuccess || bytes < terminator) return "";
  std::string text(bytes, '\0');
  if (get(program, text.data()) != NvrtcStatus::kSuccess) return "";
  text.resize(bytes - terminator);
  return text;
}

NvrtcReply compile(const Nvrtc& nvrtc, const NvrtcRequest& request,
                   const std::vector<std::string>& options) {
  NvrtcReply reply;
  const int64_t start = steady_now_ns();
  ProgramHandle program = nullptr;
  std::vector<const char*> names, texts;
  for (const auto& [name, text] : request.headers) {
    names.push_back(name.c_str());
    texts.push_back(text.c_str());
  }
  NvrtcStatus status = nvrtc.create(&program, request.source.c_str(), kSourceName,
                                    static_cast<int>(names.size()), texts.data(), names.data());
  if (status == NvrtcStatus::kSuccess) {
    Deadline deadline{start + request.deadline_ms * 1'000'000};
    if (nvrtc.set_flow_callback != nullptr) {
      (void)nvrtc.set_flow_callback(program, past_deadline, &deadline);
    }
    std::vector<const char*> pointers;
    for (const std::string& option : options) pointers.push_back(option.c_str());
    status = nvrtc.compile(program, static_cast<int>(pointers.size()), pointers.data());
    reply.log = fetch(program, nvrtc.log_size, nvrtc.log, 1);
    if (status == NvrtcStatus::kSuccess) {
      reply.cubin = fetch(program, nvrtc.cubin_size, nvrtc.cubin, 0);
      reply.ptx = fetch(program, nvrtc.ptx_size, nvrtc.ptx, 1);
    }
    (void)nvrtc.destroy(&program);
  }
  reply.status = static_cast<int>(status);
  reply.status_text = nvrtc.error_text(status);
  reply.wall_us = (steady_now_ns() - start) / 1000;
  reply.peak_kib = peak_kib();
  return reply;
}

/// Precompiles the house header for this process: its addresses hold in no other one.
bool precompile(const Nvrtc& nvrtc, const Setup& setup) {
  if (nvrtc.pch_status == nullptr || setup.folder.empty()) return false;
  std::vector<std::string> options = setup.options;
  options.push_back(std::string("--create-pch=") + kPrecompiled);
  options.push_back("--pch-dir=" + setup.folder);
  NvrtcRequest request;
  request.source = std::string("#include \"") + kPreludeName + "\"\n";
  request.deadline_ms = 60'000;
  const NvrtcReply reply = compile(nvrtc, request, options);
  return reply.status == 0 && file_exists(setup.folder + "/" + kPrecompiled);
}

NvrtcReply answer(const Nvrtc& nvrtc, const Setup& setup, const NvrtcRequest& request) {
  std::vector<std::string> options = setup.options;
  options.insert(options.end(), request.options.begin(), request.options.end());
  if (request.prelude && setup.precompiled) {
    options.push_back(std::string("--use-pch=") + kPrecompiled);
    options.push_back("--pch-dir=" + setup.folder);
    options.emplace_back("--pch-messages=false");
  }
  return compile(nvrtc, request, options);
}

Result<std::string> guarded(const Setup& setup, const GuardRequest& request,
                            std::unique_ptr<PtxAssembler>& assembler) {
  constexpr std::string_view kArchitecture = "--gpu-architecture=";
  const auto option = std::ranges::find_if(
      setup.options, [&](const std::string& one) { return one.starts_with(kArchitecture); });
  if (option == setup.options.end()) {
    return Error{ErrorKind::kUsage, "guards need an architecture", ""};
  }
  if (assembler == nullptr) {
    QUERN_ASSIGN(assembler, PtxAssembler::open(request.linker));
  }
  QUERN_ASSIGN(GuardedPtx made, guard_ptx(request.ptx));
  QUERN_ASSIGN(const std::string cubin,
               assembler->assemble(made.text, option->substr(kArchitecture.size())));
  GuardNotes notes;
  notes.sites = std::move(made.sites);
  notes.globals = std::move(made.globals);
  return pack_guarded(cubin, notes);
}

NvrtcReply answer_guard(const Setup& setup, const GuardRequest& request,
                        std::unique_ptr<PtxAssembler>& assembler) {
  const int64_t start = steady_now_ns();
  NvrtcReply reply;
  auto image = guarded(setup, request, assembler);
  if (image) {
    reply.cubin = std::move(*image);
  } else {
    reply.status = static_cast<int>(NvrtcStatus::kCompilation);
    reply.status_text = reply.log = image.error().message;
  }
  reply.wall_us = (steady_now_ns() - start) / 1000;
  reply.peak_kib = peak_kib();
  return reply;
}

int main_of_worker(int count, char** arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count < 4) return 2;
  limit_address_space(std::strtoull(arguments[3], nullptr, 10));
  Setup setup;
  if (std::string(arguments[2]) != "-") setup.folder = arguments[2];
  setup.options.assign(arguments + 4, arguments + count);
  auto nvrtc = Nvrtc::open(arguments[1]);
  NvrtcReady ready;
  if (!nvrtc) {
    ready.trouble = nvrtc.error().message;
    (void)write_frame(kNvrtcReplyFd, to_frame(ready));
    return 1;
  }
  ready.major = (*nvrtc)->major;
  ready.minor = (*nvrtc)->minor;
  setup.precompiled = precompile(**nvrtc, setup);
  ready.precompiled = setup.precompiled;
  if (!write_frame(kNvrtcReplyFd, to_frame(ready))) return 1;
  FrameReader reader;
  std::unique_ptr<PtxAssembler> assembler;
  for (;;) {
    auto frame = reader.next();
    if (!frame) return 1;
    if (!*frame) {
      if (!reader.take_in(kNvrtcRequestFd)) return 0;
      continue;
    }
    NvrtcReply reply;
    if (const auto guards = guard_request_from(**frame)) {
      reply = answer_guard(setup, *guards, assembler);
    } else if (const auto request = request_from(**frame)) {
      reply = answer(**nvrtc, setup, *request);
    } else {
      return 1;
    }
    if (!write_frame(kNvrtcReplyFd, to_frame(reply))) return 0;
  }
}

}  // namespace
}  // namespace quern::cuda

int main(int count, char** arguments) { return quern::cuda::main_of_worker(count, arguments); }
