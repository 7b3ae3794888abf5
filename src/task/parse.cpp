// SPDX-License-Identifier: Apache-2.0
#include "task/parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/suggest.h"
#include "ir/check.h"
#include "task/lower.h"
#include "task/source.h"
#include "task/syntax.h"

namespace quern {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;
constexpr size_t kMostSizes = 28;  // they are arguments of a kernel, beside the tensors
constexpr size_t kMostTensors = 448;

std::set<std::string> identifiers(const std::vector<Token>& tokens) {
  std::set<std::string> names;
  for (const Token& token : tokens) {
    if (token.kind == Token::Kind::kName) names.emplace(token.text);
  }
  return names;
}

/// Names of the sizes and tensors a file defines, found before it is read, so that no axis takes
/// one of them.
std::set<std::string> definitions(const std::vector<Token>& tokens) {
  std::set<std::string> names;
  bool line_start = true;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.kind == Token::Kind::kNewline) {
      line_start = true;
      continue;
    }
    if (line_start && token.is_word("task")) {
      for (; i + 1 < tokens.size() && tokens[i].kind != Token::Kind::kNewline; ++i) {
        if (tokens[i].kind == Token::Kind::kName && tokens[i + 1].is("="))
          names.emplace(tokens[i].text);
      }
      continue;
    }
    if (line_start && token.kind == Token::Kind::kName && !token.is_word("sizes") &&
        !token.is_word("precision")) {
      bool word = token.is_word("let") || token.is_word("input") || token.is_word("param") ||
                  token.is_word("output");
      names.emplace(tokens[i + (word ? 1 : 0)].text);
    }
    line_start = false;
  }
  return names;
}

class Parser {
 public:
  Parser(const Source& source, const Tokens& tokens)
      : source_(source),
        cursor_(source, tokens.list),
        lowerer_(source, program_, identifiers(tokens.list)) {
    program_.doc = tokens.doc;
    lowerer_.reserve_definitions(definitions(tokens.list));
    announce(tokens.list);
  }

  Result<ir::Program> run() {
    QUERN_TRY(head());
    while (cursor_.peek().kind != Token::Kind::kEnd) QUERN_TRY(line());
    lowerer_.finish();
    QUERN_TRY(check());
    return std::move(program_);
  }

 private:
  /// Reads the heads of all statements ahead of the lines themselves: those of a recurrence read
  /// one another whatever their order.
  void announce(const std::vector<Token>& tokens) {
    Cursor ahead(source_, tokens);
    while (ahead.peek().kind != Token::Kind::kEnd) {
      const Token& first = ahead.peek();
      const bool statement =
          first.kind == Token::Kind::kName &&
          (first.is_word("output") || ahead.peek(1).is("[") || ahead.peek(1).is(":"));
      if (statement) {
        Result<StatementNode> head = ahead.statement_head();
        if (head && head->has_axes) lowerer_.announce(*head);
      }
      while (ahead.peek().kind != Token::Kind::kEnd && ahead.next().kind != Token::Kind::kNewline) {
      }
    }
  }

  Result<void> head() {
    if (!cursor_.peek().is_word("task")) {
      return cursor_.error("a task file starts with `task name(size = value, …)`");
    }
    cursor_.next();
    QUERN_ASSIGN(Token name, cursor_.name("the name of the task"));
    program_.name = std::string(name.text);
    // The kernel is a function of this name, so it may not be a word of C++ or of its library;
    // the words of reductions are no such thing.
    if (is_reserved(program_.name) && find_reduction(program_.name) == nullptr) {
      return source_.error(name.offset, fmt::format("`{}` is a reserved word", program_.name),
                           "choose another name");
    }
    QUERN_TRY(cursor_.expect("(", "and the sizes of the task"));
    if (!cursor_.peek().is(")")) {
      do {
        QUERN_ASSIGN(Token size, cursor_.name("the name of a size"));
        QUERN_TRY(lowerer_.define(std::string(size.text), size.offset));
        QUERN_TRY(cursor_.expect("=", "and the value of the size"));
        QUERN_ASSIGN(int64_t value, size_value(size));
        program_.sizes.push_back({std::string(size.text), value, std::nullopt});
        offsets_[std::string(size.text)] = size.offset;
      } while (cursor_.accept(","));
    }
    if (program_.sizes.size() > kMostSizes) {
      return source_.error(name.offset, fmt::format("a task has at most {} sizes", kMostSizes));
    }
    QUERN_TRY(cursor_.expect(")", "after the sizes"));
    return cursor_.end_of_line();
  }

  /// A positive whole number, which may be written as a product: `16 * 1024`.
  Result<int64_t> size_value(const Token& size) {
    size_t offset = cursor_.peek().offset;
    QUERN_ASSIGN(Node node, cursor_.expression());
    QUERN_ASSIGN(ir::IntExpr value, lowerer_.extent(node));
    if (value.kind != ir::IntExpr::Kind::kConstant) {
      return source_.error(offset,
                           fmt::format("the value of size `{}` must be a number", size.text));
    }
    if (value.value <= 0) {
      return source_.error(offset, fmt::format("size `{}` is {}; a size must be at least 1",
                                               size.text, value.value));
    }
    return value.value;
  }

  Result<void> line() {
    if (cursor_.accept_word("sizes")) return size_set();
    if (cursor_.accept_word("let")) return let();
    if (cursor_.accept_word("precision")) return precision();
    if (cursor_.accept_word("input")) return input(false);
    if (cursor_.accept_word("param")) return input(true);
    if (cursor_.peek().is_word("task")) {
      return cursor_.error("a file holds one task; this is a second head");
    }
    const Token& first = cursor_.peek();
    if (first.kind == Token::Kind::kName && cursor_.peek(1).kind == Token::Kind::kName &&
        !first.is_word("output")) {
      return cursor_.error(
          fmt::format("a line cannot start with `{}`", first.text),
          did_you_mean(first.text, {"sizes", "let", "precision", "input", "param", "output"}));
    }
    QUERN_ASSIGN(StatementNode node, cursor_.statement());
    QUERN_TRY(lowerer_.add(node));
    offsets_[node.name] = node.offset;
    return {};
  }

  Result<void> size_set() {
    QUERN_ASSIGN(Token name, cursor_.name("the name of the size set"));
    ir::SizeSet set;
    set.name = std::string(name.text);
    if (set.name == "full") {
      return source_.error(name.offset, "`full` is the size set of the task's head",
                           "change the values there, or choose another name");
    }
    for (const ir::SizeSet& other : program_.size_sets) {
      if (other.name == set.name) {
        return source_.error(name.offset, fmt::format("size set `{}` is defined twice", set.name));
      }
    }
    QUERN_TRY(cursor_.expect(":", "after the name of the size set"));
    if (cursor_.peek().kind == Token::Kind::kName) {
      do {
        QUERN_ASSIGN(Token size, cursor_.name("the name of a size"));
        std::string text(size.text);
        std::vector<std::string> free = program_.free_sizes();
        if (std::find(free.begin(), free.end(), text) == free.end()) {
          std::string close = did_you_mean(text, free);
          return source_.error(
              size.offset, fmt::format("the task has no size `{}` to set", text),
              close.empty() ? fmt::format("it has {}", fmt::join(free, ", ")) : close);
        }
        QUERN_TRY(cursor_.expect("=", "and the value of the size"));
        QUERN_ASSIGN(int64_t value, size_value(size));
        if (!set.values.emplace(text, value).second) {
          return source_.error(size.offset, fmt::format("size `{}` is set twice", text));
        }
      } while (cursor_.accept(","));
    }
    program_.size_sets.push_back(std::move(set));
    return cursor_.end_of_line();
  }

  Result<void> let() {
    QUERN_ASSIGN(Token name, cursor_.name("the name of a derived size"));
    std::string text(name.text);
    QUERN_TRY(lowerer_.define(text, name.offset));
    QUERN_TRY(cursor_.expect("=", "and the value"));
    QUERN_ASSIGN(Node node, cursor_.expression());
    QUERN_ASSIGN(ir::IntExpr value, lowerer_.extent(node));
    program_.sizes.push_back({text, 0, std::move(value)});
    offsets_[text] = name.offset;
    return cursor_.end_of_line();
  }

  Result<void> precision() {
    QUERN_ASSIGN(Token name, cursor_.name("a precision contract"));
    if (name.text != "fp32" && name.text != "as_reference") {
      return source_.error(name.offset, fmt::format("unknown precision contract `{}`", name.text),
                           "known: fp32, as_reference");
    }
    program_.precision = std::string(name.text);
    return cursor_.end_of_line();
  }

  Result<void> input(bool is_param) {
    QUERN_ASSIGN(Token name, cursor_.name("the name of an input"));
    ir::InputDecl decl;
    decl.name = std::string(name.text);
    decl.is_param = is_param;
    QUERN_TRY(lowerer_.define(decl.name, name.offset));
    offsets_[decl.name] = name.offset;
    QUERN_TRY(cursor_.expect(":", "and the type of the input"));
    QUERN_ASSIGN(Token type, cursor_.name("a type"));
    std::optional<DType> found = dtype_from_name(type.text);
    if (!found) {
      return source_.error(type.offset, fmt::format("unknown type `{}`", type.text),
                           "types are f32, f64, i32, i64");
    }
    decl.type = *found;
    if (cursor_.accept("[")) {
      do {
        QUERN_ASSIGN(Node node, cursor_.expression());
        QUERN_ASSIGN(ir::IntExpr extent, lowerer_.extent(node));
        decl.shape.push_back(std::move(extent));
      } while (cursor_.accept(","));
      QUERN_TRY(cursor_.expect("]", "after the shape"));
    }
    if (cursor_.accept("~")) {
      QUERN_TRY(distribution(decl));
      if (cursor_.accept(",")) QUERN_TRY(structure(decl));
    }
    program_.inputs.push_back(std::move(decl));
    if (program_.inputs.size() > kMostTensors) {
      return source_.error(name.offset, fmt::format("a task has at most {} inputs", kMostTensors));
    }
    return cursor_.end_of_line();
  }

  /// `lower`, `upper` or `symmetric`, of square matrices.
  Result<void> structure(ir::InputDecl& decl) {
    using Structure = ir::Distribution::Structure;
    QUERN_ASSIGN(Token word, cursor_.name("lower, upper or symmetric"));
    for (Structure known : {Structure::kLower, Structure::kUpper, Structure::kSymmetric}) {
      if (word.text == ir::structure_name(known)) decl.distribution.structure = known;
    }
    if (decl.distribution.structure == Structure::kNone) {
      return source_.error(word.offset, fmt::format("`{}` is no structure of a matrix", word.text),
                           "write lower, upper or symmetric");
    }
    const size_t rank = decl.shape.size();
    if (rank < 2 || !(decl.shape[rank - 1] == decl.shape[rank - 2])) {
      return source_.error(word.offset, fmt::format("`{}` needs a square matrix", word.text),
                           "the last two extents of the input must be the same");
    }
    return {};
  }

  Result<double> literal(const Node& node) {
    if (node.kind == Node::Kind::kNumber && std::isfinite(node.value)) return node.value;
    return source_.error(node.offset, "expected a finite number");
  }

  Result<void> distribution(ir::InputDecl& decl) {
    using Kind = ir::Distribution::Kind;
    size_t offset = cursor_.peek().offset;
    QUERN_ASSIGN(Node call, cursor_.expression());
    struct Row {
      const char* name;
      Kind kind;
      size_t arguments;
    };
    static constexpr Row kRows[] = {{"uniform", Kind::kUniform, 2},
                                    {"normal", Kind::kNormal, 2},
                                    {"integers", Kind::kIntegers, 2},
                                    {"constant", Kind::kConstant, 1}};
    const Row* row = std::find_if(std::begin(kRows), std::end(kRows),
                                  [&](const Row& each) { return call.text == each.name; });
    if (call.kind != Node::Kind::kCall || row == std::end(kRows) || !call.named.empty() ||
        call.args.size() != row->arguments) {
      std::string close = did_you_mean(call.text, {"uniform", "normal", "integers", "constant"});
      std::string hint =
          "write uniform(low, high), normal(mean, deviation), integers(low, high) or "
          "constant(value)";
      if (!close.empty()) hint = close;
      return source_.error(offset, "this is not a distribution", hint);
    }
    decl.distribution.kind = row->kind;
    if (decl.distribution.kind == Kind::kIntegers) {
      QUERN_ASSIGN(decl.distribution.low, lowerer_.extent(call.args[0]));
      QUERN_ASSIGN(decl.distribution.high, lowerer_.extent(call.args[1]));
      return {};
    }
    QUERN_ASSIGN(decl.distribution.a, literal(call.args[0]));
    if (decl.distribution.kind == Kind::kConstant) return {};
    QUERN_ASSIGN(decl.distribution.b, literal(call.args[1]));
    if (decl.distribution.kind == Kind::kUniform && decl.distribution.a >= decl.distribution.b) {
      return source_.error(call.args[1].offset, "the upper bound must be above the lower one");
    }
    if (decl.distribution.kind == Kind::kNormal && decl.distribution.b < 0) {
      return source_.error(call.args[1].offset, "a deviation is not negative");
    }
    return {};
  }

  /// Where the tensor of a fault is read in its statement, else the statement, else its definition.
  size_t offset_of(const ir::Fault& fault) const {
    auto defined = offsets_.find(fault.tensor);
    if (fault.statement < 0) return defined == offsets_.end() ? 0 : defined->second;
    size_t start = lowerer_.offset_of(fault.statement);
    size_t end = std::min(source_.text.find('\n', start), source_.text.size());
    size_t at = fault.tensor.empty() ? std::string_view::npos
                                     : source_.text.find(fault.tensor + "[", start + 1);
    return at < end ? at : start;
  }

  Error to_error(const ir::Fault& fault) const {
    bool whole = fault.statement < 0 && offsets_.count(fault.tensor) == 0;
    size_t offset = whole ? source_.text.find("task") : offset_of(fault);
    return source_.error(offset, fault.message, fault.hint);
  }

  Result<void> check() {
    if (std::optional<ir::Fault> fault = ir::find_fault(program_)) return to_error(*fault);
    std::vector<std::string> sets = {"full"};
    for (const ir::SizeSet& set : program_.size_sets) sets.push_back(set.name);
    for (const std::string& set : sets) {
      Result<ir::Sizes> sizes = ir::bind_sizes(program_, set);
      if (!sizes)
        return source_.error(source_.text.find("task"),
                             sizes.error().message + fmt::format(" (size set `{}`)", set));
      if (std::optional<ir::Fault> fault = ir::find_size_fault(program_, *sizes, set))
        return to_error(*fault);
    }
    return {};
  }

  const Source& source_;
  ir::Program program_;
  Cursor cursor_;
  Lowerer lowerer_;
  std::map<std::string, size_t> offsets_;
};

}  // namespace

Result<ir::Program> parse_task(std::string_view text, const std::string& file) {
  Source source{text, file};
  if (text.size() > kMostBytes) {
    return Error{ErrorKind::kInput, fmt::format("{}: a task file has at most 1 MiB", file), ""};
  }
  if (text.find('\0') != std::string_view::npos) {
    return Error{ErrorKind::kInput, fmt::format("{}: this is a binary file, not a task", file), ""};
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return Error{ErrorKind::kInput, fmt::format("{}: the file is empty", file),
                 "a task file starts with `task name(size = value, …)`"};
  }
  QUERN_ASSIGN(Tokens tokens, tokenize(source));
  return Parser(source, tokens).run();
}

Result<ir::Program> load_task(const std::string& path) {
  std::error_code code;
  std::filesystem::file_status status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) {
    return Error{ErrorKind::kInput, fmt::format("{}: there is no such file", path), ""};
  }
  if (std::filesystem::is_directory(status)) {
    return Error{ErrorKind::kInput, fmt::format("{}: this is a directory, not a task file", path),
                 ""};
  }
  std::ifstream in(path, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.fail() && !in.eof())) {
    return Error{ErrorKind::kEnvironment, fmt::format("{}: cannot be read", path), ""};
  }
  text.resize(static_cast<size_t>(in.gcount()));
  return parse_task(text, path);
}

}  // namespace quern
