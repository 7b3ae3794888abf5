// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "propose/proposer.h"
#include "search/select.h"

namespace quern {

/// How a sub-search ended.
struct SubSearchEnd {
  int node = 0;  ///< that it was made for
  Pick pick;
  int attempts = 0;
  std::optional<Attempt> result;  ///< the fastest that passed, else the last; nothing: none made
};

/// Searches in a search: each makes one node of the outer one, by a proposer of its own, in a share
/// of the attempts.
class SubSearches {
 public:
  /// `by` goes on in later sub-searches and outlives this one.
  void add(int node, Pick pick, Proposer& by, int attempts);
  void add(int node, Pick pick, std::unique_ptr<Proposer> by, int attempts);

  /// Candidates of the first sub-search that has any. A proposer that has none left ends its
  /// sub-search.
  Result<std::vector<ProposedCandidate>> draw(int count);
  /// Passes an evaluation on to those who proposed the candidate. True: there were any.
  bool told(const Attempt& attempt);
  /// Those that ended since the last call.
  std::vector<SubSearchEnd> take_ended();

 private:
  struct Sub {
    SubSearchEnd end;
    Proposer* by = nullptr;
    std::unique_ptr<Proposer> owned;
    int left = 0;
    int open = 0;  ///< candidates under way
  };
  static void keep(Sub& sub, const Attempt& attempt);

  std::list<Sub> subs_;
  std::map<std::string, std::vector<Sub*>> waiting_;  ///< by candidate id
};

}  // namespace quern
