// SPDX-License-Identifier: Apache-2.0
// Searches over grids of numbers. Each is given points one at a time and told their times.
#include <cmath>
#include <map>

#include "base/table.h"
#include "propose/tuner.h"

namespace quern {
namespace {

using Point = std::vector<size_t>;

Point random_point(const Point& sizes, Random& random) {
  Point point;
  for (size_t size : sizes) point.push_back(random.below(size));
  return point;
}

class AtRandom : public NumericSearch {
 public:
  Point next(const Point& sizes, Random& random) override { return random_point(sizes, random); }
  void told(const Point&, double) override {}
};

/// Moves one parameter of the best point by one value; where that was tried, two parameters, ….
class HillClimb : public NumericSearch {
 public:
  Point next(const Point& sizes, Random& random) override {
    if (best_.empty() || sizes.empty()) return random_point(sizes, random);
    Point point = best_;
    // Every draw without a new best goes a little further afield.
    const size_t moves = 1 + static_cast<size_t>(std::min(stale_++ / 8, 3));
    for (size_t move = 0; move < moves; ++move) {
      const size_t at = random.below(sizes.size());
      const bool up = random.chance(0.5);
      if (up && point[at] + 1 < sizes[at]) ++point[at];
      if (!up && point[at] > 0) --point[at];
    }
    return stale_ > 64 ? random_point(sizes, random) : point;
  }
  void told(const Point& point, double time_ns) override {
    if (time_ns <= 0 || (time_ns_ > 0 && time_ns >= time_ns_)) return;
    best_ = point;
    time_ns_ = time_ns;
    stale_ = 0;
  }

 private:
  Point best_;
  double time_ns_ = 0;
  int stale_ = 0;
};

/// Walks from the last accepted point; slower points are accepted less and less.
class Annealing : public NumericSearch {
 public:
  Point next(const Point& sizes, Random& random) override {
    accept_ = random.unit();
    if (at_.empty() || sizes.empty()) return random_point(sizes, random);
    Point point = at_;
    const size_t parameter = random.below(sizes.size());
    point[parameter] = random.below(sizes[parameter]);
    return point;
  }
  void told(const Point& point, double time_ns) override {
    temperature_ *= 0.9;
    if (time_ns <= 0) return;
    const double worse = time_ns_ > 0 ? time_ns / time_ns_ - 1 : 0;
    if (worse > 0 && accept_ >= std::exp(-worse / temperature_)) return;
    at_ = point;
    time_ns_ = time_ns;
  }

 private:
  Point at_;
  double time_ns_ = 0, temperature_ = 0.5, accept_ = 0;
};

/// A tree whose levels are the parameters; down it by upper confidence bounds on best ÷ time.
class Tree : public NumericSearch {
 public:
  Point next(const Point& sizes, Random& random) override {
    Point point;
    for (size_t size : sizes) {
      const int visits = nodes_[point].visits;
      std::vector<size_t> fresh;
      size_t best = 0;
      double highest = -1;
      for (size_t value = 0; value < size; ++value) {
        Point child = point;
        child.push_back(value);
        const Node node = nodes_[child];
        if (node.visits == 0) fresh.push_back(value);
        const double bound =
            node.value + std::sqrt(2 * std::log(std::max(1, visits)) / std::max(1, node.visits));
        if (bound > highest) highest = bound, best = value;
      }
      point.push_back(fresh.empty() ? best : fresh[random.below(fresh.size())]);
    }
    // A leaf that is drawn again makes its branch less promising, so that the walk leaves it.
    for (size_t depth = 0; depth <= point.size(); ++depth) {
      ++nodes_[Point(point.begin(), point.begin() + static_cast<long>(depth))].visits;
    }
    return point;
  }
  void told(const Point& point, double time_ns) override {
    if (time_ns <= 0) return;
    if (fastest_ns_ == 0 || time_ns < fastest_ns_) fastest_ns_ = time_ns;
    for (size_t depth = 0; depth <= point.size(); ++depth) {
      Node& node = nodes_[Point(point.begin(), point.begin() + static_cast<long>(depth))];
      node.value = std::max(node.value, fastest_ns_ / time_ns);
    }
  }

 private:
  struct Node {
    int visits = 0;
    double value = 0;
  };
  std::map<Point, Node> nodes_;
  double fastest_ns_ = 0;
};

template <class Made>
std::unique_ptr<NumericSearch> made() {
  return std::make_unique<Made>();
}

constexpr NumericSearchInfo kSearches[] = {
    {"hill-climb", "one step of one parameter of the best point; further steps when that is stale",
     made<HillClimb>},
    {"random", "any point", made<AtRandom>},
    {"annealing", "one new value from the last accepted point, slower ones accepted ever less",
     made<Annealing>},
    {"tree", "a tree of parameters, walked by best / time + sqrt(2 ln N_parent / N)", made<Tree>},
};

}  // namespace

std::span<const NumericSearchInfo> numeric_searches() { return kSearches; }

Result<const NumericSearchInfo*> find_numeric_search(const std::string& name) {
  return find_row(numeric_searches(), "numeric search", name);
}

}  // namespace quern
