// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/guard_image.h"

#include <tuple>

#include "device/device_wire.h"

namespace quern::cuda {

template <class W>
void wire(W& w, GuardSite& site) {
  w(site.function), w(site.instruction);
}

namespace {

constexpr std::string_view kMark = "quern guards\n";

}  // namespace

std::string pack_guarded(std::string cubin, const GuardNotes& notes) {
  const std::string text = to_wire(notes.sites, notes.globals);
  return cubin + text + to_wire(static_cast<uint64_t>(text.size())) + std::string(kMark);
}

std::optional<GuardNotes> read_guard_notes(std::string_view image) {
  if (!image.ends_with(kMark)) return std::nullopt;
  image.remove_suffix(kMark.size());
  if (image.size() < sizeof(uint64_t)) return std::nullopt;
  const auto size = from_wire<uint64_t>(image.substr(image.size() - sizeof(uint64_t)));
  image.remove_suffix(sizeof(uint64_t));
  if (!size || std::get<0>(*size) > image.size()) return std::nullopt;
  const std::string_view text = image.substr(image.size() - std::get<0>(*size));
  auto notes = from_wire<std::vector<GuardSite>, std::vector<std::string>>(text);
  if (!notes) return std::nullopt;
  return GuardNotes{std::move(std::get<0>(*notes)), std::move(std::get<1>(*notes))};
}

}  // namespace quern::cuda
