// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/ptx_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "base/strings.h"
#include "device/cuda/ptx_guard_code.h"
#include "device/cuda/ptx_text.h"

namespace quern::cuda {
namespace {

constexpr size_t kMostSites = 1 << 20;

/// Bytes of the last type among the modifiers, times the length of the vector; 0: not known.
uint32_t accessed_bytes(const PtxInstruction& instruction) {
  uint32_t bytes = 0, vector = 1;
  for (const std::string_view one : instruction.modifiers) {
    if (one == "v2" || one == "v4" || one == "v8") vector = static_cast<uint32_t>(one[1] - '0');
    if (one == "f16x2" || one == "bf16x2") bytes = 4;
    if (one == "bf16") bytes = 2;
    if (one.size() < 2 || one.size() > 4 || std::string_view("bsuf").find(one[0]) > 3) continue;
    uint32_t bits = 0;
    const auto read = std::from_chars(one.data() + 1, one.data() + one.size(), bits);
    if (read.ec == std::errc() && read.ptr == one.data() + one.size() && bits % 8 == 0) {
      bytes = bits / 8;
    }
  }
  return bytes <= 16 ? bytes * vector : 0;
}

std::optional<uint32_t> whole(std::string_view text) {
  uint32_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

enum class Space { kGlobal, kGeneric, kOther };

bool is_space(std::string_view modifier) {
  static constexpr std::array<std::string_view, 4> kOthers = {"shared", "local", "const", "param"};
  return std::ranges::any_of(kOthers, [&](std::string_view name) {
    return modifier == name ||
           (modifier.starts_with(name) && modifier.substr(name.size(), 2) == "::");
  });
}

Space space_of(const PtxInstruction& instruction) {
  for (const std::string_view one : instruction.modifiers) {
    if (one == "global") return Space::kGlobal;
    if (is_space(one)) return Space::kOther;
  }
  return Space::kGeneric;
}

/// What an instruction touches.
struct Access {
  std::string_view operand;
  Space space = Space::kOther;
  bool writes = false;
  uint32_t alignment = 0;
  std::string bytes;  ///< a number or a register
};

class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : rest_(text) {}
  Result<GuardedPtx> rewrite();

 private:
  Result<void> module_item(const PtxItem& item);
  Result<void> function_item(const PtxItem& item);
  void open_function(std::string_view head);
  void begin_code();
  Result<void> instruction(std::string_view text);
  Result<void> memory(const PtxInstruction& parsed);
  Result<Access> copied(const PtxInstruction& parsed) const;
  Result<Access> copied_in_bulk(const PtxInstruction& parsed) const;
  Result<void> check(const PtxInstruction& parsed, const Access& access);
  void check_clock(const PtxInstruction& parsed);
  void stop(const PtxInstruction& parsed, GuardReport::Kind kind);
  Result<void> call(const PtxInstruction& parsed, bool& replaced);
  uint32_t site(const PtxInstruction& parsed);
  std::string skip_unless(const PtxInstruction& parsed, const std::string& label) const;
  std::string new_label() { return fmt::format("$quern_guard_{}", ++labels_); }
  Error refuse(std::string_view why, std::string_view what) const;

  std::string_view rest_;
  GuardedPtx made_;
  std::set<std::string, std::less<>> globals_, functions_, called_, labels_seen_;
  std::string function_;
  int depth_ = 0;
  bool declared_ = false, code_begun_ = false, expects_body_ = false;
  uint64_t labels_ = 0;
};

Error Rewriter::refuse(std::string_view why, std::string_view what) const {
  return Error{ErrorKind::kInput,
               fmt::format("{}: {}{}", why, shorten(std::string(trim(what)), 200),
                           function_.empty() ? "" : " in " + function_),
               ""};
}

Result<GuardedPtx> Rewriter::rewrite() {
  if (rest_.find("quern_guard") != std::string_view::npos) {
    return refuse("a name that guards need is taken", "quern_guard");
  }
  made_.text.reserve(4 * rest_.size() + 8192);
  while (true) {
    const PtxItem item = next_ptx_item(rest_, depth_ > 0);
    if (item.kind == PtxItem::Kind::kEnd) break;
    if (depth_ > 0) {
      QUERN_TRY(function_item(item));
    } else {
      QUERN_TRY(module_item(item));
    }
    rest_.remove_prefix(item.text.size());
  }
  if (depth_ > 0) return refuse("the text ends inside of a function", function_);
  for (const std::string& name : called_) {
    if (!functions_.contains(name)) return refuse("a call of a function that is not there", name);
  }
  return std::move(made_);
}

Result<void> Rewriter::module_item(const PtxItem& item) {
  using Kind = PtxItem::Kind;
  const bool declares = item.kind == Kind::kFunction || item.kind == Kind::kDirective;
  if (declares && !declared_) {
    made_.text += kGuardFunctions;
    declared_ = true;
  }
  switch (item.kind) {
    case Kind::kSpace:
      made_.text += item.text;
      return {};
    case Kind::kFunction:
      open_function(item.text);
      return {};
    case Kind::kOpen:
      if (!expects_body_) return refuse("not understood", "{");
      expects_body_ = false;
      depth_ = 1;
      code_begun_ = false;
      labels_seen_.clear();
      made_.text += "{\n";
      made_.text += kGuardRegisters;
      return {};
    case Kind::kDirective:
      break;
    default:
      return refuse("not understood", item.text.substr(0, 80));
  }
  if (ptx_has_word(item.text, ".global")) {
    const std::string name(ptx_declared_name(item.text));
    const bool plain = !name.empty() && !ptx_has_word(item.text, ".extern");
    if (!plain) return refuse("a variable that is not here", item.text.substr(0, 80));
    globals_.insert(name);
    made_.globals.push_back(name);
    const bool named = ptx_has_word(item.text, ".visible") || ptx_has_word(item.text, ".weak");
    if (!named) made_.text += ".visible ";
  }
  made_.text += item.text;
  return {};
}

void Rewriter::open_function(std::string_view head) {
  function_ = ptx_declared_name(head);
  const bool entry = ptx_has_word(head, ".entry");
  const bool body = rest_.substr(head.size()).starts_with('{');
  if (body) functions_.insert(function_);
  expects_body_ = body;
  made_.text += head;
  // Guards take registers: they must not be more than the largest block can have.
  if (entry && body && !ptx_has_word(head, ".maxntid") && !ptx_has_word(head, ".reqntid")) {
    made_.text += "\n.maxntid 1024, 1, 1\n";
  }
  if (!body && rest_.substr(head.size()).starts_with(';')) {  // a prototype
    made_.text += ';';
    rest_.remove_prefix(1);
  }
}

Result<void> Rewriter::function_item(const PtxItem& item) {
  using Kind = PtxItem::Kind;
  switch (item.kind) {
    case Kind::kSpace:
    case Kind::kDirective:
      break;
    case Kind::kOpen:
      begin_code();
      ++depth_;
      break;
    case Kind::kClose:
      --depth_;
      break;
    case Kind::kLabel:
      begin_code();
      labels_seen_.emplace(item.text.substr(0, item.text.size() - 1));
      break;
    case Kind::kInstruction:
      begin_code();
      return instruction(item.text);
    default:
      return refuse("not understood", item.text.substr(0, 80));
  }
  made_.text += item.text;
  return {};
}

void Rewriter::begin_code() {
  if (!std::exchange(code_begun_, true)) made_.text += kGuardEntry;
}

uint32_t Rewriter::site(const PtxInstruction& parsed) {
  GuardSite made{function_, std::string(parsed.opcode)};
  if (made_.sites.empty() || made_.sites.back() != made) made_.sites.push_back(std::move(made));
  return static_cast<uint32_t>(made_.sites.size() - 1);
}

/// A jump past what is not to be done where the instruction is not.
std::string Rewriter::skip_unless(const PtxInstruction& parsed, const std::string& label) const {
  if (parsed.predicate.empty()) return "";
  const bool negated = parsed.predicate.starts_with('!');
  return fmt::format("@{}{} bra {};\n", negated ? "" : "!",
                     parsed.predicate.substr(negated ? 1 : 0), label);
}

Result<void> Rewriter::instruction(std::string_view text) {
  const PtxInstruction parsed = parse_ptx_instruction(text);
  if (made_.sites.size() > kMostSites) return refuse("too long", function_);
  if (text.find("//") != std::string_view::npos) return refuse("not understood", text);
  bool replaced = false;
  if (parsed.is("bra")) {
    if (parsed.operands.size() != 1) return refuse("not understood", text);
    if (labels_seen_.contains(parsed.operands[0])) check_clock(parsed);
  } else if (parsed.is("brx")) {
    return refuse("an indirect branch", text);
  } else if (parsed.is("call")) {
    QUERN_TRY(call(parsed, replaced));
  } else if (parsed.is("trap") || parsed.is("brkpt")) {
    stop(parsed, GuardReport::Kind::kTrap);
    replaced = true;
  } else if (parsed.has_memory_operand()) {
    QUERN_TRY(memory(parsed));
  }
  if (!replaced) made_.text += text;
  return {};
}

Result<void> Rewriter::memory(const PtxInstruction& parsed) {
  const Space space = space_of(parsed);
  if (parsed.is("prefetch") || parsed.is("prefetchu")) return {};
  if (parsed.is("cp")) {
    if (parsed.has("tensor") || parsed.has("prefetch") || parsed.has("mbarrier")) return {};
    QUERN_ASSIGN(const Access access, parsed.has("bulk") ? copied_in_bulk(parsed) : copied(parsed));
    return access.space == Space::kOther ? Result<void>() : check(parsed, access);
  }
  static constexpr std::array<std::string_view, 5> kShared = {"mbarrier", "ldmatrix", "stmatrix",
                                                              "wmma", "multimem"};
  const bool plain = parsed.is("ld") || parsed.is("ldu") || parsed.is("st") || parsed.is("atom") ||
                     parsed.is("red");
  if (space == Space::kOther) {
    if (plain || (!parsed.is("multimem") &&
                  std::ranges::find(kShared, parsed.modifiers[0]) != kShared.end())) {
      return {};
    }
    return refuse("an instruction that guards do not know", parsed.opcode);
  }
  if (!plain || parsed.has("bulk") || parsed.has("async")) {
    return refuse("an instruction that guards do not know", parsed.opcode);
  }
  Access access;
  for (const std::string_view operand : parsed.operands) {
    if (!operand.starts_with('[')) continue;
    if (!access.operand.empty()) return refuse("not understood", parsed.opcode);
    access.operand = operand;
  }
  access.space = space;
  access.writes = !parsed.is("ld") && !parsed.is("ldu");
  access.alignment = accessed_bytes(parsed);
  if (access.alignment == 0) return refuse("an access of a size that is not known", parsed.opcode);
  access.bytes = std::to_string(access.alignment);
  return check(parsed, access);
}

/// cp.async [shared], [global], bytes{, bytes that are read}{, policy}.
Result<Access> Rewriter::copied(const PtxInstruction& parsed) const {
  const auto& operands = parsed.operands;
  const bool known = parsed.has("async") && parsed.has("shared") && parsed.has("global");
  const std::optional<uint32_t> size = operands.size() >= 3 ? whole(operands[2]) : std::nullopt;
  if (!known || !size) return refuse("not understood", parsed.opcode);
  const bool hint = std::ranges::any_of(
      parsed.modifiers, [](std::string_view one) { return one.ends_with("cache_hint"); });
  const size_t plain = operands.size() - (hint ? 1 : 0);
  Access access{operands[1], Space::kGlobal, false, *size, std::to_string(*size)};
  if (plain == 3) return access;
  const bool counted = plain == 4 && (whole(operands[3]) || operands[3].starts_with("%r"));
  if (!counted) return refuse("not understood", parsed.opcode);
  access.bytes = operands[3];
  return access;
}

/// cp.async.bulk and cp.reduce.async.bulk: [to], [from], bytes, ….
Result<Access> Rewriter::copied_in_bulk(const PtxInstruction& parsed) const {
  std::vector<bool> global;
  for (const std::string_view one : parsed.modifiers) {
    if (one == "global") global.push_back(true);
    if (one.starts_with("shared")) global.push_back(false);
  }
  if (global.size() != 2 || parsed.operands.size() < 3) {
    return refuse("not understood", parsed.opcode);
  }
  if (!global[0] && !global[1]) return Access{};
  return Access{parsed.operands[global[0] ? 0 : 1], Space::kGlobal, global[0], 16,
                std::string(parsed.operands[2])};
}

Result<void> Rewriter::check(const PtxInstruction& parsed, const Access& access) {
  const PtxAddress address = parse_ptx_address(access.operand);
  const bool sane = access.alignment <= 128 && (access.alignment & (access.alignment - 1)) == 0;
  if (address.base.empty() || !sane) return refuse("not understood", parsed.opcode);
  const bool symbol = globals_.contains(address.base);
  const std::string label = new_label();
  std::string& out = made_.text;
  out += skip_unless(parsed, label);
  const std::string_view offset = address.offset.empty() ? "0" : address.offset;
  if (symbol) out += fmt::format("mov.u64 %quern_guard_a, {};\n", address.base);
  out += fmt::format("add.s64 %quern_guard_a, {}, {};\n", symbol ? "%quern_guard_a" : address.base,
                     offset);
  if (access.space == Space::kGeneric) {
    out += "isspacep.param %quern_guard_p, %quern_guard_a;\n";
    out += fmt::format("@%quern_guard_p bra {};\n", label);
    out += "isspacep.global %quern_guard_p, %quern_guard_a;\n";
    out += fmt::format("@!%quern_guard_p bra {};\n", label);
  }
  const uint32_t what = site(parsed) << 8 | (access.writes ? 128 : 0) | (access.alignment - 1);
  out += fmt::format(kGuardAccessCall, fmt::arg("bytes", access.bytes), fmt::arg("what", what));
  out += fmt::format("{}:\n", label);
  return {};
}

void Rewriter::check_clock(const PtxInstruction& parsed) {
  const std::string label = new_label();
  made_.text += skip_unless(parsed, label);
  made_.text +=
      fmt::format(kGuardClockCall, fmt::arg("label", label), fmt::arg("what", site(parsed) << 8));
}

void Rewriter::stop(const PtxInstruction& parsed, GuardReport::Kind kind) {
  const std::string label = new_label();
  made_.text += skip_unless(parsed, label);
  made_.text += fmt::format(kGuardStopCall, fmt::arg("kind", static_cast<uint32_t>(kind)),
                            fmt::arg("what", site(parsed) << 8));
  // A jump that is always taken would leave code that nothing reaches.
  if (!parsed.predicate.empty()) made_.text += fmt::format("{}:\n", label);
}

/// call (results), name, (arguments): of a function of the module. A failed assertion is a report.
Result<void> Rewriter::call(const PtxInstruction& parsed, bool& replaced) {
  size_t at = 0;
  if (at < parsed.operands.size() && parsed.operands[at].starts_with('(')) ++at;
  if (at >= parsed.operands.size() || parsed.operands[at].starts_with('%')) {
    return refuse("an indirect call", parsed.opcode);
  }
  const std::string name(parsed.operands[at]);
  replaced = name == "__assertfail";
  if (replaced) {
    stop(parsed, GuardReport::Kind::kAssertion);
  } else {
    called_.insert(name);
  }
  return {};
}

}  // namespace

Result<GuardedPtx> guard_ptx(std::string_view ptx) { return Rewriter(ptx).rewrite(); }

}  // namespace quern::cuda
