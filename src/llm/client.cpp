// SPDX-License-Identifier: Apache-2.0
#include "llm/client.h"

#include <memory>
#include <utility>

namespace quern::llm {

std::future<Answer> Client::ask(Request request, CallControl control) {
  auto promise = std::make_shared<std::promise<Answer>>();
  std::future<Answer> future = promise->get_future();
  start(std::move(request), std::move(control),
        [promise](Answer answer) { promise->set_value(std::move(answer)); });
  return future;
}

}  // namespace quern::llm
