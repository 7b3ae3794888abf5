// SPDX-License-Identifier: Apache-2.0
#include "search/suite_candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>

#include "base/file.h"
#include "base/strings.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLimitBytes = size_t{4} << 20;

struct LanguageRow {
  const char* word;  ///< a file's extension, or how a benchmark calls the language
  const char* language;
};
constexpr LanguageRow kLanguages[] = {
    {"c", "c++"},           {"cc", "c++"},        {"cpp", "c++"},         {"cxx", "c++"},
    {"c++", "c++"},         {"cu", "cuda"},       {"cuda", "cuda"},       {"cl", "opencl"},
    {"opencl", "opencl"},   {"py", "python"},     {"python", "python"},   {"triton", "python"},
    {"pytorch", "python"},  {"cuda_cpp", "cuda"}, {"cute_dsl", "python"}, {"cutile", "python"},
    {"tilelang", "python"},
};

std::string language_of(std::string word) {
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const LanguageRow& row : kLanguages) {
    if (word == row.word) return row.language;
  }
  return "";
}

void settle_language(OfferedSample& sample, const std::string& word) {
  sample.language = language_of(word);
  if (sample.language.empty()) {
    sample.unsupported = fmt::format("the language '{}' is not known", word);
  }
}

/// A text under the first of some keys that is there.
std::string text_at(const Json& json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (json.contains(key) && json[key].is_string()) return json[key];
  }
  return "";
}

int number_at(const Json& json, std::initializer_list<const char*> keys, int otherwise) {
  for (const char* key : keys) {
    if (json.contains(key) && json[key].is_number_integer()) return json[key];
  }
  return otherwise;
}

/// How a line calls its language. KernelBench's name the back end, and every source of theirs is
/// Python around it; where nothing is said, a source that defines their class is Python, too.
std::string language_of_line(const Json& json, const std::string& source) {
  static constexpr std::string_view kModule = "class ModelNew";
  if (source.find(kModule) != std::string::npos) return "python";
  const std::string named = text_at(json, {"language", "backend"});
  return named.empty() ? "c++" : named;
}

/// FlashInfer-Bench names one language, SOL-ExecBench a list of them.
std::string language_of_solution(const Json& spec) {
  std::string one = text_at(spec, {"language"});
  if (!one.empty() || !spec.contains("languages")) return one;
  const Json& all = spec["languages"];
  return all.is_array() && !all.empty() && all[0].is_string() ? all[0].get<std::string>() : "";
}

/// FlashInfer-Bench's and SOL-ExecBench's Solution: files, and how they are called.
OfferedSample solution(const Json& json) {
  OfferedSample sample;
  const Json& spec = json["spec"];
  sample.task = text_at(json, {"definition"});
  settle_language(sample, language_of_solution(spec));
  const std::string binding = text_at(spec, {"binding"});
  if (sample.unsupported.empty() && !binding.empty()) {
    sample.unsupported = fmt::format(
        "its binding is '{}': only plain functions over pointers can be called here", binding);
  }
  const Json& sources = json["sources"];
  if (!sources.is_array() || sources.size() != 1) {
    if (sample.unsupported.empty()) sample.unsupported = "it has several files";
    return sample;
  }
  sample.source = text_at(sources[0], {"content"});
  const std::string entry = text_at(spec, {"entry_point"});
  const size_t colons = entry.find("::");
  const std::string function = colons == std::string::npos ? entry : entry.substr(colons + 2);
  if (sample.language == "c++" && colons != std::string::npos) {
    sample.source.insert(0, fmt::format("// quern: entry = {}\n", function));
  }
  if (sample.language == "python") {
    sample.entry = function;
    sample.fills_outputs =
        !spec.contains("destination_passing_style") || spec["destination_passing_style"] != false;
  }
  return sample;
}

Result<OfferedSample> sample_of_json(const Json& json, const std::string& origin) {
  OfferedSample sample;
  if (json.is_object() && json.contains("spec") && json["spec"].is_object() &&
      json.contains("sources")) {
    sample = solution(json);
  } else if (json.is_object()) {
    sample.task = text_at(json, {"task", "definition", "name"});
    sample.level = number_at(json, {"level"}, 0);
    sample.problem = number_at(json, {"problem_id", "problem"}, 0);
    sample.source = text_at(json, {"source", "code", "kernel"});
    settle_language(sample, language_of_line(json, sample.source));
  }
  sample.number = number_at(json, {"sample", "sample_id"}, -1);
  sample.origin = origin;
  if ((sample.task.empty() && sample.level == 0) ||
      (sample.source.empty() && sample.unsupported.empty())) {
    return Error{ErrorKind::kInput, fmt::format("{}: this is no sample", origin),
                 "expected {\"task\": …, \"source\": …} or a Solution (docs/benchmarking.md)"};
  }
  return sample;
}

Result<void> read_json_lines(const std::string& path, std::vector<OfferedSample>& samples) {
  QUERN_ASSIGN(const std::string text, read_file(path));
  int number = 0;
  for (const std::string& line : split(text, '\n')) {
    ++number;
    if (trim(line).empty()) continue;
    const std::string origin = fmt::format("{}:{}", path, number);
    const Result<Json> json = parse_json(line);
    if (!json) return Error{ErrorKind::kInput, origin + ": " + json.error().message, ""};
    QUERN_ASSIGN(OfferedSample sample, sample_of_json(*json, origin));
    samples.push_back(std::move(sample));
  }
  return {};
}

/// ParEval's record of one prompt: its function's head, and bodies that complete it.
void add_outputs(const Json& json, const std::string& origin, std::vector<OfferedSample>& samples) {
  for (const Json& output : json["outputs"]) {
    OfferedSample& sample = samples.emplace_back();
    sample.task = text_at(json, {"name"});
    sample.model = text_at(json, {"parallelism_model"});
    sample.language = "c++";
    sample.number = -1;
    sample.origin = fmt::format("{} ({})", origin, sample.model);
    sample.prompt = text_at(json, {"prompt"});
    sample.source = sample.prompt +
                    (output.is_string() ? output.get<std::string>() : text_at(output, {"output"}));
    if (sample.model != "serial" && sample.model != "omp") {
      sample.unsupported = fmt::format("its model of parallelism is '{}'", sample.model);
    }
  }
}

bool has_outputs(const Json& json) {
  return json.is_object() && json.contains("outputs") && json["outputs"].is_array() &&
         json.contains("prompt");
}

Result<void> read_json_file(const std::string& path, std::vector<OfferedSample>& samples) {
  QUERN_ASSIGN(const std::string text, read_file(path));
  const Result<Json> json = parse_json(text);
  if (!json) return Error{ErrorKind::kInput, path + ": " + json.error().message, ""};
  if (json->is_array() && std::ranges::all_of(*json, has_outputs)) {
    for (const Json& prompt : *json) add_outputs(prompt, path, samples);
    return {};
  }
  QUERN_ASSIGN(OfferedSample sample, sample_of_json(*json, path));
  samples.push_back(std::move(sample));
  return {};
}

/// A source file: its name or its folder's says which task it is for. False: neither does.
Result<bool> read_source(const fs::path& path, const fs::path& root,
                         std::vector<OfferedSample>& samples) {
  static const auto& pattern =
      *new std::regex(R"(level_(\d+)_problem_(\d+)_sample_(\d+)_kernel\.\w+)");
  const std::string extension = path.extension().string();
  if (extension.size() < 2 || language_of(extension.substr(1)).empty()) return false;
  OfferedSample sample;
  sample.origin = path.string();
  sample.number = -1;
  const std::string name = path.filename().string();
  if (std::smatch parts; std::regex_match(name, parts, pattern) && name.size() < 80) {
    sample.level = std::atoi(parts[1].str().c_str());
    sample.problem = std::atoi(parts[2].str().c_str());
    sample.number = std::atoi(parts[3].str().c_str());
  } else if (path.parent_path() != root) {
    sample.task = path.parent_path().filename();
  } else {
    sample.task = path.stem();
  }
  settle_language(sample, extension.substr(1));
  QUERN_ASSIGN(sample.source, read_file(path, kLimitBytes));
  samples.push_back(std::move(sample));
  return true;
}

Result<void> read_folder(const std::string& folder, OfferedSamples& offered) {
  fs::path root = fs::path(folder).lexically_normal();
  if (!root.has_filename()) root = root.parent_path();  // written with a slash at its end
  std::vector<fs::path> files;
  std::error_code code;
  for (fs::recursive_directory_iterator at(root, code), end; !code && at != end;
       at.increment(code)) {
    if (at->is_regular_file()) files.push_back(at->path());
  }
  if (code) return system_error("read the folder", folder, code.value());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const std::string extension = file.extension();
    if (extension == ".jsonl") {
      // Benchmarks keep other lines beside their candidates; lines that begin as samples and go on
      // as something else are a mistake.
      const size_t before = offered.samples.size();
      Result<void> read = read_json_lines(file, offered.samples);
      if (!read && offered.samples.size() > before) return read;
      if (!read) offered.ignored.push_back(file);
    } else if (extension == ".json") {
      if (!read_json_file(file, offered.samples)) offered.ignored.push_back(file);
    } else {
      QUERN_ASSIGN(const bool read, read_source(file, root, offered.samples));
      if (!read) offered.ignored.push_back(file);
    }
  }
  return {};
}

/// Samples without a number of their own get their place among those of their task.
void number_samples(std::vector<OfferedSample>& samples) {
  std::map<std::string, int> next;
  for (OfferedSample& sample : samples) {
    int& place = next[fmt::format("{}/{}/{}", sample.task, sample.level, sample.problem)];
    if (sample.number < 0) sample.number = place;
    place = std::max(place, sample.number + 1);
  }
}

}  // namespace

Result<OfferedSamples> read_offered(const std::string& path) {
  OfferedSamples offered;
  std::error_code code;
  if (fs::is_directory(path, code)) {
    QUERN_TRY(read_folder(path, offered));
  } else if (path.ends_with(".jsonl")) {
    QUERN_TRY(read_json_lines(path, offered.samples));
  } else if (path.ends_with(".json")) {
    QUERN_TRY(read_json_file(path, offered.samples));
  } else {
    return Error{ErrorKind::kUsage, fmt::format("{} holds no candidates", path),
                 "give a folder, a .jsonl of samples or a Solution .json (docs/benchmarking.md)"};
  }
  if (offered.samples.empty()) {
    return Error{ErrorKind::kInput, fmt::format("there is no candidate in {}", path),
                 "see docs/benchmarking.md for the layouts"};
  }
  number_samples(offered.samples);
  return offered;
}

bool is_for(const OfferedSample& sample, const SuiteTask& task) {
  if (!sample.task.empty()) return sample.task == task.name || sample.task == task.alias;
  return sample.level == task.level && sample.problem == task.problem;
}

}  // namespace quern
