// SPDX-License-Identifier: Apache-2.0
#include "deploy/cuda_launcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/strings.h"
#include "record/cuda_values.h"

namespace quern {
namespace {

constexpr uint64_t kScratchAlignment = 256;
constexpr size_t kPortableCluster = 8;

/// CUlaunchAttributeID.
enum class Attribute { kCooperative = 2, kClusterDimension = 4, kProgrammaticSerialization = 6 };

template <class List>
std::string listed(const List& list, const char* suffix = "") {
  std::vector<std::string> parts;
  for (const auto& element : list) parts.push_back(fmt::format("{}{}", element, suffix));
  return join(parts, ", ");
}

std::string attribute_text(Attribute id, const std::array<uint32_t, 3>& value) {
  return fmt::format("{{{}, 0, {{{}}}}}", static_cast<int>(id), listed(value));
}

size_t volume(const std::array<uint32_t, 3>& extents) {
  return size_t{extents[0]} * extents[1] * extents[2];
}

/// Index of a buffer among the addresses: inputs, outputs, scratch.
size_t place(const BufferRef& buffer, size_t inputs, size_t outputs) {
  const auto index = static_cast<size_t>(buffer.index);
  if (buffer.kind == BufferRef::Kind::kInput) return index;
  return buffer.kind == BufferRef::Kind::kOutput ? inputs + index : inputs + outputs + index;
}

class Launcher {
 public:
  Launcher(const CudaCode& code, size_t inputs, size_t outputs)
      : code_(code), inputs_(inputs), outputs_(outputs) {}

  Result<Json> json() {
    Json data = Json::object();
    QUERN_TRY(add_architecture(data));
    Json steps = Json::array();
    for (const BoundStep& step : code_.plan.steps) {
      if (const auto* launch = std::get_if<BoundLaunch>(&step)) {
        QUERN_ASSIGN(Json made, launch_json(*launch, steps.empty()));
        steps.push_back(std::move(made));
      } else if (const auto* fill = std::get_if<BoundFill>(&step)) {
        steps.push_back(fill_json(*fill));
      } else {
        return Error{ErrorKind::kInput, "a plan with a copy step cannot be exported yet",
                     "copy in a kernel"};
      }
    }
    data["steps"] = steps;
    data["kernels"] = kernels_;
    data["kernel_count"] = kernels_.size();
    add_scratch(data);
    add_maps(data);
    return data;
  }

 private:
  Result<void> add_architecture(Json& data) const;
  Result<Json> launch_json(const BoundLaunch& launch, bool first);
  Json fill_json(const BoundFill& fill) const;
  size_t kernel_index(const BoundLaunch& launch);
  Result<std::string> value_text(const BoundLaunch& launch, size_t index, uint32_t bytes) const;
  void add_scratch(Json& data) const;
  void add_maps(Json& data) const;

  const CudaCode& code_;
  size_t inputs_, outputs_;
  Json kernels_ = Json::array();
};

Result<void> Launcher::add_architecture(Json& data) const {
  const std::string& name = code_.architecture;
  const int number = name.rfind("sm_", 0) == 0 ? std::atoi(name.c_str() + 3) : 0;
  if (number < 10) {
    return Error{ErrorKind::kInput, fmt::format("'{}' is no architecture of a GPU", name), ""};
  }
  data["architecture"] = name;
  data["major"] = number / 10;
  data["minor"] = number % 10;
  // With a letter the code uses instructions of that chip alone.
  data["minor_test"] = name.back() >= 'a' ? "==" : ">=";
  return {};
}

size_t Launcher::kernel_index(const BoundLaunch& launch) {
  size_t index = 0;
  while (index < kernels_.size() && kernels_[index]["kernel"] != launch.kernel) ++index;
  if (index == kernels_.size()) {
    kernels_.push_back({{"kernel", launch.kernel}, {"shared_bytes", 0}, {"wide_cluster", 0}});
  }
  Json& kernel = kernels_[index];
  kernel["shared_bytes"] = std::max(kernel["shared_bytes"].get<uint32_t>(), launch.shared_bytes);
  if (volume(launch.cluster) > kPortableCluster) kernel["wide_cluster"] = 1;
  return index;
}

Result<std::string> Launcher::value_text(const BoundLaunch& launch, size_t index,
                                         uint32_t bytes) const {
  const BoundArgument& argument = launch.arguments[index];
  switch (argument.kind) {
    case LaunchArgument::Kind::kBuffer:
      return fmt::format("at[{}] + {};", place(argument.buffer, inputs_, outputs_),
                         argument.offset);
    case LaunchArgument::Kind::kScalar:
      return fmt::format("UINT64_C({:#x});", scalar_bits(argument));
    case LaunchArgument::Kind::kWhole:
      if (bytes == 0 || bytes > 8) break;
      return fmt::format("UINT64_C({:#x}); /* {} */", static_cast<uint64_t>(argument.whole),
                         argument.whole);
    case LaunchArgument::Kind::kTensorMap:
    case LaunchArgument::Kind::kShared:
    case LaunchArgument::Kind::kStruct:
      break;
  }
  return Error{ErrorKind::kInput,
               fmt::format("launch {}: argument {} does not fit a parameter of {} bytes",
                           launch.kernel, index + 1, bytes),
               ""};
}

Result<Json> Launcher::launch_json(const BoundLaunch& launch, bool first) {
  const auto known = code_.parameters.find(launch.kernel);
  if (known == code_.parameters.end() || known->second.size() != launch.arguments.size()) {
    return Error{ErrorKind::kInput,
                 fmt::format("the machine code has no kernel {} of {} parameters", launch.kernel,
                             launch.arguments.size()),
                 ""};
  }
  Json values = Json::array();
  std::string pointers;
  for (size_t i = 0; i < launch.arguments.size(); ++i) {
    if (launch.arguments[i].kind == LaunchArgument::Kind::kTensorMap) {
      pointers += fmt::format("&maps[{}], ", launch.arguments[i].map);
      continue;
    }
    QUERN_ASSIGN(const std::string value, value_text(launch, i, known->second[i]));
    values.push_back({{"index", i}, {"value", value}});
    pointers += fmt::format("&a{}, ", i);
  }
  std::vector<std::string> attributes;
  if (volume(launch.cluster) > 0) {
    attributes.push_back(attribute_text(Attribute::kClusterDimension, launch.cluster));
  }
  // As when it was measured, the first launch waits for what is before the call.
  if (launch.programmatic && !first) {
    attributes.push_back(attribute_text(Attribute::kProgrammaticSerialization, {1, 0, 0}));
  }
  if (launch.cooperative) {
    attributes.push_back(attribute_text(Attribute::kCooperative, {1, 0, 0}));
  }
  return Json{{"launch", true},
              {"kernel", launch.kernel},
              {"function", kernel_index(launch)},
              {"values", values},
              {"pointers", pointers},
              {"has_attributes", !attributes.empty()},
              {"attributes", join(attributes, ", ")},
              {"grid", listed(launch.grid)},
              {"block", listed(launch.block)},
              {"shared_bytes", launch.shared_bytes}};
}

Json Launcher::fill_json(const BoundFill& fill) const {
  return {{"launch", false},
          {"buffer", place(fill.buffer, inputs_, outputs_)},
          {"byte", fill.byte},
          {"bytes", fill.bytes}};
}

void Launcher::add_scratch(Json& data) const {
  Json list = Json::array();
  uint64_t offset = 0;
  for (const BoundScratch& scratch : code_.plan.scratch) {
    list.push_back({{"offset", offset}});
    offset += (scratch.bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
  }
  data["scratch_count"] = list.size();
  data["scratch"] = list;
  data["scratch_bytes"] = offset;
  data["has_scratch"] = offset > 0;
}

void Launcher::add_maps(Json& data) const {
  Json list = Json::array();
  for (const BoundTensorMap& map : code_.plan.maps) {
    list.push_back({{"name", map.name},
                    {"index", list.size()},
                    {"type", tensor_map_type(map)},
                    {"rank", map.extents.size()},
                    {"buffer", place(map.buffer, inputs_, outputs_)},
                    {"extents", listed(map.extents, "u")},
                    // One axis has no stride; C has no empty array.
                    {"strides", map.strides_bytes.empty() ? "0" : listed(map.strides_bytes, "u")},
                    {"box", listed(map.box)},
                    {"element_strides", listed(map.element_strides)},
                    {"swizzle", static_cast<int>(map.swizzle)},
                    {"l2", static_cast<int>(map.l2)},
                    {"fill", map.fill_nan ? 1 : 0}});
  }
  data["map_count"] = list.size();
  data["has_maps"] = !list.empty();
  data["maps"] = list;
}

}  // namespace

Result<Json> launcher_json(const CudaCode& code, size_t inputs, size_t outputs) {
  return Launcher(code, inputs, outputs).json();
}

std::string cubin_text(const std::string& cubin) {
  std::string text = "static const uint64_t cubin[] = {";
  for (size_t at = 0; at < cubin.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, cubin.data() + at, std::min<size_t>(8, cubin.size() - at));
    text += fmt::format("{}0x{:x}u,", at % 64 == 0 ? "\n    " : " ", word);
  }
  return text + "\n};\n";
}

}  // namespace quern
