// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_data.h"

#include <fmt/format.h>

#include <cmath>

namespace quern {
namespace {

/// Buffers of candidates count up from 1; ours are out of their way.
constexpr BufferId kFirstId = 1u << 20;

std::span<const std::byte> bytes_of(const std::vector<double>& values) {
  return std::as_bytes(std::span(values));
}

std::string number_text(double value, DType type) {
  if (type == DType::kF32) return fmt::format("{}", static_cast<float>(value));
  return fmt::format("{}", value);
}

}  // namespace

DeviceData::DeviceData(DeviceWorker& worker, double share)
    : worker_(&worker),
      room_(static_cast<uint64_t>(share * static_cast<double>(worker.properties().memory_bytes))),
      next_(kFirstId) {}

Outcome<std::optional<BufferId>> DeviceData::keep(std::span<const std::byte> bytes,
                                                  const std::string& name) {
  if (bytes.size() > room_) return std::optional<BufferId>();
  room_ -= bytes.size();
  const BufferId id = next_++;
  worker_->allocate(id, bytes.size(), Placement::kLeft, name);
  auto uploaded = worker_->upload(id, bytes);
  if (!uploaded) return pass_on(uploaded);
  worker_->allow(id, DeviceAccess::kNone);
  return std::optional<BufferId>(id);
}

Outcome<bool> DeviceData::load(const ir::Program& program, const Workload& workload, int dataset,
                               const BufferSet& set) {
  const Dataset& data = workload.datasets[static_cast<size_t>(dataset)];
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    const Key key{&workload, dataset, i};
    if (!inputs_.contains(key)) {
      auto kept = keep(data.inputs[i], "a copy of " + program.inputs[i].name);
      if (!kept) return pass_on(kept);
      if (!kept->has_value()) return false;
      inputs_[key] = **kept;
    }
  }
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    worker_->copy(set.inputs[i], inputs_.at({&workload, dataset, i}));
    worker_->allow(set.inputs[i], DeviceAccess::kRead);
  }
  return true;
}

Outcome<std::optional<CompareOrder>> DeviceData::ask(const Workload& workload, int dataset,
                                                     size_t output, BufferId got) {
  const auto at = static_cast<size_t>(dataset);
  const ExpectedOutput& expected = workload.datasets[at].outputs[output];
  const ComparePolicy& policy = workload.policies[at];
  const Key key{&workload, dataset, output};
  if (!values_.contains(key)) {
    auto value = keep(bytes_of(expected.value), "what " + expected.name + " must be");
    if (!value) return pass_on(value);
    if (!value->has_value()) return std::optional<CompareOrder>();
    values_[key] = **value;
  }
  // Bit for bit there is no scale to look at; any array of that length will do.
  if (!scales_.contains(key) && !policy.bitwise) {
    auto scale = keep(bytes_of(expected.scale), "the scale of " + expected.name);
    if (!scale) return pass_on(scale);
    if (!scale->has_value()) return std::optional<CompareOrder>();
    scales_[key] = **scale;
  }
  CompareOrder order;
  order.got = got;
  order.value = values_[key];
  order.scale = policy.bitwise ? order.value : scales_[key];
  order.type = expected.type;
  order.elements = expected.value.size();
  order.factor = policy.factor;
  order.bitwise = policy.bitwise;
  return std::optional<CompareOrder>(order);
}

CompareReport report_of(const CompareCounts& counts, const ExpectedOutput& expected) {
  CompareReport report;
  report.wrong = static_cast<int64_t>(counts.wrong);
  report.unwritten = static_cast<int64_t>(counts.unwritten);
  report.compared = static_cast<int64_t>(counts.compared);
  report.max_error = counts.max_error;
  report.rms_error = counts.rms_error;
  report.ok = report.wrong == 0;
  if (report.ok) return report;
  const std::string text =
      report.unwritten == report.wrong ? "" : number_text(counts.worst_got, expected.type);
  report.worst = describe_element(expected.name, expected.shape, static_cast<int64_t>(counts.worst),
                                  text, counts.worst_expected, report.max_error);
  return report;
}

}  // namespace quern
