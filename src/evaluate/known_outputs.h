// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "device/device_backend.h"
#include "verify/workload.h"

namespace quern {

/// Outputs that the oracle found right, by digest: what agrees with one of them bit for bit needs
/// no second look. Digests are keyed with a secret, so that no candidate can aim at one.
/// Thread-safe.
class KnownOutputs {
 public:
  struct Place {
    const Workload* workload = nullptr;
    int dataset = 0;
    size_t output = 0;
    auto operator<=>(const Place&) const = default;
  };

  /// What was found of the output with that digest; nothing when it is not known.
  std::optional<CompareCounts> find(const Place& place, uint64_t digest) const;
  /// Whether any output is known there.
  bool knows(const Place& place) const;
  /// Does nothing for wrong outputs, and once very many are known.
  void add(const Place& place, uint64_t digest, const CompareCounts& counts);

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<Place, uint64_t>, CompareCounts> found_;
};

}  // namespace quern
