// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "codegen/contraction_cases.h"
#include "codegen/group.h"
#include "codegen/prelude.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using testing::HasSubstr;

/// Floats right-aligned against a page that must not be touched, with another before them.
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    bytes_ = (count * sizeof(float) + page - 1) / page * page + 2 * page;
    base_ = static_cast<char*>(
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + bytes_ - page, page, PROT_NONE);
    data_ = reinterpret_cast<float*>(base_ + bytes_ - page) - count;
  }
  ~Guarded() { munmap(base_, bytes_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  float* data() const { return data_; }
  size_t size() const { return count_; }

 private:
  size_t count_, bytes_ = 0;
  char* base_ = nullptr;
  float* data_ = nullptr;
};

using Point = std::map<std::string, int64_t>;
using Tensors = std::map<std::string, std::vector<double>>;

/// Evaluates programs point by point in f64: small and obvious.
class Oracle {
 public:
  Oracle(const ir::Program& program, const ir::Sizes& sizes) : program_(program), sizes_(sizes) {}

  void run(Tensors& tensors) const {
    for (const ir::Statement& statement : program_.statements) {
      std::vector<double> values;
      Point point;
      each(statement.axes, 0, point, [&] {
        double total = statement.monoid == ir::Monoid::kMax ? -INFINITY : 0;
        if (statement.kind == ir::Statement::Kind::kMap) {
          total = value(statement.body, point, tensors);
        } else {
          each(statement.reduce_axes, 0, point, [&] {
            const double x = value(statement.body, point, tensors);
            total = statement.monoid == ir::Monoid::kMax ? std::max(total, x) : total + x;
          });
        }
        values.push_back(total);
      });
      tensors[statement.name] = values;
    }
  }

 private:
  void each(const std::vector<ir::Axis>& axes, size_t d, Point& point,
            const std::function<void()>& visit) const {
    if (d == axes.size()) return visit();
    const int64_t extent = ir::evaluate(axes[d].extent, sizes_);
    for (int64_t i = 0; i < extent; ++i) {
      point[axes[d].name] = i;
      each(axes, d + 1, point, visit);
    }
  }

  int64_t integer(const IntExpr& expr, const Point& point) const {
    using Kind = IntExpr::Kind;
    switch (expr.kind) {
      case Kind::kConstant:
        return expr.value;
      case Kind::kSize:
        return sizes_.at(expr.name);
      case Kind::kAxis:
        return point.at(expr.name);
      default:
        break;
    }
    const int64_t a = integer(expr.args[0], point), b = integer(expr.args[1], point);
    switch (expr.kind) {
      case Kind::kAdd:
        return a + b;
      case Kind::kSub:
        return a - b;
      case Kind::kMul:
        return a * b;
      case Kind::kDiv:
        return ir::floor_div(a, b);
      case Kind::kMod:
        return ir::floor_mod(a, b);
      case Kind::kMin:
        return std::min(a, b);
      default:
        return std::max(a, b);
    }
  }

  double value(const Expr& expr, const Point& point, const Tensors& tensors) const {
    if (expr.kind == Expr::Kind::kConstant) return expr.value;
    if (expr.kind == Expr::Kind::kIndex)
      return static_cast<double>(integer(expr.indices[0], point));
    if (expr.kind == Expr::Kind::kLoad) {
      const Shape shape = ir::shape_of(program_, expr.name, sizes_);
      size_t offset = 0;
      for (size_t d = 0; d < shape.size(); ++d) {
        const int64_t i = integer(expr.indices[d], point);
        if (i < 0 || i >= shape[d]) return value(expr.args.at(0), point, tensors);
        offset = offset * static_cast<size_t>(shape[d]) + static_cast<size_t>(i);
      }
      return tensors.at(expr.name).at(offset);
    }
    auto arg = [&](size_t i) { return value(expr.args[i], point, tensors); };
    switch (expr.op) {
      case ir::Op::kNeg:
        return -arg(0);
      case ir::Op::kExp:
        return std::exp(arg(0));
      case ir::Op::kErf:
        return std::erf(arg(0));
      case ir::Op::kTanh:
        return std::tanh(arg(0));
      case ir::Op::kAdd:
        return arg(0) + arg(1);
      case ir::Op::kSub:
        return arg(0) - arg(1);
      case ir::Op::kMul:
        return arg(0) * arg(1);
      case ir::Op::kDiv:
        return arg(0) / arg(1);
      case ir::Op::kMax:
        return std::max(arg(0), arg(1));
      case ir::Op::kLe:
        return arg(0) <= arg(1);
      case ir::Op::kLt:
        return arg(0) < arg(1);
      case ir::Op::kGe:
        return arg(0) >= arg(1);
      case ir::Op::kEq:
        return arg(0) == arg(1);
      case ir::Op::kAnd:
        return arg(0) != 0 && arg(1) != 0;
      case ir::Op::kSelect:
        return arg(0) != 0 ? arg(1) : arg(2);
      default:
        ADD_FAILURE() << "operator not in the oracle";
        return 0;
    }
  }

  const ir::Program& program_;
  const ir::Sizes& sizes_;
};

/// All cases as one translation unit, compiled once.
class ContractionTest : public testing::Test {
 public:
  static void SetUpTestSuite() {
    char folder[] = "/tmp/quern_contraction_XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const std::filesystem::path at = folder;
    std::ofstream(at / "quern_cpu.h") << cpu_prelude();
    std::ofstream(at / "quern_gemm.h") << gemm_prelude();
    std::ofstream source(at / "cases.cpp");
    source << "#include \"quern_cpu.h\"\n#include \"quern_gemm.h\"\n";
    for (const ContractionCase& item : contraction_cases()) source << text_of(item);
    source.close();
    const std::string command = fmt::format(
        "g++ -std=c++20 -O1 -march=native -fopenmp -shared -fPIC -I{0} -o {0}/cases.so "
        "{0}/cases.cpp 2>{0}/log",
        folder);
    const int status = std::system(command.c_str());
    if (status == 0) library_ = dlopen((at / "cases.so").c_str(), RTLD_NOW);
    std::ifstream log(at / "log");
    log_.assign(std::istreambuf_iterator<char>(log), {});
    if (std::getenv("QUERN_KEEP") == nullptr) std::filesystem::remove_all(at);
  }

  static std::string text_of(const ContractionCase& item) {
    std::string text = "#undef QUERN_SIZES\n#define QUERN_SIZES";
    for (const ir::SizeDecl& size : item.program.sizes) {
      text += fmt::format(" [[maybe_unused]] const int64_t s_{} = {};", size.name,
                          size.let ? c_int(item.program, *size.let) : "z_" + size.name);
    }
    text += fmt::format("\nnamespace n{} {{\n", item.name);
    auto body = emit_contraction_group(item.program, item.group, 0);
    EXPECT_TRUE(body.has_value()) << item.name << ": " << body.error().message;
    if (!body) return "";
    text += *body;
    text += fmt::format("}}\nextern \"C\" void {}(const int64_t* s, float** t) {{ n{}::group_0(",
                        item.name, item.name);
    const char* separator = "";
    for (size_t i = 0; i < item.program.free_sizes().size(); ++i, separator = ", ") {
      text += fmt::format("{}s[{}]", separator, i);
    }
    size_t count = group_reads(item.program, item.group).size() +
                   group_writes(item.program, item.group).size();
    for (size_t i = 0; i < count; ++i) text += fmt::format(", t[{}]", i);
    return text + "); }\n";
  }

  static void* library_;
  static std::string log_;
};
void* ContractionTest::library_ = nullptr;
std::string ContractionTest::log_;

void run_case(const ContractionCase& item, const std::map<std::string, int64_t>& free,
              void* entry) {
  auto sizes = ir::bind_sizes(item.program, free);
  ASSERT_TRUE(sizes.has_value()) << sizes.error().message;
  std::mt19937 random(7);
  Tensors tensors;
  std::vector<std::unique_ptr<Guarded>> buffers;
  std::vector<float*> pointers;
  auto add = [&](size_t count) {
    buffers.push_back(std::make_unique<Guarded>(count));
    pointers.push_back(buffers.back()->data());
    return buffers.back()->data();
  };
  for (const ir::InputDecl& input : item.program.inputs) {
    const size_t count =
        static_cast<size_t>(element_count(ir::shape_of(item.program, input.name, *sizes)));
    for (size_t i = 0; i < count; ++i) {
      tensors[input.name].push_back(static_cast<double>(static_cast<int>(random() % 17) - 8) / 8);
    }
  }
  for (const std::string& name : group_reads(item.program, item.group)) {
    float* at = add(tensors[name].size());
    for (double x : tensors[name]) *at++ = static_cast<float>(x);
  }
  const Oracle oracle(item.program, *sizes);
  oracle.run(tensors);
  const std::vector<std::string> writes = group_writes(item.program, item.group);
  for (const std::string& name : writes) {
    std::memset(add(tensors[name].size()), 0xff, tensors[name].size() * sizeof(float));
  }
  std::vector<int64_t> values;
  for (const std::string& size : item.program.free_sizes()) values.push_back(sizes->at(size));
  reinterpret_cast<void (*)(const int64_t*, float**)>(entry)(values.data(), pointers.data());
  for (size_t w = 0; w < writes.size(); ++w) {
    const Guarded& got = *buffers[buffers.size() - writes.size() + w];
    const std::vector<double>& want = tensors[writes[w]];
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got.data()[i], want[i], 1e-4 * (1 + std::fabs(want[i])))
          << item.name << " " << writes[w] << " at " << i << " of " << want.size();
    }
  }
}

TEST_F(ContractionTest, AgreesWithTheDefinitionAndStaysInsideItsBuffers) {
  ASSERT_NE(library_, nullptr) << log_;
  for (const ContractionCase& item : contraction_cases()) {
    void* entry = dlsym(library_, item.name.c_str());
    ASSERT_NE(entry, nullptr) << item.name;
    for (const auto& free : item.sizes) {
      SCOPED_TRACE(item.name);
      run_case(item, free, entry);
    }
  }
}

TEST_F(ContractionTest, IsRecognisedInEveryCase) {
  for (const ContractionCase& item : contraction_cases()) {
    EXPECT_TRUE(is_contraction(item.program, item.group.root)) << item.name;
  }
}

TEST(IsContraction, RefusesWhatHasNoTwoFreeDimensions) {
  using namespace cases;
  // A matrix-vector product, a sum of squares and a depthwise window leave one side empty.
  EXPECT_FALSE(is_contraction(program({"m", "k"}, {{"a", {S("m"), S("k")}}, {"b", {S("k")}}},
                                      {sum("y", {{"i", S("m")}}, {{"p", S("k")}},
                                           L("a", {A("i"), A("p")}) * L("b", {A("p")}))}),
                              0));
  EXPECT_FALSE(is_contraction(program({"m", "k"}, {{"a", {S("m"), S("k")}}},
                                      {sum("y", {{"i", S("m")}}, {{"p", S("k")}},
                                           L("a", {A("i"), A("p")}) * L("a", {A("i"), A("p")}))}),
                              0));
  EXPECT_FALSE(is_contraction(
      program({"c", "l", "r"}, {{"x", {S("c"), S("l") + S("r")}}, {"w", {S("c"), S("r")}}},
              {sum("y", {{"i", S("c")}, {"j", S("l")}}, {{"p", S("r")}},
                   L("x", {A("i"), A("j") + A("p")}) * L("w", {A("i"), A("p")}))}),
      0));
}

}  // namespace
}  // namespace quern
