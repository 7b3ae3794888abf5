// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "codegen/contraction.h"
#include "codegen/emit_cpu.h"
#include "propose/rules.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Op;
using ir::Program;
using ir::Statement;

/// Builds a trace step by step, keeping only legal ones.
class Builder {
 public:
  Builder(const Program& program, const ir::Sizes& sizes, const RulesMachine& machine)
      : program_(program), sizes_(sizes), machine_(machine) {}

  bool add(const std::string& action, const std::string& target,
           std::vector<std::pair<std::string, std::string>> args = {}) {
    trace_.push_back({action, target, std::move(args)});
    auto schedule = apply(trace_, program_, sizes_);
    if (!schedule) {
      trace_.pop_back();
      return false;
    }
    schedule_ = std::move(*schedule);
    return true;
  }

  void begin() { schedule_ = std::move(*apply({}, program_, sizes_)); }

  const Schedule& schedule() const { return schedule_; }
  const Trace& trace() const { return trace_; }
  const Program& program() const { return program_; }
  const ir::Sizes& sizes() const { return sizes_; }
  const RulesMachine& machine() const { return machine_; }

  const Group* group_of(int statement) const {
    for (const Group& group : schedule_.groups) {
      const bool in = std::count(group.statements.begin(), group.statements.end(), statement) > 0;
      const bool gone = std::count(group.inlined.begin(), group.inlined.end(), statement) > 0;
      if (in && !gone) return &group;
    }
    return nullptr;
  }

 private:
  const Program& program_;
  const ir::Sizes& sizes_;
  const RulesMachine& machine_;
  Trace trace_;
  Schedule schedule_;
};

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
};

bool is_costly(const ir::Expr& expr) {
  if (expr.kind == ir::Expr::Kind::kOp) {
    switch (expr.op) {
      case Op::kExp:
      case Op::kLog:
      case Op::kLog1p:
      case Op::kExpm1:
      case Op::kTanh:
      case Op::kErf:
      case Op::kSin:
      case Op::kCos:
      case Op::kPow:
        return true;
      default:
        break;
    }
  }
  return std::any_of(expr.args.begin(), expr.args.end(), is_costly);
}

double elements(const std::vector<ir::Axis>& axes, const ir::Sizes& sizes) {
  double count = 1;
  for (const ir::Axis& axis : axes) {
    count *= static_cast<double>(ir::evaluate(axis.extent, sizes));
  }
  return count;
}

/// Maps that cost less to recompute than to store: no special function, read at few points.
void inline_maps(Builder* builder, const Options& options) {
  const Program& program = builder->program();
  for (const Statement& map : program.statements) {
    if (map.kind != Statement::Kind::kMap || map.is_output) continue;
    double reads = 0;
    bool into_contraction = false;
    for (size_t r = 0; r < program.statements.size(); ++r) {
      const Statement& reader = program.statements[r];
      for (const ir::Expr* load : ir::loads_of(reader.body)) {
        if (load->name != map.name) continue;
        reads += elements(reader.axes, builder->sizes()) *
                 elements(reader.reduce_axes, builder->sizes());
        into_contraction |= options.tensorize && is_contraction(program, static_cast<int>(r));
      }
    }
    const bool costly = is_costly(map.body);
    const double repeats = reads / elements(map.axes, builder->sizes());
    if (into_contraction) continue;
    if (costly ? options.inline_costly && repeats <= 2 : repeats <= 4) {
      builder->add("compute_inline", map.name);
    }
  }
}

/// Puts contractions on the micro-kernel, with the pointwise statements that follow them.
void tensorize(Builder* builder) {
  const Program& program = builder->program();
  for (size_t s = 0; s < program.statements.size(); ++s) {
    if (!is_contraction(program, static_cast<int>(s))) continue;
    const std::string& name = program.statements[s].name;
    if (!builder->add("tensorize", name)) continue;
    for (size_t t = s + 1; t < program.statements.size(); ++t) {
      const Statement& next = program.statements[t];
      if (next.kind == Statement::Kind::kMap &&
          next.axes.size() == program.statements[s].axes.size()) {
        builder->add("reverse_compute_inline", next.name, {{"into", name}});
      }
    }
  }
}

/// Merges each statement into the latest earlier group that can hold it.
void fuse(Builder* builder) {
  const Program& program = builder->program();
  for (size_t s = 1; s < program.statements.size(); ++s) {
    const Group* own = builder->group_of(static_cast<int>(s));
    if (own == nullptr || own->skeleton != Skeleton::kNest) continue;
    for (size_t t = s; t-- > 0;) {
      const Group* other = builder->group_of(static_cast<int>(t));
      if (other == nullptr || other == own || other->skeleton != Skeleton::kNest) continue;
      const std::string& name = program.statements[s].name;
      const std::string& into = program.statements[t].name;
      const bool pointwise = program.statements[s].kind == Statement::Kind::kMap;
      if (pointwise ? builder->add("reverse_compute_inline", name, {{"into", into}})
                    : builder->add("compute_with", name, {{"with", into}})) {
        break;
      }
    }
  }
}

/// A reduction with too few results to occupy the threads, and enough terms to share.
bool wants_parts(const Builder& builder, const Statement& statement) {
  if (statement.kind != Statement::Kind::kReduce) return false;
  const double results = elements(statement.axes, builder.sizes());
  const double terms = elements(statement.reduce_axes, builder.sizes());
  return results * terms >= 65536 && results < 4096 && terms > 4 * builder.machine().threads;
}

void set_parameters(Builder* builder, const Options& options) {
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
  Builder builder(program, sizes, machine);
  builder.begin();
  if (options.fuse) inline_maps(&builder, options);
  if (options.tensorize) tensorize(&builder);
  if (options.fuse) fuse(&builder);
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
  const std::pair<Options, const char*> kinds[] = {
      {{}, "fused rows, streaming stores"},
      {{.prefetch = true}, "fused rows, streaming stores, fetched ahead"},
      {{.prefetch = true, .accumulators = 8}, "fused rows, fetched ahead, eight accumulators"},
      {{.prefetch = true, .late = true}, "fused rows, fetched ahead while storing"},
      {{.prefetch = true, .pipeline = 2}, "fused rows, two passes pipelined, fetched ahead"},
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
    const bool known = std::any_of(found.begin(), found.end(), [&](const Sketch& other) {
      return other.trace == sketch.trace;
    });
    if (!known && prints(program, sizes, sketch.trace)) found.push_back(std::move(sketch));
  }
  return found;
}

}  // namespace quern
