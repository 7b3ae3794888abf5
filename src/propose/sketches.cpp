// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "codegen/emit_cpu.h"
#include "propose/rules.h"
#include "propose/sketch_builder.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

struct Options {
  bool inline_costly = false;  ///< recompute special functions rather than store their values
  bool fuse = true;
  bool tensorize = true;
  bool stream = true;
  bool parts = true;
  bool prefetch = false;  ///< fetch the next row, or page, while this one computes
  bool late = false;      ///< … while this one is stored
  int pipeline = 0;       ///< passes over rows that run in one loop, each a row behind the other
  int accumulators = 4;
  bool approximate = false;  ///< exponentials and divisions one or two ulp off
};

/// A reduction with too few results to occupy the threads, and enough terms to share.
bool wants_parts(const SketchBuilder& builder, const Statement& statement) {
  if (statement.kind != Statement::Kind::kReduce) return false;
  const double results = elements(statement.axes, builder.sizes());
  const double terms = elements(statement.reduce_axes, builder.sizes());
  return results * terms >= 65536 && results < 4096 && terms > 4 * builder.machine().threads;
}

void set_parameters(SketchBuilder* builder, const Options& options) {
  const std::vector<Group> groups = builder->schedule().groups;
  const Program& program = builder->program();
  for (const Group& group : groups) {
    const std::vector<Statement> statements = inline_group(program, group);
    const std::string& name = statements[0].name;
    if (group.skeleton == Skeleton::kNest) {
      builder->add("parallel", name);
      builder->add("vectorize", name);
      builder->add("fuse_loops", name);
      builder->add("interleave_accumulators", name,
                   {{"count", std::to_string(options.accumulators)}});
      if (options.prefetch) {
        std::vector<std::pair<std::string, std::string>> args = {{"distance", "1"}};
        if (options.late) args.emplace_back("late", "1");
        builder->add("prefetch", name, std::move(args));
      }
      if (options.pipeline > 1) {
        builder->add("software_pipeline", name, {{"stages", std::to_string(options.pipeline)}});
      }
      if (options.approximate) builder->add("approximate_math", name);
      if (options.parts && wants_parts(*builder, statements[0])) builder->add("rfactor", name);
    }
    if (!options.stream || group.skeleton != Skeleton::kNest) continue;
    for (const Statement& statement : statements) {
      const double bytes = 4 * elements(statement.axes, builder->sizes());
      if (statement.is_output &&
          bytes >= 4.0 * static_cast<double>(builder->machine().cache_bytes)) {
        builder->add("non_temporal_store", statement.name);
      }
    }
  }
}

Sketch build(const Program& program, const ir::Sizes& sizes, const RulesMachine& machine,
             const Options& options, std::string note) {
  SketchBuilder builder(program, sizes, machine);
  builder.begin();
  if (options.fuse) inline_maps(&builder, options.inline_costly, options.tensorize);
  if (options.tensorize) tensorize_all(&builder);
  if (options.fuse) fuse_all(&builder);
  set_parameters(&builder, options);
  return {builder.trace(), std::move(note)};
}

/// Whether the code generators agree: they see loops, where the schedule sees statements.
bool prints(const Program& program, const ir::Sizes& sizes, const Trace& trace) {
  auto schedule = apply(trace, program, sizes);
  return schedule && emit_cpu(program, *schedule);
}

}  // namespace

std::vector<Sketch> sketches(const Program& program, const ir::Sizes& sizes,
                             const RulesMachine& machine) {
  if (machine.device) return device_sketches(program, sizes, machine);
  const std::pair<Options, const char*> kinds[] = {
      {{}, "fused rows, streaming stores"},
      {{.prefetch = true}, "fused rows, streaming stores, fetched ahead"},
      {{.prefetch = true, .accumulators = 8}, "fused rows, fetched ahead, eight accumulators"},
      {{.prefetch = true, .late = true}, "fused rows, fetched ahead while storing"},
      {{.prefetch = true, .pipeline = 2}, "fused rows, two passes pipelined, fetched ahead"},
      {{.prefetch = true, .pipeline = 2, .approximate = true},
       "fused rows, two passes pipelined, fetched ahead, cheaper exponentials"},
      {{.prefetch = true, .approximate = true}, "fused rows, fetched ahead, cheaper exponentials"},
      {{.pipeline = 3}, "fused rows, three passes pipelined"},
      {{.stream = false}, "fused rows"},
      {{.inline_costly = true}, "fused rows, everything recomputed"},
      {{.inline_costly = true, .stream = false}, "fused rows, everything recomputed, plain stores"},
      {{.parts = false}, "fused rows, no reduction in parts"},
      {{.tensorize = false}, "fused rows, no micro-kernel"},
      {{.accumulators = 1}, "fused rows, one accumulator"},
      {{.fuse = false}, "one loop nest a statement"},
      {{.fuse = false, .tensorize = false, .stream = false, .parts = false},
       "one loop nest a statement, plain"},
  };
  std::vector<Sketch> found;
  for (const auto& [options, note] : kinds) {
    Sketch sketch = build(program, sizes, machine, options, note);
    if (prints(program, sizes, sketch.trace)) found.push_back(std::move(sketch));
  }
  keep_distinct(&found);
  return found;
}

}  // namespace quern
