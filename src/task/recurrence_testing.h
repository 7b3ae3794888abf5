// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "ir/program.h"
#include "task/parse.h"

/// Recurrences that the tests of every target run: `lines` over the inputs x [n, m, p], u [p, p]
/// and h0 [m, p], with one output.
namespace quern {

struct RecurrenceCase {
  const char* name;
  const char* lines;
};

inline constexpr RecurrenceCase kRecurrenceCases[] = {
    {"gated_cell",
     "z[t < n, b, j] = sigmoid(x[t, b, j] + sum[k < p] u[j, k] * (h[t - 1, b, k] else h0[b, k]))\n"
     "r[t < n, b, j] = sigmoid(x[t, b, j] - sum[k < p] u[k, j] * (h[t - 1, b, k] else h0[b, k]))\n"
     "c[t < n, b < m, j < p] = tanh(x[t, b, j] + sum[k < p] u[j, k] * (r[t, b, k] * "
     "(h[t - 1, b, k] else h0[b, k])))\n"
     "output h[t < n, b < m, j < p] = z[t, b, j] * (h[t - 1, b, j] else h0[b, j]) + "
     "(1 - z[t, b, j]) * c[t, b, j]\n"},
    {"batch_first",
     "s[b, t < n, j < p] = sum[k < p] u[j, k] * (h[b, t - 1, k] else h0[b, k])\n"
     "output h[b < m, t < n, j < p] = tanh(s[b, t, j] + x[t, b, j])\n"},
    {"backwards_time_last",
     "output h[b < m, j < p, t < n] = tanh(x[t, b, j] + u[j, j] * (h[b, j, t + 1] else h0[b, j]))"
     "\n"},
    {"two_steps_back",
     "output h[t < n, b < m, j < p] = x[t, b, j] + u[0, j] * (h[t - 1, b, j] else h0[b, j]) - "
     "u[j, 0] * (h[t - 2, b, j] else 0)\n"},
    {"largest_neighbour",
     "g[t < n, b < m] = max[j < p] (h[t - 1, b, j] else h0[b, j]) * u[j, j]\n"
     "output h[t < n, b < m, j < p] = x[t, b, j] + g[t, b] / 4\n"},
    {"weights_of_each_row",
     "output h[t < n, b < m, j < p] = x[t, b, j] + (sum[k < p] u[j, k] * h0[b, k] * "
     "(h[t - 1, b, k] else 0)) / index(p)\n"},
    {"one_number_a_step",
     "s[t < n] = sum[b, j] x[t, b, j] * h0[b, j] * (h[t - 1, b, j] else u[0, j])\n"
     "output h[t < n, b < m, j < p] = tanh(s[t] / 4 + x[t, b, j])\n"},
    {"guarded_by_a_condition",
     "output h[t < n, b < m, j < p] = x[t, b, j] + select(t > 0 and j > 0, h[t - 1, b, j - 1], "
     "h0[b, j] * u[j, 0])\n"},
};

inline ir::Program recurrence_program(const RecurrenceCase& each) {
  const std::string text = std::string("task ") + each.name + "(n = 6, m = 14, p = 37)\n" +
                           "sizes cpu: n = 6, m = 14, p = 37\nsizes tiny: n = 3, m = 2, p = "
                           "3\ninput x : f32[n, m, p]\n" +
                           "input u : f32[p, p]\ninput h0 : f32[m, p]\n" + each.lines;
  Result<ir::Program> program = parse_task(text, each.name);
  EXPECT_TRUE(program) << program.error().message;
  return program ? *program : ir::Program{};
}

}  // namespace quern
