// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/compile_result.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/strings.h"

namespace quern::cuda {
namespace {

constexpr size_t kLogLimit = 64 * 1024;

bool is(const NvrtcReply& reply, NvrtcStatus status) {
  return reply.status == static_cast<int>(status);
}

/// The log without the assembler's report.
std::string diagnostics(const std::string& log) {
  std::vector<std::string> kept;
  for (const std::string& line : split(log, '\n')) {
    const std::string_view text = trim(line);
    const bool report = text.starts_with("ptxas info") || text.starts_with("ptxas         .") ||
                        text.find("bytes stack frame") != std::string_view::npos;
    if (!report && !text.empty()) kept.push_back(line);
  }
  return shorten(join(kept, "\n"), kLogLimit);
}

/// The first line that says what is wrong.
std::string first_error(const std::string& log, const std::string& otherwise) {
  for (const std::string& line : split(log, '\n')) {
    for (const char* mark : {"error: ", "ptxas fatal", "ptxas error", "Error: ", "error   :"}) {
      if (line.find(mark) != std::string::npos)
        return "the compiler said: " + std::string(trim(line));
    }
  }
  return "the compiler failed: " + otherwise;
}

}  // namespace

Outcome<CudaBinary> outcome_of(const NvrtcReply& reply, const std::string& version, bool cached) {
  const std::string log = diagnostics(reply.log);
  if (is(reply, NvrtcStatus::kCancelled)) {
    return Verdict(CompileFailed{
        fmt::format("the compiler was stopped after {} s", reply.wall_us / 1'000'000), log});
  }
  if (is(reply, NvrtcStatus::kInvalidOption)) {
    return Error{ErrorKind::kInternal, "the compiler refuses our options: " + log, ""};
  }
  if (!is(reply, NvrtcStatus::kSuccess)) {
    return Verdict(CompileFailed{first_error(log, reply.status_text), log});
  }
  CudaBinary binary;
  binary.image = reply.cubin;
  binary.ptx = reply.ptx;
  auto kernels = read_cubin(binary.image);
  if (!kernels) return kernels.error();
  binary.kernels = std::move(*kernels);
  add_assembler_report(reply.log, binary.kernels);
  Hasher hasher;
  for (const CubinKernel& kernel : binary.kernels) hasher.add(kernel.code_hash);
  binary.build.compiler = version;
  binary.build.log = log;
  binary.build.binary_hash = hasher.hex();
  binary.build.compile_ms = static_cast<double>(reply.wall_us) * 1e-3;
  binary.build.cached = cached;
  return binary;
}

std::optional<NvrtcReply> find_result(const std::string& folder, const std::string& key) {
  auto text = read_file(folder + "/" + key);
  if (!text) return std::nullopt;
  auto frame = decode_frame(*text);
  if (!frame) return std::nullopt;
  return reply_from(*frame);
}

void keep_result(const std::string& folder, const std::string& key, const NvrtcReply& reply) {
  // A deadline passed may be this machine's load; diagnostics are the source's alone.
  if (!is(reply, NvrtcStatus::kSuccess) && !is(reply, NvrtcStatus::kCompilation)) return;
  (void)write_file_atomic(folder + "/" + key, encode_frame(to_frame(reply)));
}

}  // namespace quern::cuda
