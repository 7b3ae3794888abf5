// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The PTX that guards are made of (ptx_guard.cpp). What stands in braces is filled in by fmt.
namespace quern::cuda {

/// Variables and functions, before the first declaration of a module.
inline constexpr const char* kGuardFunctions = R"(
.visible .const .align 8 .b8 quern_guard_table[6152];
.visible .global .align 8 .b8 quern_guard_report[64];

.func quern_guard_stop(.param .b32 kind, .param .b64 address, .param .b32 bytes, .param .b32 what)
{
.reg .pred %p;
.reg .b32 %r<4>;
.reg .b64 %d;
atom.global.cas.b32 %r0, [quern_guard_report], 0, 1;
setp.ne.u32 %p, %r0, 0;
@%p exit;
ld.param.u32 %r1, [kind];
st.global.u32 [quern_guard_report+4], %r1;
ld.param.u32 %r1, [what];
st.global.u32 [quern_guard_report+8], %r1;
ld.param.u32 %r1, [bytes];
st.global.u32 [quern_guard_report+12], %r1;
ld.param.u64 %d, [address];
st.global.u64 [quern_guard_report+16], %d;
mov.u32 %r1, %ctaid.x;
mov.u32 %r2, %ctaid.y;
mov.u32 %r3, %ctaid.z;
st.global.u32 [quern_guard_report+24], %r1;
st.global.u32 [quern_guard_report+28], %r2;
st.global.u32 [quern_guard_report+32], %r3;
mov.u32 %r1, %tid.x;
mov.u32 %r2, %tid.y;
mov.u32 %r3, %tid.z;
st.global.u32 [quern_guard_report+36], %r1;
st.global.u32 [quern_guard_report+40], %r2;
st.global.u32 [quern_guard_report+44], %r3;
exit;
}

.func quern_guard_access(.param .b64 address, .param .b32 bytes, .param .b32 what)
{
.reg .pred %p;
.reg .b32 %r<4>;
.reg .b64 %d<5>;
ld.param.u64 %d0, [address];
ld.param.u32 %r0, [bytes];
ld.param.u32 %r1, [what];
setp.eq.u32 %p, %r0, 0;
@%p ret;
mov.u32 %r2, 3;
and.b32 %r3, %r1, 127;
cvt.u64.u32 %d1, %r3;
and.b64 %d1, %d1, %d0;
setp.ne.u64 %p, %d1, 0;
@%p bra bad;
mov.u32 %r2, 1;
mov.u64 %d2, quern_guard_table;
ld.const.u64 %d3, [%d2+3080];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 3072;
ld.const.u64 %d3, [%d2+1544];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 1536;
ld.const.u64 %d3, [%d2+776];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 768;
ld.const.u64 %d3, [%d2+392];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 384;
ld.const.u64 %d3, [%d2+200];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 192;
ld.const.u64 %d3, [%d2+104];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 96;
ld.const.u64 %d3, [%d2+56];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 48;
ld.const.u64 %d3, [%d2+32];
setp.le.u64 %p, %d3, %d0;
@%p add.s64 %d2, %d2, 24;
ld.const.u64 %d3, [%d2+16];
ld.const.u64 %d4, [%d2+24];
setp.ge.u64 %p, %d0, %d3;
@%p bra bad;
sub.s64 %d3, %d3, %d0;
cvt.u64.u32 %d1, %r0;
setp.lt.u64 %p, %d3, %d1;
@%p bra bad;
setp.ne.u64 %p, %d4, 0;
@%p ret;
and.b32 %r3, %r1, 128;
setp.eq.u32 %p, %r3, 0;
@%p ret;
mov.u32 %r2, 2;
bad:
{
.param .b32 k;
.param .b64 a;
.param .b32 n;
.param .b32 w;
st.param.b32 [k], %r2;
st.param.b64 [a], %d0;
st.param.b32 [n], %r0;
st.param.b32 [w], %r1;
call quern_guard_stop, (k, a, n, w);
}
ret;
}

.func quern_guard_clock(.param .b64 spent, .param .b32 what)
{
.reg .pred %p;
.reg .b32 %r<2>;
.reg .b64 %d<3>;
ld.volatile.global.u32 %r0, [quern_guard_report];
setp.ne.u32 %p, %r0, 0;
@%p exit;
ld.param.u64 %d0, [spent];
ld.const.u64 %d2, [quern_guard_table];
setp.le.u64 %p, %d0, %d2;
@%p ret;
ld.param.u32 %r1, [what];
{
.param .b32 k;
.param .b64 a;
.param .b32 n;
.param .b32 w;
st.param.b32 [k], 6;
st.param.b64 [a], 0;
st.param.b32 [n], 0;
st.param.b32 [w], %r1;
call quern_guard_stop, (k, a, n, w);
}
ret;
}

)";

/// Of every function.
inline constexpr const char* kGuardRegisters = R"(.reg .pred %quern_guard_p;
.reg .b32 %quern_guard_n, %quern_guard_r;
.reg .b64 %quern_guard_a, %quern_guard_t, %quern_guard_s;
)";

/// Before its first instruction: what begins after a check has failed has nothing to do.
inline constexpr const char* kGuardEntry = R"(mov.u64 %quern_guard_t, %globaltimer;
mov.u64 %quern_guard_s, 0;
mov.u32 %quern_guard_n, 0;
ld.volatile.global.u32 %quern_guard_r, [quern_guard_report];
setp.ne.u32 %quern_guard_p, %quern_guard_r, 0;
@%quern_guard_p exit;
)";

inline constexpr const char* kGuardAccessCall = R"({{
.param .b64 quern_guard_x;
.param .b32 quern_guard_y;
.param .b32 quern_guard_z;
st.param.b64 [quern_guard_x], %quern_guard_a;
st.param.b32 [quern_guard_y], {bytes};
st.param.b32 [quern_guard_z], {what};
call quern_guard_access, (quern_guard_x, quern_guard_y, quern_guard_z);
}}
)";

/// At the end of a loop; it looks at the clock once in 32 rounds. What lies between two looks
/// counts 2 ms at most: another context may have held the device.
inline constexpr const char* kGuardClockCall = R"(add.u32 %quern_guard_n, %quern_guard_n, 1;
and.b32 %quern_guard_r, %quern_guard_n, 31;
setp.ne.u32 %quern_guard_p, %quern_guard_r, 0;
@%quern_guard_p bra {label};
mov.u64 %quern_guard_a, %globaltimer;
sub.u64 %quern_guard_t, %quern_guard_a, %quern_guard_t;
min.u64 %quern_guard_t, %quern_guard_t, 2000000;
add.u64 %quern_guard_s, %quern_guard_s, %quern_guard_t;
mov.u64 %quern_guard_t, %quern_guard_a;
{{
.param .b64 quern_guard_x;
.param .b32 quern_guard_y;
st.param.b64 [quern_guard_x], %quern_guard_s;
st.param.b32 [quern_guard_y], {what};
call quern_guard_clock, (quern_guard_x, quern_guard_y);
}}
{label}:
)";

inline constexpr const char* kGuardStopCall = R"({{
.param .b32 quern_guard_k;
.param .b64 quern_guard_x;
.param .b32 quern_guard_y;
.param .b32 quern_guard_z;
st.param.b32 [quern_guard_k], {kind};
st.param.b64 [quern_guard_x], 0;
st.param.b32 [quern_guard_y], 0;
st.param.b32 [quern_guard_z], {what};
call quern_guard_stop, (quern_guard_k, quern_guard_x, quern_guard_y, quern_guard_z);
exit;
}}
)";

}  // namespace quern::cuda
