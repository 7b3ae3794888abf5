// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "codegen/device_reduce.h"
#include "codegen/group.h"
#include "codegen/lines.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int64_t kMostTerms = 512;   ///< of a window: its loops are unrolled
constexpr const char* kTop = "0top";  ///< axes at the first result of a block
constexpr const char* kLeft = "0left";

/// How one index of the windowed load moves: `step` for each result, `terms[r]` for each step of
/// the reduced axis r, and how far the window reaches in all.
struct Walk {
  int64_t step = 0;
  std::vector<int64_t> terms;
  int64_t reach = 0;
  /// Elements that `results` neighbouring windows cover.
  int64_t cover(int64_t results) const { return (results - 1) * step + reach + 1; }
};

struct Window {
  std::vector<Statement> statements;
  Expr load;
  Walk down, across;
  std::vector<int64_t> extents;  ///< of the reduced axes

  const Statement& root() const { return statements[0]; }
  const ir::Axis& row() const { return root().axes[root().axes.size() - 2]; }
  const ir::Axis& column() const { return root().axes.back(); }
};

struct Tile {
  int64_t threads, columns, results;
  int resident = 0;
  int64_t rows() const { return threads / columns * results; }
  int64_t width(const Window& window) const { return window.across.cover(columns); }
  int64_t elements(const Window& window) const { return window.down.cover(rows()) * width(window); }
};

std::optional<int64_t> constant(const std::optional<IntExpr>& expr) {
  if (!expr || expr->kind != IntExpr::Kind::kConstant) return std::nullopt;
  return expr->value;
}

/// Nothing where the index does not grow evenly with `along` and the reduced axes.
std::optional<Walk> walk_of(const IntExpr& index, const std::string& along, const Statement& root,
                            const std::vector<int64_t>& extents) {
  Walk walk;
  const auto step = constant(coefficient(index, along));
  if (!step || *step < 1) return std::nullopt;
  walk.step = *step;
  for (size_t r = 0; r < extents.size(); ++r) {
    const auto term = constant(coefficient(index, root.reduce_axes[r].name));
    if (!term || *term < 0) return std::nullopt;
    walk.terms.push_back(*term);
    walk.reach += *term * (extents[r] - 1);
  }
  return walk;
}

bool uses_any(const IntExpr& index, const std::vector<ir::Axis>& axes) {
  return std::any_of(axes.begin(), axes.end(),
                     [&](const ir::Axis& axis) { return ir::uses_axis(index, axis.name); });
}

/// The load whose last two indices walk over windows, with those walks.
bool match_load(const Program& program, const Expr& load, Window* window) {
  const Statement& root = window->root();
  const size_t n = load.indices.size();
  if (n < 2 || program.type_of(load.name) != DType::kF32 ||
      program.shape_of(load.name).size() != n) {
    return false;
  }
  for (const Expr& padding : load.args) {
    if (padding.kind != Expr::Kind::kConstant) return false;
  }
  const std::string &row = window->row().name, &column = window->column().name;
  for (size_t d = 0; d + 2 < n; ++d) {
    const IntExpr& index = load.indices[d];
    if (ir::uses_axis(index, row) || ir::uses_axis(index, column) ||
        uses_any(index, root.reduce_axes)) {
      return false;
    }
  }
  if (ir::uses_axis(load.indices[n - 2], column) || ir::uses_axis(load.indices[n - 1], row)) {
    return false;
  }
  const auto down = walk_of(load.indices[n - 2], row, root, window->extents);
  const auto across = walk_of(load.indices[n - 1], column, root, window->extents);
  if (!down || !across || down->reach + across->reach == 0) return false;
  window->load = load;
  window->down = *down;
  window->across = *across;
  return true;
}

bool pointwise_behind(const std::vector<Statement>& statements) {
  if (!pointwise_chain(statements)) return false;
  return std::all_of(statements.begin() + 1, statements.end(), [](const Statement& statement) {
    return statement.kind == Statement::Kind::kMap && statement.type == DType::kF32;
  });
}

std::optional<Window> window_of(const Program& program, const Group& group) {
  Window window;
  window.statements = inline_group(program, group);
  if (window.statements.empty()) return std::nullopt;
  const Statement& root = window.root();
  if (root.kind != Statement::Kind::kReduce || root.type != DType::kF32 || root.axes.size() < 2 ||
      computed_wide(program, root) || !pointwise_behind(window.statements)) {
    return std::nullopt;
  }
  int64_t terms = 1;
  for (const ir::Axis& axis : root.reduce_axes) {
    const auto extent = constant(without_lets(program, axis.extent));
    if (!extent || *extent < 1) return std::nullopt;
    window.extents.push_back(*extent);
    terms *= *extent;
  }
  if (terms > kMostTerms || terms < 2) return std::nullopt;
  const std::vector<const Expr*> loads = ir::loads_of(root.body);
  const bool found = std::any_of(loads.begin(), loads.end(), [&](const Expr* load) {
    return match_load(program, *load, &window);
  });
  if (!found) return std::nullopt;
  // Results past the last row are computed, too: they must read nothing but the window.
  for (const Expr* load : loads) {
    if (*load == window.load) continue;
    for (const IntExpr& index : load->indices) {
      if (ir::uses_axis(index, window.row().name)) return std::nullopt;
    }
  }
  return window;
}

class WindowKernel {
 public:
  WindowKernel(const Program& program, const Window& window, const Tile& tile,
               const std::vector<std::string>& writes)
      : program_(program), w_(window), t_(tile), writes_(writes), text_(program) {}

  DeviceKernel make(const std::string& name) {
    DeviceKernel kernel;
    kernel.name = name;
    kernel.threads = static_cast<int>(t_.threads);
    kernel.resident = t_.resident;
    kernel.blocks = tiles(w_.row(), t_.rows()) * tiles(w_.column(), t_.columns) *
                    element_product(program_, outer());
    kernel.writes = writes_;
    print_place();
    print_fill();
    print_terms();
    print_results();
    kernel.body = out_.text();
    return kernel;
  }

 private:
  std::vector<ir::Axis> outer() const { return {w_.root().axes.begin(), w_.root().axes.end() - 2}; }
  IntExpr tiles(const ir::Axis& axis, int64_t extent) const {
    return ceil_div(without_lets(program_, axis.extent), ir::int_constant(extent));
  }

  void print_place() {
    out_.add(fmt::format("Q_SHARED float q_box[{}];", t_.elements(w_)));
    out_.add(fmt::format("const q_int q_rows = {}, q_columns = {};", text_.index(w_.row().extent),
                         text_.index(w_.column().extent)));
    out_.add(
        fmt::format("const q_int q_down = (q_rows + {}) / {}, q_across = (q_columns + {}) / {};",
                    t_.rows() - 1, t_.rows(), t_.columns - 1, t_.columns));
    out_.add(fmt::format("const q_int {} = (q_int)(q_block() % q_across) * {};", axis_id(kLeft),
                         t_.columns));
    out_.add(fmt::format("const q_int {} = (q_int)(q_block() / q_across % q_down) * {};",
                         axis_id(kTop), t_.rows()));
    out_.add("const q_int q_rest = (q_int)(q_block() / q_across / q_down); (void)q_rest;");
    const std::vector<ir::Axis> axes = outer();
    out_.add_lines(decode_position(text_, "q_rest", axes));
    for (const ir::Axis& axis : axes) out_.add(fmt::format("(void){};", axis_id(axis.name)));
  }

  /// An index of the load at the first result of the block, at the beginning of its window.
  std::string origin(const IntExpr& index, const ir::Axis& own, const char* first) const {
    std::vector<std::string> names = {own.name};
    std::vector<IntExpr> values = {ir::int_axis(first)};
    for (const ir::Axis& axis : w_.root().reduce_axes) {
      names.push_back(axis.name);
      values.push_back(ir::int_constant(0));
    }
    return text_.index(ir::substitute(index, names, values));
  }

  void print_fill() {
    const size_t n = w_.load.indices.size();
    const std::vector<IntExpr> shape = program_.shape_of(w_.load.name);
    out_.add(fmt::format("const q_int q_top = {}, q_left = {};",
                         origin(w_.load.indices[n - 2], w_.row(), kTop),
                         origin(w_.load.indices[n - 1], w_.column(), kLeft)));
    std::string inside = "q_inside(q_i, (q_int)({})) && q_inside(q_j, (q_int)({}))";
    inside =
        fmt::format(fmt::runtime(inside), text_.index(shape[n - 2]), text_.index(shape[n - 1]));
    std::vector<IntExpr> at = w_.load.indices;
    for (size_t d = 0; d + 2 < n; ++d) {
      if (w_.load.args.empty()) continue;
      inside += fmt::format(" && q_inside((q_int)({}), (q_int)({}))", text_.index(at[d]),
                            text_.index(shape[d]));
    }
    at[n - 2] = ir::int_axis("0i");
    at[n - 1] = ir::int_axis("0j");
    out_.add("#pragma unroll 4");
    out_.add(fmt::format("for (int q_f = q_thread(); q_f < {}; q_f += {}) {{", t_.elements(w_),
                         t_.threads));
    out_.add(fmt::format("const q_int q_i = q_top + q_f / {0}, q_j = q_left + q_f % {0};",
                         t_.width(w_)));
    out_.add(fmt::format("const q_int {} = q_i, {} = q_j;", axis_id("0i"), axis_id("0j")));
    const std::string padding =
        w_.load.args.empty() ? "0.0f" : text_.literal(w_.load.args[0].value);
    out_.add(fmt::format("q_box[q_f] = {} ? {}[{}] : {};", inside, tensor_id(w_.load.name),
                         text_.offset(w_.load.name, at), padding));
    out_.add("}");
    out_.add("q_barrier();");
  }

  /// Where in the box the current term of the thread's result `q_v` lies.
  std::string place_in_box() const {
    std::string down = fmt::format("(q_y + q_v) * {}", w_.down.step);
    std::string across = fmt::format("q_x * {}", w_.across.step);
    for (size_t r = 0; r < w_.extents.size(); ++r) {
      const std::string name = axis_id(w_.root().reduce_axes[r].name);
      if (w_.down.terms[r] > 0) down += fmt::format(" + {} * {}", name, w_.down.terms[r]);
      if (w_.across.terms[r] > 0) across += fmt::format(" + {} * {}", name, w_.across.terms[r]);
    }
    return fmt::format("q_box[({}) * {} + {}]", down, t_.width(w_), across);
  }

  void print_terms() {
    const Statement& root = w_.root();
    out_.add(fmt::format("const int q_x = q_thread() % {0}, q_y = q_thread() / {0} * {1};",
                         t_.columns, t_.results));
    const std::string column = axis_id(w_.column().name);
    out_.add(fmt::format("const q_int {} = {} + q_x;", column, axis_id(kLeft)));
    out_.add(fmt::format("if ({} >= q_columns) return;", column));
    const Reducer acc(program_, root, "q_acc", static_cast<int>(t_.results));
    out_.add_lines(acc.declare());
    for (size_t r = 0; r < w_.extents.size(); ++r) {
      out_.add("Q_UNROLL");
      out_.add(fmt::format("for (int {0} = 0; {0} < {1}; ++{0}) {{",
                           axis_id(root.reduce_axes[r].name), w_.extents[r]));
    }
    open_results();
    const DeviceText from_box(program_, false, [&](const Expr& load) -> std::optional<std::string> {
      if (load != w_.load) return std::nullopt;
      return place_in_box();
    });
    out_.add_lines(acc.add(from_box.value(root.body), ""));
    out_.add("}");
    for (size_t r = 0; r < w_.extents.size(); ++r) out_.add("}");
  }

  void open_results() {
    out_.add("Q_UNROLL");
    out_.add(fmt::format("for (int q_v = 0; q_v < {}; ++q_v) {{", t_.results));
    out_.add(fmt::format("const q_int {0} = {1} + q_y + q_v; (void){0};", axis_id(w_.row().name),
                         axis_id(kTop)));
  }

  void print_results() {
    const Statement& root = w_.root();
    std::vector<IntExpr> point;
    for (const ir::Axis& axis : root.axes) point.push_back(ir::int_axis(axis.name));
    open_results();
    out_.add(fmt::format("if ({} < q_rows) {{", axis_id(w_.row().name)));
    std::vector<std::string> known;
    const DeviceText text(program_, false, [&](const Expr& load) -> std::optional<std::string> {
      const bool own = std::find(known.begin(), known.end(), load.name) != known.end();
      return own ? std::optional("q_x_" + load.name) : std::nullopt;
    });
    for (const Statement& statement : w_.statements) {
      std::vector<std::string> names;
      for (const ir::Axis& axis : statement.axes) names.push_back(axis.name);
      const std::string value =
          known.empty() ? "q_acc[q_v]" : text.value(ir::substitute(statement.body, names, point));
      out_.add(fmt::format("const float q_x_{0} = {1}; (void)q_x_{0};", statement.name, value));
      known.push_back(statement.name);
      if (std::find(writes_.begin(), writes_.end(), statement.name) == writes_.end()) continue;
      out_.add(fmt::format("{}[{}] = q_x_{};", tensor_id(statement.name),
                           text_.offset(statement.name, point), statement.name));
    }
    out_.add_lines("}\n}");
  }

  const Program& program_;
  const Window& w_;
  Tile t_;
  const std::vector<std::string>& writes_;
  DeviceText text_;
  Lines out_;
};

}  // namespace

Result<void> emit_device_window(const Program& program, const Group& group, int number,
                                DeviceProgram* made) {
  const std::optional<Window> window = window_of(program, group);
  if (!window) {
    return misfit("the group is no reduction over a window of constant extent",
                  "leave cache_read with buffer=local out");
  }
  const Tile tile{group.param("threads", 256), group.param("columns", 32),
                  group.param("coarsen", 1), static_cast<int>(group.param("resident", 0))};
  if (!std::has_single_bit(static_cast<uint64_t>(tile.threads)) ||
      !std::has_single_bit(static_cast<uint64_t>(tile.columns)) || tile.columns > tile.threads ||
      tile.threads > 1024 || tile.results < 1 || tile.results > 16) {
    return misfit(fmt::format("{} threads of {} columns, {} results each", tile.threads,
                              tile.columns, tile.results),
                  "powers of two, columns at most threads, at most 16 results");
  }
  if (4 * tile.elements(*window) > kLocalBytes) {
    return misfit(fmt::format("{} bytes of local memory for a tile", 4 * tile.elements(*window)),
                  "fewer columns, results or threads");
  }
  const std::vector<std::string> writes = group_writes(program, group);
  DeviceKernel kernel = WindowKernel(program, *window, tile, writes)
                            .make(fmt::format("g{}_{}", number, window->statements.back().name));
  kernel.reads = group_reads(program, group);
  made->kernels.push_back(std::move(kernel));
  return {};
}

std::vector<std::map<std::string, int64_t>> device_window_params(const Program& program,
                                                                 const Group& group,
                                                                 const ir::Sizes& sizes,
                                                                 int multiprocessors) {
  const std::optional<Window> window = window_of(program, group);
  // What windows do not share, L1 serves as well: staging took 2.4 times as long for a pooling of
  // 11 by 11 in steps of 11 on an H200.
  if (!window || window->down.reach < window->down.step) return {};
  const auto extent = [&](const ir::Axis& axis) { return ir::evaluate(axis.extent, sizes); };
  const int64_t columns = extent(window->column()), rows = extent(window->row());
  double points = 1;
  for (const ir::Axis& axis : window->root().axes) points *= static_cast<double>(extent(axis));
  std::vector<std::map<std::string, int64_t>> found;
  for (const Tile tile : {Tile{256, 64, 8}, Tile{256, 128, 8}, Tile{128, 32, 4}, Tile{256, 32, 4},
                          Tile{256, 32, 1}, Tile{128, 32, 1}, Tile{64, 32, 1}}) {
    const bool wasteful = tile.columns >= 2 * columns || tile.rows() >= 2 * rows;
    const bool few = points < static_cast<double>(tile.threads * tile.results * multiprocessors);
    if (4 * tile.elements(*window) > kLocalBytes || (tile.results > 1 && few) ||
        (wasteful && tile.threads > 64)) {
      continue;
    }
    found.push_back(
        {{"threads", tile.threads}, {"columns", tile.columns}, {"coarsen", tile.results}});
  }
  return found;
}

}  // namespace quern
