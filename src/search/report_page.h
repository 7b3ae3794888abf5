// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// The text with &, <, > and quotes as HTML entities.
std::string html_escape(const std::string& text);

/// One self-contained HTML file in the style of all of Quern's reports: inline style, no script.
/// `title` and `body` are HTML.
std::string html_page(const std::string& title, const std::string& body);

/// A headed part of a page; "" where the body is empty.
std::string html_section(const std::string& title, const std::string& body);

/// A row of plain texts, all but the first aligned as numbers are; `tag`: "td" or "th".
std::string html_row(const std::vector<std::string>& cells, const char* tag = "td");
/// A table of rows, which scrolls where it is wider than the page.
std::string html_table(const std::string& rows);

}  // namespace quern
