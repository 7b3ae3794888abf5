// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "llm/client.h"

namespace quern::llm {

/// For tests: says what it is told to, at once, and keeps what it was asked.
class FakeClient : public Client {
 public:
  std::deque<Answer> answers;  ///< taken from the front; none left: an echo of the last message
  std::vector<Request> asked;

  void start(Request request, CallControl, std::function<void(Answer)> done) override {
    asked.push_back(request);
    Answer answer;
    if (answers.empty()) {
      Reply reply;
      reply.text = request.messages.back().text;
      answer.outcome = reply;
    } else {
      answer = answers.front();
      answers.pop_front();
    }
    done(answer);
  }
};

/// An answer of one call that cost `tokens` and as many 10^-9 USD.
inline Answer text_answer(const std::string& text, int64_t tokens = 10) {
  Answer answer;
  Reply reply;
  reply.text = text;
  reply.usage = Usage{.input = tokens - 1, .output = 1};
  answer.outcome = reply;
  answer.spend = {1, tokens, tokens};
  answer.attempts = 1;
  return answer;
}

}  // namespace quern::llm
