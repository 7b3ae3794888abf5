// SPDX-License-Identifier: Apache-2.0
#include "deploy/artifact.h"

#include <fmt/format.h>

#include <cctype>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/embedded.h"
#include "base/hash.h"
#include "base/strings.h"
#include "codegen/prelude.h"
#include "codegen/reference.h"
#include "deploy/size_text.h"
#include "record/candidate.h"
#include "record/json.h"
#include "record/template.h"

namespace quern {

extern const EmbeddedFile kExportFiles[];

namespace {

/// A template and the file that it becomes, for which kernels; NAME stands for the task's name.
enum class For { kAll, kCpu, kCuda };
struct Page {
  const char* name;
  const char* path;
  For what = For::kAll;
};
constexpr Page kPages[] = {
    {"readme", "README.md", For::kCpu},
    {"cuda_readme", "README.md", For::kCuda},
    {"c_header", "include/quern/NAME.h", For::kCpu},
    {"cuda_header", "include/quern/NAME.h", For::kCuda},
    {"cuda_source", "source/NAME.c", For::kCuda},
    {"cuda_testing", "test/cuda_memory.hpp", For::kCuda},
    {"cpp_header", "include/quern/NAME.hpp"},
    {"config", "lib/cmake/NAME/NAMEConfig.cmake"},
    {"rebuild", "source/rebuild.sh", For::kCpu},
    {"package", "python/quern_NAME/__init__.py"},
    {"pyproject", "python/pyproject.toml"},
    {"tests", "test/CMakeLists.txt"},
    {"test_cpp", "test/test_NAME.cpp"},
    {"test_python", "test/test_NAME.py"},
};

const char* torch_name(DType type) {
  switch (type) {
    case DType::kF32:
      return "float32";
    case DType::kF64:
      return "float64";
    case DType::kI32:
      return "int32";
    case DType::kI64:
      return "int64";
  }
  return "";
}

const char* cpp_name(DType type) {
  switch (type) {
    case DType::kF32:
      return "float";
    case DType::kF64:
      return "double";
    case DType::kI32:
      return "std::int32_t";
    case DType::kI64:
      return "std::int64_t";
  }
  return "";
}

Json tensor_json(const std::string& name, DType type, const std::vector<ir::IntExpr>& shape) {
  std::vector<std::string> extents;
  std::string count = "std::int64_t{1}";
  for (const ir::IntExpr& extent : shape) {
    extents.push_back(ir::print(extent));
    count += " * " + size_text(extent, SizeLanguage::kCpp);
  }
  const bool wide = type == DType::kI64;
  return {{"name", safe_name(name)},
          {"c", is_float(type) ? cpp_name(type)
                : wide         ? "int64_t"
                               : "int32_t"},
          {"dtype", dtype_name(type)},
          {"torch", torch_name(type)},
          {"cpp", cpp_name(type)},
          {"integer", !is_float(type)},
          {"f64", type == DType::kF64},
          {"shape", fmt::format("[{}]", join(extents, ", "))},
          {"rank", shape.size()},
          {"python_shape", shape_text(shape, SizeLanguage::kPython)},
          {"count", count}};
}

/// How a test draws an input: a or the low end, b or the high end.
void add_distribution(const ir::InputDecl& input, Json& json) {
  using Kind = ir::Distribution::Kind;
  const ir::Distribution& d = input.distribution;
  json["uniform"] = d.kind == Kind::kUniform;
  json["normal"] = d.kind == Kind::kNormal;
  json["constant"] = d.kind == Kind::kConstant;
  json["a"] = fmt::format("{:.17g}", d.a);
  json["b"] = fmt::format("{:.17g}", d.b);
  if (d.kind == Kind::kIntegers) {
    json["integers"] = true;
    json["low_python"] = size_text(d.low, SizeLanguage::kPython);
    json["high_python"] = size_text(d.high, SizeLanguage::kPython);
    json["low_cpp"] = size_text(d.low, SizeLanguage::kCpp);
    json["high_cpp"] = size_text(d.high, SizeLanguage::kCpp);
  }
  json["param"] = input.is_param;
}

/// Where a free size can be read off: an input that has it as an extent by itself.
std::optional<std::pair<std::string, size_t>> place_of(const ir::Program& program,
                                                       const std::string& size) {
  for (const ir::InputDecl& input : program.inputs) {
    for (size_t axis = 0; axis < input.shape.size(); ++axis) {
      const ir::IntExpr& extent = input.shape[axis];
      if (extent.kind == ir::IntExpr::Kind::kSize && extent.name == size) {
        return std::pair(safe_name(input.name), axis);
      }
    }
  }
  return std::nullopt;
}

Json sizes_json(const Winner& winner, bool fixed) {
  Json list = Json::array();
  for (const ir::SizeDecl& size : winner.program.sizes) {
    Json json = {{"name", safe_name(size.name)}, {"value", winner.sizes.at(size.name)}};
    json["free"] = !size.let.has_value();
    json["fixed"] = fixed && !size.let;
    const std::string measured = std::to_string(winner.sizes.at(size.name));
    if (size.let) {
      json["python"] = json["measured"] = size_text(*size.let, SizeLanguage::kPython);
      json["cpp"] = size_text(*size.let, SizeLanguage::kCpp);
    } else {
      const auto place = place_of(winner.program, size.name);
      json["python"] = place ? fmt::format("{}.shape[{}]", place->first, place->second) : measured;
      json["measured"] = measured;
      json["cpp"] = "sizes." + safe_name(size.name);
    }
    list.push_back(std::move(json));
  }
  return list;
}

/// Marks all but the last element, so that templates can put commas between them.
void separate(Json& list) {
  for (size_t i = 0; i < list.size(); ++i) list[i]["more"] = i + 1 < list.size();
}

/// Safe inside any comment and string: no line ends, quotes or comment ends.
std::string one_line(const std::string& text) {
  std::string made;
  for (char c : join(split_words(text), " ")) {
    if (c != '"' && c != '\\' && c != '*') made += c;
  }
  return made;
}

/// "GroupNorm" of "group_norm".
std::string module_name(const std::string& name) {
  std::string made;
  bool begins = true;
  for (char c : name) {
    if (c != '_')
      made += static_cast<char>(begins ? std::toupper(static_cast<unsigned char>(c)) : c);
    begins = c == '_';
  }
  return made == name ? made + "Module" : made;
}

std::string claim(const Winner& winner) {
  const Json best = winner.summary.is_object() ? winner.summary.value("best", Json()) : Json();
  if (!best.is_object() || !best.contains("speedup") || !best["speedup"].is_number()) return "";
  const Json baseline = winner.summary.value("baseline", Json());
  return fmt::format(
      "{:.2f}× the speed of `{}` (95 % interval {:.2f} to {:.2f}), {:.4g} ms a call, verified at "
      "level {}",
      best["speedup"].get<double>(),
      baseline.is_object() ? baseline.value("name", std::string("the baseline")) : "the baseline",
      best["speedup_low"].get<double>(), best["speedup_high"].get<double>(),
      best["median_ns"].get<double>() * 1e-6, best.value("verification_level", std::string()));
}

/// What a kernel is called, and whether it is for its sizes alone.
struct Identity {
  std::string entry;
  bool fixed = false;
};

Json page_data(const Winner& winner, const Identity& plan) {
  const ir::Program& program = winner.program;
  Json data = {{"name", program.name},
               {"entry", plan.entry},
               {"fixed", plan.fixed},
               {"title", program.doc.empty() ? program.name : one_line(program.doc.front())},
               {"task", trim(winner.task_text)},
               {"run_id", winner.run_id},
               {"size", winner.size},
               {"claim", claim(winner)},
               {"cpu", winner.environment.cpu},
               {"threads", winner.environment.threads},
               {"isa", winner.environment.isa},
               {"compiler", winner.build.compiler},
               {"flags", winner.build.flags},
               {"sizes", sizes_json(winner, plan.fixed)}};
  data["cuda"] = winner.cuda.has_value();
  data["for_others"] = winner.cuda ? fmt::format("optimise source/{}.task for it", program.name)
                                   : "see source/rebuild.sh";
  Json free = Json::array(), inputs = Json::array(), outputs = Json::array();
  for (const Json& size : data["sizes"]) {
    if (size["free"].get<bool>()) free.push_back(size);
  }
  for (const ir::InputDecl& input : program.inputs) {
    Json json = tensor_json(input.name, input.type, input.shape);
    add_distribution(input, json);
    json["first"] = inputs.empty();
    inputs.push_back(std::move(json));
  }
  for (const ir::Statement* output : program.outputs()) {
    outputs.push_back(tensor_json(output->name, output->type, program.shape_of(output->name)));
  }
  for (Json* list : {&free, &inputs, &outputs}) separate(*list);
  Json plain = Json::array(), params = Json::array();
  for (const Json& input : inputs) (input["param"].get<bool>() ? params : plain).push_back(input);
  for (Json* list : {&plain, &params}) separate(*list);
  data["lb"] = "{";
  data["rb"] = "}";
  data["module"] = module_name(program.name);
  data["like"] = inputs.front()["name"];
  data["first_cpp"] = inputs.front()["cpp"];
  data["single"] = outputs.size() == 1;
  data["has_params"] = !params.empty();
  std::string returns = "torch.Tensor";
  for (size_t i = 1; i < outputs.size(); ++i) returns += ", torch.Tensor";
  data["returns"] = outputs.size() == 1 ? returns : fmt::format("tuple[{}]", returns);
  data["free_sizes"] = free;
  data["inputs"] = inputs;
  data["outputs"] = outputs;
  data["plain_inputs"] = plain;
  data["params"] = params;
  return data;
}

Json manifest(const Winner& winner, const Identity& plan) {
  Json sizes = Json::object();
  for (const auto& [name, value] : winner.sizes) sizes[name] = value;
  return {{"task", winner.program.name},
          {"size", winner.size},
          {"sizes", sizes},
          {"sizes_fixed", plan.fixed},
          {"entry", plan.entry},
          {"run_id", winner.run_id},
          {"binary_sha256", sha256_hex(winner.cuda ? winner.cuda->cubin : winner.binary)},
          {"source_sha256", sha256_hex(winner.source)},
          {"compiler", winner.build.compiler},
          {"flags", winner.build.flags},
          {"environment", to_json(winner.environment)},
          {"summary", winner.summary}};
}

std::string filled(std::string path, const std::string& name) {
  for (size_t at = path.find("NAME"); at != std::string::npos; at = path.find("NAME", at)) {
    path.replace(at, 4, name);
    at += name.size();
  }
  return path;
}

}  // namespace

namespace {

Result<Identity> identity_of(const Winner& winner) {
  // A plan for a GPU is bound to the sizes of the run.
  if (winner.cuda) return Identity{winner.program.name, true};
  QUERN_ASSIGN(const Plan plan, parse_plan(winner.source, winner.program.name));
  if (!plan.libraries.empty()) {
    return Error{ErrorKind::kInput,
                 fmt::format("the best kernel of the run is the baseline built on {}",
                             join(plan.libraries, ", ")),
                 "call that library itself, or give the run a larger budget (quern resume)"};
  }
  return Identity{plan.entry, plan.specialize};
}

Result<std::vector<ArtifactFile>> pages_of(const Winner& winner, const Json& data) {
  std::vector<ArtifactFile> files;
  for (const Page& page : kPages) {
    if (page.what == (winner.cuda ? For::kCpu : For::kCuda)) continue;
    const EmbeddedFile* file = kExportFiles;
    while (file->name != nullptr && std::string(page.name) != file->name) ++file;
    QUERN_CHECK(file->name != nullptr, "every page has its template");
    QUERN_ASSIGN(const Template made, Template::parse(page.name, file->text));
    files.push_back({filled(page.path, winner.program.name), made.render(data)});
  }
  return files;
}

}  // namespace

std::vector<std::string> library_paths(const std::string& name) {
  return {fmt::format("lib/lib{}.so", name), fmt::format("python/quern_{0}/lib{0}.so", name)};
}

Result<std::vector<ArtifactFile>> make_artifact(const Winner& winner) {
  const std::string& name = winner.program.name;
  QUERN_ASSIGN(const Identity identity, identity_of(winner));
  Json data = page_data(winner, identity);
  if (winner.cuda) {
    data["gpu"] = winner.cuda->gpu.empty() ? "a GPU" : winner.cuda->gpu;
    QUERN_ASSIGN(const Json launcher,
                 launcher_json(*winner.cuda, data["inputs"].size(), data["outputs"].size()));
    data.update(launcher);
  }
  QUERN_ASSIGN(std::vector<ArtifactFile> files, pages_of(winner, data));
  const auto source = [&](const std::string& ending, std::string bytes) {
    files.push_back({fmt::format("source/{}", ending), std::move(bytes)});
  };
  if (winner.cuda) {
    source(name + "_cubin.h", cubin_text(winner.cuda->cubin));
    source(name + ".cubin", winner.cuda->cubin);
    source(name + ".cu", winner.source);
    source("quern_cuda.h", std::string(cuda_prelude()));
  } else {
    for (const std::string& path : library_paths(name)) files.push_back({path, winner.binary});
    source(name + ".cpp", winner.source);
    source("quern_cpu.h", std::string(cpu_prelude()));
    source("quern_gemm.h", std::string(gemm_prelude()));
    source("quern_recurrence.h", std::string(recurrence_prelude()));
  }
  source(name + ".task", winner.task_text);
  files.push_back({fmt::format("test/lib{}_oracle.so", name), winner.oracle});
  files.push_back({"manifest.json", dump(manifest(winner, identity), 2) + "\n"});
  return files;
}

}  // namespace quern
