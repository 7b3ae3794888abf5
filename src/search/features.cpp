// SPDX-License-Identifier: Apache-2.0
#include "search/features.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/table.h"

namespace quern {
namespace {

/// Words and single marks of C++, without comments, literals and blanks; pragmas keep their words.
std::vector<std::string_view> tokens_of(std::string_view text) {
  std::vector<std::string_view> tokens;
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  size_t at = 0;
  const auto skip_to = [&](std::string_view end) {
    const size_t found = text.find(end, at + 1);
    at = found == std::string_view::npos ? text.size() : found + end.size();
  };
  while (at < text.size()) {
    const char c = text[at];
    if (text.substr(at).starts_with("//")) {
      skip_to("\n");
    } else if (text.substr(at).starts_with("/*")) {
      skip_to("*/");
    } else if (c == '"' || c == '\'') {
      skip_to(std::string_view(&text[at], 1));
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      ++at;
    } else {
      size_t end = at + 1;
      while (word(c) && end < text.size() && word(text[end])) ++end;
      tokens.push_back(text.substr(at, end - at));
      at = end;
    }
  }
  return tokens;
}

bool any_in(std::string_view token, std::initializer_list<std::string_view> parts) {
  return std::ranges::any_of(parts,
                             [&](auto part) { return token.find(part) != std::string_view::npos; });
}

uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// FNV-1a: the same on every machine, which std::hash is not.
uint64_t hash_of(std::string_view token) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (char c : token) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

/// Counts loops and how they stand in each other. A loop without braces ends at its statement's
/// end; one that holds another loop without braces counts as its outer one all the same.
class LoopCounter {
 public:
  void take(std::string_view token, SourceFeatures& features) {
    if (token == "for" || token == "while") {
      ++features.loops;
      features.nests += open_ == 0 ? 1 : 0;
      ++open_;
      ++without_brace_;
      features.nesting = std::max(features.nesting, static_cast<double>(open_));
    } else if (token == "(") {
      ++parentheses_;
    } else if (token == ")") {
      --parentheses_;
    } else if (token == "{") {
      braces_.push_back(without_brace_);
      without_brace_ = 0;
    } else if (token == "}" && !braces_.empty()) {
      open_ -= without_brace_ + braces_.back();
      without_brace_ = 0;
      braces_.pop_back();
    } else if (token == ";" && parentheses_ == 0) {
      open_ -= without_brace_;
      without_brace_ = 0;
    }
    open_ = std::max(open_, 0);
  }

 private:
  int open_ = 0, without_brace_ = 0, parentheses_ = 0;
  std::vector<int> braces_;  ///< loops that each brace closes
};

}  // namespace

SourceFeatures source_features(const std::string& source) {
  SourceFeatures features;
  features.characters = static_cast<double>(source.size());
  const std::vector<std::string_view> tokens = tokens_of(source);
  LoopCounter loops;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view token = tokens[i];
    loops.take(token, features);
    if (any_in(token, {"_mm", "__m256", "__m512", "simd", "vector_size", "vec_", "_vec"})) {
      ++features.vector_words;
    }
    if (any_in(token, {"parallel", "thread"})) ++features.threads;
    if (any_in(token, {"atomic", "barrier", "critical", "mutex"})) ++features.synchronised;
    if (any_in(token, {"prefetch", "stream"})) ++features.prefetches;
    if (any_in(token, {"pack", "tile", "panel", "buffer", "block"})) ++features.packed;
    if (any_in(token, {"fmadd", "fma"})) ++features.fused_multiply;
    const bool declared = i >= 2 && token == "[" && i + 1 < tokens.size() &&
                          any_in(tokens[i - 2], {"float", "double", "int", "_t", "__m"});
    if (declared) ++features.local_arrays;
  }
  return features;
}

std::vector<double> feature_vector(const SourceFeatures& f) {
  std::vector<double> values;
  for (double value : {f.characters, f.loops, f.nesting, f.nests, f.vector_words, f.threads,
                       f.synchronised, f.local_arrays, f.prefetches, f.packed}) {
    values.push_back(std::log1p(value));
  }
  return values;
}

std::vector<uint32_t> source_sketch(const std::string& source) {
  constexpr size_t kEntries = 32, kRun = 4;
  std::vector<uint64_t> hashes;
  for (std::string_view token : tokens_of(source)) hashes.push_back(hash_of(token));
  std::vector<uint32_t> sketch(kEntries, std::numeric_limits<uint32_t>::max());
  for (size_t at = 0; at < hashes.size(); ++at) {
    uint64_t run = 0;
    for (size_t i = at; i < std::min(at + kRun, hashes.size()); ++i) {
      run = mixed(run * 31 + hashes[i]);
    }
    for (size_t entry = 0; entry < kEntries; ++entry) {
      const auto value = static_cast<uint32_t>(mixed(run + entry * 0x9e3779b97f4a7c15ull) >> 32);
      sketch[entry] = std::min(sketch[entry], value);
    }
  }
  return sketch;
}

double sketch_distance(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  if (a.empty() || a.size() != b.size()) return 1;
  constexpr size_t kBlock = 16;  // a known length, so that the compiler makes vectors of it
  uint32_t equal = 0;
  size_t at = 0;
  for (; at + kBlock <= a.size(); at += kBlock) {
    const uint32_t *left = &a[at], *right = &b[at];
    for (size_t i = 0; i < kBlock; ++i) equal += left[i] == right[i] ? 1 : 0;
  }
  for (; at < a.size(); ++at) equal += a[at] == b[at] ? 1 : 0;
  return 1 - static_cast<double>(equal) / static_cast<double>(a.size());
}

namespace {

int memory_bin(const SourceFeatures& f, double, int) {
  if (f.packed > 0 && f.prefetches > 0) return 3;
  if (f.packed > 0 || f.local_arrays > 0) return 2;
  return f.vector_words > 0 ? 1 : 0;
}

int algorithm_bin(const SourceFeatures& f, double, int) {
  const bool one_nest = f.nests <= 1;
  if (f.local_arrays > 0 && f.fused_multiply > 0) return 3;
  if (f.local_arrays > 0) return 2;
  return one_nest ? 1 : 0;
}

int synchronisation_bin(const SourceFeatures& f, double, int) {
  if (f.synchronised > 0) return 3;
  if (f.threads > 0) return 2;
  return f.vector_words > 0 ? 1 : 0;
}

/// 256 characters fall into the first bin, 16 Ki into the last.
int length_bin(const SourceFeatures& f, double, int bins) {
  const double share = std::log2(std::max(1.0, f.characters / 256)) / 6;
  return std::min(bins - 1, static_cast<int>(share * bins));
}

int diversity_bin(const SourceFeatures&, double diversity, int bins) {
  return std::min(bins - 1, static_cast<int>(diversity * bins));
}

constexpr GridAxis kAxes[] = {
    {"memory", 4, memory_bin, "scalar, vectors, tiles, several levels; KernelFoundry for a CPU"},
    {"algorithm", 4, algorithm_bin,
     "as written, one loop nest, partial results, partial results with multiply-adds"},
    {"synchronisation", 4, synchronisation_bin, "none, lanes, threads, atomics or barriers"},
    {"length", 0, length_bin, "log2 of the characters; OpenEvolve's complexity"},
    {"diversity", 0, diversity_bin, "mean distance from 20 reference sources; OpenEvolve"},
};

}  // namespace

std::span<const GridAxis> grid_axes() { return kAxes; }

Result<const GridAxis*> find_grid_axis(const std::string& name) {
  return find_row(grid_axes(), "axis of a grid", name);
}

double diversity(const SearchGraph& graph, const std::vector<uint32_t>& sketch) {
  constexpr int kReferences = 20;
  double sum = 0;
  int count = 0;
  for (int id = 1; id < graph.size() && count < kReferences; ++id) {
    if (!graph.correct(id) || graph.node(id).sketch.empty()) continue;
    sum += sketch_distance(graph.node(id).sketch, sketch);
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

}  // namespace quern
