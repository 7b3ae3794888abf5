// SPDX-License-Identifier: Apache-2.0
#include "verify/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/check.h"

namespace quern {
namespace {

using Kind = InputMix::Kind;

FillSpec declared(const ir::Distribution& distribution, const ir::Sizes& sizes) {
  switch (distribution.kind) {
    case ir::Distribution::Kind::kUniform:
      return {FillKind::kUniform, distribution.a, distribution.b};
    case ir::Distribution::Kind::kNormal:
      return {FillKind::kNormal, distribution.a, distribution.b};
    case ir::Distribution::Kind::kIntegers:
      return {FillKind::kIntegers, static_cast<double>(ir::evaluate(distribution.low, sizes)),
              static_cast<double>(ir::evaluate(distribution.high, sizes))};
    case ir::Distribution::Kind::kConstant:
      // A constant parameter (a gain of 1, a bias of 0) would hide whether it is used at all.
      return {FillKind::kUniform, distribution.a + 0.25, distribution.a + 1.25};
  }
  return {};
}

bool is_probe(Kind kind) {
  return kind == Kind::kProbe || kind == Kind::kMeter || kind == Kind::kTf32Meter;
}

FillSpec probe(const InputMix& mix, int index) {
  if (mix.kind != Kind::kProbe) {
    const double wide = mix.kind == Kind::kMeter ? 1 << 20 : 1 << 11;
    if (index == mix.wide) return {FillKind::kOddIntegers, 0, wide};
    return {FillKind::kSparseSigns, std::pow(0.25, mix.level), 0};
  }
  const double range = std::max(1.0, std::floor(64 * std::pow(0.5, mix.level)) - 1);
  return {FillKind::kIntegers, -range, range};
}

FillSpec spec_for(const InputMix& mix, const ir::InputDecl& input, int index,
                  const ir::Sizes& sizes, bool convolved) {
  const FillSpec as_declared = declared(input.distribution, sizes);
  if (!is_float(input.type) || mix.kind == Kind::kDeclared) return as_declared;
  if (is_probe(mix.kind)) return probe(mix, index);
  if (mix.kind == Kind::kSigns && convolved) return {FillKind::kSparseSigns, 0.25, 0};
  if (input.is_param) return {FillKind::kNormal, 0.5, 0.5};
  switch (mix.kind) {
    case Kind::kWide:
      return {FillKind::kWide, 1e-3, 1e3};
    case Kind::kOffset:
      return {FillKind::kNormal, 100, 1};
    case Kind::kSparse:
      return {FillKind::kSparse, 0, 1};
    case Kind::kCancelling:
      return {FillKind::kCancelling, 0, 1};
    case Kind::kFar:
      return {FillKind::kNormal, 0, convolved ? 0x1p20 : 1};
    default:
      return {FillKind::kNormal, 0, 1};
  }
}

void impose(const InputDraw& draw, std::vector<std::byte>& buffer) {
  if (dtype_bytes(draw.type) == 4) {  // bits move, whatever they mean
    ir::impose(draw.structure, draw.shape, reinterpret_cast<uint32_t*>(buffer.data()));
  } else {
    ir::impose(draw.structure, draw.shape, reinterpret_cast<uint64_t*>(buffer.data()));
  }
}

/// Free sizes that differ between size sets; all of them when the task has a single set.
std::vector<std::string> variable_sizes(const ir::Program& program) {
  std::vector<std::string> names;
  for (const std::string& name : program.free_sizes()) {
    std::vector<int64_t> values;
    for (const ir::SizeDecl& size : program.sizes) {
      if (size.name == name) values.push_back(size.value);
    }
    for (const ir::SizeSet& set : program.size_sets) {
      if (const auto found = set.values.find(name); found != set.values.end()) {
        values.push_back(found->second);
      }
    }
    const bool varies = std::any_of(values.begin(), values.end(),
                                    [&](int64_t value) { return value != values.front(); });
    if (varies || program.size_sets.empty()) names.push_back(name);
  }
  return names;
}

/// Values of the free sizes in the declared set with the least data.
std::map<std::string, int64_t> smallest_set(const ir::Program& program) {
  std::map<std::string, int64_t> best;
  double best_bytes = std::numeric_limits<double>::infinity();
  std::vector<std::string> names = {"full"};
  for (const ir::SizeSet& set : program.size_sets) names.push_back(set.name);
  for (const std::string& name : names) {
    const auto sizes = ir::bind_sizes(program, name);
    if (!sizes) continue;
    double bytes = 0;
    for (const ir::InputDecl& input : program.inputs) {
      bytes += static_cast<double>(element_count(ir::evaluate_shape(input.shape, *sizes)));
    }
    if (bytes >= best_bytes) continue;
    best_bytes = bytes;
    best.clear();
    for (const std::string& free : program.free_sizes()) best[free] = sizes->at(free);
  }
  return best;
}

bool fits(const ir::Program& program, const ir::Sizes& sizes, int64_t max_elements) {
  if (!ir::check_sizes(program, sizes)) return false;
  const auto small = [&](const std::string& tensor) {
    return element_count(ir::shape_of(program, tensor, sizes)) <= max_elements;
  };
  for (const ir::InputDecl& input : program.inputs) {
    if (!small(input.name)) return false;
  }
  for (const ir::Statement& statement : program.statements) {
    if (!small(statement.name)) return false;
  }
  return true;
}

/// A small size that is rarely a multiple of a vector or a tile: mostly odd, up to about 80.
int64_t odd_extent(uint64_t word, int64_t smallest) {
  constexpr int64_t kChoices[] = {1,  3,  5,  7,  9,  13, 15, 17, 19,
                                  21, 23, 31, 33, 35, 37, 47, 65, 77};
  return std::max(smallest, kChoices[word % (sizeof(kChoices) / sizeof(kChoices[0]))]);
}

}  // namespace

std::string input_mix_name(const InputMix& mix, const ir::Program& program) {
  switch (mix.kind) {
    case Kind::kDeclared:
      return "as declared";
    case Kind::kNormal:
      return "normal";
    case Kind::kWide:
      return "wide range";
    case Kind::kOffset:
      return "large mean";
    case Kind::kSparse:
      return "sparse";
    case Kind::kCancelling:
      return "cancelling";
    case Kind::kProbe:
      return "whole numbers";
    case Kind::kTwin:
      return "altered in places";
    case Kind::kMeter:
      return fmt::format("20-bit {}", program.inputs[static_cast<size_t>(mix.wide)].name);
    case Kind::kTf32Meter:
      return fmt::format("11-bit {}", program.inputs[static_cast<size_t>(mix.wide)].name);
    case Kind::kSigns:
      return "signs into convolutions";
    case Kind::kFar:
      return "beyond fp16";
  }
  return "";
}

std::string input_mix_hint(const InputMix& mix, const ir::Program& program) {
  const auto wide = [&] { return program.inputs[static_cast<size_t>(mix.wide)].name; };
  switch (mix.kind) {
    case Kind::kMeter:
      return fmt::format(
          "20 significant bits of {} do not survive: TF32 keeps 11, fp16 11, bf16 8. What is made "
          "of {} is held to f32 here: multiply in f32, or by three products of operands split in "
          "two TF32 numbers (emulate_precision)",
          wide(), wide());
    case Kind::kTf32Meter:
      return fmt::format(
          "11 significant bits of {} do not survive: convolutions may round their operands to "
          "TF32, and no further (bf16 has 8 bits)",
          wide());
    case Kind::kSigns:
      return "convolutions have nothing to round here: all else is held to f32, or convolutions "
             "were given rounded results where f32 has more bits";
    case Kind::kFar:
      return "inputs of convolutions exceed 65504 here, which f32 and TF32 have and fp16 has not";
    default:
      return "";
  }
}

std::string narrow_operands_hint(double max_error) {
  constexpr double kNarrow = 0x1p14;
  if (!(max_error < kNarrow)) return "";
  return "errors of this size come from operands in fewer bits, too (TF32, fp16, bf16): products "
         "held to f32 are made in f32, or by three products of operands split in two TF32 numbers "
         "(emulate_precision)";
}

std::vector<InputDraw> input_draws(const ir::Program& program, const ir::Sizes& sizes,
                                   const InputMix& mix, uint64_t seed) {
  std::vector<InputDraw> draws;
  const std::set<std::string> convolved = convolved_inputs(program);
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const ir::InputDecl& input = program.inputs[i];
    InputDraw draw;
    draw.type = input.type;
    draw.shape = ir::evaluate_shape(input.shape, sizes);
    draw.structure = input.distribution.structure;
    draw.spec = spec_for(mix, input, static_cast<int>(i), sizes, convolved.contains(input.name));
    draw.seed = mix_seed(seed, i + 1);
    draw.alters = is_float(input.type) && draw.structure == ir::Distribution::Structure::kNone;
    draws.push_back(std::move(draw));
  }
  return draws;
}

Dataset draw_dataset(const ir::Program& program, const ir::Sizes& sizes, const InputMix& mix,
                     uint64_t seed) {
  Dataset data;
  data.mix = mix;
  data.seed = seed;
  for (const InputDraw& draw : input_draws(program, sizes, mix, seed)) {
    std::vector<std::byte> buffer(
        static_cast<size_t>(element_count(draw.shape) * dtype_bytes(draw.type)));
    fill(buffer, draw.type, draw.spec, draw.seed);
    impose(draw, buffer);
    data.inputs.push_back(std::move(buffer));
  }
  return data;
}

Dataset twin_of(const ir::Program& program, const ir::Sizes& sizes, const Dataset& original,
                uint64_t seed) {
  Dataset twin = draw_dataset(program, sizes, original.mix, seed);
  const std::vector<InputDraw> draws = input_draws(program, sizes, original.mix, seed);
  twin.mix.kind = Kind::kTwin;
  twin.seed = original.seed;
  twin.twin_seed = seed;
  twin.altered.resize(program.inputs.size());
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const auto size = static_cast<size_t>(dtype_bytes(program.inputs[i].type));
    const auto count = static_cast<int64_t>(original.inputs[i].size() / size);
    std::vector<std::byte> altered = original.inputs[i];
    for (int64_t block = 0; draws[i].alters && block < altered_blocks(count); ++block) {
      const int64_t at = altered_place(count, seed, block);
      std::copy_n(twin.inputs[i].begin() + at * static_cast<int64_t>(size), size,
                  altered.begin() + at * static_cast<int64_t>(size));
      twin.altered[i].push_back(at);
    }
    twin.inputs[i] = std::move(altered);
  }
  return twin;
}

std::vector<InputMix> input_mixes(Contract contract) {
  std::vector<InputMix> mixes = {{Kind::kDeclared}, {Kind::kNormal}, {Kind::kWide},
                                 {Kind::kOffset},   {Kind::kSparse}, {Kind::kCancelling}};
  if (contract == Contract::kTf32Convolutions) {
    mixes.insert(mixes.end(), {{Kind::kSigns}, {Kind::kFar}});
  }
  return mixes;
}

std::set<std::string> convolved_inputs(const ir::Program& program) {
  std::set<std::string> reached;
  for (auto statement = program.statements.rbegin(); statement != program.statements.rend();
       ++statement) {
    if (!convolves(*statement) && !reached.contains(statement->name)) continue;
    for (const std::string& tensor : ir::tensors_of(statement->body)) reached.insert(tensor);
  }
  std::set<std::string> inputs;
  for (const ir::InputDecl& input : program.inputs) {
    if (reached.contains(input.name)) inputs.insert(input.name);
  }
  return inputs;
}

ir::Sizes hidden_sizes(const ir::Program& program, uint64_t seed, int64_t max_elements,
                       int64_t smallest) {
  const std::map<std::string, int64_t> base = smallest_set(program);
  const std::vector<std::string> names = variable_sizes(program);
  uint64_t stream = 0;
  // Constraints between sizes (divisibility, windows that fit) are found by trying: first all
  // variable sizes at once, then ever fewer of them, the rest kept from the smallest set.
  for (int attempt = 0; attempt < 200; ++attempt) {
    std::map<std::string, int64_t> values = base;
    const uint64_t keep_one_in = attempt < 50 ? 0 : attempt < 120 ? 2 : 4;
    for (const std::string& name : names) {
      const uint64_t word = mix_seed(seed, ++stream);
      const uint64_t coin = mix_seed(seed ^ 0x5bd1e995u, stream);
      const bool vary = keep_one_in == 0 || (keep_one_in == 2 ? coin % 2 == 0 : coin % 4 == 0);
      if (vary) values[name] = odd_extent(word, smallest);
    }
    const auto sizes = ir::bind_sizes(program, values);
    if (sizes && fits(program, *sizes, max_elements)) return *sizes;
  }
  const auto sizes = ir::bind_sizes(program, base);
  QUERN_CHECK(sizes.has_value(), "the smallest declared size set does not bind");
  return *sizes;
}

}  // namespace quern
