// SPDX-License-Identifier: Apache-2.0
#include "search/svg.h"

#include <fmt/format.h>

#include <cmath>

#include "search/report_page.h"

namespace quern::svg {

double Scale::operator()(double value) const {
  const double a = logarithmic ? std::log(low) : low, b = logarithmic ? std::log(high) : high;
  const double v = logarithmic ? std::log(value) : value;
  return from + (to - from) * (b > a ? (v - a) / (b - a) : 0.5);
}

std::vector<double> round_values(double low, double high) {
  std::vector<double> values;
  const bool coarse = high / low > 300;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (double factor : {1.0, 2.0, 5.0}) {
      if (coarse && factor != 1.0) continue;
      const double value = power * factor;
      if (value >= low && value <= high) values.push_back(value);
    }
  }
  return values;
}

std::string line(const char* style, double x1, double y1, double x2, double y2) {
  return fmt::format("<line class='{}' x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}'/>", style,
                     x1, y1, x2, y2);
}

std::string label(const char* anchor, double x, double y, const std::string& text) {
  return fmt::format("<text text-anchor='{}' x='{:.1f}' y='{:.1f}'>{}</text>", anchor, x, y,
                     html_escape(text));
}

std::string frame(const std::string& title, double width, double height, const std::string& body) {
  return fmt::format(
      "<div class='wide'><svg viewBox='0 0 {} {}' role='img' aria-label='{}'>{}</svg></div>", width,
      height, html_escape(title), body);
}

}  // namespace quern::svg
