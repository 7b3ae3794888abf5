// SPDX-License-Identifier: Apache-2.0
#include "evaluate/known_outputs.h"

namespace quern {
namespace {

constexpr size_t kMost = 100'000;

}  // namespace

std::optional<CompareCounts> KnownOutputs::find(const Place& place, uint64_t digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = found_.find({place, digest});
  return found == found_.end() ? std::nullopt : std::optional(found->second);
}

bool KnownOutputs::knows(const Place& place) const {
  const std::lock_guard lock(mutex_);
  const auto found = found_.lower_bound({place, 0});
  return found != found_.end() && found->first.first == place;
}

void KnownOutputs::add(const Place& place, uint64_t digest, const CompareCounts& counts) {
  const std::lock_guard lock(mutex_);
  if (counts.wrong == 0 && found_.size() < kMost) found_.emplace(std::pair(place, digest), counts);
}

}  // namespace quern
