// SPDX-License-Identifier: Apache-2.0
#include "codegen/kernel_testing.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include "base/hash.h"
#include "codegen/prelude.h"

namespace quern {

using ir::Expr;
using ir::IntExpr;

Guarded::Guarded(size_t count) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  bytes_ = (count * sizeof(float) + page - 1) / page * page + 2 * page;
  base_ = static_cast<char*>(
      mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(base_, page, PROT_NONE);
  mprotect(base_ + bytes_ - page, page, PROT_NONE);
  data_ = reinterpret_cast<float*>(base_ + bytes_ - page) - count;
}
Guarded::~Guarded() { munmap(base_, bytes_); }

namespace {

using Point = std::map<std::string, int64_t>;

/// Evaluates programs point by point in f64: small and obvious.
class Oracle {
 public:
  Oracle(const ir::Program& program, const ir::Sizes& sizes) : program_(program), sizes_(sizes) {
    const auto add = [&](const std::string& tensor) {
      shapes_[tensor] = ir::shape_of(program, tensor, sizes);
    };
    for (const ir::InputDecl& input : program.inputs) add(input.name);
    for (const ir::Statement& statement : program.statements) add(statement.name);
  }

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
      const Shape& shape = shapes_.at(expr.name);
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
  std::map<std::string, Shape> shapes_;
};

}  // namespace

Tensors draw_inputs(const ir::Program& program, const ir::Sizes& sizes) {
  std::mt19937 random(7);
  Tensors tensors;
  for (const ir::InputDecl& input : program.inputs) {
    const int64_t count = element_count(ir::shape_of(program, input.name, sizes));
    for (int64_t i = 0; i < count; ++i) {
      tensors[input.name].push_back(static_cast<double>(static_cast<int>(random() % 17) - 8) / 8);
    }
  }
  return tensors;
}

void run_oracle(const ir::Program& program, const ir::Sizes& sizes, Tensors& tensors) {
  Oracle(program, sizes).run(tensors);
}

namespace {

/// Compiles into `library` by way of a folder of its own, so that others see all of it or nothing.
bool compile_source(const std::string& source, const std::string& flags,
                    const std::filesystem::path& library, std::string* log) {
  std::string folder = library.string() + "_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return false;
  const std::filesystem::path at = folder;
  std::ofstream(at / "quern_cpu.h") << cpu_prelude();
  std::ofstream(at / "quern_gemm.h") << gemm_prelude();
  std::ofstream(at / "quern_recurrence.h") << recurrence_prelude();
  std::ofstream(at / "source.cpp") << source;
  const std::string command = fmt::format(
      "g++ -std=c++20 -march=native -fopenmp -shared -fPIC -I{0} -o {0}/made.so {0}/source.cpp {1} "
      "2>{0}/log",
      folder, flags);
  const bool made = std::system(command.c_str()) == 0;
  std::ifstream words(at / "log");
  log->assign(std::istreambuf_iterator<char>(words), {});
  if (made) std::filesystem::rename(at / "made.so", library);
  std::filesystem::remove_all(at);
  return made;
}

}  // namespace

void* load_source(const std::string& source, const std::string& flags, std::string* log) {
  // Rings that are built by different compilers share what they load.
  std::error_code code;
  const auto compiler = std::filesystem::last_write_time("/usr/bin/g++", code);
  const std::string key = Hasher()
                              .add(std::to_string(compiler.time_since_epoch().count()))
                              .add(cpu_prelude())
                              .add(gemm_prelude())
                              .add(recurrence_prelude())
                              .add(source)
                              .add(flags)
                              .hex();
  const std::filesystem::path folder = testing::TempDir() + "quern_codegen_test";
  const std::filesystem::path library = folder / (key + ".so");
  std::filesystem::create_directories(folder);
  if (!std::filesystem::exists(library) && !compile_source(source, flags, library, log)) {
    return nullptr;
  }
  void* loaded = dlopen(library.c_str(), RTLD_NOW);
  if (loaded == nullptr) *log += dlerror();
  return loaded;
}

void check_call(const std::string& title, const Tensors& tensors,
                const std::vector<std::string>& reads, const std::vector<std::string>& writes,
                const std::function<void(const std::vector<float*>&)>& call) {
  std::vector<std::unique_ptr<Guarded>> buffers;
  std::vector<float*> pointers;
  auto add = [&](size_t count) {
    buffers.push_back(std::make_unique<Guarded>(count));
    pointers.push_back(buffers.back()->data());
    return pointers.back();
  };
  for (const std::string& name : reads) {
    float* at = add(tensors.at(name).size());
    for (double x : tensors.at(name)) *at++ = static_cast<float>(x);
  }
  for (const std::string& name : writes) {
    const size_t count = tensors.at(name).size();
    std::memset(add(count), 0xff, count * sizeof(float));
  }
  call(pointers);
  for (size_t w = 0; w < writes.size(); ++w) {
    const float* got = pointers[reads.size() + w];
    const std::vector<double>& want = tensors.at(writes[w]);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-4 * (1 + std::fabs(want[i])))
          << title << ": " << writes[w] << " at " << i << " of " << want.size();
    }
  }
}

}  // namespace quern
