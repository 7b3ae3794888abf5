// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/build_cache.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/hash.h"

namespace quern {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& json, const char* name) { return json.value(name, ""); }

/// nlohmann throws on values of the wrong type; a damaged description is a miss.
std::optional<Json> parse_object(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  for (const char* name : {"compiler", "flags", "log", "hash", "failed", "evidence"}) {
    if (json.contains(name) && !json[name].is_string()) return std::nullopt;
  }
  for (const char* name : {"compile_ms", "bytes"}) {
    if (json.contains(name) && !json[name].is_number()) return std::nullopt;
  }
  return json;
}

std::string print(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string BuildCache::path(const std::string& key, const char* ending) const {
  return folder_ + "/" + key.substr(0, 2) + "/" + key + ending;
}

std::optional<Outcome<Binary>> BuildCache::find(const std::string& key) const {
  auto text = read_file(path(key, ".json"));
  if (!text) return std::nullopt;
  auto json = parse_object(*text);
  if (!json) return std::nullopt;
  if (json->contains("failed")) {
    return Outcome<Binary>(
        Verdict(CompileFailed{text_of(*json, "failed"), text_of(*json, "evidence")}));
  }
  Binary binary{path(key, ".so"), {}};
  struct stat status {};
  if (stat(binary.path.c_str(), &status) != 0) return std::nullopt;
  if (status.st_size != json->value("bytes", int64_t{-1})) return std::nullopt;
  binary.build = {text_of(*json, "compiler"), text_of(*json, "flags"),        text_of(*json, "log"),
                  text_of(*json, "hash"),     json->value("compile_ms", 0.0), true};
  return Outcome<Binary>(std::move(binary));
}

Result<Binary> BuildCache::put(const std::string& key, const std::string& made, Build build) const {
  Binary binary{path(key, ".so"), std::move(build)};
  QUERN_TRY(make_directories(folder_ + "/" + key.substr(0, 2)));
  QUERN_ASSIGN(std::string content, read_file(made));
  binary.build.binary_hash = sha256_hex(content);
  if (rename(made.c_str(), binary.path.c_str()) != 0) {
    return system_error("write", binary.path, errno);
  }
  Json json = {{"compiler", binary.build.compiler},
               {"flags", binary.build.flags},
               {"log", binary.build.log},
               {"hash", binary.build.binary_hash},
               {"compile_ms", binary.build.compile_ms},
               {"bytes", content.size()}};
  QUERN_TRY(write_file_atomic(path(key, ".json"), print(json)));
  return binary;
}

Result<void> BuildCache::put_failure(const std::string& key, const CompileFailed& failure) const {
  QUERN_TRY(make_directories(folder_ + "/" + key.substr(0, 2)));
  Json json = {{"failed", failure.reason}, {"evidence", failure.evidence}};
  return write_file_atomic(path(key, ".json"), print(json));
}

}  // namespace quern
