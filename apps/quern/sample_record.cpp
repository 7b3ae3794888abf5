// SPDX-License-Identifier: Apache-2.0
#include "sample_record.h"

#include <fmt/format.h>

#include "base/file.h"

namespace quern::cli {

Result<Json> load_sample_record(const std::string& path) {
  if (!file_exists(path)) return Json(Json::object());
  QUERN_ASSIGN(const std::string text, read_file(path));
  Result<Json> record = parse_json(text);
  if (record && record->is_object()) return record;
  return Error{ErrorKind::kInput, fmt::format("{} is no record of judgements", path),
               "remove it: its candidates are then judged again"};
}

Result<void> save_sample_record(const std::string& path, const Json& record) {
  return write_file_atomic(path, dump(record, 1) + "\n");
}

}  // namespace quern::cli
