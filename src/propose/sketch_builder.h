// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "propose/rules.h"

/// What sketches for every target are built with.
namespace quern {

/// Builds a trace step by step, keeping only legal ones.
class SketchBuilder {
 public:
  SketchBuilder(const ir::Program& program, const ir::Sizes& sizes, const RulesMachine& machine)
      : program_(program), sizes_(sizes), machine_(machine) {}

  bool add(const std::string& action, const std::string& target,
           std::vector<std::pair<std::string, std::string>> args = {}) {
    auto longer =
        extend(schedule_, {action, target, std::move(args)}, program_, sizes_, machine_.target());
    if (!longer) return false;
    schedule_ = std::move(*longer);
    return true;
  }

  void begin() { schedule_ = std::move(*apply({}, program_, sizes_, machine_.target())); }

  const Schedule& schedule() const { return schedule_; }
  const Trace& trace() const { return schedule_.trace; }
  const ir::Program& program() const { return program_; }
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
  const ir::Program& program_;
  const ir::Sizes& sizes_;
  const RulesMachine& machine_;
  Schedule schedule_;
};

/// Number of points of the axes.
double elements(const std::vector<ir::Axis>& axes, const ir::Sizes& sizes);

/// Inlines maps that cost less to recompute than to store: no special function (unless `costly`),
/// read at few points. Producers of contractions stay where `tensorize`.
void inline_maps(SketchBuilder* builder, bool costly, bool tensorize);
/// Puts contractions on the micro-kernel, with the pointwise statements that follow them.
void tensorize_all(SketchBuilder* builder);
/// Merges each statement into the latest earlier group that can hold it.
void fuse_all(SketchBuilder* builder);
/// Drops sketches with the trace of an earlier one.
void keep_distinct(std::vector<Sketch>* sketches);

/// Starting plans for a device; see `sketches`.
std::vector<Sketch> device_sketches(const ir::Program& program, const ir::Sizes& sizes,
                                    const RulesMachine& machine);

}  // namespace quern
