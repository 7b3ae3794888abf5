// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace quern {

/// One self-contained HTML file in the style of all of Quern's reports: inline style, no script.
/// `title` and `body` are HTML.
std::string html_page(const std::string& title, const std::string& body);

/// A headed part of a page; "" where the body is empty.
std::string html_section(const std::string& title, const std::string& body);

}  // namespace quern
