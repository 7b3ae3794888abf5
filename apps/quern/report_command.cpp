// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/file.h"
#include "commands.h"
#include "search/code_similarity.h"
#include "search/report.h"
#include "store/run_store.h"

namespace quern::cli {
namespace {

/// How far each attempt moved: the code similarity to its first parent; null where it has none.
Json parent_similarity(const std::vector<Attempt>& attempts, const Attempt& attempt) {
  if (attempt.candidate.parents.empty()) return nullptr;
  for (const Attempt& parent : attempts) {
    if (parent.candidate.id != attempt.candidate.parents.front()) continue;
    return metrics::code_similarity(attempt.candidate.source, parent.candidate.source).total;
  }
  return nullptr;
}

/// The trajectory: what was tried, in order, and what became of it.
Result<Json> attempts_json(RunStore& store) {
  QUERN_ASSIGN(std::vector<Attempt> attempts, store.attempts());
  Json list = Json::array();
  for (const Attempt& attempt : attempts) {
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    list.push_back(Json{{"number", attempt.number},
                        {"candidate_id", attempt.candidate.id},
                        {"proposer", attempt.candidate.proposer},
                        {"parents", attempt.candidate.parents},
                        {"parent_similarity", parent_similarity(attempts, attempt)},
                        {"action", attempt.action},
                        {"trace", attempt.candidate.trace},
                        {"note", attempt.candidate.note},
                        {"verdict", verdict_name(attempt.evaluation.verdict)},
                        {"reason", verdict_reason(attempt.evaluation.verdict)},
                        {"median_ns", timing ? Json(timing->median_ns) : Json(nullptr)},
                        {"roofline", attempt.evaluation.roofline},
                        {"time", attempt.time.empty() ? Json(nullptr) : Json(attempt.time)}});
  }
  return list;
}

Result<int> report(const Context& context, const std::string& directory, const std::string& out) {
  QUERN_ASSIGN(RunStore store, RunStore::read(directory));
  QUERN_ASSIGN(std::string html, render_report(store));
  std::string path = out.empty() ? directory + "/report.html" : out;
  QUERN_TRY(write_file_atomic(path, html));
  QUERN_ASSIGN(RunRecord run, store.run());
  if (context.json) {
    Json json = {{"run_id", run.run_id}, {"report_path", path}, {"state", run.state}};
    json["summary"] = run.summary ? *run.summary : Json(nullptr);
    json["environment"] = to_json(run.environment);
    QUERN_ASSIGN(json["attempts"], attempts_json(store));
    print_json(json);
  } else {
    print(path + "\n");
  }
  return kImproved;
}

}  // namespace

Action add_report(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  app.add_option("RUN", *directory, "Run directory")->required();
  app.add_option("--out", *out, "HTML file to write [RUN/report.html]");
  return [=](const Context& context) {
    Result<int> code = report(context, *directory, *out);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
