// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "search/graph.h"

namespace quern {

/// What a source is made of, counted on its text without comments and literals. Cheap and crude: it
/// places kernels relative to each other, it proves nothing of them.
struct SourceFeatures {
  double characters = 0;
  double loops = 0;           ///< `for` and `while`
  double nesting = 0;         ///< deepest loop in a loop
  double nests = 0;           ///< loops that are in no other
  double vector_words = 0;    ///< intrinsics, vector types, `simd` pragmas
  double threads = 0;         ///< pragmas and calls that share work among threads
  double synchronised = 0;    ///< atomics, barriers, critical sections
  double local_arrays = 0;    ///< arrays in functions: tiles and accumulators
  double prefetches = 0;      ///< prefetches and streaming stores
  double packed = 0;          ///< copies into buffers: names like pack, tile, panel, buffer
  double fused_multiply = 0;  ///< multiply-adds by name
};
SourceFeatures source_features(const std::string& source);

/// The same as numbers for grouping; each as log(1 + x). [10]
std::vector<double> feature_vector(const SourceFeatures& features);

/// 32 smallest hashes, one for each of 32 hash functions, over runs of four words of the text: two
/// sources agree in about the share of runs that they have in common (min-wise hashing).
std::vector<uint32_t> source_sketch(const std::string& source);
/// 1 − the share of equal entries; 1 where one of the sketches is missing. 0–1
double sketch_distance(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b);

/// An axis of a feature grid: puts a kernel into one of `bins` bins.
struct GridAxis {
  const char* name;
  int bins;  ///< 0: as many as the recipe says
  int (*bin)(const SourceFeatures& features, double diversity, int bins);
  const char* definition;
};
std::span<const GridAxis> grid_axes();
/// Errors: unknown, with a suggestion.
Result<const GridAxis*> find_grid_axis(const std::string& name);

/// How different a source is from the rest: mean distance of its sketch from those of the first
/// correct nodes, 20 of them at most; 0 where there are none.
double diversity(const SearchGraph& graph, const std::vector<uint32_t>& sketch);

}  // namespace quern
