// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "record/launch_plan.h"

namespace quern {
namespace {

struct TypeRow {
  PlanType type;
  const char* name;
  int64_t bytes;
};
constexpr TypeRow kTypes[] = {
    {PlanType::kI8, "i8", 1},   {PlanType::kU8, "u8", 1},   {PlanType::kI16, "i16", 2},
    {PlanType::kU16, "u16", 2}, {PlanType::kF16, "f16", 2}, {PlanType::kBF16, "bf16", 2},
    {PlanType::kI32, "i32", 4}, {PlanType::kU32, "u32", 4}, {PlanType::kF32, "f32", 4},
    {PlanType::kI64, "i64", 8}, {PlanType::kU64, "u64", 8}, {PlanType::kF64, "f64", 8},
};

const TypeRow& row_of(PlanType type) {
  return *std::ranges::find_if(kTypes, [&](const TypeRow& row) { return row.type == type; });
}

constexpr const char* kTargets[] = {"cuda", "opencl", "both"};

}  // namespace

std::string_view plan_target_name(PlanTarget target) { return kTargets[static_cast<int>(target)]; }

bool plan_runs_on(PlanTarget plan, PlanTarget device) {
  return plan == device || plan == PlanTarget::kBoth || device == PlanTarget::kBoth;
}

std::string_view plan_type_name(PlanType type) { return row_of(type).name; }
int64_t plan_type_bytes(PlanType type) { return row_of(type).bytes; }

std::optional<PlanType> plan_type_from_name(std::string_view name) {
  for (const TypeRow& row : kTypes) {
    if (name == row.name) return row.type;
  }
  return std::nullopt;
}

PlanType plan_type_of(DType type) { return *plan_type_from_name(dtype_name(type)); }

std::vector<std::string> plan_type_names() {
  std::vector<std::string> names;
  for (const TypeRow& row : kTypes) names.emplace_back(row.name);
  return names;
}

}  // namespace quern
