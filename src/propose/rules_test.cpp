// SPDX-License-Identifier: Apache-2.0
#include "propose/rules.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>

#include "codegen/emit_cpu.h"
#include "codegen/prelude.h"
#include "ir/check.h"
#include "ir/interpret.h"
#include "task/parse.h"
#include "task/recurrence_testing.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

/// Found from the folder the test runs in, upwards: `__FILE__` may be relative to another one.
fs::path tasks_folder() {
  for (fs::path at = fs::current_path(); at != at.root_path(); at = at.parent_path()) {
    if (fs::exists(at / "tasks" / "softmax.task")) return at / "tasks";
  }
  return fs::path(__FILE__).parent_path() / "../../tasks";
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(tasks_folder())) {
    if (entry.path().extension() == ".task") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

ir::Program load(const std::string& name) {
  auto program = load_task(tasks_folder() / (name + ".task"));
  EXPECT_TRUE(program.has_value()) << program.error().message;
  return *program;
}

/// A plan that random legal steps lead to, and that the code generators agree with.
Trace random_trace(const ir::Program& program, const ir::Sizes& sizes, uint32_t seed) {
  std::mt19937 random(seed);
  Trace trace;
  for (int depth = 0; depth < 8; ++depth) {
    const std::vector<Step> legal = legal_actions(program, trace, sizes);
    if (legal.empty()) break;
    trace.push_back(legal[random() % legal.size()]);
    if (!emit_cpu(program, *apply(trace, program, sizes))) trace.pop_back();
  }
  return trace;
}

/// Every plan of every task: the sketches tuned for the size set `cpu`, the naive plan, and random
/// ones.
std::vector<Trace> plans_of(const ir::Program& program) {
  std::vector<Trace> plans = {{}};
  auto sizes = ir::bind_sizes(program, std::string("cpu"));
  EXPECT_TRUE(sizes.has_value());
  for (Sketch& sketch : sketches(program, *sizes, {})) plans.push_back(std::move(sketch.trace));
  for (uint32_t seed = 0; seed < 2; ++seed) {
    plans.push_back(random_trace(program, *sizes, seed));
  }
  return plans;
}

/// A tensor that ends at a page that may not be touched.
class Guarded {
 public:
  explicit Guarded(size_t bytes) : bytes_((bytes + 4095) / 4096 * 4096 + 4096) {
    map_ = static_cast<char*>(
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(map_ + bytes_ - 4096, 4096, PROT_NONE);
    data_ = map_ + bytes_ - 4096 - bytes;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(map_, bytes_); }
  char* data() const { return data_; }

 private:
  size_t bytes_;
  char* map_;
  char* data_;
};

/// The sources of one task's plans as one library; entry k is `k<k>_<task>`.
class Library {
 public:
  Library(const ir::Program& program, const std::vector<Trace>& plans) {
    char folder[] = "/tmp/quern_rules_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    const fs::path at = folder;
    std::ofstream(at / "quern_cpu.h") << cpu_prelude();
    std::ofstream(at / "quern_gemm.h") << gemm_prelude();
    std::ofstream(at / "quern_recurrence.h") << recurrence_prelude();
    auto sizes = ir::bind_sizes(program, std::string("cpu"));
    std::string all;
    for (size_t k = 0; k < plans.size(); ++k) all += source(program, *sizes, plans[k], k);
    std::ofstream(at / "all.cpp") << "#include \"quern_cpu.h\"\n#include \"quern_gemm.h\"\n"
                                  << "#include \"quern_recurrence.h\"\n"
                                  << all;
    const std::string command = fmt::format(
        "g++ -std=c++20 -O0 -w -march=native -fopenmp -shared -fPIC -I{0} -o {0}/all.so "
        "{0}/all.cpp 2>{0}/log",
        folder);
    const int status = std::system(command.c_str());
    std::ifstream log(at / "log");
    const std::string said(std::istreambuf_iterator<char>(log), {});
    EXPECT_EQ(status, 0) << said.substr(0, 2000);
    if (status == 0) library_ = dlopen((at / "all.so").c_str(), RTLD_NOW);
    fs::remove_all(at);
  }

  void* entry(const std::string& task, size_t k) const {
    return library_ == nullptr ? nullptr : dlsym(library_, fmt::format("k{}_{}", k, task).c_str());
  }

 private:
  static std::string source(const ir::Program& program, const ir::Sizes& sizes, const Trace& plan,
                            size_t k) {
    auto schedule = apply(plan, program, sizes);
    EXPECT_TRUE(schedule.has_value()) << schedule.error().message;
    if (!schedule) return "";
    auto text = emit_cpu(program, *schedule);
    EXPECT_TRUE(text.has_value()) << text.error().message;
    if (!text) return "";
    const std::string entry = "extern \"C\" void " + program.name + "(";
    const size_t at = text->find(entry);
    EXPECT_NE(at, std::string::npos);
    text->replace(at, entry.size(), fmt::format("extern \"C\" void k{}_{}(", k, program.name));
    return fmt::format("#undef QUERN_SIZES\nnamespace k{} {{\n{}}}\n", k, *text);
  }

  void* library_ = nullptr;
};

using Words = std::vector<uint64_t>;

void call(void* entry, Words words) {
  using F = void (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
  ASSERT_LE(words.size(), 14u);
  words.resize(14);
  reinterpret_cast<F>(entry)(words[0], words[1], words[2], words[3], words[4], words[5], words[6],
                             words[7], words[8], words[9], words[10], words[11], words[12],
                             words[13]);
}

/// One task at one size set: inputs, and what the interpreter makes of them.
struct Workload {
  Words arguments;  ///< sizes and inputs
  std::vector<std::unique_ptr<Guarded>> buffers;
  ir::Tensors<RunningError> expected;
};

Workload make_workload(const ir::Program& program, const ir::Sizes& sizes) {
  Workload work;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  ir::Tensors<RunningError> inputs;
  for (const std::string& size : program.free_sizes()) {
    work.arguments.push_back(static_cast<uint64_t>(sizes.at(size)));
  }
  for (const ir::InputDecl& input : program.inputs) {
    const auto count = static_cast<size_t>(element_count(shape_of(program, input.name, sizes)));
    const auto width = static_cast<size_t>(dtype_bytes(input.type));
    work.buffers.push_back(std::make_unique<Guarded>(count * width));
    char* data = work.buffers.back()->data();
    for (size_t i = 0; i < count; ++i) {
      double value = 0;
      if (is_float(input.type)) {
        const float drawn = normal(random);
        std::memcpy(data + i * width, &drawn, width);
        value = drawn;
      } else {
        const int64_t low = ir::evaluate(input.distribution.low, sizes);
        const int64_t high = ir::evaluate(input.distribution.high, sizes);
        const int64_t drawn =
            low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
        std::memcpy(data + i * width, &drawn, width);
        value = static_cast<double>(drawn);
      }
      inputs[input.name].emplace_back(value);
    }
    work.arguments.push_back(reinterpret_cast<uint64_t>(data));
  }
  work.expected = ir::run(program, sizes, inputs);
  return work;
}

double element(DType type, const char* data, size_t i) {
  if (type == DType::kI64) return static_cast<double>(reinterpret_cast<const int64_t*>(data)[i]);
  if (type == DType::kI32) return reinterpret_cast<const int32_t*>(data)[i];
  return reinterpret_cast<const float*>(data)[i];
}

/// Calls a plan's kernel and compares every output with the interpreter.
void expect_right(const ir::Program& program, const ir::Sizes& sizes, const Workload& work,
                  void* entry, const std::string& plan) {
  Words words = work.arguments;
  std::vector<std::unique_ptr<Guarded>> outputs;
  for (const ir::Statement* output : program.outputs()) {
    const auto count = static_cast<size_t>(element_count(shape_of(program, output->name, sizes)));
    const size_t bytes = count * static_cast<size_t>(dtype_bytes(output->type));
    outputs.push_back(std::make_unique<Guarded>(bytes));
    std::memset(outputs.back()->data(), 0xff, bytes);
    words.push_back(reinterpret_cast<uint64_t>(outputs.back()->data()));
  }
  call(entry, words);
  for (size_t o = 0; o < outputs.size(); ++o) {
    const ir::Statement& output = *program.outputs()[o];
    const auto& expected = work.expected.at(output.name);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double got = element(output.type, outputs[o]->data(), i);
      const double allowed = is_float(output.type) ? 4 * expected[i].e * 0x1p-24 + 1e-37 : 0;
      ASSERT_LE(std::fabs(got - expected[i].v), allowed)
          << output.name << "[" << i << "] = " << got << ", not " << expected[i].v << "\n"
          << plan;
    }
  }
}

/// The size set `tiny`, and where that is legal the same with a long last size: enough for whole
/// tiles, single vectors and a tail.
std::vector<ir::Sizes> test_sizes(const ir::Program& program) {
  std::vector<ir::Sizes> list;
  auto tiny = ir::bind_sizes(program, std::string("tiny"));
  EXPECT_TRUE(tiny.has_value());
  list.push_back(*tiny);
  std::map<std::string, int64_t> longer;
  for (const std::string& size : program.free_sizes()) longer[size] = tiny->at(size);
  longer[program.free_sizes().back()] *= 9;
  auto sizes = ir::bind_sizes(program, longer);
  if (sizes && ir::check_sizes(program, *sizes)) list.push_back(*sizes);
  return list;
}

class RulesTest : public testing::TestWithParam<std::string> {};

TEST_P(RulesTest, EveryPlanComputesTheTask) {
  const ir::Program program = load(GetParam());
  const std::vector<Trace> plans = plans_of(program);
  const Library library(program, plans);
  for (const ir::Sizes& sizes : test_sizes(program)) {
    const Workload work = make_workload(program, sizes);
    for (size_t k = 0; k < plans.size(); ++k) {
      void* entry = library.entry(program.name, k);
      ASSERT_NE(entry, nullptr);
      expect_right(program, sizes, work, entry, print(plans[k]));
    }
  }
}

TEST_P(RulesTest, SketchesAreLegalDifferentAndEmitTheSameBytesTwice) {
  const ir::Program program = load(GetParam());
  auto sizes = ir::bind_sizes(program, std::string("cpu"));
  ASSERT_TRUE(sizes.has_value());
  std::set<std::string> seen;
  for (const Sketch& sketch : sketches(program, *sizes, {})) {
    EXPECT_TRUE(seen.insert(print(sketch.trace)).second);
    auto parsed = parse_trace(print(sketch.trace));
    ASSERT_TRUE(parsed.has_value());
    auto once = apply(sketch.trace, program, *sizes);
    auto again = apply(*parsed, program, *sizes);
    ASSERT_TRUE(once.has_value() && again.has_value());
    EXPECT_EQ(*emit_cpu(program, *once), *emit_cpu(program, *again));
  }
  EXPECT_GE(seen.size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(Tasks, RulesTest, testing::ValuesIn(task_names()),
                         [](const auto& info) { return info.param; });

class RecurrencePlan : public testing::TestWithParam<RecurrenceCase> {};

TEST_P(RecurrencePlan, ComputesWhatTheTaskMeansAtEverySize) {
  const ir::Program program = recurrence_program(GetParam());
  const Library library(program, {{}});
  std::vector<ir::Sizes> all = test_sizes(program);
  all.push_back(*ir::bind_sizes(program, std::string("full")));
  for (const ir::Sizes& sizes : all) {
    void* entry = library.entry(program.name, 0);
    ASSERT_NE(entry, nullptr);
    expect_right(program, sizes, make_workload(program, sizes), entry, GetParam().name);
  }
}

TEST_P(RecurrencePlan, IsTouchedByNoAction) {
  const ir::Program program = recurrence_program(GetParam());
  const auto sizes = ir::bind_sizes(program, std::string("full"));
  const auto schedule = apply({}, program, *sizes);
  ASSERT_TRUE(schedule);
  ASSERT_EQ(schedule->groups.size(), 1u);
  EXPECT_EQ(schedule->groups[0].skeleton, Skeleton::kRecurrence);
  EXPECT_EQ(schedule->groups[0].statements.size(), program.statements.size());
  EXPECT_TRUE(legal_actions(program, {}, *sizes).empty());
  const auto refused = apply({{"vectorize", "h", {}}}, program, *sizes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("part of a recurrence"), std::string::npos)
      << refused.error().message;
}

INSTANTIATE_TEST_SUITE_P(Cases, RecurrencePlan, testing::ValuesIn(kRecurrenceCases),
                         [](const auto& info) { return info.param.name; });

TEST(RecurrenceNeighbours, LeavesWhatFeedsItInLoopsOfItsOwn) {
  const ir::Program program = recurrence_program(
      {"fed",
       "z[t, b, j] = 2 * x[t, b, j]\n"
       "output h[t < n, b < m, j < p] = z[t, b, j] + (h[t - 1, b, j] else h0[b, j]) * u[j, j]\n"});
  const auto sizes = ir::bind_sizes(program, std::string("full"));
  const auto refused = apply({{"compute_inline", "z", {}}}, program, *sizes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("`h` reads it"), std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(apply({{"vectorize", "z", {}}}, program, *sizes));
}

/// A made-up cost, so that the search has something to find.
double cost(const Trace& trace) { return 1000.0 + static_cast<double>(print(trace).size() % 97); }

std::vector<std::string> run_search(uint64_t seed, int rounds) {
  const ir::Program program = load("softmax");
  auto sizes = ir::bind_sizes(program, std::string("cpu"));
  RulesProposer proposer(program, *sizes, {}, seed);
  std::vector<std::string> log;
  for (int round = 0; round < rounds; ++round) {
    for (const Proposal& proposal : proposer.next(4)) {
      log.push_back(print(proposal.trace));
      EXPECT_TRUE(apply(proposal.trace, program, *sizes).has_value());
      EXPECT_LT(proposal.parent, static_cast<int>(log.size()));
      proposer.tell(static_cast<int>(log.size()) - 1, proposal.trace, log.size() % 5 != 0,
                    cost(proposal.trace));
    }
  }
  return log;
}

TEST(RulesProposer, NeverProposesTheSameTraceTwice) {
  const std::vector<std::string> log = run_search(1, 12);
  EXPECT_EQ(std::set<std::string>(log.begin(), log.end()).size(), log.size());
  EXPECT_GE(log.size(), 40u);
}

TEST(RulesProposer, IsAFunctionOfItsSeedAndWhatItIsTold) {
  EXPECT_EQ(run_search(7, 8), run_search(7, 8));
  EXPECT_NE(run_search(7, 8), run_search(8, 8));
}

}  // namespace
}  // namespace quern
