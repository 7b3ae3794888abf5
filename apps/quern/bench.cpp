// SPDX-License-Identifier: Apache-2.0
#include "bench.h"

#include <CLI/CLI.hpp>
#include <memory>

namespace quern::cli {
namespace {

/// What can be compared: `quern bench NAME`.
constexpr Command kBenches[] = {
    {"recipes", "Compare search methods at equal cost", add_bench_recipes,
     "  quern bench recipes rules --tasks relu softmax --equal seconds=60\n"
     "  quern bench recipes kevin stark --tasks softmax --equal calls=40 --model openai/…\n"},
};

}  // namespace

Action add_bench(CLI::App& app) {
  app.require_subcommand(0, 1);
  auto chosen = std::make_shared<Action>();
  for (const Command& bench : kBenches) {
    CLI::App* sub = app.add_subcommand(bench.name, bench.summary);
    sub->footer(std::string("Examples:\n") + bench.examples);
    sub->fallthrough();
    Action run = bench.add(*sub);
    sub->callback([chosen, run] { *chosen = run; });
  }
  Action suite = add_bench_suite(app);
  return [chosen, suite](const Context& context) {
    return *chosen ? (*chosen)(context) : suite(context);
  };
}

}  // namespace quern::cli
