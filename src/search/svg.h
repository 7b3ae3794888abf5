// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

/// Parts of the pictures in reports. Classes are those of `html_page`'s style.
namespace quern::svg {

/// Positions on one axis; logarithmic ones take positive values only.
struct Scale {
  double low, high, from, to;
  bool logarithmic;
  double operator()(double value) const;
};

/// 1, 2 and 5 times powers of ten within [low, high]; powers of ten alone where these are many.
std::vector<double> round_values(double low, double high);

std::string line(const char* style, double x1, double y1, double x2, double y2);
/// Text with its `anchor` ("start", "middle", "end") at a place.
std::string label(const char* anchor, double x, double y, const std::string& text);
/// The whole picture, which scrolls where it is wider than the page. `title`: for those who do not
/// see it.
std::string frame(const std::string& title, double width, double height, const std::string& body);

}  // namespace quern::svg
