// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/file.h"
#include "llm/budget.h"
#include "llm/client.h"

namespace quern::llm {

/// Records exchanges to a file and replays them. An exchange is found by the hash of its request
/// and by its place among the equal requests, counted as they are started; so that a run that asks
/// the same in the same order is told the same, bit for bit. A file is JSON lines (docs/models.md,
/// "Cassettes"). Thread-safe. Outlives the calls under way, hence is destroyed after `inner`.
class Cassette : public Client {
 public:
  /// Asks `inner` and writes down what it said. Errors: the file exists, or cannot be written.
  static Result<std::unique_ptr<Cassette>> record(const std::string& path, Client& inner);
  /// Answers from the file only, and charges `budget`, if any, what each exchange had cost. What
  /// the file does not have is kNotRecorded. Errors: the file is missing or damaged.
  static Result<std::unique_ptr<Cassette>> replay(const std::string& path,
                                                  Budget* budget = nullptr);
  /// Goes on with a recording that was interrupted: answers from the file as far as it goes, then
  /// asks `inner` and records. Refusals and cancellations at its very end are asked anew.
  static Result<std::unique_ptr<Cassette>> resume(const std::string& path, Client& inner);

  void start(Request request, CallControl control, std::function<void(Answer)> done) override;

  /// Exchanges in the file.
  size_t size() const;

 private:
  using Place = std::pair<std::string, int>;  ///< request hash, place among its equals

  Cassette() = default;
  Result<void> load(const std::string& path, bool for_resume);
  Result<void> open_for_append(const std::string& path);
  Result<void> write(const Place& place, const Request& request, const Answer& answer);
  Answer told(Answer answer, const CallControl& control) const;

  Client* inner_ = nullptr;   ///< null: replay only
  Budget* budget_ = nullptr;  ///< replay only
  mutable std::mutex mutex_;
  std::map<Place, Answer> answers_;
  std::map<std::string, int> started_;
  FileDescriptor file_;
  std::string path_;
};

}  // namespace quern::llm
