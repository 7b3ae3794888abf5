// SPDX-License-Identifier: Apache-2.0
#include "llm/json_schema.h"

#include <gtest/gtest.h>

#include "base/strings.h"

namespace quern::llm {
namespace {

std::string complaints(const char* schema, const char* value) {
  auto parsed = parse_json(schema);
  EXPECT_TRUE(parsed) << schema;
  EXPECT_TRUE(check_schema(*parsed)) << schema;
  return join(validate(*parsed, *parse_json(value)), "; ");
}

TEST(JsonSchema, ChecksTypes) {
  EXPECT_EQ(complaints(R"({"type": "integer"})", "3"), "");
  EXPECT_EQ(complaints(R"({"type": "integer"})", "3.0"), "");
  EXPECT_EQ(complaints(R"({"type": "integer"})", "1e300"), "");
  EXPECT_EQ(complaints(R"({"type": "integer"})", "3.5"), R"(/: 3.5 is not of type "integer")");
  EXPECT_EQ(complaints(R"({"type": ["string", "null"]})", "null"), "");
  EXPECT_EQ(complaints(R"({"type": ["string", "null"]})", "{}"),
            R"(/: {} is not of type ["string","null"])");
}

TEST(JsonSchema, ChecksObjectsAndSaysWhere) {
  const char* schema = R"({"type": "object", "required": ["steps"], "additionalProperties": false,
    "properties": {"steps": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
      "type": "object", "properties": {"factor": {"minimum": 1, "maximum": 8}}}}}})";
  EXPECT_EQ(complaints(schema, R"({"steps": [{"factor": 4}]})"), "");
  EXPECT_EQ(complaints(schema, R"({"steps": [{}, {"factor": 0}]})"),
            "/steps/1/factor: 0 is beyond the limit 1");
  EXPECT_EQ(complaints(schema, "{}"), "/: 'steps' is missing");
  EXPECT_EQ(complaints(schema, R"({"steps": [{}], "more": 1})"), "/: 'more' is not known here");
  EXPECT_EQ(complaints(schema, R"({"steps": []})"), "/steps: 0 items, 1 at least allowed");
  EXPECT_EQ(complaints(schema, R"({"steps": [1, {}, {}]})"),
            R"(/steps: 3 items, 2 at most allowed; /steps/0: 1 is not of type "object")");
}

TEST(JsonSchema, ChecksAllOtherKeywords) {
  EXPECT_EQ(complaints(R"({"enum": ["a", 2]})", "2"), "");
  EXPECT_EQ(complaints(R"({"enum": ["a", 2]})", "3"), R"(/: 3 is none of ["a",2])");
  EXPECT_EQ(complaints(R"({"const": {"a": 1}})", R"({"a": 2})"), R"(/: {"a":2} is not {"a":1})");
  EXPECT_EQ(complaints(R"({"minLength": 2, "maxLength": 2})", R"("äö")"), "");
  EXPECT_EQ(complaints(R"({"maxLength": 2})", R"("abc")"), "/: 3 characters, 2 at most allowed");
  EXPECT_EQ(complaints(R"({"exclusiveMinimum": 0})", "0"), "/: 0 is beyond the limit 0");
  EXPECT_EQ(complaints(R"({"exclusiveMaximum": 1})", "0.5"), "");
  EXPECT_EQ(complaints(R"({"anyOf": [{"type": "string"}, {"minimum": 3}]})", "4"), "");
  EXPECT_NE(complaints(R"({"anyOf": [{"type": "string"}, {"minimum": 3}]})", "2"), "");
  EXPECT_EQ(complaints(R"({"additionalProperties": {"type": "null"}})", R"({"a": 1})"),
            R"(/a: 1 is not of type "null")");
}

TEST(JsonSchema, RefusesWhatItDoesNotCheck) {
  for (const char* schema :
       {"[]", R"({"$ref": "#"})", R"({"pattern": "a"})", R"({"type": "text"})", R"({"type": []})",
        R"({"required": [1]})", R"({"minItems": -1})", R"({"items": [{}]})",
        R"({"properties": {"a": {"oneOf": []}}})", R"({"anyOf": [3]})", R"({"enum": []})"})
    EXPECT_FALSE(check_schema(*parse_json(schema))) << schema;
  auto typo = check_schema(*parse_json(R"({"requird": []})"));
  ASSERT_FALSE(typo);
  EXPECT_NE(typo.error().hint.find("required"), std::string::npos);
}

TEST(JsonSchema, RefusesEndlessNesting) {
  Json schema = {{"type", "array"}};
  for (int i = 0; i < 40; ++i) schema = {{"items", schema}};
  EXPECT_FALSE(check_schema(schema));
}

TEST(JsonSchema, SaysOnlySoMuch) {
  std::string many = "[0";
  for (int i = 0; i < 100; ++i) many += ",0";
  EXPECT_EQ(
      validate(*parse_json(R"({"items": {"type": "string"}})"), *parse_json(many + "]")).size(), 8);
}

}  // namespace
}  // namespace quern::llm
