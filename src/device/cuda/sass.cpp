// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/sass.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <cctype>

#include "base/clock.h"
#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"

namespace quern::cuda {
namespace {

struct Mnemonic {
  const char* prefix;  ///< of the opcode; a longer one that fits stands first
  int SassStatistics::*count;
};

constexpr Mnemonic kMnemonics[] = {
    {"LDGSTS", &SassStatistics::async_copies},
    {"LDSM", &SassStatistics::ldmatrix},
    {"LDL", &SassStatistics::local_loads},
    {"STL", &SassStatistics::local_stores},
    {"UTMA", &SassStatistics::bulk_copies},
    {"UBLKCP", &SassStatistics::bulk_copies},
    {"HGMMA", &SassStatistics::warpgroup_matrix},
    {"QGMMA", &SassStatistics::warpgroup_matrix},
    {"IGMMA", &SassStatistics::warpgroup_matrix},
    {"BGMMA", &SassStatistics::warpgroup_matrix},
    {"HMMA", &SassStatistics::matrix},
    {"IMMA", &SassStatistics::matrix},
    {"DMMA", &SassStatistics::matrix},
    {"QMMA", &SassStatistics::matrix},
    {"FFMA", &SassStatistics::fma_f32},
    {"MUFU", &SassStatistics::special},
    {"F2F", &SassStatistics::conversions},
    {"F2I", &SassStatistics::conversions},
    {"I2F", &SassStatistics::conversions},
    {"ATOM", &SassStatistics::atomics},
    {"RED", &SassStatistics::atomics},
    {"BAR", &SassStatistics::barriers},
    {"UCGABAR", &SassStatistics::barriers},
    {"SHFL", &SassStatistics::shuffles},
    {"BRA", &SassStatistics::branches},
    {"BRX", &SassStatistics::branches},
    {"DADD", &SassStatistics::f64},
    {"DMUL", &SassStatistics::f64},
    {"DFMA", &SassStatistics::f64},
    {"DSETP", &SassStatistics::f64},
    {"HADD2", &SassStatistics::f16},
    {"HMUL2", &SassStatistics::f16},
    {"HFMA2", &SassStatistics::f16},
    {"HMNMX2", &SassStatistics::f16},
    {"FADD", &SassStatistics::other_f32},
    {"FMUL", &SassStatistics::other_f32},
    {"FMNMX", &SassStatistics::other_f32},
    {"FSETP", &SassStatistics::other_f32},
    {"FSEL", &SassStatistics::other_f32},
    {"IMAD", &SassStatistics::integer},
    {"IADD", &SassStatistics::integer},
    {"LEA", &SassStatistics::integer},
    {"LOP3", &SassStatistics::integer},
    {"SHF", &SassStatistics::integer},
    {"ISETP", &SassStatistics::integer},
};

/// Index into WidthCounts of an opcode such as LDG.E.128.CONSTANT.
size_t width_of(std::string_view opcode) {
  const auto has = [&](std::string_view part) {
    for (const std::string& piece : split(opcode, '.')) {
      if (piece == part) return true;
    }
    return false;
  };
  if (has("128")) return 4;
  if (has("64")) return 3;
  if (has("U16") || has("S16")) return 1;
  if (has("U8") || has("S8")) return 0;
  return 2;
}

void count_opcode(std::string_view opcode, SassStatistics& s) {
  ++s.instructions;
  const std::string_view name = opcode.substr(0, opcode.find('.'));
  if (name == "LDG" || name == "LD") ++s.global_loads[width_of(opcode)];
  if (name == "STG" || name == "ST") ++s.global_stores[width_of(opcode)];
  if (name == "LDS") ++s.shared_loads[width_of(opcode)];
  if (name == "STS") ++s.shared_stores[width_of(opcode)];
  for (const Mnemonic& mnemonic : kMnemonics) {
    if (!opcode.starts_with(mnemonic.prefix)) continue;
    ++(s.*mnemonic.count);
    return;
  }
}

/// The opcode of a line such as `/*0010*/ @!P0 LDG.E R4, [R2] ;`; "" where it holds none.
std::string_view opcode_in(std::string_view line) {
  line = trim(line);
  if (!line.starts_with("/*")) return {};
  const size_t end = line.find("*/");
  if (end == std::string_view::npos) return {};
  line = trim(line.substr(end + 2));
  if (line.starts_with('{')) line = trim(line.substr(1));
  if (line.starts_with('@')) {
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return {};
    line = trim(line.substr(blank));
  }
  const size_t stop = line.find_first_of(" ;");
  const std::string_view word = line.substr(0, stop);
  return !word.empty() && std::isupper(static_cast<unsigned char>(word[0])) ? word : "";
}

std::string first_match(const std::string& pattern) {
  glob_t found{};
  std::string path;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) path = found.gl_pathv[found.gl_pathc - 1];
  globfree(&found);
  return path;
}

}  // namespace

std::vector<SassStatistics> parse_sass(std::string_view listing) {
  std::vector<SassStatistics> kernels;
  for (const std::string& line : split(listing, '\n')) {
    const std::string_view text = trim(line);
    constexpr std::string_view kLabel = ".text.";
    if (text.starts_with(kLabel) && text.ends_with(":")) {
      kernels.emplace_back();
      kernels.back().kernel = text.substr(kLabel.size(), text.size() - kLabel.size() - 1);
    }
    const std::string_view opcode = opcode_in(line);
    if (opcode.empty() || kernels.empty() || opcode == "NOP") continue;
    count_opcode(opcode, kernels.back());
  }
  return kernels;
}

Result<std::vector<SassStatistics>> count_sass(const std::string& nvdisasm,
                                               const std::string& image,
                                               const std::string& scratch_dir) {
  const std::string folder = fmt::format("{}/sass-{}", scratch_dir, steady_now_ns());
  QUERN_TRY(make_directories(folder));
  const std::string file = folder + "/kernel.cubin";
  auto written = write_file_atomic(file, image);
  Command command;
  command.argv = {nvdisasm, "-c", file};
  command.env = {"LC_ALL=C"};
  command.deadline_s = 30;
  command.output_cap_bytes = size_t{64} << 20;
  command.sandbox.restrict_files = true;
  command.sandbox.read_exec = {"/usr", "/lib", "/lib64", nvdisasm};
  command.sandbox.read_only = {folder, "/etc/ld.so.cache"};
  command.sandbox.read_write = {"/dev/null"};
  auto end = written ? run_process(command) : Result<ProcessEnd>(written.error());
  (void)remove_all(folder);
  if (!end) return end.error();
  if (!end->status.ok()) {
    return Error{
        ErrorKind::kEnvironment,
        fmt::format("{} failed: {}", nvdisasm,
                    end->timed_out ? "it took more than 30 s" : shorten(trim(end->err), 400)),
        ""};
  }
  return parse_sass(end->out);
}

std::string find_nvdisasm(const std::string& nvrtc_path,
                          const std::vector<std::string>& python_environments) {
  std::vector<std::string> places = {nvrtc_path.substr(0, nvrtc_path.rfind('/')) + "/../bin",
                                     "/usr/local/cuda/bin", "/usr/local/cuda-*/bin",
                                     "/opt/cuda/bin", "/usr/bin"};
  for (const std::string& environment : python_environments) {
    places.push_back(environment + "/lib/python3*/site-packages/triton/backends/nvidia/bin");
  }
  for (const std::string& place : places) {
    if (std::string found = first_match(place + "/nvdisasm"); !found.empty()) return found;
  }
  return "";
}

}  // namespace quern::cuda
