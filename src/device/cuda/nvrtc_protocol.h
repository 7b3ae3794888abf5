// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/frame.h"
#include "base/result.h"

/// What `quern-nvrtc` and its parent say to each other, as frames over two pipes. The worker is
/// started as: quern-nvrtc LIBRARY PRELUDE_FOLDER MEMORY_BYTES OPTION…; it makes its precompiled
/// header in the folder (which holds quern_cuda.h; "-" for none), says `Ready`, then answers
/// requests one by one.
namespace quern::cuda {

inline constexpr int kNvrtcRequestFd = 3;
inline constexpr int kNvrtcReplyFd = 4;

struct NvrtcReady {
  int major = 0, minor = 0;  ///< version of the compiler
  bool precompiled = false;  ///< the house header is
  std::string trouble;       ///< why the worker is of no use; "": it is of use
};

struct NvrtcRequest {
  std::string source;
  bool prelude = false;  ///< its first directive includes the house header
  int64_t deadline_ms = 0;
  std::vector<std::string> options;                          ///< beside those of the command line
  std::vector<std::pair<std::string, std::string>> headers;  ///< name and text, to be included
};

/// The guarded form of a PTX text (device/cuda/ptx_guard.h) is asked for. The reply's `cubin` is
/// then as `pack_guarded` makes it, and what cannot be guarded is an error of compilation.
struct GuardRequest {
  std::string ptx;
  std::string linker;  ///< path of nvJitLink
};

struct NvrtcReply {
  int status = 0;  ///< nvrtcResult
  std::string status_text;
  std::string log, cubin, ptx;
  int64_t wall_us = 0;
  int64_t peak_kib = 0;  ///< memory of the worker at its highest
};

Frame to_frame(const NvrtcReady& ready);
Frame to_frame(const NvrtcRequest& request);
Frame to_frame(const GuardRequest& request);
Frame to_frame(const NvrtcReply& reply);
/// Nothing for a frame of another shape.
std::optional<NvrtcReady> ready_from(const Frame& frame);
std::optional<NvrtcRequest> request_from(const Frame& frame);
std::optional<GuardRequest> guard_request_from(const Frame& frame);
std::optional<NvrtcReply> reply_from(const Frame& frame);

}  // namespace quern::cuda
