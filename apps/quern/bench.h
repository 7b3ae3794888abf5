// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands.h"

namespace quern::cli {

Action add_bench_recipes(CLI::App& app);
/// `quern bench SUITE`.
Action add_bench_suite(CLI::App& app);

}  // namespace quern::cli
