// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/ptx_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "device/cuda/ptx_text.h"

namespace quern::cuda {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kHead = ".version 8.0\n.target sm_90a\n.address_size 64\n\n";

std::string kernel(const std::string& body) {
  return std::string(kHead) +
         ".visible .entry f(\n\t.param .u64 f_param_0\n)\n{\n\t.reg .pred %p<3>;\n\t.reg .b32 "
         "%r<9>;\n\t.reg .b64 %rd<9>;\n\n" +
         body + "\tret;\n}\n";
}

GuardedPtx guarded(const std::string& ptx) {
  auto made = guard_ptx(ptx);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return made ? *made : GuardedPtx{};
}

/// The guarded form of a kernel with this body, from the first line of the body on.
std::string body_of(const std::string& body) {
  const std::string text = guarded(kernel(body)).text;
  return text.substr(text.find("exit;\n", text.find(".entry")));
}

std::string refusal(const std::string& ptx) {
  auto made = guard_ptx(ptx);
  return made ? "guarded" : made.error().message;
}

/// The alignment, the direction and the size that accesses of an instruction are checked for.
std::string check_of(const std::string& instruction) {
  const std::string text = body_of("\t" + instruction + "\n");
  const auto value = [&](const std::string& of) {
    const size_t at = text.find("[quern_guard_" + of + "], ") + 16;
    return text.substr(at + 1, text.find(';', at) - at - 1);
  };
  if (text.find("quern_guard_access") == std::string::npos) return "unchecked";
  return value("y") + " bytes, what " + value("z");
}

TEST(PtxGuard, ChecksEveryAccessToGlobalMemory) {
  EXPECT_EQ(check_of("ld.global.f32 %f1, [%rd1];"), "4 bytes, what 3");
  EXPECT_EQ(check_of("st.global.f32 [%rd1+4], %f1;"), "4 bytes, what 131");
  EXPECT_EQ(check_of("ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+-16];"), "16 bytes, what 15");
  EXPECT_EQ(check_of("ld.global.nc.L1::no_allocate.v2.u64 {%rd2, %rd3}, [%rd1];"),
            "16 bytes, what 15");
  EXPECT_EQ(check_of("st.volatile.global.u8 [%rd1], %rs1;"), "1 bytes, what 128");
  EXPECT_EQ(check_of("atom.global.add.f32 %f1, [%rd1], %f2;"), "4 bytes, what 131");
  EXPECT_EQ(check_of("red.relaxed.gpu.global.add.noftz.f16x2 [%rd1], %r1;"), "4 bytes, what 131");
  EXPECT_EQ(check_of("atom.global.cas.b128 %q, [%rd1], %q1, %q2;"), "16 bytes, what 143");
}

TEST(PtxGuard, LeavesOtherMemoryAlone) {
  for (const char* one :
       {"ld.param.u64 %rd1, [f_param_0];", "ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [%r1];",
        "st.shared::cluster.f32 [%r1], %f1;", "ld.const.u32 %r1, [table+4];",
        "st.local.u32 [%rd1], %r1;", "mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], %r2;",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, "
        "{%r2, %r3}], [%r4];",
        "prefetch.global.L2 [%rd1];"}) {
    EXPECT_EQ(check_of(one), "unchecked") << one;
  }
}

TEST(PtxGuard, AsksWhetherAGenericAddressIsGlobal) {
  const std::string text = body_of("\tst.f32 [%rd1], %f1;\n");
  EXPECT_THAT(text, AllOf(HasSubstr("isspacep.global %quern_guard_p, %quern_guard_a;"),
                          HasSubstr("@!%quern_guard_p bra $quern_guard_1;"),
                          HasSubstr("$quern_guard_1:\nst.f32 [%rd1], %f1;")));
}

TEST(PtxGuard, ChecksOnlyWhereThePredicateHolds) {
  EXPECT_THAT(body_of("\t@%p1 ld.global.u32 %r1, [%rd1];\n"),
              HasSubstr("@!%p1 bra $quern_guard_1;\nadd.s64 %quern_guard_a, %rd1, 0;"));
  EXPECT_THAT(body_of("\t@!%p1 ld.global.u32 %r1, [%rd1];\n"),
              HasSubstr("@%p1 bra $quern_guard_1;\nadd.s64 %quern_guard_a, %rd1, 0;"));
}

TEST(PtxGuard, ChecksAsynchronousCopies) {
  EXPECT_EQ(check_of("cp.async.cg.shared.global [%r1], [%rd1], 16;"), "16 bytes, what 15");
  EXPECT_EQ(check_of("cp.async.ca.shared.global [%r1], [%rd1], 4, %r2;"), "%r2 bytes, what 3");
  EXPECT_EQ(check_of("cp.async.ca.shared.global.L2::cache_hint [%r1], [%rd1], 8, %rd3;"),
            "8 bytes, what 7");
  EXPECT_EQ(check_of("cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r1], %r2;"),
            "%r2 bytes, what 143");
  EXPECT_EQ(check_of("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], "
                     "[%rd1], 1024, [%r2];"),
            "1024 bytes, what 15");
}

TEST(PtxGuard, LooksAtTheClockWhereALoopBeginsAnew) {
  const std::string text = body_of(
      "\tbra.uni $L_2;\n$L_1:\n\tadd.s32 %r1, %r1, 1;\n$L_2:\n\t@%p1 bra $L_1;\n\tbra "
      "$L_3;\n$L_3:\n");
  const size_t clock = text.find("quern_guard_clock");
  EXPECT_LT(text.find("$L_2:"), clock);
  EXPECT_LT(clock, text.find("@%p1 bra $L_1;"));
  EXPECT_EQ(text.find("quern_guard_clock", clock + 1), std::string::npos) << "only there";
}

TEST(PtxGuard, TurnsTrapsAndFailedAssertionsIntoReports) {
  EXPECT_THAT(body_of("\t@%p1 trap;\n"),
              AllOf(HasSubstr("@!%p1 bra $quern_guard_1;"), HasSubstr("quern_guard_stop"),
                    Not(HasSubstr("trap"))));
  const std::string assertion =
      "\t{\n\t.param .b64 param0;\n\tst.param.b64 [param0+0], "
      "%rd1;\n\tcall.uni\n\t__assertfail,\n\t"
      "(\n\tparam0\n\t);\n\t}\n";
  EXPECT_THAT(body_of(assertion),
              AllOf(HasSubstr("[quern_guard_k], 5;"), Not(HasSubstr("__assertfail"))));
}

TEST(PtxGuard, FollowsFunctionsOfTheModule) {
  const std::string text =
      std::string(kHead) +
      ".global .align 4 .b8 table[256];\n.visible .global .align 4 .u32 count = 1;\n"
      ".func  (.param .b32 func_retval0) g(\n\t.param .b64 g_param_0\n)\n;\n"
      ".func  (.param .b32 func_retval0) g(\n\t.param .b64 g_param_0\n)\n{\n"
      "\tld.global.u32 %r1, [table+8];\n\tret;\n}\n"
      ".visible .entry f()\n.maxntid 256, 1, 1\n{\n\tcall.uni (retval0), g, (param0);\n\tret;\n}\n";
  const GuardedPtx made = guarded(text);
  EXPECT_THAT(made.globals, ElementsAre("table", "count"));
  EXPECT_THAT(made.sites, ElementsAre(GuardSite{"g", "ld.global.u32"}));
  EXPECT_THAT(made.text, AllOf(HasSubstr(".visible .global .align 4 .b8 table[256];"),
                               HasSubstr("mov.u64 %quern_guard_a, table;\nadd.s64 %quern_guard_a, "
                                         "%quern_guard_a, 8;"),
                               Not(HasSubstr("1024, 1, 1"))));
}

TEST(PtxGuard, KeepsTheRegistersOfTheLargestBlockWhereNoneIsNamed) {
  EXPECT_THAT(guarded(kernel("")).text, HasSubstr("\n.maxntid 1024, 1, 1\n{"));
}

TEST(PtxGuard, UnderstandsInlineAssembly) {
  const std::string text = body_of(
      "\t// begin inline asm\n\t{ .reg .pred P1; LAB: mbarrier.try_wait.parity.shared::cta.b64 P1, "
      "[%r1], %r2; @P1 bra DONE; bra LAB; DONE: }\n\t// end inline asm\n");
  EXPECT_THAT(text, HasSubstr("quern_guard_clock"));
  EXPECT_LT(text.find("quern_guard_clock"), text.find("bra LAB;"));
}

TEST(PtxGuard, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(refusal(kernel("\tbrx.idx %r1, ts;\n")), HasSubstr("an indirect branch"));
  EXPECT_THAT(refusal(kernel("\tcall (r), %rd1, (p), proto;\n")), HasSubstr("an indirect call"));
  EXPECT_THAT(refusal(kernel("\tcall.uni (r), vprintf, (p);\n")),
              HasSubstr("a call of a function that is not there: vprintf"));
  EXPECT_THAT(refusal(kernel("\ttex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [t, {%f5, %f6}];\n")),
              HasSubstr("tex.2d"));
  EXPECT_THAT(refusal(kernel("\tmultimem.red.global.add.f32 [%rd1], %f1;\n")),
              HasSubstr("multimem.red"));
  EXPECT_THAT(refusal(kernel("\tdiscard.global.L2 [%rd1], 128;\n")), HasSubstr("discard"));
  EXPECT_THAT(
      refusal(kernel("\twmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1}, [%rd1];\n")),
      HasSubstr("wmma.load"));
  EXPECT_THAT(refusal(kernel("\tld.global.q %r1, [%rd1];\n")), HasSubstr("not known"));
  EXPECT_THAT(refusal(kernel("\tld.global.u32 %r1, [%rd1*4];\n")), HasSubstr("not understood"));
  EXPECT_THAT(refusal(std::string(kHead) + ".extern .global .u32 far;\n"),
              HasSubstr("a variable that is not here"));
}

TEST(PtxGuard, RefusesBrokenText) {
  EXPECT_NE(refusal(kernel("\tld.global.u32 %r1, [%rd1]")), "guarded");
  EXPECT_NE(refusal(std::string(kHead) + ".visible .entry f()\n{\n\tret;\n"), "guarded");
  EXPECT_NE(refusal("}"), "guarded");
  EXPECT_NE(refusal("not ptx"), "guarded");
  EXPECT_NE(refusal(kernel("\tmov.u64 %quern_guard_a, 1;\n")), "guarded");
  EXPECT_NE(refusal("/* without an end"), "not understood");
  const std::string whole = kernel("\t@%p1 ld.global.v2.u32 {%r1, %r2}, [%rd1+8];\n");
  for (size_t size = 0; size < whole.size(); ++size) (void)guard_ptx(whole.substr(0, size));
}

TEST(PtxGuard, TakesTimeInProportionToTheText) {
  std::string body;
  for (int i = 0; i < 4000; ++i)
    body += "\tld.global.f32 %f1, [%rd1+" + std::to_string(4 * i) + "];\n";
  const GuardedPtx made = guarded(kernel(body));
  EXPECT_LT(made.text.size(), 12 * body.size());
  EXPECT_EQ(made.sites.size(), 1u) << "places that say the same are one";
}

TEST(PtxText, SplitsInstructions) {
  const PtxInstruction made =
      parse_ptx_instruction("@!%p1 ld.global.v2.f32 \t{%f1, %f2}, [%rd4+16], %rd5;");
  EXPECT_EQ(made.predicate, "!%p1");
  EXPECT_THAT(made.modifiers, ElementsAre("ld", "global", "v2", "f32"));
  EXPECT_THAT(made.operands, ElementsAre("{%f1, %f2}", "[%rd4+16]", "%rd5"));
  const PtxAddress address = parse_ptx_address("[%rd4+-16]");
  EXPECT_EQ(address.base, "%rd4");
  EXPECT_EQ(address.offset, "-16");
  EXPECT_THAT(parse_ptx_address("[%rd4+%rd5]").base, IsEmpty());
  EXPECT_EQ(ptx_declared_name(".func (.param .b32 r) name(.param .b64 p)"), "name");
  EXPECT_EQ(ptx_declared_name(".global .align 4 .b8 table[4] = {1, 2, 3, 4};"), "table");
}

}  // namespace
}  // namespace quern::cuda
