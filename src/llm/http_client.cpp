// SPDX-License-Identifier: Apache-2.0
#include "llm/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/strings.h"
#include "llm/untrusted_json.h"

namespace quern::llm {
namespace {

constexpr size_t kErrorBodyBytes = 16 * 1024;
constexpr size_t kMostReplyBytes = size_t{256} << 20;
constexpr int kGatewayTimeout = 504;
constexpr size_t kTellingKeyBytes = 8;
/// What servers add around a message, and the instructions that some add for tools.
constexpr int64_t kHiddenTokens = 1024;

Failure failure_of(FailureKind kind, const Error& error) {
  return {kind, error.message, error.hint};
}

struct TroubleRow {
  HttpTrouble trouble;
  FailureKind kind;
  const char* text;
};
constexpr std::array<TroubleRow, 5> kTroubles = {{
    {HttpTrouble::kAddress, FailureKind::kSetup, "the server cannot be asked"},
    {HttpTrouble::kConnect, FailureKind::kConnection, "no connection"},
    {HttpTrouble::kTimeout, FailureKind::kTimeout, "timeout"},
    {HttpTrouble::kCut, FailureKind::kCut, "the connection broke"},
    {HttpTrouble::kCancelled, FailureKind::kCancelled, "the call was cancelled"},
}};

/// What an error body says: the providers' {"error": {"message": …}}, or its beginning.
std::string server_message(const std::string& body) {
  auto json = parse_untrusted(body);
  if (!json) return shorten(trim(body), 300);
  for (auto path : {std::initializer_list<const char*>{"error", "message"}, {"message"}, {"error"}})
    if (std::string text = text_of(*json, path); !text.empty()) return shorten(text, 300);
  return shorten(dump(*json), 300);
}

std::optional<double> asked_delay_s(const HttpEnd& end) {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  if (auto ms = end.headers.find("retry-after-ms"); ms != end.headers.end())
    if (auto value = parse_retry_after(ms->second, now_s)) return *value / 1000;
  auto found = end.headers.find("retry-after");
  return found == end.headers.end() ? std::nullopt : parse_retry_after(found->second, now_s);
}

/// Servers can be wrong about usage; a budget must not be.
bool is_possible(const Usage& usage, const Request& request, int64_t most_input) {
  bool counts = usage.input >= 0 && usage.cache_read >= 0 && usage.cache_write >= 0 &&
                usage.output >= 0 && usage.reasoning >= 0 && usage.reasoning <= usage.output;
  return counts && usage.output <= request.max_output_tokens && usage.all_input() <= most_input &&
         usage.all_input() > 0;
}

/// Servers like to quote the key they refuse, and we like to shorten what they say: a beginning of
/// the key goes as well.
std::string without_key(std::string text, const std::string& key) {
  std::string head = key.substr(0, kTellingKeyBytes);
  if (head.empty()) return text;
  for (size_t at = text.find(head); at != std::string::npos; at = text.find(head, at)) {
    auto [end, unused] = std::mismatch(text.begin() + static_cast<ptrdiff_t>(at), text.end(),
                                       key.begin(), key.end());
    auto length = static_cast<size_t>(end - text.begin()) - at;
    text.replace(at, length, "(key)");
    at += 5;
  }
  return text;
}

}  // namespace

int64_t most_input_tokens(const Json& body) {
  return static_cast<int64_t>(dump(body).size()) + kHiddenTokens;
}

/// One call, over all its attempts.
class HttpClient::Call : public HttpSink, public std::enable_shared_from_this<Call> {
 public:
  Call(HttpClient& client, Request request, CallControl control, std::function<void(Answer)> done)
      : options_(client.options_),
        transport_(client.transport_),
        request_(std::move(request)),
        control_(std::move(control)),
        done_(std::move(done)) {}

  void begin() {
    if (auto failure = prepare()) return finish(std::move(*failure));
    send(0);
  }

  bool on_bytes(int status, std::string_view bytes) override {
    if (status != 200) {
      remember(bytes);
      return true;
    }
    received_ += bytes.size();
    if (received_ > kMostReplyBytes) failure_ = malformed("a reply without end", "");
    std::vector<SseEvent> events;
    if (auto fed = sse_.feed(bytes, events); !fed)
      failure_ = failure_of(FailureKind::kMalformed, fed.error());
    if (!any_event_) remember(bytes);
    any_event_ |= !events.empty();
    for (const SseEvent& event : events)
      if (!failure_) failure_ = reader_->read(event);
    tell_text();
    return !failure_;
  }

  void on_end(const HttpEnd& end) override {
    if (is_complete(end)) return succeed();
    Failure failure = classify(end);
    failure.message = without_key(std::move(failure.message), key_);
    settle_failed(end, failure);
    if (!is_retryable(failure)) return finish(std::move(failure));
    auto asked = asked_delay_s(end);
    auto delay = retry_delay_s(options_.retry, answer_.attempts, hash_, asked);
    if (delay) return send(*delay);
    failure.message = fmt::format("{}: {} (after {} attempts)", request_.model, failure.message,
                                  answer_.attempts);
    if (asked && *asked > options_.retry.longest_asked_delay_s)
      failure.hint = fmt::format("the server asks to wait {:.0f} s", *asked);
    finish(std::move(failure));
  }

 private:
  std::optional<Failure> prepare() {
    if (auto failure = check_request(request_)) return failure;
    auto found = options_.providers.find(request_.model);
    if (!found) return failure_of(FailureKind::kSetup, found.error());
    auto price = options_.prices.find(request_.model);
    if (!price) return failure_of(FailureKind::kPrice, price.error());
    price_ = *price;
    auto address = address_of(*found->provider, options_.environ);
    if (!address) return failure_of(FailureKind::kSetup, address.error());
    wire_ = find_wire(found->provider->protocol);
    key_ = std::move(address->key);
    Json body = wire_->body(request_, found->model, {found->provider->max_tokens_field});
    most_input_ = most_input_tokens(body);
    http_ = {std::move(address->url), std::move(address->headers), dump(body), options_.timeouts};
    hash_ = request_hash(request_);
    return std::nullopt;
  }

  /// Reserves an attempt and sends it.
  void send(double delay_s) {
    Spend worst{1, most_input_ + request_.max_output_tokens,
                worst_cost_nano_usd(price_, most_input_, request_.max_output_tokens)};
    worst_ = worst;
    if (options_.budget) {
      auto id = options_.budget->reserve(worst);
      if (!id) return finish(failure_of(FailureKind::kBudget, id.error()));
      reservation_ = Reservation(*options_.budget, *id, worst);
    }
    ++answer_.attempts;
    sse_ = SseParser();
    reader_ = wire_->reader(request_);
    error_body_.clear();
    failure_.reset();
    any_event_ = false;
    received_ = 0;
    told_ = 0;
    transport_.start(http_, delay_s, control_.stop, shared_from_this());
  }

  /// Keeps the beginning of what is no event stream.
  void remember(std::string_view bytes) {
    size_t room = kErrorBodyBytes - std::min(kErrorBodyBytes, error_body_.size());
    error_body_ += bytes.substr(0, room);
  }

  void tell_text() {
    const std::string& text = reader_->reply().text;
    if (control_.on_text && text.size() > told_)
      control_.on_text(answer_.attempts, std::string_view(text).substr(told_));
    told_ = text.size();
  }

  bool is_complete(const HttpEnd& end) const {
    // What comes after the last word of the stream, or does not, no longer matters.
    bool ended = end.trouble == HttpTrouble::kNone || end.trouble == HttpTrouble::kCut ||
                 end.trouble == HttpTrouble::kTimeout;
    return ended && end.status == 200 && !failure_ && reader_->finished();
  }

  void succeed() {
    Reply reply = reader_->reply();
    bool possible = reply.usage && is_possible(*reply.usage, request_, most_input_);
    Spend actual = worst_;
    if (possible) actual = {1, reply.usage->total(), cost_nano_usd(price_, *reply.usage)};
    answer_.doubtful_usage |= !possible;
    charge(actual);
    answer_.outcome = std::move(reply);
    done(std::move(answer_));
  }

  Failure classify(const HttpEnd& end) const {
    if (failure_) return *failure_;
    if (end.status >= 300) {
      return {kind_of_status(end.status),
              fmt::format("HTTP {}: {}", end.status, server_message(error_body_)), "", end.status};
    }
    if (end.status == 200 && end.trouble == HttpTrouble::kNone && !any_event_)
      return malformed("no event stream", server_message(error_body_));
    for (const TroubleRow& row : kTroubles)
      if (row.trouble == end.trouble)
        return {row.kind, fmt::format("{}: {}", row.text, end.message), ""};
    return {FailureKind::kCut, "the stream ended before the reply did", ""};
  }

  /// A server that turns a request away does not bill it; a gateway that lost patience says nothing
  /// of what the model behind it did.
  void settle_failed(const HttpEnd& end, const Failure& failure) {
    bool turned_away = (failure.status >= 300 && failure.status != kGatewayTimeout) || !end.sent;
    charge(turned_away ? Spend{} : worst_);
    answer_.doubtful_usage |= !turned_away;
  }

  void charge(const Spend& actual) {
    answer_.spend += actual;
    reservation_.settle(actual);
  }

  void finish(Failure failure) {
    answer_.outcome = std::move(failure);
    done(std::move(answer_));
  }

  void done(Answer answer) { std::exchange(done_, nullptr)(std::move(answer)); }

  const HttpClientOptions& options_;
  HttpTransport& transport_;
  const Request request_;
  const CallControl control_;
  std::function<void(Answer)> done_;

  const Wire* wire_ = nullptr;
  Price price_;
  std::string key_;
  std::string hash_;
  int64_t most_input_ = 0;
  HttpRequest http_;

  Answer answer_;
  Spend worst_;
  Reservation reservation_;
  SseParser sse_;
  std::unique_ptr<StreamReader> reader_;
  std::string error_body_;
  bool any_event_ = false;
  size_t received_ = 0;  ///< bytes of this attempt
  std::optional<Failure> failure_;
  size_t told_ = 0;
};

HttpClient::HttpClient(HttpClientOptions options)
    : options_(std::move(options)), transport_(options_.most_at_once) {}
HttpClient::~HttpClient() = default;

void HttpClient::start(Request request, CallControl control, std::function<void(Answer)> done) {
  std::make_shared<Call>(*this, std::move(request), std::move(control), std::move(done))->begin();
}

}  // namespace quern::llm
