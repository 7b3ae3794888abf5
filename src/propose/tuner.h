// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "propose/proposer.h"

namespace quern {

/// A number in a kernel that may take other values.
struct TuneParameter {
  std::string name;
  std::vector<int64_t> values;  ///< the first is the author's own choice
};

/// A kernel with parameters: lines of the form
///     // tune: TILE = 32 8 16 64
/// each of which stands for `#define TILE …` in its place. A `#define` of the same name that
/// follows such a line is the value of an instance, and is not part of the template.
struct KernelTemplate {
  std::string text;  ///< without the lines `#define`
  std::vector<TuneParameter> parameters;

  /// The source for one value of each parameter, by index into its values. [parameters]
  std::string instance(const std::vector<size_t>& choice) const;
  /// "TILE=32 UNROLL=4"
  std::string describe(const std::vector<size_t>& choice) const;
};

/// Whether a source has lines that say what to tune.
bool has_tune_lines(const std::string& source);
/// Errors: kInput, a line that is not `// tune: NAME = integers`, a name twice, more than 16
/// parameters or 64 values.
Result<KernelTemplate> parse_template(const std::string& source);

/// Chooses the next point of a grid. Points are indices into each parameter's values.
class NumericSearch {
 public:
  virtual ~NumericSearch() = default;
  virtual std::vector<size_t> next(const std::vector<size_t>& sizes, Random& random) = 0;
  /// `time_ns` is 0 where the point did not pass.
  virtual void told(const std::vector<size_t>& point, double time_ns) = 0;
};

/// A row of the table of numeric searches.
struct NumericSearchInfo {
  const char* name;
  const char* definition;
  std::unique_ptr<NumericSearch> (*make)();
};
std::span<const NumericSearchInfo> numeric_searches();
/// Errors: unknown, with a suggestion.
Result<const NumericSearchInfo*> find_numeric_search(const std::string& name);

/// Searches the values of a template's parameters with no further word from whoever wrote it: first
/// the author's own values, then as the numeric search says; never the same point twice. Ends when
/// the grid is used up.
class Tuner : public Proposer {
 public:
  /// `proposer`: what candidates are said to come from.
  Tuner(KernelTemplate kernel, const NumericSearchInfo& search, std::string proposer,
        uint64_t seed);

  Result<std::vector<ProposedCandidate>> next(int count) override;
  void tell(const Attempt& attempt) override;

 private:
  KernelTemplate kernel_;
  std::unique_ptr<NumericSearch> search_;
  std::string proposer_;
  Random random_;
  std::vector<size_t> sizes_;
  std::set<std::vector<size_t>> tried_;
  std::map<std::string, std::vector<size_t>> waiting_;  ///< by candidate id
};

}  // namespace quern
