// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>

#include "codegen/device_tile.h"
#include "codegen/device_transpose.h"
#include "codegen/device_window.h"
#include "propose/sketch_builder.h"
#include "schedule/precision.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

constexpr int64_t kMostThreads = 1024;
constexpr double kResidentThreads = 2048;  ///< of a multiprocessor

/// One way to set the parameters of all groups.
struct Options {
  bool inline_costly = true;  ///< recompute special functions rather than store their values
  bool fuse = true;
  bool tensorize = true;
  bool tensor_cores = false;
  bool rounded = false;  ///< where the contract lets convolutions round their operands to TF32
  bool vectors = true;
  bool windows = true;  ///< pass through local memory
  bool keep = false;    ///< rows in registers between passes
  bool online = false;
  int elements = 8;  ///< of a row that a thread takes
  int coarsen = 1;
  int unroll = 4;
  int stages = 6;   ///< of tiles under way at most
  size_t tile = 0;  ///< which of `device_tile_params` and `device_window_params`
};

std::string text(int64_t value) { return std::to_string(value); }

bool reduces(const Statement& statement) { return statement.kind != Statement::Kind::kMap; }

/// Neighbouring threads take neighbouring terms of the reduction, not neighbouring results.
bool along_reduction(const Statement& statement) {
  if (statement.kind == Statement::Kind::kScan) {
    return statement.scan_axis + 1 == static_cast<int>(statement.axes.size());
  }
  return vector_position(statement, -1) < 0;
}

double terms_of(const Statement& statement, const ir::Sizes& sizes) {
  if (statement.kind == Statement::Kind::kScan) {
    return elements({statement.axes[static_cast<size_t>(statement.scan_axis)]}, sizes);
  }
  return elements(statement.reduce_axes, sizes);
}

double rows_of(const Statement& statement, const ir::Sizes& sizes) {
  const double points = elements(statement.axes, sizes);
  return statement.kind == Statement::Kind::kScan ? points / terms_of(statement, sizes) : points;
}

/// Threads for a row: each takes `share` elements; fewer where rows alone fill the device.
int64_t row_threads(double terms, int share) {
  const double wanted = std::clamp(terms / share, 1.0, static_cast<double>(kMostThreads));
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted)));
}

void tile_parameters(SketchBuilder* builder, Group group, const Options& options) {
  const std::string& name = builder->program().statements[static_cast<size_t>(group.root)].name;
  const bool tensor_cores =
      options.tensor_cores && builder->machine().target() == ScheduleTarget::kCuda;
  const bool rounded = tensor_cores && options.rounded &&
                       rounds_operands(builder->program(), name,
                                       contract_on(builder->program(), ScheduleTarget::kCuda));
  if (tensor_cores) group.params["tf32"] = rounded ? 1 : 3;
  const auto params =
      device_tile_params(builder->program(), group, builder->sizes(), builder->machine().threads);
  const auto& tile = params[std::min(options.tile, params.size() - 1)];
  if (rounded) {
    builder->add("set_precision", name, {{"type", "tf32"}});
  } else if (tensor_cores) {
    builder->add("emulate_precision", name,
                 {{"method", "tf32x3"}, {"terms", text(tile.at("terms"))}});
  }
  builder->add("unroll_and_jam", name, {{"mr", text(tile.at("mr"))}, {"nr", text(tile.at("nr"))}});
  builder->add(
      "pack_panels", name,
      {{"kc", text(tile.at("kc"))}, {"mc", text(tile.at("mc"))}, {"nc", text(tile.at("nc"))}});
  const int64_t stages = std::min<int64_t>(tile.at("stages"), options.stages);
  if (stages > 1) builder->add("software_pipeline", name, {{"stages", text(stages)}});
  if (options.vectors) builder->add("vectorize", name, {{"width", "4"}});
  if (tile.at("parts") > 1) builder->add("split_k", name, {{"parts", text(tile.at("parts"))}});
  if (tile.at("resident") > 0) {
    builder->add("launch_bounds", name, {{"resident", text(tile.at("resident"))}});
  }
}

/// Rows shared by the threads of a block.
void row_parameters(SketchBuilder* builder, const std::vector<Statement>& statements,
                    const Statement& widest, const Options& options) {
  const ir::Sizes& sizes = builder->sizes();
  const std::string& name = statements[0].name;
  const double terms = terms_of(widest, sizes), rows = rows_of(widest, sizes);
  const int64_t threads = row_threads(terms, options.elements);
  builder->add("launch_bounds", name, {{"threads", text(std::max<int64_t>(threads, 128))}});
  builder->add("cross_thread_reduction", name, {{"width", text(threads)}});
  if (options.keep) builder->add("cache_read", name, {{"buffer", "registers"}});
  if (options.online) {
    for (const Statement& largest : statements) {
      for (const Statement& total : statements) {
        builder->add("online_rewrite", largest.name, {{"with", total.name}});
      }
    }
  }
  // Too few rows to occupy the device: several blocks take one.
  const double wanted = 4.0 * builder->machine().threads;
  if (rows < wanted && terms > 16384) {
    const auto parts = static_cast<int64_t>(std::clamp(wanted / rows, 2.0, 512.0));
    builder->add("rfactor", name, {{"parts", text(parts)}});
  }
}

/// Threads of a block that share a result whose terms lie apart: as many as fill the device.
void column_parameters(SketchBuilder* builder, const Statement& reduction, const Options& options) {
  // Rows that vectors do not fit would give one thread the work of four.
  const bool whole_vectors =
      options.vectors && ir::evaluate(reduction.axes.back().extent, builder->sizes()) % 4 == 0;
  if (whole_vectors) builder->add("vectorize", reduction.name, {{"width", "4"}});
  const double terms = terms_of(reduction, builder->sizes());
  const double wanted = kResidentThreads * builder->machine().threads * 8 / options.elements;
  const double rows = rows_of(reduction, builder->sizes()) / (whole_vectors ? 4 : 1);
  const double slices = std::clamp(wanted / rows, 1.0, std::clamp(terms / 16, 1.0, 32.0));
  const int64_t width = int64_t{1} << std::lround(std::log2(slices));
  if (width == 1) return;
  const int64_t threads = std::clamp<int64_t>(32 * width, 256, kMostThreads);
  builder->add("launch_bounds", reduction.name, {{"threads", text(threads)}});
  builder->add("cross_thread_reduction", reduction.name, {{"width", text(width)}, {"apart", "1"}});
}

/// Windows pass through local memory; false where the group has none.
bool window_parameters(SketchBuilder* builder, const Group& group, const std::string& name,
                       const Options& options) {
  const auto params =
      device_window_params(builder->program(), group, builder->sizes(), builder->machine().threads);
  if (params.empty()) return false;
  const auto& tile = params[std::min(options.tile, params.size() - 1)];
  builder->add("cache_read", name, {{"buffer", "local"}, {"columns", text(tile.at("columns"))}});
  builder->add("launch_bounds", name, {{"threads", text(tile.at("threads"))}});
  builder->add("coarsen", name, {{"factor", text(tile.at("coarsen"))}});
  return true;
}

void nest_parameters(SketchBuilder* builder, const Group& group, const Options& options) {
  const std::vector<Statement> statements = inline_group(builder->program(), group);
  const std::string& name = statements[0].name;
  const Statement* widest = nullptr;
  for (const Statement& statement : statements) {
    if (!reduces(statement)) continue;
    if (widest == nullptr ||
        terms_of(statement, builder->sizes()) > terms_of(*widest, builder->sizes())) {
      widest = &statement;
    }
  }
  if (options.vectors && transposes(builder->program(), group)) {
    builder->add("register_transpose", name);
    return;
  }
  if (options.windows && window_parameters(builder, group, name, options)) return;
  // A window is no row that neighbours could share.
  const bool columns = widest != nullptr && widest->kind == Statement::Kind::kReduce &&
                       !widest->axes.empty() && widest == &statements[0] &&
                       pointwise_chain(statements) &&
                       (!along_reduction(*widest) || walks_windows(*widest));
  if (options.vectors && !columns) builder->add("vectorize", name, {{"width", "4"}});
  if (widest == nullptr) {
    if (options.coarsen > 1) builder->add("coarsen", name, {{"factor", text(options.coarsen)}});
  } else {
    const bool shared = along_reduction(*widest) && terms_of(*widest, builder->sizes()) >= 128;
    if (columns) {
      column_parameters(builder, *widest, options);
    } else if (shared || statements.size() > 1) {
      row_parameters(builder, statements, *widest, options);
    }
    if (options.unroll > 1) builder->add("unroll", name, {{"factor", text(options.unroll)}});
  }
}

bool has_step(const Trace& trace, const std::string& action) {
  return std::any_of(trace.begin(), trace.end(),
                     [&](const Step& step) { return step.action == action; });
}

Sketch build(const Program& program, const ir::Sizes& sizes, const RulesMachine& machine,
             const Options& options, std::string note) {
  SketchBuilder builder(program, sizes, machine);
  builder.begin();
  inline_maps(&builder, options.inline_costly, options.tensorize);
  if (options.tensorize) tensorize_all(&builder);
  if (options.fuse) fuse_all(&builder);
  const std::vector<Group> groups = builder.schedule().groups;
  for (const Group& group : groups) {
    if (group.skeleton == Skeleton::kNest) {
      nest_parameters(&builder, group, options);
    } else if (group.skeleton == Skeleton::kContraction) {
      tile_parameters(&builder, group, options);
    }
  }
  return {builder.trace(), std::move(note)};
}

}  // namespace

std::vector<Sketch> device_sketches(const Program& program, const ir::Sizes& sizes,
                                    const RulesMachine& machine) {
  const std::pair<Options, const char*> kinds[] = {
      {{.tensor_cores = true, .rounded = true, .keep = true},
       "fused rows, kept in registers; tensor cores, convolutions' operands rounded to TF32"},
      {{.tensor_cores = true, .rounded = true, .keep = true, .tile = 1},
       "fused rows, kept in registers; tensor cores, operands rounded to TF32, the second tile"},
      {{.tensor_cores = true, .keep = true}, "fused rows, kept in registers; tensor cores"},
      {{.keep = true}, "fused rows, kept in registers"},
      {{.tensor_cores = true, .keep = true, .tile = 1},
       "fused rows, kept in registers; tensor cores, the second tile"},
      {{.tensor_cores = true, .online = true, .tile = 2},
       "fused rows, maximum and sum in one pass; tensor cores, the third tile"},
      {{.elements = 16, .stages = 2}, "fused rows, everything recomputed"},
      {{.online = true, .elements = 16}, "fused rows, maximum and sum in one pass"},
      {{.keep = true, .elements = 32, .tile = 1}, "fused rows, kept in registers, fewer threads"},
      {{.coarsen = 4, .unroll = 8, .tile = 2}, "fused rows, more threads"},
      {{.elements = 64, .unroll = 8, .tile = 3}, "fused rows, few threads"},
      {{.inline_costly = false}, "fused rows, special functions stored"},
      {{.tensorize = false, .unroll = 8}, "fused rows, no tiles"},
      {{.vectors = false, .windows = false, .elements = 16, .unroll = 16},
       "fused rows, single elements, unrolled"},
      {{.windows = false, .unroll = 8}, "fused rows, windows from memory"},
      {{.fuse = false, .elements = 16}, "a launch for each statement that is no map"},
      {{.vectors = false, .windows = false, .elements = 16, .unroll = 1},
       "fused rows, single elements"},
      {{.inline_costly = false,
        .fuse = false,
        .tensorize = false,
        .vectors = false,
        .windows = false,
        .unroll = 1},
       "a launch for each statement"},
  };
  std::vector<Sketch> found;
  for (const auto& [options, note] : kinds) {
    Sketch sketch = build(program, sizes, machine, options, note);
    // Without contractions, or on devices that are not NVIDIA's, it is one of the others.
    const bool rounds = has_step(sketch.trace, "set_precision");
    if (options.tensor_cores && !rounds && !has_step(sketch.trace, "emulate_precision")) continue;
    if (options.rounded && !rounds) continue;
    found.push_back(std::move(sketch));
  }
  keep_distinct(&found);
  return found;
}

}  // namespace quern
