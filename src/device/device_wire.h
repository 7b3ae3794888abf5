// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace quern {

/// Values as bytes, between two processes of one build: `put` on one side, `get` in the same order
/// on the other. A type takes part through `template <class W> void wire(W& w, T& value)`, which
/// names its fields once for both directions.
class WireWriter {
 public:
  static constexpr bool kReads = false;

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else {
      wire(*this, value);
    }
  }
  void operator()(std::string& value) {
    uint64_t size = value.size();
    (*this)(size);
    text_ += value;
  }
  template <class T>
  void operator()(std::vector<T>& values) {
    uint64_t size = values.size();
    (*this)(size);
    for (T& value : values) (*this)(value);
  }
  template <class T, size_t N>
  void operator()(std::array<T, N>& values) {
    for (T& value : values) (*this)(value);
  }
  template <class A, class B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  template <class T>
  void operator()(std::optional<T>& value) {
    bool present = value.has_value();
    (*this)(present);
    if (present) (*this)(*value);
  }
  template <class... Types>
  void operator()(std::variant<Types...>& value) {
    uint32_t index = static_cast<uint32_t>(value.index());
    (*this)(index);
    std::visit([this](auto& held) { (*this)(held); }, value);
  }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// The other direction. The sender is not trusted: reading past the end, or an impossible count,
/// makes every later read give nothing, and `ok` false.
class WireReader {
 public:
  static constexpr bool kReads = true;

  explicit WireReader(std::string_view text) : text_(text) {}

  /// Everything was there, and nothing more.
  bool complete() const { return ok_ && text_.empty(); }
  bool ok() const { return ok_; }

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = 0;
      (*this)(byte);
      value = byte != 0;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      if (const std::string_view bytes = take(sizeof value); ok_) {
        std::memcpy(&value, bytes.data(), sizeof value);
      }
    } else {
      wire(*this, value);
    }
  }
  void operator()(std::string& value) { value = take(count(1)); }
  template <class T>
  void operator()(std::vector<T>& values) {
    values.clear();
    const uint64_t size = count(1);
    for (uint64_t i = 0; i < size && ok_; ++i) (*this)(values.emplace_back());
  }
  template <class T, size_t N>
  void operator()(std::array<T, N>& values) {
    for (T& value : values) (*this)(value);
  }
  template <class A, class B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  template <class T>
  void operator()(std::optional<T>& value) {
    bool present = false;
    (*this)(present);
    value.reset();
    if (present && ok_) (*this)(value.emplace());
  }
  template <class... Types>
  void operator()(std::variant<Types...>& value) {
    uint32_t index = 0;
    (*this)(index);
    if (index >= sizeof...(Types)) {
      ok_ = false;
      return;
    }
    size_t at = 0;
    (void)((at++ == index && ((*this)(value.template emplace<Types>()), true)) || ...);
  }

 private:
  /// A count of things that take at least `bytes` each.
  uint64_t count(uint64_t bytes) {
    uint64_t size = 0;
    (*this)(size);
    if (ok_ && size > text_.size() / bytes) ok_ = false;
    return ok_ ? size : 0;
  }
  std::string_view take(uint64_t bytes) {
    if (bytes > text_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view taken = text_.substr(0, bytes);
    text_.remove_prefix(bytes);
    return taken;
  }

  std::string_view text_;
  bool ok_ = true;
};

/// `values` as one text.
template <class... T>
std::string to_wire(T... values) {
  WireWriter writer;
  (writer(values), ...);
  return writer.take();
}

/// The values of a text that `to_wire` made; nothing for any other text.
template <class... T>
std::optional<std::tuple<T...>> from_wire(std::string_view text) {
  std::tuple<T...> values;
  WireReader reader(text);
  std::apply([&](T&... each) { (reader(each), ...); }, values);
  if (!reader.complete()) return std::nullopt;
  return values;
}

}  // namespace quern
