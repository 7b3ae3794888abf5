// SPDX-License-Identifier: Apache-2.0
#include "llm/http.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cmath>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/strings.h"

namespace quern::llm {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr long kBufferBytes = 16 * 1024;
constexpr long kUploadBufferBytes =
    16 * 1024;  ///< the default of 64 KiB is most of a stream's memory
constexpr size_t kHeadersAtMost = 64;
constexpr int64_t kNever = INT64_MAX;

int64_t after(int64_t start_ns, double seconds) {
  return start_ns + static_cast<int64_t>(std::clamp(seconds, 0.0, 1e8) * 1e9);
}

struct TroubleRow {
  CURLcode code;
  HttpTrouble trouble;
};
constexpr std::array<TroubleRow, 13> kTroubles = {{
    {CURLE_OK, HttpTrouble::kNone},
    {CURLE_URL_MALFORMAT, HttpTrouble::kAddress},
    {CURLE_UNSUPPORTED_PROTOCOL, HttpTrouble::kAddress},
    {CURLE_PEER_FAILED_VERIFICATION, HttpTrouble::kAddress},
    {CURLE_SSL_CACERT_BADFILE, HttpTrouble::kAddress},
    {CURLE_SSL_ISSUER_ERROR, HttpTrouble::kAddress},
    {CURLE_COULDNT_RESOLVE_HOST, HttpTrouble::kConnect},
    {CURLE_COULDNT_RESOLVE_PROXY, HttpTrouble::kConnect},
    {CURLE_COULDNT_CONNECT, HttpTrouble::kConnect},
    {CURLE_SSL_CONNECT_ERROR, HttpTrouble::kConnect},
    {CURLE_OPERATION_TIMEDOUT, HttpTrouble::kTimeout},
    {CURLE_WRITE_ERROR, HttpTrouble::kRefused},
    {CURLE_ABORTED_BY_CALLBACK, HttpTrouble::kCancelled},
}};

HttpTrouble trouble_of(CURLcode code) {
  auto row = std::ranges::find(kTroubles, code, &TroubleRow::code);
  return row == kTroubles.end() ? HttpTrouble::kCut : row->trouble;
}

/// A proxy set in the environment is not for servers on this machine.
bool is_local(std::string_view url) {
  for (std::string_view host : {"://127.", "://localhost", "://[::1]"})
    if (url.find(host) != std::string_view::npos) return true;
  return false;
}

/// One exchange, waiting or under way.
struct Transfer {
  HttpRequest request;
  std::stop_token stop;
  std::shared_ptr<HttpSink> sink;
  int64_t begin_ns = 0;
  int64_t last_byte_ns = 0;  ///< 0: no byte of the body yet
  size_t given = 0;          ///< bytes of the body handed out
  CURL* easy = nullptr;
  curl_slist* header_list = nullptr;
  char error[CURL_ERROR_SIZE] = "";
  HttpEnd end;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;

  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(header_list);
  }
  /// When silence or length becomes too much.
  int64_t deadline_ns() const {
    const Timeouts& limits = request.timeouts;
    int64_t silent = last_byte_ns == 0 ? after(begin_ns, limits.first_byte_s)
                                       : after(last_byte_ns, limits.idle_s);
    return std::min(silent, after(begin_ns, limits.whole_s));
  }
  std::string overdue() const {
    const Timeouts& limits = request.timeouts;
    if (after(begin_ns, limits.whole_s) <= deadline_ns())
      return fmt::format("the reply was not complete after {} s", limits.whole_s);
    if (last_byte_ns == 0) return fmt::format("no answer within {} s", limits.first_byte_s);
    return fmt::format("silence of {} s in the middle of the reply", limits.idle_s);
  }
};

int status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

size_t take_body(char* bytes, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.last_byte_ns = steady_now_ns();
  bool more = transfer.sink->on_bytes(status_of(transfer.easy), {bytes, size * count});
  return more ? size * count : 0;
}

size_t take_header(char* bytes, size_t size, size_t count, void* context) {
  auto& headers = static_cast<Transfer*>(context)->end.headers;
  std::string_view line = trim({bytes, size * count});
  size_t colon = line.find(':');
  if (line.starts_with("HTTP/")) headers.clear();  // those before were of an interim response
  if (colon != std::string_view::npos && headers.size() < kHeadersAtMost) {
    std::string name(line.substr(0, colon));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    headers[name] = trim(line.substr(colon + 1));
  }
  return size * count;
}

size_t give_body(char* buffer, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  size_t length = std::min(size * count, transfer.request.body.size() - transfer.given);
  std::copy_n(transfer.request.body.data() + transfer.given, length, buffer);
  transfer.given += length;
  return length;
}

/// libcurl sends a request again by itself when a kept connection dies under it. The server may
/// have begun to work, and to bill: whether to ask again is for the caller, who counts.
int refuse_to_resend(void*, curl_off_t, int) { return CURL_SEEKFUNC_FAIL; }

void prepare(Transfer& transfer) {
  CURL* easy = transfer.easy = curl_easy_init();
  QUERN_CHECK(easy != nullptr, "out of memory");
  const HttpRequest& request = transfer.request;
  for (const std::string& header : request.headers)
    transfer.header_list = curl_slist_append(transfer.header_list, header.c_str());
  // Waiting for "100 Continue" costs a second with servers that do not know it.
  transfer.header_list = curl_slist_append(transfer.header_list, "Expect:");
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.header_list);
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
  curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, refuse_to_resend);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
  // Streams to one server share a connection where it speaks HTTP/2. Without TLS nobody does, and
  // all would wait for the first one's reply to find that out.
  if (request.url.starts_with("https:")) curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::clamp(request.timeouts.connect_s, 0.001, 1e6) * 1000));
  if (is_local(request.url)) curl_easy_setopt(easy, CURLOPT_PROXY, "");
}

}  // namespace

/// The thread and what it owns. Only `inbox_`, `stopping_` and `cancelled_` are shared.
class HttpTransport::Loop {
 public:
  explicit Loop(int most_at_once) : most_at_once_(static_cast<size_t>(most_at_once)) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    multi_ = curl_multi_init();
    QUERN_CHECK(multi_ != nullptr, "out of memory");
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    thread_ = std::thread([this] { run(); });
  }

  ~Loop() {
    QUERN_CHECK(std::this_thread::get_id() != thread_.get_id(), "ended from within itself");
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  void start(std::unique_ptr<Transfer> transfer) {
    {
      std::unique_lock lock(mutex_);
      if (stopping_) {
        lock.unlock();
        return end(*transfer, HttpTrouble::kCancelled, "the program is ending");
      }
      inbox_.push_back(std::move(transfer));
    }
    curl_multi_wakeup(multi_);
  }

 private:
  using Transfers = std::list<std::unique_ptr<Transfer>>;

  void run() {
    // A connection that the server closed is an error to handle, not a signal to die of.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (take_inbox()) {
      admit();
      int running = 0;
      curl_multi_perform(multi_, &running);
      finish();
      if (cancelled_.exchange(false)) drop_cancelled();
      drop_overdue();
      curl_multi_poll(multi_, nullptr, 0, wait_ms(), nullptr);
    }
    end_all(active_);
    end_all(waiting_);
  }

  /// False when it is time to stop.
  bool take_inbox() {
    Transfers fresh;
    bool stopping;
    {
      std::lock_guard lock(mutex_);
      fresh.swap(inbox_);
      stopping = stopping_;
    }
    for (auto& transfer : fresh) {
      transfer->on_stop.emplace(transfer->stop, [this] {
        cancelled_ = true;
        curl_multi_wakeup(multi_);
      });
      auto later = std::ranges::find_if(
          waiting_, [&](const auto& other) { return other->begin_ns > transfer->begin_ns; });
      waiting_.insert(later, std::move(transfer));
    }
    return !stopping;
  }

  void admit() {
    int64_t now = steady_now_ns();
    while (active_.size() < most_at_once_ && !waiting_.empty() &&
           waiting_.front()->begin_ns <= now) {
      Transfer& transfer = *waiting_.front();
      transfer.begin_ns = now;
      prepare(transfer);
      curl_multi_add_handle(multi_, transfer.easy);
      active_.splice(active_.end(), waiting_, waiting_.begin());
    }
  }

  void finish() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURLcode code = message->data.result;
      auto at = std::ranges::find(active_, message->easy_handle,
                                  [](const auto& transfer) { return transfer->easy; });
      const char* text = (*at)->error[0] != 0 ? (*at)->error : curl_easy_strerror(code);
      remove(at, trouble_of(code), code == CURLE_OK ? "" : text);
    }
  }

  void drop_cancelled() {
    drop_if(
        active_, [](const Transfer& t) { return t.stop.stop_requested(); },
        HttpTrouble::kCancelled);
    drop_if(
        waiting_, [](const Transfer& t) { return t.stop.stop_requested(); },
        HttpTrouble::kCancelled);
  }

  void drop_overdue() {
    int64_t now = steady_now_ns();
    drop_if(
        active_, [now](const Transfer& t) { return t.deadline_ns() <= now; },
        HttpTrouble::kTimeout);
  }

  template <class Condition>
  void drop_if(Transfers& list, Condition condition, HttpTrouble trouble) {
    for (auto at = list.begin(); at != list.end();) {
      auto next = std::next(at);
      if (condition(**at)) {
        std::string why =
            trouble == HttpTrouble::kTimeout ? (*at)->overdue() : std::string("cancelled");
        &list == &active_ ? remove(at, trouble, why) : take_away(at, trouble, why);
      }
      at = next;
    }
  }

  int wait_ms() const {
    int64_t next = kNever;
    if (!waiting_.empty() && active_.size() < most_at_once_) next = waiting_.front()->begin_ns;
    for (const auto& transfer : active_) next = std::min(next, transfer->deadline_ns());
    int64_t ns = std::clamp<int64_t>(next - steady_now_ns(), 0, 60 * kSecond);
    return static_cast<int>((ns + 999'999) / 1'000'000);
  }

  /// An exchange under way ends.
  void remove(Transfers::iterator at, HttpTrouble trouble, const std::string& message) {
    Transfer& transfer = **at;
    long sent_bytes = 0;
    curl_easy_getinfo(transfer.easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    transfer.end.status = status_of(transfer.easy);
    transfer.end.sent = sent_bytes > 0;
    curl_multi_remove_handle(multi_, transfer.easy);
    std::unique_ptr<Transfer> mine = std::move(*at);
    active_.erase(at);
    end(*mine, trouble, message);
  }

  void take_away(Transfers::iterator at, HttpTrouble trouble, const std::string& message) {
    std::unique_ptr<Transfer> mine = std::move(*at);
    waiting_.erase(at);
    end(*mine, trouble, message);
  }

  void end_all(Transfers& list) {
    while (!list.empty()) {
      auto at = list.begin();
      std::string why = "the program is ending";
      &list == &active_ ? remove(at, HttpTrouble::kCancelled, why)
                        : take_away(at, HttpTrouble::kCancelled, why);
    }
  }

  static void end(Transfer& transfer, HttpTrouble trouble, const std::string& message) {
    transfer.end.trouble = trouble;
    transfer.end.message = message;
    transfer.sink->on_end(transfer.end);
  }

  const size_t most_at_once_;
  CURLM* multi_ = nullptr;
  std::mutex mutex_;
  Transfers inbox_;
  bool stopping_ = false;
  std::atomic<bool> cancelled_ = false;
  Transfers waiting_;  ///< by begin_ns
  Transfers active_;
  std::thread thread_;
};

HttpTransport::HttpTransport(int most_at_once) : loop_(std::make_unique<Loop>(most_at_once)) {}
HttpTransport::~HttpTransport() = default;

void HttpTransport::start(HttpRequest request, double delay_s, std::stop_token stop,
                          std::shared_ptr<HttpSink> sink) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = std::move(request);
  transfer->stop = std::move(stop);
  transfer->sink = std::move(sink);
  transfer->begin_ns = after(steady_now_ns(), delay_s);
  loop_->start(std::move(transfer));
}

}  // namespace quern::llm
