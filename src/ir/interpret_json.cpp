// SPDX-License-Identifier: Apache-2.0
#include "ir/interpret_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace quern::ir {
namespace {

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014).
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double normal() {
    constexpr double kTwoPi = 6.283185307179586;
    double radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(kTwoPi * unit());
  }

 private:
  uint64_t state_;
};

double draw(Generator& random, const Distribution& from, int64_t low, int64_t high) {
  switch (from.kind) {
    case Distribution::Kind::kUniform:
      return from.a + (from.b - from.a) * random.unit();
    case Distribution::Kind::kNormal:
      return from.a + from.b * random.normal();
    case Distribution::Kind::kConstant:
      return from.a;
    case Distribution::Kind::kIntegers:
      break;
  }
  auto width = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
  return static_cast<double>(low + static_cast<int64_t>(width == 0 ? 0 : random.next() % width));
}

nlohmann::json tensor_json(DType type, const Shape& shape, const std::vector<double>& data) {
  nlohmann::json values = nlohmann::json::array();
  for (double value : data) {
    if (std::isnan(value)) {
      values.push_back("nan");
    } else if (std::isinf(value)) {
      values.push_back(value < 0 ? "-inf" : "inf");
    } else if (is_float(type)) {
      values.push_back(value);
    } else {
      values.push_back(static_cast<int64_t>(value));
    }
  }
  return {{"dtype", std::string(dtype_name(type))}, {"shape", shape}, {"data", std::move(values)}};
}

}  // namespace

Tensors<double> draw_inputs(const Program& program, const Sizes& sizes, uint64_t seed) {
  Tensors<double> inputs;
  Generator random(seed);
  for (const InputDecl& input : program.inputs) {
    const Distribution& from = input.distribution;
    bool integers = from.kind == Distribution::Kind::kIntegers;
    int64_t low = integers ? evaluate(from.low, sizes) : 0;
    int64_t high = integers ? evaluate(from.high, sizes) : 0;
    auto count = static_cast<size_t>(element_count(evaluate_shape(input.shape, sizes)));
    std::vector<double>& data = inputs[input.name];
    data.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      double value = draw(random, from, low, high);
      data.push_back(input.type == DType::kF32 ? static_cast<float>(value) : value);
    }
    impose(from.structure, evaluate_shape(input.shape, sizes), data.data());
  }
  return inputs;
}

std::string interpret_json(const Program& program, const Sizes& sizes, uint64_t seed) {
  Tensors<double> inputs = draw_inputs(program, sizes, seed);
  Tensors<double> all = run(program, sizes, inputs);
  nlohmann::json out = {{"task", program.name}, {"sizes", sizes}, {"seed", seed}};
  auto put = [&](const char* part, const std::string& name) {
    out[part][name] =
        tensor_json(program.type_of(name), shape_of(program, name, sizes), all.at(name));
  };
  for (const InputDecl& input : program.inputs) put("inputs", input.name);
  for (const Statement* output : program.outputs()) put("outputs", output->name);
  return out.dump();
}

}  // namespace quern::ir
