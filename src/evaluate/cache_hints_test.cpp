// SPDX-License-Identifier: Apache-2.0
#include "evaluate/cache_hints.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(CacheHints, AreSeenInSourcesAndInPtx) {
  EXPECT_TRUE(may_ask_caches("cuda::access_property::persisting p;"));
  EXPECT_TRUE(may_ask_caches("createpolicy.fractional.L2::evict_last.b64 %rd1, 0f3F800000;"));
  EXPECT_TRUE(may_ask_caches("ld.global.L2::cache_hint.f32 %f1, [%rd1], %rd2;"));
  EXPECT_TRUE(may_ask_caches("TMA::CacheHintSm90::EVICT_LAST"));
}

TEST(CacheHints, ArePresumedOfNoOrdinaryAccess) {
  EXPECT_FALSE(may_ask_caches(""));
  EXPECT_FALSE(may_ask_caches("ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];"));
  EXPECT_FALSE(may_ask_caches("st.global.L1::no_allocate.f32 [%rd1], %f1;"));
}

}  // namespace
}  // namespace quern
