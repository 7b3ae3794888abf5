// SPDX-License-Identifier: Apache-2.0
#include "evaluate/guard_policy.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace quern {
namespace {

constexpr int kWindow = 50;         // looks that are weighed
constexpr double kBadShare = 0.03;  // of them; more are too many
constexpr int kQuiet = 150;         // looks without a bad one, and guards are dropped

}  // namespace

void GuardPolicy::note(Look look) {
  const bool bad = look != Look::kHarmless;
  recent_ = (recent_ << 1 | (bad ? 1 : 0)) & ((uint64_t{1} << kWindow) - 1);
  seen_ = std::min(seen_ + 1, kWindow);
  quiet_ = bad ? 0 : quiet_ + 1;
  if (std::popcount(recent_) > kBadShare * seen_) on_ = true;
  if (quiet_ >= kQuiet) on_ = false;
}

GuardPolicy::Code GuardPolicy::code_of(std::string_view listing) {
  if (listing.empty()) return Code::kUnknown;
  return listing.find("trap;") == std::string_view::npos ? Code::kPlain : Code::kTraps;
}

bool GuardPolicy::wants(Code code) const {
  if (use_ == Use::kNever || code == Code::kUnknown) return false;
  // What means to trap is guarded at once: good candidates seldom do.
  return use_ == Use::kAlways || on_ || code == Code::kTraps;
}

std::optional<GuardPolicy::Use> parse_guard_use(std::string_view word) {
  if (word == "auto") return GuardPolicy::Use::kAuto;
  if (word == "always") return GuardPolicy::Use::kAlways;
  if (word == "never") return GuardPolicy::Use::kNever;
  return std::nullopt;
}

GuardBuild& GuardBuild::operator=(GuardBuild&& other) noexcept {
  std::swap(compiler_, other.compiler_);
  std::swap(name_, other.name_);
  std::swap(image_, other.image_);
  std::swap(begun_, other.begun_);
  return *this;
}

GuardBuild::~GuardBuild() {
  if (name_) (void)compiler_->collect(*name_);
}

void GuardBuild::begin(std::shared_ptr<DeviceCompiler> compiler, std::string listing) {
  DeviceCompileJob job;
  job.source = std::move(listing);
  job.guards = true;
  compiler_ = std::move(compiler);
  name_ = compiler_->begin({std::move(job)}).front();
  begun_ = true;
}

Result<std::string> GuardBuild::image() {
  if (name_) {
    auto outcome = compiler_->collect(*std::exchange(name_, std::nullopt));
    if (outcome.has_error()) return outcome.error();
    if (outcome) image_ = std::move(outcome->image);
  }
  return image_;
}

void GuardBuild::drop() {
  (void)image();
  image_.clear();
}

}  // namespace quern
