// SPDX-License-Identifier: Apache-2.0
#include "record/launch_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "base/strings.h"
#include "base/suggest.h"
#include "record/plan_cursor.h"
#include "record/plan_lines.h"
#include "record/plan_targets.h"
#include "record/plan_values.h"

namespace quern {
namespace {

constexpr size_t kMostScratchBuffers = 64;
constexpr size_t kMostMaps = 32;
constexpr size_t kMostSteps = 256;
constexpr size_t kMostArguments = 64;
constexpr size_t kMostMembers = 4096;
constexpr int64_t kMostCubins = 64;

/// Reads one plan, statement by statement.
class PlanReader {
 public:
  PlanReader(const PlanWorkload& task, PlanTarget target) : task_(task) {
    plan_.target = target;
    for (const auto& [name, value] : task.sizes) sizes_.push_back(name);
    for (const PlanTensor& input : task.inputs) tensors_.push_back(input.name);
    for (const PlanTensor& output : task.outputs) tensors_.push_back(output.name);
  }

  Result<LaunchPlan> read(const std::string& source) {
    for (const PlanLine& line : joined_lines(source)) {
      PlanCursor cursor(line.text, line.number, sizes_);
      QUERN_TRY(statement(cursor, line.number));
      if (!cursor.at_end()) {
        return cursor.error(fmt::format("{} does not belong here", cursor.here()),
                            "one declaration a line; see docs/plan_format.md");
      }
    }
    const bool launches = std::ranges::any_of(
        plan_.steps, [](const StepDecl& step) { return std::holds_alternative<LaunchDecl>(step); });
    if (!launches) {
      return Error{ErrorKind::kInput, "plan: no launch line, so there is nothing to run",
                   "write, at the head of the source: "
                   "// quern: launch KERNEL grid (…) block (…) args (…)"};
    }
    QUERN_TRY(check_plan_targets(plan_));
    return std::move(plan_);
  }

 private:
  /// Plan lines; one goes on in the next where that is indented, or its parentheses are open.
  static std::vector<PlanLine> joined_lines(const std::string& source) {
    std::vector<PlanLine> lines;
    int open = 0;
    for (PlanLine& line : plan_lines(source)) {
      const auto opened = std::ranges::count_if(line.text, [](char c) { return c == '('; });
      const auto closed = std::ranges::count_if(line.text, [](char c) { return c == ')'; });
      if (!lines.empty() && (open > 0 || line.goes_on)) {
        lines.back().text += " " + line.text;
      } else {
        open = 0;
        lines.push_back(std::move(line));
      }
      open += static_cast<int>(opened - closed);
    }
    return lines;
  }

  Result<void> statement(PlanCursor& cursor, int line) {
    const std::vector<std::string> keys = {"target", "specialize", "fast_math",  "max_registers",
                                           "code",   "scratch",    "tensor_map", "memset",
                                           "copy",   "launch"};
    const std::string key = cursor.peek_word();
    if (key == "scratch" || key == "tensor_map" || key == "memset" || key == "copy" ||
        key == "launch") {
      cursor.take_word(key);
      if (key == "scratch") return scratch(cursor, line);
      if (key == "tensor_map") return tensor_map(cursor, line);
      if (key == "memset") return memset(cursor, line);
      if (key == "copy") return copy(cursor, line);
      return launch(cursor, line);
    }
    if (std::ranges::find(keys, key) == keys.end()) {
      const std::string meant = did_you_mean(key, keys);
      return cursor.error(fmt::format("{} does not begin a plan line", cursor.here()),
                          meant.empty() ? "plan lines begin with " + join(keys, ", ") : meant);
    }
    cursor.take_word(key);
    QUERN_TRY(cursor.expect_symbol('=', key));
    return setting(cursor, key);
  }

  Result<void> setting(PlanCursor& cursor, const std::string& key) {
    if (key == "target") {
      QUERN_ASSIGN(const size_t target, plan_choice(cursor, key, {"cuda", "opencl", "both"}));
      plan_.target = static_cast<PlanTarget>(target);
    } else if (key == "specialize") {
      QUERN_ASSIGN(const size_t chosen, plan_choice(cursor, key, {"none", "sizes"}));
      plan_.specialize = chosen == 1;
    } else if (key == "fast_math") {
      QUERN_ASSIGN(const size_t chosen, plan_choice(cursor, key, {"off", "on"}));
      plan_.fast_math = chosen == 1;
    } else if (key == "code") {
      QUERN_ASSIGN(const size_t chosen, plan_choice(cursor, key, {"source", "cubin"}));
      plan_.precompiled = chosen == 1;
    } else {
      QUERN_ASSIGN(const int64_t value, plan_constant(cursor, key, 0, 255));
      plan_.max_registers = static_cast<int>(value);
    }
    return {};
  }

  Result<std::string> new_name(PlanCursor& cursor, const std::string& what) {
    QUERN_ASSIGN(std::string name, cursor.identifier(what));
    if (find_buffer(name) || find_map(name) >= 0 ||
        std::ranges::find(sizes_, name) != sizes_.end()) {
      return cursor.error(fmt::format("the name '{}' is taken", name),
                          "names of sizes, tensors, scratch and tensor maps all differ");
    }
    return name;
  }

  /// `scratch partial : f32[batch, 32]`
  Result<void> scratch(PlanCursor& cursor, int line) {
    ScratchDecl decl;
    decl.line = line;
    QUERN_ASSIGN(decl.name, new_name(cursor, "a name for the scratch buffer"));
    QUERN_TRY(cursor.expect_symbol(':', decl.name));
    QUERN_ASSIGN(decl.type, plan_type(cursor));
    QUERN_ASSIGN(decl.extents, plan_whole_list(cursor, '[', ']'));
    if (plan_.scratch.size() == kMostScratchBuffers)
      return too_many(cursor, "scratch buffers", kMostScratchBuffers);
    plan_.scratch.push_back(std::move(decl));
    return {};
  }

  static Error too_many(const PlanCursor& cursor, const std::string& what, size_t most) {
    return cursor.error(fmt::format("more than {} {}", most, what), "");
  }

  std::optional<BufferRef> find_buffer(const std::string& name) const {
    const auto index_in = [&](const auto& list) {
      const auto found = std::ranges::find_if(list, [&](const auto& e) { return e.name == name; });
      return found == list.end() ? -1 : static_cast<int>(found - list.begin());
    };
    using Kind = BufferRef::Kind;
    if (const int at = index_in(task_.inputs); at >= 0) return BufferRef{Kind::kInput, at};
    if (const int at = index_in(task_.outputs); at >= 0) return BufferRef{Kind::kOutput, at};
    if (const int at = index_in(plan_.scratch); at >= 0) return BufferRef{Kind::kScratch, at};
    return std::nullopt;
  }

  int find_map(const std::string& name) const {
    const auto found =
        std::ranges::find_if(plan_.maps, [&](const TensorMapDecl& m) { return m.name == name; });
    return found == plan_.maps.end() ? -1 : static_cast<int>(found - plan_.maps.begin());
  }

  Error unknown_buffer(const PlanCursor& cursor, const std::string& name, bool sizes_too) const {
    std::vector<std::string> known = tensors_;
    for (const ScratchDecl& decl : plan_.scratch) known.push_back(decl.name);
    if (sizes_too) {
      for (const TensorMapDecl& map : plan_.maps) known.push_back(map.name);
      known.insert(known.end(), sizes_.begin(), sizes_.end());
    }
    const std::string meant = did_you_mean(name, known);
    return cursor.error(
        fmt::format("'{}' is not declared", name),
        meant.empty() ? "known here are " + join(known, ", ") + "; scratch is declared before use"
                      : meant);
  }

  /// `tensor_map a_tiles : a[m, k] box (128, 32) swizzle 128b`
  Result<void> tensor_map(PlanCursor& cursor, int line) {
    TensorMapDecl map;
    map.line = line;
    QUERN_ASSIGN(map.name, new_name(cursor, "a name for the tensor map"));
    QUERN_TRY(cursor.expect_symbol(':', map.name));
    QUERN_ASSIGN(const std::string tensor, cursor.identifier("the tensor to map"));
    const auto buffer = find_buffer(tensor);
    if (!buffer) return unknown_buffer(cursor, tensor, false);
    map.buffer = *buffer;
    if (cursor.at_symbol('[')) {
      QUERN_ASSIGN(map.extents, plan_whole_list(cursor, '[', ']'));
    }
    while (!cursor.at_end()) QUERN_TRY(map_option(cursor, map));
    if (map.box.empty()) {
      return cursor.error(fmt::format("tensor map '{}' has no box", map.name),
                          "say what one copy moves, as in: box (128, 32)");
    }
    if (plan_.maps.size() == kMostMaps) return too_many(cursor, "tensor maps", kMostMaps);
    plan_.maps.push_back(std::move(map));
    return {};
  }

  static Result<void> map_option(PlanCursor& cursor, TensorMapDecl& map) {
    const std::vector<std::string> options = {
        "box", "strides", "element_strides", "swizzle", "l2", "outside", "tf32"};
    const std::string option = cursor.peek_word();
    if (std::ranges::find(options, option) == options.end()) {
      const std::string meant = did_you_mean(option, options);
      return cursor.error(fmt::format("a tensor map has no option {}", cursor.here()),
                          meant.empty() ? "the options are " + join(options, ", ") : meant);
    }
    cursor.take_word(option);
    if (option == "tf32") {
      map.tf32 = true;
    } else if (option == "swizzle") {
      QUERN_ASSIGN(const size_t at, plan_choice(cursor, option, {"none", "32b", "64b", "128b"}));
      map.swizzle = static_cast<Swizzle>(at);
    } else if (option == "l2") {
      QUERN_ASSIGN(const size_t at, plan_choice(cursor, option, {"none", "64b", "128b", "256b"}));
      map.l2 = static_cast<L2Promotion>(at);
    } else if (option == "outside") {
      QUERN_ASSIGN(const size_t at, plan_choice(cursor, option, {"zero", "nan"}));
      map.fill_nan = at == 1;
    } else {
      auto& list = option == "box"       ? map.box
                   : option == "strides" ? map.strides
                                         : map.element_strides;
      QUERN_ASSIGN(list, plan_whole_list(cursor, '(', ')'));
    }
    return {};
  }

  /// Scratch or an output, by name.
  Result<BufferRef> written_buffer(PlanCursor& cursor, const std::string& step) {
    QUERN_ASSIGN(const std::string name, cursor.identifier("the buffer to write"));
    const auto buffer = find_buffer(name);
    if (!buffer) return unknown_buffer(cursor, name, false);
    if (buffer->kind == BufferRef::Kind::kInput) {
      return cursor.error(
          fmt::format("{} fills scratch and outputs, and '{}' is an input", step, name), "");
    }
    return *buffer;
  }

  Result<void> add_step(const PlanCursor& cursor, StepDecl step) {
    plan_.steps.push_back(std::move(step));
    if (plan_.steps.size() > kMostSteps) return too_many(cursor, "steps", kMostSteps);
    return {};
  }

  /// `memset counters 0`
  Result<void> memset(PlanCursor& cursor, int line) {
    QUERN_ASSIGN(const BufferRef buffer, written_buffer(cursor, "memset"));
    QUERN_ASSIGN(const int64_t byte, plan_constant(cursor, "the byte", 0, 255));
    return add_step(cursor, FillDecl{buffer, static_cast<uint8_t>(byte), line});
  }

  /// `copy work x`
  Result<void> copy(PlanCursor& cursor, int line) {
    QUERN_ASSIGN(const BufferRef to, written_buffer(cursor, "copy"));
    QUERN_ASSIGN(const std::string name, cursor.identifier("the buffer to copy"));
    const auto from = find_buffer(name);
    if (!from) return unknown_buffer(cursor, name, false);
    return add_step(cursor, CopyDecl{to, *from, line});
  }

  /// `launch row_max grid (batch) block (256) args (x, partial, dim)`
  Result<void> launch(PlanCursor& cursor, int line) {
    LaunchDecl launch;
    launch.line = line;
    QUERN_ASSIGN(launch.kernel, cursor.identifier("the name of a kernel"));
    bool has_arguments = false;
    while (!cursor.at_end()) QUERN_TRY(launch_option(cursor, launch, has_arguments));
    const char* missing = launch.grid.empty()    ? "grid"
                          : launch.block.empty() ? "block"
                          : !has_arguments       ? "args"
                                                 : nullptr;
    if (missing != nullptr) {
      return cursor.error(fmt::format("launch {} has no {}", launch.kernel, missing),
                          "a launch reads: launch KERNEL grid (…) block (…) args (…)");
    }
    return add_step(cursor, std::move(launch));
  }

  Result<void> launch_option(PlanCursor& cursor, LaunchDecl& launch, bool& has_arguments) {
    const std::vector<std::string> options = {"grid", "block",        "cluster",     "shared",
                                              "args", "programmatic", "cooperative", "cubin"};
    const std::string option = cursor.peek_word();
    if (std::ranges::find(options, option) == options.end()) {
      const std::string meant = did_you_mean(option, options);
      return cursor.error(fmt::format("a launch has no option {}", cursor.here()),
                          meant.empty() ? "the options are " + join(options, ", ") : meant);
    }
    cursor.take_word(option);
    if (option == "programmatic") {
      launch.programmatic = true;
    } else if (option == "cooperative") {
      launch.cooperative = true;
    } else if (option == "args") {
      has_arguments = true;
      return arguments(cursor, launch);
    } else if (option == "cubin") {
      QUERN_ASSIGN(const int64_t index, plan_constant(cursor, option, 0, kMostCubins - 1));
      launch.cubin = static_cast<int>(index);
    } else if (option == "shared") {
      QUERN_ASSIGN(PlanExpr bytes, cursor.primary_expression());
      QUERN_TRY(all_whole(cursor, {bytes}));
      launch.shared = std::move(bytes);
    } else {
      auto& list = option == "grid"    ? launch.grid
                   : option == "block" ? launch.block
                                       : launch.cluster;
      QUERN_ASSIGN(list, plan_dimensions(cursor, option));
    }
    return {};
  }

  Result<void> arguments(PlanCursor& cursor, LaunchDecl& launch) {
    QUERN_TRY(cursor.expect_symbol('(', "args"));
    if (cursor.take_symbol(')')) return {};
    do {
      if (launch.arguments.size() == kMostArguments) {
        return too_many(cursor, "arguments", kMostArguments);
      }
      QUERN_ASSIGN(LaunchArgument one, argument(cursor));
      launch.arguments.push_back(std::move(one));
    } while (cursor.take_symbol(','));
    return cursor.expect_symbol(')', "the arguments");
  }

  Result<LaunchArgument> argument(PlanCursor& cursor) {
    using Kind = LaunchArgument::Kind;
    LaunchArgument argument;
    const std::string word = cursor.peek_word();
    if (!word.empty() && cursor.followed_by('(')) {
      if (word == "struct") return structure(cursor);
      if (const auto type = plan_type_from_name(word)) {
        return plan_scalar(cursor, *type, word);
      }
    } else if (word == "shared") {
      cursor.take_word(word);
      argument.kind = Kind::kShared;
      return argument;
    } else if (const auto buffer = find_buffer(word)) {
      cursor.take_word(word);
      argument.buffer = *buffer;
      if (cursor.take_symbol('[')) {
        QUERN_ASSIGN(argument.element, cursor.expression());
        QUERN_TRY(all_whole(cursor, {*argument.element}));
        QUERN_TRY(cursor.expect_symbol(']', word));
      }
      return argument;
    } else if (const int map = find_map(word); map >= 0) {
      cursor.take_word(word);
      argument.kind = Kind::kTensorMap;
      argument.map = map;
      return argument;
    } else if (!word.empty() && std::ranges::find(sizes_, word) == sizes_.end()) {
      return unknown_buffer(cursor, word, true);
    }
    argument.kind = Kind::kWhole;
    QUERN_ASSIGN(argument.value, cursor.expression());
    if (!argument.value.whole()) {
      return cursor.error(
          fmt::format("'{}' is not a whole number, and has no type", argument.value.text()),
          fmt::format("write f32({0}) or f64({0})", argument.value.text()));
    }
    return argument;
  }

  /// `struct (x, i32(n), f32(0.5))`
  Result<LaunchArgument> structure(PlanCursor& cursor) {
    using Kind = LaunchArgument::Kind;
    LaunchArgument made;
    made.kind = Kind::kStruct;
    cursor.take_word("struct");
    QUERN_TRY(cursor.expect_symbol('(', "struct"));
    do {
      if (made.members.size() == kMostMembers) return too_many(cursor, "members", kMostMembers);
      QUERN_ASSIGN(LaunchArgument member, argument(cursor));
      if (member.kind != Kind::kBuffer && member.kind != Kind::kScalar) {
        return cursor.error("a member of a struct is a buffer or a number of a type",
                            "as in: struct (x, i32(dim), f32(0.5))");
      }
      made.members.push_back(std::move(member));
    } while (cursor.take_symbol(','));
    QUERN_TRY(cursor.expect_symbol(')', "the members"));
    return made;
  }

  const PlanWorkload& task_;
  LaunchPlan plan_;
  std::vector<std::string> sizes_, tensors_;
};

}  // namespace

Result<LaunchPlan> parse_launch_plan(const std::string& source, const PlanWorkload& task,
                                     PlanTarget target) {
  return PlanReader(task, target).read(source);
}

}  // namespace quern
