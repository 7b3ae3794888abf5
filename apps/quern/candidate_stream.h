// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "record/candidate.h"
#include "record/json.h"

namespace quern::cli {

/// The candidates on standard input, one JSON object `{"id": …, "source": …}` a line, read and
/// parsed in a thread of its own while others are judged.
class CandidateStream {
 public:
  struct Line {
    Json id;
    Candidate candidate;
  };

  explicit CandidateStream(std::string language);
  ~CandidateStream();

  /// As many as have come, `most` at most. If asked to, waits for the first: then none means the
  /// end of input, an interrupt, or a line that is not what it should be.
  std::vector<Line> take(size_t most, bool wait);
  /// What is wrong with the first bad line, once everything before it was taken.
  std::optional<Error> failure();

 private:
  void read_on();
  bool take_in(std::string& text, int& number);

  std::string language_;
  std::mutex mutex_;  ///< of what follows
  std::condition_variable came_, left_;
  std::deque<Line> lines_;
  std::optional<Error> failure_;
  bool ended_ = false;  ///< nothing more will come
  bool unwanted_ = false;
  std::thread thread_;  ///< the last member: it uses the others
};

/// Prints texts in the order in which they were given, each made and printed in a thread of its
/// own. Its end waits until all are printed.
class OrderedPrinter {
 public:
  using Make = std::function<std::string()>;

  OrderedPrinter();
  ~OrderedPrinter();
  void add(Make make);

 private:
  void print_on();

  std::mutex mutex_;  ///< of what follows
  std::condition_variable came_;
  std::deque<Make> waiting_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace quern::cli
