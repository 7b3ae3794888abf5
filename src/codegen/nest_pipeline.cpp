// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"
#include "codegen/nest_printer.h"

// Software pipelining of rows: the last passes of a nest run in one loop over lanes, each on the
// row after that of the pass behind it. Stores of one row then overlap the arithmetic of the next
// and the loads of the one after that, and a row buffer between two passes is read and written anew
// at the same place while that is in the nearest cache.
//
// At tick t the pass with lag d is at row t - d. Values of a row (`v_…`) that a pass makes late, at
// the end of the tick, are of row t - d there, so a reader with lag d + 1 finds them at the next
// tick; readers further behind find older ones in `p1_…`, `p2_…`.
namespace quern {

using ir::Statement;

namespace {

bool has_loops(const Stage& stage) { return !stage.space.empty() || !stage.reduce.empty(); }

std::string kept_id(const std::string& tensor, int age) {
  return age == 0 ? value_id(tensor) : fmt::format("p{}_{}", age, tensor);
}

std::string on_id(int lag) { return fmt::format("on_{}", lag); }

Error cannot(const std::string& why) {
  return Error{ErrorKind::kInput, "the rows cannot be pipelined: " + why,
               "leave software_pipeline out"};
}

}  // namespace

/// Whether the stage may run in one loop with `other`.
bool NestPrinter::fits_pipeline(const Stage& stage, const Stage& other) const {
  const Item& first = items_[static_cast<size_t>(stage.members[0])];
  return stage.space.empty() && stage.reduce.size() == 1 && !stage.lane_is_spatial &&
         first.scan < 0 && stage.tails.empty() && stage.reduce == other.reduce &&
         stage.lane == other.lane;
}

Result<void> NestPrinter::plan_pipeline() {
  if (in_parts_ || in_windows_) return cannot("they are parts or windows");
  if (group_.param("chunk", 0) != 0) return cannot("threads do not take rows one after the other");
  std::vector<size_t> passes;
  for (size_t s = stages_.size(); s-- > 0;) {
    if (!has_loops(stages_[s])) continue;
    const bool fits = fits_pipeline(stages_[s], passes.empty() ? stages_[s] : stages_[passes[0]]);
    if (!fits || static_cast<int64_t>(passes.size()) == group_.param("pipeline", 0)) break;
    passes.push_back(s);
  }
  std::reverse(passes.begin(), passes.end());
  if (passes.size() < 2) return cannot("the last two passes over a row have different loops");
  lags_.assign(stages_.size(), 0);
  fused_.assign(stages_.size(), false);
  for (size_t s = 0; s < stages_.size(); ++s) {
    const auto behind = std::upper_bound(passes.begin(), passes.end(), s) - passes.begin();
    lags_[s] = std::max(0, static_cast<int>(behind) - 1);
    fused_[s] = std::binary_search(passes.begin(), passes.end(), s);
  }
  first_fused_ = passes[0];
  return check_pipeline_memory();
}

/// A row buffer holds one row: who reads it must do so at the point where the next row's value will
/// be written, one row later.
Result<void> NestPrinter::check_pipeline_memory() const {
  for (size_t i : buffered()) {
    const Item& made = items_[i];
    const size_t maker = stage_of_item(static_cast<int>(i));
    for (size_t s = 0; s < stages_.size(); ++s) {
      for (int member : stages_[s].members) {
        for (const ir::Expr* load :
             ir::loads_of(items_[static_cast<size_t>(member)].statement.body)) {
          if (load->name != made.statement.name || s == maker) continue;
          const int behind = lags_[s] - lags_[maker];
          const bool whole = behind == 0 && !fused_[maker];
          const bool in_place = behind == 1 && fused_[maker] && fused_[s];
          if (!whole && !(in_place && load->indices == made.store && load->args.empty())) {
            return cannot(fmt::format("a row of `{}` is needed for too long", load->name));
          }
        }
      }
    }
  }
  for (const std::string& name : joined()) {
    for (size_t i = 0; i < items_.size(); ++i) {
      const bool here = items_[i].statement.name == name;
      if (here && stage_of_item(static_cast<int>(i)) != last_pass()) {
        return cannot(fmt::format("`{}` leaves in whole lines before the last pass", name));
      }
    }
  }
  return {};
}

size_t NestPrinter::stage_of_item(int item) const {
  for (size_t s = 0; s < stages_.size(); ++s) {
    for (const std::vector<int>* list : {&stages_[s].members, &stages_[s].tails}) {
      if (std::find(list->begin(), list->end(), item) != list->end()) return s;
    }
  }
  QUERN_CHECK(false, "a statement without a stage");
}

size_t NestPrinter::last_pass() const {
  size_t last = 0;
  for (size_t s = 0; s < stages_.size(); ++s) last = fused_[s] ? s : last;
  return last;
}

/// How many rows ago the value was made that `reader` needs of item `made`.
int NestPrinter::age_of(size_t made, size_t reader) const {
  const size_t maker = stage_of_item(static_cast<int>(made));
  const bool late = maker >= first_fused_;
  return std::max(0, lags_[reader] - lags_[maker] - (late ? 1 : 0));
}

/// How many older values of item `made` readers need.
int NestPrinter::oldest_use(size_t made) const {
  int oldest = 0;
  for (size_t s = 0; s < stages_.size(); ++s) {
    for (int member : stages_[s].members) {
      const ir::Expr& body = items_[static_cast<size_t>(member)].statement.body;
      const std::string& name = items_[made].statement.name;
      if (contains(ir::tensors_of(body), name)) oldest = std::max(oldest, age_of(made, s));
    }
  }
  return oldest;
}

void NestPrinter::declare_kept() {
  for (size_t i = 0; i < items_.size(); ++i) {
    if (!items_[i].space.empty()) continue;
    for (int age = 0; age <= oldest_use(i); ++age) {
      out_->add(
          fmt::format("[[maybe_unused]] float {} = 0.0f;", kept_id(items_[i].statement.name, age)));
    }
  }
}

/// Moves the values that `stage` is about to make anew one row back.
void NestPrinter::print_aging(size_t stage) {
  for (int member : stages_[stage].members) {
    const size_t i = static_cast<size_t>(member);
    if (!items_[i].space.empty()) continue;
    const std::string& name = items_[i].statement.name;
    for (int age = oldest_use(i); age > 0; --age) {
      out_->add(fmt::format("{} = {};", kept_id(name, age), kept_id(name, age - 1)));
    }
  }
}

/// The values of its row that `stage` reads, where they are older than the latest.
void NestPrinter::print_ages(size_t stage) {
  for (size_t i = 0; i < items_.size(); ++i) {
    const std::string& name = items_[i].statement.name;
    if (!items_[i].space.empty() || age_of(i, stage) == 0) continue;
    const bool reads =
        std::any_of(stages_[stage].members.begin(), stages_[stage].members.end(), [&](int member) {
          return contains(ir::tensors_of(items_[static_cast<size_t>(member)].statement.body), name);
        });
    if (!reads) continue;
    out_->add(fmt::format("const float {} = {};", value_id(name), kept_id(name, age_of(i, stage))));
  }
}

/// Where `unit` is the row of a pass: its axes and memory.
void NestPrinter::print_row_scope(size_t stage) {
  print_row_axes();
  print_row_buffers();
  print_ages(stage);
}

/// The stages before the shared loop, on the newest row.
void NestPrinter::print_early(RowPrinter* row) {
  for (size_t s = 0; s < first_fused_; ++s) print_aging(s);
  if (first_fused_ > 0) {
    out_->add(fmt::format("if ({}) {{", on_id(0)));
    out_->add("const int64_t unit = tick;");
    print_row_axes();
    print_row_buffers();
    for (size_t s = 0; s < first_fused_; ++s) row->print(stages_[s]);
    out_->add("}");
    row->prefetch_for(&stages_[0]);
  }
}

/// Whether a pass may run before the one behind it: that one reads nothing in place that it makes.
bool NestPrinter::passes_are_free() const {
  const int depth = lags_[last_pass()];
  const std::vector<size_t> rows = buffered();
  return std::none_of(rows.begin(), rows.end(), [&](size_t made) {
    const size_t maker = stage_of_item(static_cast<int>(made));
    return fused_[maker] && lags_[maker] + 1 < depth;
  });
}

/// The body of the shared loop. The last pass reads first, since the others replace what it reads,
/// and stores last: a load waits for an earlier store at the same place of another page, and rows
/// of different tensors often lie so.
void NestPrinter::print_shared_body(RowPrinter* row) {
  const Stage& stage = stages_[last_pass()];
  const int depth = lags_[last_pass()];
  const bool reduces = std::any_of(stage.members.begin(), stage.members.end(), [&](int member) {
    return items_[static_cast<size_t>(member)].statement.kind == Statement::Kind::kReduce;
  });
  Lines body;
  Lines stores;
  row->print_point(stage, &body, reduces ? &body : &stores);
  out_->add(row->open_lanes(stage));
  if (reduces) out_->add(fmt::format("if ({}) {{", on_id(depth)));
  out_->add_lines(body.text());
  if (reduces) out_->add("}");
  for (int i = 0; i < depth; ++i) {
    const int lag = passes_are_free() ? i : depth - 1 - i;
    out_->add(fmt::format("if ({}) pass_{}(w, {}, u);", on_id(lag), lag, axis_id(stage.lane)));
  }
  if (!reduces) {
    out_->add(fmt::format("if ({}) {{", on_id(depth)));
    out_->add_lines(stores.text());
    out_->add("}");
  }
  out_->add("});");
}

/// The shared loop, each pass over its own row.
void NestPrinter::print_fused(RowPrinter* row) {
  const size_t last = last_pass();
  const std::string row_of = "q_imax(first, q_imin(tick - {}, last - 1))";
  for (size_t s = first_fused_; s <= last; ++s) {
    if (fused_[s]) row->declare_row_accumulators(stages_[s]);
  }
  for (size_t s = first_fused_; s < last; ++s) {
    if (!fused_[s]) continue;
    out_->add(fmt::format(
        "const auto pass_{} = [&](const int64_t unit) __attribute__((always_inline)) {{",
        lags_[s]));
    print_row_scope(s);
    Lines body;
    row->print_point(stages_[s], &body, &body);
    row->prefetch_for(nullptr);
    out_->add(
        fmt::format("return [={}](auto w, const int64_t {}, [[maybe_unused]] auto u) "
                    "__attribute__((always_inline)) {{",
                    row->accumulators_by_reference(stages_[s]), axis_id(stages_[s].lane)));
    out_->add_lines(body.text());
    out_->add("};");
    out_->add(fmt::format("}}({});", fmt::format(fmt::runtime(row_of), lags_[s])));
  }
  out_->add("{");
  out_->add(
      fmt::format("const int64_t unit = {};", fmt::format(fmt::runtime(row_of), lags_[last])));
  print_row_scope(last);
  print_joint_rows();
  print_shared_body(row);
  out_->add("}");
}

/// What follows the shared loop, for each lag: results of the pass, and values made of them.
void NestPrinter::print_late(RowPrinter* row) {
  for (int lag = lags_[last_pass()]; lag >= 0; --lag) {
    for (size_t s = first_fused_; s < stages_.size(); ++s) {
      if (lags_[s] == lag) print_aging(s);
    }
    out_->add(fmt::format("if ({}) {{", on_id(lag)));
    out_->add(fmt::format("const int64_t unit = tick - {};", lag));
    print_row_axes();
    print_row_buffers();
    for (size_t s = first_fused_; s < stages_.size(); ++s) {
      if (lags_[s] != lag) continue;
      if (fused_[s]) {
        row->print_finishes(stages_[s]);
        if (s == last_pass()) print_joins();
      } else {
        out_->add("{");
        print_ages(s);
        row->print(stages_[s]);
        out_->add("}");
      }
    }
    out_->add("}");
  }
}

void NestPrinter::print_pipeline(bool parallel) {
  RowStyle kept = style();
  kept.keeps_scalars = true;
  RowPrinter row(program_, items_, kept, stored(), out_);
  const int depth = lags_[last_pass()];
  std::string flags;
  std::string all;
  std::string some;
  for (int lag = 0; lag <= depth; ++lag) {
    flags += fmt::format(", const auto {}", on_id(lag));
    all += ", QYes{}";
    some += fmt::format(", t - {0} >= first && t - {0} < last", lag);
  }
  print_self(parallel);
  out_->add("const int64_t first = units * self / team, last = units * (self + 1) / team;");
  print_joint_states();
  declare_kept();
  out_->add(fmt::format("const auto pass_rows = [&](const int64_t tick{}) {{", flags));
  print_early(&row);
  print_fused(&row);
  print_late(&row);
  out_->add("};");
  out_->add(fmt::format("for (int64_t t = first; first < last && t < last + {}; ++t) {{", depth));
  out_->add(fmt::format("if (t - {} >= first && t < last) {{", depth));
  out_->add(fmt::format("pass_rows(t{});", all));
  out_->add("} else {");
  out_->add(fmt::format("pass_rows(t{});", some));
  out_->add("}");
  out_->add("}");
}

}  // namespace quern
