// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "llm/json_schema.h"
#include "llm/message.h"
#include "llm/prices.h"
#include "llm/retry.h"
#include "llm/structured.h"
#include "llm/untrusted_json.h"
#include "llm/wire.h"

namespace quern::llm {
namespace {

std::vector<SseEvent> events_of(const std::string& text, size_t cut) {
  SseParser parser;
  std::vector<SseEvent> events;
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(std::min(cut, rest.size())))
    if (!parser.feed(rest.substr(0, cut), events)) break;
  return events;
}

/// The events do not depend on how the bytes are cut, and no reader dies of them.
void read_stream(const std::string& text) {
  std::vector<SseEvent> events = events_of(text, text.size());
  for (size_t cut : {1, 2, 3, 17})
    if (events_of(text, cut) != events) std::abort();
  Request request;
  request.schema = Json::object();
  for (const Wire& wire : wires()) {
    auto reader = wire.reader(request);
    for (const SseEvent& event : events) (void)reader->read(event);
    Reply reply = reader->reply();
    (void)check_reply(request, reply);
  }
}

/// What parses prints and parses back to the same.
void read_answer(const std::string& text) {
  auto json = parse_untrusted(text);
  if (!json) return;
  if (auto answer = answer_from_json(*json)) {
    std::string printed = dump(to_json(*answer));
    auto again = answer_from_json(*parse_json(printed));
    if (!again || dump(to_json(*again)) != printed) std::abort();
  }
  (void)Prices::parse(text);
  if (check_schema(*json)) (void)validate(*json, *json);
}

}  // namespace
}  // namespace quern::llm

/// What servers and models send, and what files hold, is read or refused.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  quern::llm::read_stream(text);
  quern::llm::read_answer(text);
  (void)quern::llm::find_json(text);
  (void)quern::llm::parse_retry_after(text, 0);
  return 0;
}
