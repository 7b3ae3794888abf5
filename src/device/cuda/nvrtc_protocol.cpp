// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/nvrtc_protocol.h"

#include <charconv>

namespace quern::cuda {
namespace {

template <class Number>
bool read(const std::string& text, Number& value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end;
}

bool read(const std::string& text, bool& value) {
  value = text == "1";
  return text == "0" || text == "1";
}

std::string flag(bool value) { return value ? "1" : "0"; }

}  // namespace

Frame to_frame(const NvrtcReady& ready) {
  return {"ready", std::to_string(ready.major), std::to_string(ready.minor),
          flag(ready.precompiled), ready.trouble};
}

std::optional<NvrtcReady> ready_from(const Frame& frame) {
  NvrtcReady ready;
  const bool good = frame.size() == 5 && frame[0] == "ready" && read(frame[1], ready.major) &&
                    read(frame[2], ready.minor) && read(frame[3], ready.precompiled);
  if (!good) return std::nullopt;
  ready.trouble = frame[4];
  return ready;
}

Frame to_frame(const NvrtcRequest& request) {
  Frame frame = {"compile", request.source, flag(request.prelude),
                 std::to_string(request.deadline_ms), std::to_string(request.headers.size())};
  for (const auto& [name, text] : request.headers) {
    frame.push_back(name);
    frame.push_back(text);
  }
  frame.insert(frame.end(), request.options.begin(), request.options.end());
  return frame;
}

std::optional<NvrtcRequest> request_from(const Frame& frame) {
  NvrtcRequest request;
  size_t headers = 0;
  const bool good = frame.size() >= 5 && frame[0] == "compile" && read(frame[2], request.prelude) &&
                    read(frame[3], request.deadline_ms) && read(frame[4], headers);
  if (!good || headers > (frame.size() - 5) / 2) return std::nullopt;
  request.source = frame[1];
  size_t at = 5;
  for (; headers > 0; --headers, at += 2) request.headers.emplace_back(frame[at], frame[at + 1]);
  request.options.assign(frame.begin() + static_cast<std::ptrdiff_t>(at), frame.end());
  return request;
}

Frame to_frame(const GuardRequest& request) { return {"guard", request.ptx, request.linker}; }

std::optional<GuardRequest> guard_request_from(const Frame& frame) {
  if (frame.size() != 3 || frame[0] != "guard") return std::nullopt;
  return GuardRequest{frame[1], frame[2]};
}

Frame to_frame(const NvrtcReply& reply) {
  return {"done",
          std::to_string(reply.status),
          reply.status_text,
          reply.log,
          reply.cubin,
          std::to_string(reply.wall_us),
          std::to_string(reply.peak_kib),
          reply.ptx};
}

std::optional<NvrtcReply> reply_from(const Frame& frame) {
  NvrtcReply reply;
  const bool good = frame.size() == 8 && frame[0] == "done" && read(frame[1], reply.status) &&
                    read(frame[5], reply.wall_us) && read(frame[6], reply.peak_kib);
  if (!good) return std::nullopt;
  reply.status_text = frame[2];
  reply.log = frame[3];
  reply.cubin = frame[4];
  reply.ptx = frame[7];
  return reply;
}

}  // namespace quern::cuda
