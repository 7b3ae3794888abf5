// SPDX-License-Identifier: Apache-2.0
#include "search/report_page.h"

#include <fmt/format.h>

namespace quern {
namespace {

constexpr const char* kStyle = R"css(
:root{--ink:#1b1f24;--soft:#59636e;--paper:#fff;--panel:#f5f6f8;--rule:#d5dae0;--accent:#0a6b4f;
--bad:#a3301f;--add:#dff3e4;--del:#fbe3e0}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--paper:#14171b;--panel:#1e2329;
--rule:#39414b;--accent:#54c99d;--bad:#f08d7c;--add:#173524;--del:#43201c}}
@media print{svg{min-width:0!important}:root{--ink:#000;--soft:#444;--paper:#fff;--panel:#fff;--rule:#bbb;--accent:#064;--bad:#800}
details{display:block}section{break-inside:avoid-page}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:54rem;padding:1.2rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2.2rem 0 .5rem;
border-bottom:1px solid var(--rule);padding-bottom:.2rem}
.claim{font-size:1.15rem;background:var(--panel);border-left:4px solid var(--accent);padding:.8rem 1rem;
margin:1rem 0}.claim strong{font-size:1.5rem}.soft{color:var(--soft);font-size:.9rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
th{white-space:nowrap}td.n{white-space:nowrap}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
td.n,th.n{text-align:right}
pre{background:var(--panel);padding:.7rem;overflow-x:auto;font:12.5px/1.45 ui-monospace,Menlo,Consolas,
monospace;border-radius:4px}
@media print{pre{white-space:pre-wrap;word-break:break-all}}
code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.92em;word-break:break-word}
pre .add{background:var(--add);display:block}pre .del{background:var(--del);display:block}
pre .hunk{color:var(--soft);display:block}
svg{width:100%;min-width:34rem;height:auto;background:var(--panel);border-radius:4px}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.grid{stroke:var(--rule)}.base{stroke:var(--soft);stroke-dasharray:5 4}.floor{stroke:var(--bad);
stroke-dasharray:2 4}.roof{stroke:var(--ink);stroke-width:2}.best{fill:none;stroke:var(--accent);
stroke-width:2}.hit{fill:var(--accent)}.slow{fill:none;stroke:var(--soft)}.other{fill:var(--soft)}
svg .fail text{fill:var(--bad);font-weight:600}
.bad{color:var(--bad)}summary{cursor:pointer}ol{padding-left:1.4rem}
)css";

}  // namespace

std::string html_escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string html_page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
      "<title>Quern: {}</title><style>{}</style></head><body>\n{}</body></html>\n",
      title, kStyle, body);
}

std::string html_section(const std::string& title, const std::string& body) {
  return body.empty() ? "" : fmt::format("<section><h2>{}</h2>\n{}</section>\n", title, body);
}

std::string html_row(const std::vector<std::string>& cells, const char* tag) {
  std::string text = "<tr>";
  for (size_t i = 0; i < cells.size(); ++i) {
    text += fmt::format("<{}{}>{}", tag, i == 0 ? "" : " class='n'", html_escape(cells[i]));
  }
  return text + "</tr>";
}

std::string html_table(const std::string& rows) {
  return "<div class='wide'><table>" + rows + "</table></div>";
}

}  // namespace quern
