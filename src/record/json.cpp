// SPDX-License-Identifier: Apache-2.0
#include "record/json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace quern {
namespace {

// One `fields` function per type lists its keys once; Writer and Reader both walk it.

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Timing>
void fields(V& visit, T& t) {
  visit("median_ns", t.median_ns);
  visit("low_ns", t.low_ns);
  visit("high_ns", t.high_ns);
  visit("samples_ns", t.samples_ns);
  visit("calls_per_sample", t.calls_per_sample);
  visit("early_rejected", t.early_rejected);
  visit("clock", t.clock);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Duel>
void fields(V& visit, T& t) {
  visit("baseline", t.baseline);
  visit("speedup", t.speedup);
  visit("low", t.low);
  visit("high", t.high);
  visit("rounds", t.rounds);
  visit("pairs", t.pairs);
  visit("different", t.different);
  visit("baseline_ns", t.baseline_ns);
  visit("candidate_ns", t.candidate_ns);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Build>
void fields(V& visit, T& t) {
  visit("compiler", t.compiler);
  visit("flags", t.flags);
  visit("log", t.log);
  visit("binary_hash", t.binary_hash);
  visit("compile_ms", t.compile_ms);
  visit("cached", t.cached);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Check>
void fields(V& visit, T& t) {
  visit("name", t.name);
  visit("level", t.level);
  visit("passed", t.passed);
  visit("max_error", t.max_error);
  visit("rms_error", t.rms_error);
  visit("detail", t.detail);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, KernelResources>
void fields(V& visit, T& t) {
  visit("kernel", t.kernel);
  visit("registers", t.registers);
  visit("spill_bytes", t.spill_bytes);
  visit("shared_bytes", t.shared_bytes);
  visit("max_threads", t.max_threads);
  visit("occupancy", t.occupancy);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Candidate>
void fields(V& visit, T& t) {
  visit("id", t.id);
  visit("language", t.language);
  visit("source", t.source);
  visit("trace", t.trace);
  visit("proposer", t.proposer);
  visit("note", t.note);
  visit("parents", t.parents);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Evaluation>
void fields(V& visit, T& t) {
  visit("candidate_id", t.candidate_id);
  visit("verdict", t.verdict);
  visit("build", t.build);
  visit("checks", t.checks);
  visit("resources", t.resources);
  visit("stages_ms", t.stages_ms);
  visit("roofline", t.roofline);
  visit("alarm", t.alarm);
  visit("notes", t.notes);
  visit("cached", t.cached);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Environment>
void fields(V& visit, T& t) {
  visit("cpu", t.cpu);
  visit("device", t.device);
  visit("threads", t.threads);
  visit("multiprocessors", t.multiprocessors);
  visit("isa", t.isa);
  visit("compiler", t.compiler);
  visit("kernel", t.kernel);
  visit("sandbox", t.sandbox);
  visit("copy_bandwidth_gbs", t.copy_bandwidth_gbs);
  visit("read_bandwidth_gbs", t.read_bandwidth_gbs);
  visit("fma_gflops", t.fma_gflops);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Attempt>
void fields(V& visit, T& t) {
  visit("number", t.number);
  visit("candidate", t.candidate);
  visit("action", t.action);
  visit("evaluation", t.evaluation);
  visit("time", t.time);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, RunOptions>
void fields(V& visit, T& t) {
  visit("task_text", t.task_text);
  visit("task_name", t.task_name);
  visit("size", t.size);
  visit("target", t.target);
  visit("device", t.device);
  visit("recipe", t.recipe);
  visit("seed", t.seed);
  visit("budget_attempts", t.budget_attempts);
  visit("budget_s", t.budget_s);
  visit("threads", t.threads);
  visit("compiler", t.compiler);
  visit("clock", t.clock);
  visit("checker_version", t.checker_version);
  visit("recipe_text", t.recipe_text);
  visit("model", t.model);
  visit("models_text", t.models_text);
  visit("prompts_text", t.prompts_text);
  visit("agent_env", t.agent_env);
  visit("agent_writes", t.agent_writes);
  visit("agent_s", t.agent_s);
  visit("budget_calls", t.budget_calls);
  visit("budget_tokens", t.budget_tokens);
  visit("budget_usd", t.budget_usd);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Counter>
void fields(V& visit, T& t) {
  visit("name", t.name);
  visit("label", t.label);
  visit("unit", t.unit);
  visit("value", t.value);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, LaunchProfile>
void fields(V& visit, T& t) {
  visit("kernel", t.kernel);
  visit("counters", t.counters);
  visit("stalls", t.stalls);
  visit("meaning", t.meaning);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Profile>
void fields(V& visit, T& t) {
  visit("launches", t.launches);
  visit("passes", t.passes);
}

template <class V, class T>
requires std::same_as<std::remove_const_t<T>, Work>
void fields(V& visit, T& t) {
  visit("flops", t.flops);
  visit("bytes", t.bytes);
  visit("floor_ns", t.floor_ns);
  visit("bound", t.bound);
}

/// The keys of one verdict alternative, after "verdict".
template <class V, class T>
void verdict_fields(V& visit, T& t) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Plain, Passed>) {
    visit("level", t.level);
    visit("method", t.method);
    visit("timing", t.timing);
  } else {
    if constexpr (std::is_same_v<Plain, Rejected>) visit("breach", t.breach);
    visit("reason", t.reason);
    visit("evidence", t.evidence);
    if constexpr (std::is_same_v<Plain, Crashed>) visit("signal", t.signal);
    if constexpr (std::is_same_v<Plain, TimedOut>) visit("limit_s", t.limit_s);
  }
}

struct Writer {
  Json json = Json::object();

  template <class T>
  void operator()(const char* key, const T& value) {
    json[key] = encode(value);
  }

  static Json encode(bool value) { return value; }
  static Json encode(int value) { return value; }
  static Json encode(int64_t value) { return value; }
  static Json encode(uint64_t value) { return value; }
  static Json encode(const std::string& value) { return value; }
  static Json encode(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return value;
  }
  static Json encode(const Verdict& verdict) {
    Writer writer;
    writer.json["verdict"] = verdict_name(verdict);
    std::visit([&](const auto& v) { verdict_fields(writer, v); }, verdict);
    return writer.json;
  }
  template <class T>
  static Json encode(const std::vector<T>& values) {
    Json out = Json::array();
    for (const T& value : values) out.push_back(encode(value));
    return out;
  }
  template <class T>
  static Json encode(const std::map<std::string, T>& values) {
    Json out = Json::object();
    for (const auto& [key, value] : values) out[key] = encode(value);
    return out;
  }
  template <class T>
  static Json encode(const std::optional<T>& value) {
    return value ? encode(*value) : Json(nullptr);
  }
  template <class T>
  static Json encode(const T& value) {
    Writer writer;
    fields(writer, value);
    return writer.json;
  }
};

struct Reader {
  const Json& json;
  std::string path;
  std::string& error;  ///< the first fault

  template <class T>
  void operator()(const char* key, T& value) {
    auto found = json.find(key);
    if (found == json.end()) return;
    decode(*found, value, path.empty() ? key : path + "." + key);
  }

  void fail(const std::string& where, const char* wanted, const Json& got) {
    if (error.empty())
      error = fmt::format("{}: expected {}, got {}", where, wanted, got.type_name());
  }

  void decode(const Json& from, bool& to, const std::string& where) {
    if (!from.is_boolean()) return fail(where, "a boolean", from);
    to = from.get<bool>();
  }
  void decode(const Json& from, int& to, const std::string& where) {
    if (!from.is_number_integer()) return fail(where, "an integer", from);
    int64_t value = from.get<int64_t>();
    if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
      return fail(where, "an integer of 32 bits", from);
    }
    to = static_cast<int>(value);
  }
  void decode(const Json& from, int64_t& to, const std::string& where) {
    if (!from.is_number_integer()) return fail(where, "an integer", from);
    to = from.get<int64_t>();
  }
  void decode(const Json& from, uint64_t& to, const std::string& where) {
    bool negative =
        from.is_number_integer() && !from.is_number_unsigned() && from.get<int64_t>() < 0;
    if (!from.is_number_integer() || negative) return fail(where, "a whole number", from);
    to = from.get<uint64_t>();
  }
  void decode(const Json& from, double& to, const std::string& where) {
    if (from.is_number()) {
      to = from.get<double>();
    } else if (from == "nan") {
      to = std::numeric_limits<double>::quiet_NaN();
    } else if (from == "inf" || from == "-inf") {
      double infinity = std::numeric_limits<double>::infinity();
      to = from == "inf" ? infinity : -infinity;
    } else {
      fail(where, "a number", from);
    }
  }
  void decode(const Json& from, std::string& to, const std::string& where) {
    if (!from.is_string()) return fail(where, "a string", from);
    to = from.get<std::string>();
  }
  void decode(const Json& from, Verdict& to, const std::string& where) {
    auto name = from.is_object() ? from.find("verdict") : from.end();
    if (!from.is_object() || name == from.end()) return fail(where, "a verdict", from);
    if (!read_alternative(from, to, where, name->is_string() ? name->get<std::string>() : "")) {
      fail(where + ".verdict", "the name of a verdict", *name);
    }
  }
  template <size_t I = 0>
  bool read_alternative(const Json& from, Verdict& to, const std::string& where,
                        const std::string& name) {
    if constexpr (I == std::variant_size_v<Verdict>) {
      return false;
    } else {
      Verdict made(std::in_place_index<I>);
      if (verdict_name(made) != name) return read_alternative<I + 1>(from, to, where, name);
      Reader inner{from, where, error};
      verdict_fields(inner, *std::get_if<I>(&made));
      to = std::move(made);
      return true;
    }
  }
  template <class T>
  void decode(const Json& from, std::vector<T>& to, const std::string& where) {
    if (!from.is_array()) return fail(where, "an array", from);
    to.clear();
    for (size_t i = 0; i < from.size(); ++i) {
      decode(from[i], to.emplace_back(), fmt::format("{}[{}]", where, i));
    }
  }
  template <class T>
  void decode(const Json& from, std::map<std::string, T>& to, const std::string& where) {
    if (!from.is_object()) return fail(where, "an object", from);
    to.clear();
    for (const auto& [key, value] : from.items()) decode(value, to[key], where + "." + key);
  }
  template <class T>
  void decode(const Json& from, std::optional<T>& to, const std::string& where) {
    to.reset();
    if (!from.is_null()) decode(from, to.emplace(), where);
  }
  template <class T>
  void decode(const Json& from, T& to, const std::string& where) {
    if (!from.is_object()) return fail(where.empty() ? "value" : where, "an object", from);
    Reader inner{from, where, error};
    fields(inner, to);
  }
};

}  // namespace

Json to_json(const Verdict& verdict) { return Writer::encode(verdict); }
Json to_json(const Timing& timing) { return Writer::encode(timing); }
Json to_json(const Duel& duel) { return Writer::encode(duel); }
Json to_json(const Build& build) { return Writer::encode(build); }
Json to_json(const Candidate& candidate) { return Writer::encode(candidate); }
Json to_json(const Evaluation& evaluation) { return Writer::encode(evaluation); }
Json to_json(const Environment& environment) { return Writer::encode(environment); }
Json to_json(const Attempt& attempt) { return Writer::encode(attempt); }
Json to_json(const RunOptions& options) { return Writer::encode(options); }
Json to_json(const Work& work) { return Writer::encode(work); }
Json to_json(const Profile& profile) { return Writer::encode(profile); }

template <class T>
Result<T> from_json(const Json& json) {
  T value;
  std::string error;
  Reader reader{json, "", error};
  reader.decode(json, value, "");
  if (!error.empty()) return Error{ErrorKind::kInput, "JSON: " + error, ""};
  return value;
}

template Result<Verdict> from_json<Verdict>(const Json&);
template Result<Timing> from_json<Timing>(const Json&);
template Result<Duel> from_json<Duel>(const Json&);
template Result<Build> from_json<Build>(const Json&);
template Result<Candidate> from_json<Candidate>(const Json&);
template Result<Evaluation> from_json<Evaluation>(const Json&);
template Result<Environment> from_json<Environment>(const Json&);
template Result<Attempt> from_json<Attempt>(const Json&);
template Result<RunOptions> from_json<RunOptions>(const Json&);
template Result<Work> from_json<Work>(const Json&);
template Result<Profile> from_json<Profile>(const Json&);

Result<Json> parse_json(std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return Error{ErrorKind::kInput, "not valid JSON", ""};
  return json;
}

std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace quern
