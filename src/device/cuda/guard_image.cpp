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

std::string pack_guarded(const std::string& cubin, const GuardNotes& notes) {
  const std::string text = to_wire(notes.sites, notes.globals);
  return cubin + text + to_wire(static_cast<uint64_t>(text.size()), notes.limit_ns) +
         std::string(kMark);
}

std::string with_guard_limit(std::string image, uint64_t limit_ns) {
  if (!read_guard_notes(image)) return image;
  const std::string limit = to_wire(limit_ns);
  return image.replace(image.size() - kMark.size() - limit.size(), limit.size(), limit);
}

std::optional<GuardNotes> read_guard_notes(std::string_view image) {
  if (!image.ends_with(kMark)) return std::nullopt;
  image.remove_suffix(kMark.size());
  constexpr size_t kNumbers = 2 * sizeof(uint64_t);
  if (image.size() < kNumbers) return std::nullopt;
  const auto numbers = from_wire<uint64_t, uint64_t>(image.substr(image.size() - kNumbers));
  image.remove_suffix(kNumbers);
  if (!numbers || std::get<0>(*numbers) > image.size()) return std::nullopt;
  const std::string_view text = image.substr(image.size() - std::get<0>(*numbers));
  auto notes = from_wire<std::vector<GuardSite>, std::vector<std::string>>(text);
  if (!notes) return std::nullopt;
  return GuardNotes{std::move(std::get<0>(*notes)), std::move(std::get<1>(*notes)),
                    std::get<1>(*numbers)};
}

}  // namespace quern::cuda
