// SPDX-License-Identifier: Apache-2.0
#include "starter_tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "task/parse.h"
#include "task/recurrence_testing.h"

namespace quern {
namespace {

const std::string kOwn = "own_";

/// Parts of the language that no shipped task uses.
const std::map<std::string, std::string>& own_tasks() {
  static const std::map<std::string, std::string> tasks = {
      {"own_scans",
       "task scans(rows = 64, dim = 100)\nsizes tiny: rows = 3, dim = 11\n"
       "input x : f32[rows, dim]\n"
       "output a[i, j] = scan_sum exclusive[j] x[i, j]\n"
       "output b[i, j] = scan_max reverse[i] x[i, j]\n"
       "output c[i, j] = scan_prod reverse[j] (x[i, j] / 2)\n"},
      {"own_integers",
       "task integers(rows = 64, dim = 100)\nsizes tiny: rows = 3, dim = 11\n"
       "input x : i32[rows, dim] ~ integers(-5, 9)\n"
       "input t : i64[rows] ~ integers(0, dim - 1)\n"
       "output a : i64[i] = sum[j] x[i, j]\n"
       "output b[i] = argmin[j] x[i, j]\n"
       "output c : i32[i, j] = max(x[i, j], x[i, t[i]])\n"},
      {"own_doubles",
       "task doubles(rows = 64, dim = 100)\nsizes tiny: rows = 3, dim = 11\n"
       "input x : f64[rows, dim]\n"
       "m[i] = max[j] x[i, j]\n"
       "output y[i, j] = exp(x[i, j] - m[i]) + tanh(x[i, j]) / 3\n"},
      {"own_transpose",
       "task transpose(batch = 8, rows = 640, dim = 1000)\nsizes tiny: batch = 2, rows = 35, dim = "
       "67\n"
       "input x : f32[rows, batch, dim]\n"
       "output y[b, j, i] = 2 * x[i, b, j] + x[i, b, 0]\n"},
      {"own_columns",
       "task columns(batch = 2, rows = 640, dim = 100)\n"
       "sizes tiny: batch = 2, rows = 70, dim = 11\n"
       "input x : f32[batch, rows, dim] ~ integers(0, 40)\n"
       "input d : f64[batch, rows, dim]\n"
       "output a[b, j] = argmin[i] x[b, i, j]\n"
       "s[b, j] = sum[i] square(x[b, i, j])\n"
       "output m[b, j] = s[b, j] / rows\n"
       "output p[b, j] = max[i] d[b, i, j]\n"},
      {"own_windows",
       "task windows(batch = 2, rows = 64, dim = 100)\n"
       "sizes tiny: batch = 2, rows = 9, dim = 38\n"
       "input x : f32[batch, rows, dim]\n"
       "param w : f32[batch, 3, 2]\n"
       "output a[b < batch, i < rows / 2, j < dim] = min[r < 3, s < 2]"
       " (x[b, 2 * i + r - 1, j + 3 * s - 2] else 0.5)\n"
       "t[b, i < rows - 2, j < dim / 2] = sum[r < 3, s < 2]"
       " (x[b, i + r, 2 * j + s] - w[b, r, s]) * w[b, r, s]\n"
       "output c[b, i < rows - 2, j < dim / 2] = t[b, i, j] * t[b, i, j] + x[b, i + 1, j]\n"},
      {"own_guards",
       "task guards(rows = 64, dim = 100)\nsizes tiny: rows = 3, dim = 11\n"
       "input x : f32[rows, dim]\n"
       "output y[i, j < dim] = select(j >= 1 and j % 3 == 1 and i < rows / 2, x[i, j - 1], x[i, "
       "dim - 1 - j])"
       " + (x[i - 1, j + 2] else 0.25)\n"
       "output p = prod[i, j] (1 + x[i, j] / 16)\n"
       "output z[j, i] = sign(x[i, j]) * floor(x[i, j]) - rsqrt(abs(x[i, j]) + 1)\n"},
  };
  return tasks;
}

}  // namespace

std::vector<std::string> starter_tasks() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("tasks")) {
    if (entry.path().extension() == ".task") names.push_back(entry.path().stem());
  }
  for (const auto& [name, text] : own_tasks()) names.push_back(name);
  for (const RecurrenceCase& each : kRecurrenceCases) names.push_back(kOwn + each.name);
  std::sort(names.begin(), names.end());
  return names;
}

ir::Program starter_task(const std::string& name) {
  for (const RecurrenceCase& each : kRecurrenceCases) {
    if (name == kOwn + each.name) return recurrence_program(each);
  }
  auto own = own_tasks().find(name);
  auto program = own != own_tasks().end() ? parse_task(own->second, name)
                                          : load_task("tasks/" + name + ".task");
  if (!program) {
    ADD_FAILURE() << program.error().message;
    return {};
  }
  return *program;
}

std::vector<std::string> size_options(const ir::Program& program, const std::string& set) {
  std::vector<std::string> options;
  const ir::Sizes sizes = *ir::bind_sizes(program, set);
  for (const std::string& size : program.free_sizes()) {
    options.push_back("-DQUERN_SIZE_" + size + "=" + std::to_string(sizes.at(size)));
  }
  return options;
}

}  // namespace quern
