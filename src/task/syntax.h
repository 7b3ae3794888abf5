// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"
#include "task/source.h"

namespace quern {

struct AxisNode;
struct ArgNode;

/// What was written, before names have a meaning. `offset` is where, for messages.
struct Node {
  enum class Kind {
    kNumber,  ///< `value`; `integral`: written without point or exponent
    kName,    ///< `text`
    kAccess,  ///< `text[args] else fallback`
    kCall,    ///< `text(args, named)`
    kUnary,   ///< `text` is "-" or "not"
    kBinary,  ///< `text` is the operator
    kReduce,  ///< `text` is "sum", "mean", "scan_sum", …, over `axes`; the body is args[0]
    kTuple,   ///< (args), as `padding = (1, 2)`
  };
  Kind kind = Kind::kNumber;
  size_t offset = 0;
  std::string text;
  double value = 0;
  bool integral = false;
  int depth = 1;  ///< of the tree below; bounded, so that recursion over trees is
  std::vector<Node> args;
  std::vector<Node> fallback;  ///< of an access: none or one
  std::vector<ArgNode> named;
  std::vector<AxisNode> axes;
  bool exclusive = false, reverse = false;
};

/// `i` or `i < extent`.
struct AxisNode {
  std::string name;
  size_t offset = 0;
  std::vector<Node> extent;  ///< none or one
};

/// `stride = 2` in a call.
struct ArgNode {
  std::string name;
  size_t offset = 0;
  std::vector<Node> value;  ///< exactly one
};

/// `output y : f32[i, j] = body as origin`.
struct StatementNode {
  bool is_output = false;
  std::string name;
  size_t offset = 0;
  std::string type;  ///< "" where not given
  size_t type_offset = 0;
  bool has_axes = false;
  std::vector<AxisNode> axes;
  Node body;
  std::string origin;
};

/// Reads tokens one after another; every reader leaves the cursor behind what it has read.
class Cursor {
 public:
  Cursor(const Source& source, const std::vector<Token>& tokens)
      : source_(source), tokens_(tokens) {}

  const Token& peek(size_t ahead = 0) const;
  const Token& next();
  bool accept(std::string_view symbol);
  bool accept_word(std::string_view word);
  Result<void> expect(std::string_view symbol, const char* where);
  Result<Token> name(const char* what);
  Result<void> end_of_line();
  Error error(const std::string& message, std::string hint = "") const;

  Result<Node> expression();
  Result<std::vector<AxisNode>> axes();
  /// The rest of a line whose first word is `output` or the name of a tensor.
  Result<StatementNode> statement();
  /// Such a line up to its `=`.
  Result<StatementNode> statement_head();

 private:
  Result<Node> either();
  Result<Node> both();
  Result<Node> negation();
  Result<Node> comparison();
  Result<Node> sum();
  Result<Node> product();
  Result<Node> unary();
  Result<Node> primary();
  Result<Node> number();
  Result<Node> named(const Token& name);
  Result<Node> reduction(const Token& name);
  Result<Node> parenthesised();
  Result<void> arguments(Node& call);
  Result<Node> binary(Node left, const Token& sign, Node right);

  const Source& source_;
  const std::vector<Token>& tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

/// How `sum[…]`, `scan_max[…]`, `mean[…]` and their like reduce.
struct ReductionWord {
  ir::Monoid monoid = ir::Monoid::kSum;
  bool scan = false;
  bool mean = false;
};
/// Null where `word` is no such word.
const ReductionWord* find_reduction(std::string_view word);
std::vector<std::string> reduction_words();

}  // namespace quern
