// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace quern::llm {

/// Time limits of one exchange, in seconds.
struct Timeouts {
  double connect_s = 15;
  double first_byte_s = 180;  ///< from the start to the first byte of the body
  double idle_s = 90;         ///< between bytes; servers send pings
  double whole_s = 1200;
};

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  ///< "Name: value"
  std::string body;                  ///< posted
  Timeouts timeouts;
};

enum class HttpTrouble {
  kNone,
  kAddress,  ///< the URL makes no sense, or the server's certificate does not hold
  kConnect,  ///< no connection: nothing was sent
  kTimeout,
  kCut,  ///< the connection ended before the reply did
  kCancelled,
  kRefused,  ///< the sink wanted no more
};

/// How an exchange ended.
struct HttpEnd {
  HttpTrouble trouble = HttpTrouble::kNone;
  std::string message;                         ///< of the trouble
  int status = 0;                              ///< 0: none came
  std::map<std::string, std::string> headers;  ///< by lower-case name
  bool sent = false;                           ///< something may have reached the server
};

/// Takes what an exchange brings; called on the network's thread.
class HttpSink {
 public:
  virtual ~HttpSink() = default;
  /// A piece of the body. False ends the exchange.
  virtual bool on_bytes(int status, std::string_view bytes) = 0;
  /// Once, last.
  virtual void on_end(const HttpEnd& end) = 0;
};

/// Any number of HTTP exchanges on one thread. Thread-safe. The destructor cancels what is under
/// way, tells every sink, and joins the thread; it may not run on that thread.
class HttpTransport {
 public:
  /// Beyond `most_at_once` exchanges wait for their turn.
  explicit HttpTransport(int most_at_once = 256);
  ~HttpTransport();
  HttpTransport(const HttpTransport&) = delete;
  HttpTransport& operator=(const HttpTransport&) = delete;

  /// Begins an exchange `delay_s` from now.
  void start(HttpRequest request, double delay_s, std::stop_token stop,
             std::shared_ptr<HttpSink> sink);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace quern::llm
