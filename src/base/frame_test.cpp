// SPDX-License-Identifier: Apache-2.0
#include "base/frame.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/dynamic_library.h"

namespace quern {
namespace {

TEST(Frame, ComesOutAsItWentInHoweverItIsCut) {
  const Frame frame = {"", std::string("a\0b", 3), std::string(100'000, 'x')};
  const std::string text = encode_frame(frame) + encode_frame({"second"});
  for (size_t cut : {size_t{1}, size_t{8}, size_t{30}, size_t{50'000}, text.size() - 3}) {
    FrameReader reader;
    reader.add(std::string_view(text).substr(0, cut));
    auto early = reader.next();
    ASSERT_TRUE(early);
    EXPECT_EQ(early->has_value(), cut > 100'040) << cut;
    reader.add(std::string_view(text).substr(cut));
    auto late = reader.next();
    ASSERT_TRUE(late && *late);
    EXPECT_EQ(**late, early->has_value() ? Frame{"second"} : frame);
  }
}

TEST(Frame, RefusesSizesBeyondTheLimitBeforeTheyArrive) {
  FrameReader reader(1000);
  reader.add(std::string_view(encode_frame({std::string(1001, 'x')})).substr(0, 20));
  EXPECT_FALSE(reader.next());
  FrameReader counts;
  counts.add(std::string(8, '\xff'));
  EXPECT_FALSE(counts.next());
  FrameReader overflow;
  const uint64_t words[3] = {2, ~uint64_t{0}, 2};
  overflow.add(std::string_view(reinterpret_cast<const char*>(words), sizeof words));
  EXPECT_FALSE(overflow.next());
}

TEST(Frame, GoesThroughAPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_TRUE(write_frame(ends[1], {"hello", "there"}));
  close(ends[1]);
  FrameReader reader;
  EXPECT_TRUE(reader.take_in(ends[0]));
  auto frame = reader.next();
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ(**frame, (Frame{"hello", "there"}));
  EXPECT_FALSE(reader.take_in(ends[0]));
  close(ends[0]);
}

TEST(Frame, InAFileIsWholeOrRefused) {
  const std::string text = encode_frame({"one", "two"});
  auto whole = decode_frame(text);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->size(), 2u);
  EXPECT_FALSE(decode_frame(text.substr(0, text.size() - 1)));
  EXPECT_FALSE(decode_frame(text + "x"));
}

TEST(DynamicLibrary, SaysWhatTheLoaderSaidOfEachName) {
  auto none = DynamicLibrary::open({"libno_such_thing.so.1", "/no/such/place/lib.so"});
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("libno_such_thing.so.1"), std::string::npos);
  EXPECT_NE(none.error().message.find("/no/such/place/lib.so"), std::string::npos);
}

TEST(DynamicLibrary, OpensTheFirstThatIsThere) {
  auto library = DynamicLibrary::open({"libno_such_thing.so.1", "libm.so.6"});
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_NE(library->path().find("/libm.so"), std::string::npos);
  auto* down = reinterpret_cast<double (*)(double)>(library->symbol("floor"));
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down(2.5), 2);
  EXPECT_EQ(library->symbol("no_such_function"), nullptr);
}

}  // namespace
}  // namespace quern
