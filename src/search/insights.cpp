// SPDX-License-Identifier: Apache-2.0
#include "search/insights.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/strings.h"

namespace quern {
namespace {

constexpr size_t kMostCharacters = 600;

std::string normalised(const std::string& text) {
  std::string words = join(split_words(text), " ");
  std::ranges::transform(words, words.begin(), [](unsigned char c) { return std::tolower(c); });
  return words;
}

/// The text after "- ", "* ", "+ " or "12. "; "" where the line is no item.
std::string_view item_of(std::string_view line) {
  line = trim(line);
  size_t mark = line.find_first_not_of("0123456789");
  if (mark == std::string_view::npos) return "";
  const bool numbered = mark > 0 && (line[mark] == '.' || line[mark] == ')');
  const bool marked = mark == 0 && (line[0] == '-' || line[0] == '*' || line[0] == '+');
  if (!numbered && !marked) return "";
  if (mark + 1 >= line.size() || line[mark + 1] != ' ') return "";
  return trim(line.substr(mark + 1));
}

}  // namespace

std::vector<std::string> list_items(const std::string& reply) {
  std::vector<std::string> items, lines;
  for (const std::string& line : split(reply, '\n')) {
    if (!item_of(line).empty()) items.emplace_back(item_of(line));
    if (!trim(line).empty() && !trim(line).starts_with("```")) lines.emplace_back(trim(line));
  }
  return items.empty() ? lines : items;
}

void InsightMemory::add(const std::string& text, int node) {
  const std::string key = normalised(text);
  if (key.empty()) return;
  if (const auto found = known_.find(key); found != known_.end()) {
    ++insights_.at(found->second).seen;
    return;
  }
  known_[key] = next_;
  insights_[next_++] = {shorten(trim(text), kMostCharacters), node, 1, 0, 0};
  if (size() <= static_cast<int>(settings_.capacity)) return;
  const auto least = std::ranges::min_element(
      insights_, [](const auto& a, const auto& b) { return a.second.value < b.second.value; });
  std::erase_if(known_, [&](const auto& row) { return row.second == least->first; });
  insights_.erase(least);
}

void InsightMemory::add_lines(const std::string& reply, int node, int most) {
  std::vector<std::string> items = list_items(reply);
  if (static_cast<int>(items.size()) > most) items.resize(static_cast<size_t>(most));
  for (const std::string& item : items) add(item, node);
}

std::vector<int> InsightMemory::best(int count) const {
  std::vector<int> ids;
  for (const auto& [id, insight] : insights_) {
    if (insight.seen >= settings_.min_seen) ids.push_back(id);
  }
  std::ranges::sort(ids, [&](int a, int b) {
    const double left = insights_.at(a).value, right = insights_.at(b).value;
    return left != right ? left > right : a > b;
  });
  if (static_cast<int>(ids.size()) > count) ids.resize(static_cast<size_t>(count));
  return ids;
}

double InsightMemory::standardised(double reward) {
  ++rewards_;
  const double before = reward - mean_;
  mean_ += before / rewards_;
  square_ += before * (reward - mean_);
  const double deviation = rewards_ > 1 ? std::sqrt(square_ / (rewards_ - 1)) : 0;
  return deviation > 0 ? (reward - mean_) / deviation : 0;
}

void InsightMemory::reward(const std::vector<int>& shown, double reward) {
  const double earned = standardised(reward);
  for (auto& [id, insight] : insights_) insight.value *= settings_.decay;
  for (int id : shown) {
    const auto found = insights_.find(id);
    if (found == insights_.end()) continue;
    Insight& insight = found->second;
    ++insight.uses;
    insight.value += settings_.rate * (earned - insight.value);
  }
}

}  // namespace quern
