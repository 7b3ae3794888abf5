// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/toolchain.h"

#include <algorithm>

#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"

namespace quern {
namespace {

/// Words of a line a driver printed with -###: blanks separate, double quotes group, a backslash
/// takes the next character as it is.
std::vector<std::string> shell_words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false, inside = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (c == '\\' && i + 1 < line.size()) {
      word += line[++i];
      inside = true;
    } else if (c == '"') {
      quoted = !quoted;
      inside = true;
    } else if (c == ' ' && !quoted) {
      if (inside) words.push_back(std::exchange(word, ""));
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside) words.push_back(word);
  return words;
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// The driver's step as we run it: its invented temporary names become ours, and the linker is
/// called without the link-time-optimisation plugin, which costs more than the link.
Toolchain::Step adapt(std::vector<std::string> words, const std::string& temporary_folder) {
  Toolchain::Step step;
  bool link = ends_with(words[0], "/collect2") || ends_with(words[0], "/ld");
  if (link) step = {"ld", "-z", "defs", "-z", "noexecstack"};
  if (!link) step = {words[0]};
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-plugin") ++i;
    if (word == "-plugin" || word.rfind("-plugin-opt", 0) == 0 || word == "--build-id") continue;
    bool temporary = word.rfind(temporary_folder + "/", 0) == 0;
    if (temporary && ends_with(word, ".s")) {
      step.push_back("candidate.s");
    } else if (temporary && ends_with(word, ".o")) {
      step.push_back("candidate.o");
    } else {
      step.push_back(word);
    }
  }
  return step;
}

std::string parse_version(const std::string& text, bool& gcc) {
  for (const std::string& line : split(text, '\n')) {
    std::vector<std::string> words = split_words(line);
    for (size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] != "version") continue;
      gcc = words[i - 1] == "gcc";
      return (gcc ? "g++ " : words[i - 1] + "++ ") + words[i + 1];
    }
  }
  return "";
}

Result<std::string> ask_driver(const Toolchain& toolchain, const std::string& folder) {
  QUERN_TRY(write_file_atomic(folder + "/candidate.cpp", ""));
  Command command;
  command.argv = {toolchain.driver, "-###", "-shared"};
  command.argv.insert(command.argv.end(), toolchain.flags.begin(), toolchain.flags.end());
  command.argv.insert(command.argv.end(), {"candidate.cpp", "-o", "candidate.so"});
  command.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + folder};
  command.cwd = folder;
  command.deadline_s = 20;
  command.output_cap_bytes = 1 << 20;
  QUERN_ASSIGN(ProcessEnd end, run_process(command));
  if (!end.status.ok()) {
    return Error{ErrorKind::kEnvironment,
                 toolchain.driver + " does not work: " + shorten(trim(end.err), 400), ""};
  }
  return end.err;
}

}  // namespace

std::vector<std::string> candidate_flags() {
  std::vector<std::string> flags = {"-std=c++20",
                                    "-O3",
                                    "-march=native",
                                    "-fopenmp",
                                    "-fPIC",
                                    "-fno-math-errno",
                                    "-fno-trapping-math",
                                    "-ffp-contract=fast",
                                    "-fno-plt",
                                    "-fno-semantic-interposition",
                                    "-fdiagnostics-color=never"};
  if (this_processor().has("avx512f")) flags.push_back("-mprefer-vector-width=512");
  return flags;
}

Result<Toolchain> probe_toolchain(const std::string& compiler, const std::string& folder) {
  Toolchain toolchain;
  toolchain.driver = find_program(compiler);
  if (toolchain.driver.empty()) {
    return Error{ErrorKind::kEnvironment, "there is no C++ compiler " + compiler,
                 "install one: apt install g++"};
  }
  toolchain.flags = candidate_flags();
  QUERN_ASSIGN(std::string said, ask_driver(toolchain, folder));
  toolchain.version = parse_version(said, toolchain.gcc);
  if (!toolchain.gcc) {
    // clang's OpenMP runtime opens shared memory by name when first used, which no candidate may.
    std::ranges::replace(toolchain.flags, "-fopenmp", "-fopenmp-simd");
    QUERN_ASSIGN(said, ask_driver(toolchain, folder));
  }
  for (const std::string& line : split(said, '\n')) {
    if (line.empty() || line[0] != ' ') continue;
    std::vector<std::string> words = shell_words(line);
    if (words.size() > 3) toolchain.steps.push_back(adapt(std::move(words), folder));
  }
  bool linked = !toolchain.steps.empty() && toolchain.steps.back()[0] == "ld";
  if (toolchain.version.empty() || toolchain.steps.size() < 2 || !linked) {
    return Error{ErrorKind::kEnvironment,
                 toolchain.driver + " is neither a g++ nor a clang++ that this program knows",
                 "name another one with --compiler"};
  }
  return toolchain;
}

std::vector<Toolchain::Step> steps_for(const Toolchain& toolchain,
                                       const std::vector<std::pair<std::string, int64_t>>& macros,
                                       const std::string& include_folder,
                                       const std::vector<std::string>& libraries) {
  std::vector<Toolchain::Step> steps = toolchain.steps;
  std::vector<std::string> extra;
  if (!include_folder.empty()) extra = {"-I", include_folder};
  for (const auto& [name, value] : macros) {
    extra.insert(extra.end(), {"-D", name + "=" + std::to_string(value)});
  }
  auto& compile = steps.front();
  compile.insert(std::find(compile.begin(), compile.end(), "candidate.cpp"), extra.begin(),
                 extra.end());
  std::vector<std::string> links;
  for (const std::string& library : libraries) links.push_back("-l" + library);
  auto& link = steps.back();
  auto object = std::find(link.begin(), link.end(), "candidate.o");
  if (object != link.end()) link.insert(object + 1, links.begin(), links.end());
  return steps;
}

Toolchain::Step lighter_link(const Toolchain::Step& link,
                             const std::vector<std::string>& undefined) {
  static constexpr std::string_view kPlain[] = {
      "memcpy", "memmove", "memset",        "memcmp", "malloc",
      "free",   "calloc",  "aligned_alloc", "abort",  "_GLOBAL_OFFSET_TABLE_"};
  std::vector<std::string> wanted = {"-lc"};
  for (const std::string& name : undefined) {
    bool letter = name[0] >= 'a' && name[0] <= 'z';
    if (name.rfind("GOMP_", 0) == 0 || name.rfind("omp_", 0) == 0) {
      wanted.push_back("-lgomp");
    } else if (std::ranges::find(kPlain, name) != std::end(kPlain)) {
      continue;
    } else if (letter) {
      wanted.push_back("-lm");  // some C function
    } else {
      return link;
    }
  }
  Toolchain::Step lighter;
  for (const std::string& word : link) {
    bool library = word.rfind("-l", 0) == 0;
    if (!library || std::ranges::find(wanted, word) != wanted.end()) lighter.push_back(word);
  }
  return lighter;
}

Processor this_processor() {
  Processor processor;
  auto text = read_file("/proc/cpuinfo");
  if (!text) return processor;
  for (const std::string& line : split(*text, '\n')) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name(trim(std::string_view(line).substr(0, colon)));
    std::string value(trim(std::string_view(line).substr(colon + 1)));
    if (name == "model name" && processor.model.empty()) processor.model = value;
    if (name == "flags" && processor.features.empty()) processor.features = " " + value + " ";
  }
  return processor;
}

}  // namespace quern
