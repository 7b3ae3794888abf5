// SPDX-License-Identifier: Apache-2.0
#include "evaluate/resident_oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "verify/plan_workload.h"

namespace quern {
namespace {

constexpr int64_t kFoundWords = 9;  // of a Partial, 8 bytes each

std::vector<uint64_t> kept_bytes(const DeviceOracle& oracle, const ir::Sizes& sizes) {
  std::vector<uint64_t> bytes;
  for (const DeviceOracle::Kept& kept : oracle.kept) {
    bytes.push_back(16 * static_cast<uint64_t>(ir::evaluate(kept.elements, sizes)));
  }
  return bytes;
}

/// The task as the plans of its oracle see it.
PlanWorkload oracle_workload(const ir::Program& program, const ir::Sizes& sizes,
                             const DeviceOracle& oracle, bool check) {
  PlanWorkload workload = plan_workload(program, sizes);
  const std::vector<PlanTensor> outputs = std::move(workload.outputs);
  workload.outputs.clear();
  std::vector<PlanTensor>& kept = check ? workload.inputs : workload.outputs;
  for (const DeviceOracle::Kept& one : oracle.kept) {
    kept.push_back({one.name, DType::kF64, {2 * ir::evaluate(one.elements, sizes)}});
  }
  if (!check) return workload;
  for (const PlanTensor& output : outputs) {
    workload.inputs.push_back(output);
    workload.outputs.push_back(
        {oracle_found(output.name), DType::kF64, {kFoundWords * (kOracleBlocks + 1)}});
  }
  workload.inputs.push_back({kOraclePolicy, DType::kF64, {2}});
  return workload;
}

Result<BoundPlan> bind(const std::string& plan, const DeviceOracle& oracle,
                       const ir::Program& program, const ir::Sizes& sizes, bool check) {
  if (plan.empty()) return BoundPlan{};
  const PlanWorkload workload = oracle_workload(program, sizes, oracle, check);
  QUERN_ASSIGN(const LaunchPlan parsed, parse_launch_plan(plan, workload, PlanTarget::kCuda));
  return bind_plan(parsed, workload, PlanTarget::kCuda);
}

Result<BuiltOracle::Part> part_at(const DeviceOracle& oracle, const std::string& image,
                                  const ir::Program& program, const ir::Sizes& sizes) {
  BuiltOracle::Part part;
  part.image = image;
  QUERN_ASSIGN(part.prepare, bind(oracle.prepare, oracle, program, sizes, false));
  QUERN_ASSIGN(part.check, bind(oracle.check, oracle, program, sizes, true));
  return part;
}

}  // namespace

uint64_t BuiltOracle::Bound::all_kept_bytes() const {
  return std::accumulate(kept_bytes.begin(), kept_bytes.end(), uint64_t{0});
}

Result<BuiltOracle> BuiltOracle::make(const ir::Program& program, const ir::Sizes& sizes,
                                      DeviceCompiler& compiler, const std::string& compare_header,
                                      Contract contract) {
  BuiltOracle built;
  built.bound_ = emit_device_oracle(program, sizes, OracleScalar::kBound, contract);
  built.exact_ = emit_device_oracle(program, sizes, OracleScalar::kExact, contract);
  std::vector<DeviceCompileJob> jobs(2);
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].source = i == 0 ? built.bound_.code : built.exact_.code;
    jobs[i].headers = {{kOracleCompareHeader, compare_header}};
    jobs[i].ours = true;
  }
  std::vector<Outcome<DeviceBinary>> outcomes = compiler.compile_all(jobs);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (outcomes[i].has_error()) return outcomes[i].error();
    if (outcomes[i].has_verdict()) {
      return Error{ErrorKind::kInternal,
                   fmt::format("the device's oracle of task {} does not compile: {}", program.name,
                               verdict_evidence(outcomes[i].verdict())),
                   "This is a bug in Quern; please report it with the task."};
    }
    (i == 0 ? built.bound_image_ : built.exact_image_) = std::move(outcomes[i]->image);
  }
  return built;
}

Result<BuiltOracle::Bound> BuiltOracle::at(const ir::Program& program,
                                           const ir::Sizes& sizes) const {
  Bound made;
  QUERN_ASSIGN(made.bound, part_at(bound_, bound_image_, program, sizes));
  QUERN_ASSIGN(made.exact, part_at(exact_, exact_image_, program, sizes));
  made.kept_bytes = kept_bytes(bound_, sizes);
  return made;
}

uint32_t ResidentOracle::set_of(int slot, int dataset) const {
  return static_cast<uint32_t>(slot) * static_cast<uint32_t>(workload_->datasets.size()) +
         static_cast<uint32_t>(dataset);
}

size_t ResidentOracle::shelf_of(int dataset) const {
  return static_cast<size_t>(dataset) % kept_.size();
}

/// Policies are no secret, and small.
Outcome<Done> ResidentOracle::keep_policies(const std::function<BufferId()>& next_buffer) {
  for (const ComparePolicy& policy : workload_->policies) {
    const double words[2] = {policy.factor, policy.bitwise ? 1.0 : 0.0};
    policies_.push_back(next_buffer());
    worker_->allocate(policies_.back(), sizeof words, Placement::kLeft, "a policy");
    auto uploaded = worker_->upload(policies_.back(), std::as_bytes(std::span(words)));
    if (!uploaded) return uploaded;
    worker_->allow(policies_.back(), DeviceAccess::kRead);
  }
  return Done{};
}

Outcome<ResidentOracle::Programs> ResidentOracle::load(
    const BuiltOracle::Part& part, const std::vector<BufferSet>& slots,
    const std::function<ProgramId()>& next_program) {
  std::vector<BufferSet> prepare, check;
  for (const BufferSet& slot : slots) {
    for (size_t data = 0; data < workload_->datasets.size(); ++data) {
      const std::vector<BufferId>& kept = kept_[shelf_of(static_cast<int>(data))];
      prepare.push_back({slot.inputs, kept});
      BufferSet all{slot.inputs, found_};
      all.inputs.insert(all.inputs.end(), kept.begin(), kept.end());
      all.inputs.insert(all.inputs.end(), slot.outputs.begin(), slot.outputs.end());
      all.inputs.push_back(policies_[data]);
      check.push_back(std::move(all));
    }
  }
  Programs programs;
  if (!part.prepare.steps.empty()) {
    programs.prepare = next_program();
    auto loaded = worker_->load_own(programs.prepare, part.image, part.prepare, prepare);
    if (!loaded) return pass_on(loaded);
  }
  programs.check = next_program();
  auto loaded = worker_->load_own(programs.check, part.image, part.check, check);
  if (!loaded) return pass_on(loaded);
  return programs;
}

Outcome<std::unique_ptr<ResidentOracle>> ResidentOracle::make(
    DeviceWorker& worker, const ir::Program& program, const Workload& workload,
    const BuiltOracle::Bound& oracle, const std::vector<BufferSet>& slots, uint64_t room,
    const std::function<BufferId()>& next_buffer, const std::function<ProgramId()>& next_program) {
  std::unique_ptr<ResidentOracle> made(new ResidentOracle(worker, workload));
  const uint64_t one = std::max<uint64_t>(1, oracle.all_kept_bytes());
  const uint64_t shelves = std::min<uint64_t>(workload.datasets.size(), room / one);
  if (shelves == 0) {
    return Error{
        ErrorKind::kEnvironment,
        fmt::format("what {} must give takes {:.1f} GiB of the device's memory, and {:.1f} "
                    "GiB are left for it",
                    program.name, static_cast<double>(one) / (1 << 30),
                    static_cast<double>(room) / (1 << 30)),
        "Choose a smaller size set with --size."};
  }
  made->kept_.resize(shelves);
  made->holds_.assign(shelves, -1);
  for (std::vector<BufferId>& kept : made->kept_) {
    for (const uint64_t bytes : oracle.kept_bytes) {
      kept.push_back(next_buffer());
      worker.allocate(kept.back(), bytes, Placement::kLeft, "what outputs must be");
    }
  }
  for (const ir::Statement* output : program.outputs()) {
    made->found_.push_back(next_buffer());
    worker.allocate(made->found_.back(), 8 * kFoundWords * (kOracleBlocks + 1), Placement::kLeft,
                    "what was found of " + output->name);
    CompareOrder order;
    order.output = static_cast<uint32_t>(made->outputs_.size());
    order.type = output->type;
    order.elements =
        static_cast<uint64_t>(element_count(ir::shape_of(program, output->name, workload.sizes)));
    made->outputs_.push_back(order);
  }
  if (auto kept = made->keep_policies(next_buffer); !kept) return pass_on(kept);
  made->slots_ = slots;
  const bool probes = std::ranges::any_of(workload.policies, &ComparePolicy::bitwise);
  auto bound = made->load(oracle.bound, slots, next_program);
  if (!bound) return pass_on(bound);
  made->bound_ = *bound;
  if (probes) {
    auto exact = made->load(oracle.exact, slots, next_program);
    if (!exact) return pass_on(exact);
    made->exact_ = *exact;
  }
  for (const std::vector<BufferId>& kept : made->kept_) {
    for (const BufferId id : kept) worker.allow(id, DeviceAccess::kNone);
  }
  return made;
}

void ResidentOracle::ask(int slot, int dataset, InspectOrder& order) {
  const ComparePolicy& policy = workload_->policies[static_cast<size_t>(dataset)];
  const Programs& programs = policy.bitwise ? exact_ : bound_;
  int& holds = holds_[shelf_of(dataset)];
  if (programs.prepare != 0 && holds != dataset) {
    worker_->apply(programs.prepare, set_of(slot, dataset));
    holds = dataset;
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    CompareOrder compare = outputs_[i];
    compare.got = slots_[static_cast<size_t>(slot)].outputs[i];
    compare.oracle = programs.check;
    compare.set = set_of(slot, dataset);
    compare.factor = policy.factor;
    compare.bitwise = policy.bitwise;
    order.compares.push_back(compare);
  }
}

}  // namespace quern
