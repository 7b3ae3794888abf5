// SPDX-License-Identifier: Apache-2.0
#include "schedule/actions.h"

#include <array>

namespace quern {
namespace {

using enum Exactness;
using enum Resource;
using enum Support;

constexpr bool kCpu = true;
constexpr bool kGpu = true;
constexpr bool kNo = false;
constexpr int64_t kMany = int64_t{1} << 40;

// clang-format off
constexpr std::array<ActionInfo, 51> kActions = {{
  {1, "decompose", "replace a named operator by its definition", {}, "a definition exists",
   kRealEqual, kArithmetic, kCpu, kGpu, kOwned, "the parser expands every named operator",
   kOwned, "the parser expands every named operator"},
  {2, "compute_inline", "recompute a pointwise producer in each of its readers", {}, "a map that is no output",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "its readers compute it"},
  {3, "reverse_compute_inline", "compute a pointwise consumer where its producer is made (epilogue)", {{"into", "statement"}}, "leading axes agree and the groups in between do not depend on each other",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "one kernel for both"},
  {4, "fuse_prologue", "compute a pointwise producer while loading it", {{"into", "statement"}}, "a map that is no output and that only this consumer reads",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "its reader computes it"},
  {5, "compute_with", "compute two statements in one loop structure", {{"with", "statement"}}, "leading axes agree, no path through another group",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "one kernel for both"},
  {6, "merge_reductions", "run two reductions in one pass", {{"with", "statement"}}, "same axes, neither reads the other's result",
   kRealEqual, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "one kernel for both"},
  {7, "online_rewrite", "find the maximum and the sum of exponentials in one pass", {{"with", "statement"}}, "max and sum of exp(x - max) over one axis, in one group",
   kAlgebraic, kMemory, kCpu, kGpu, kLater, "two passes over a cached row stand in for the running rescale",
   kApplied, "`online`"},
  {8, "compute_root", "give a statement its own loops and memory", {}, "the statement shares its group",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "a launch of its own, the tensor in scratch memory"},
  {9, "fold_affine", "fold an affine map into constant weights", {{"into", "statement"}}, "affine, weight read once, cost counted",
   kAlgebraic, kArithmetic, kCpu, kGpu, kLater, "weights are inputs of each call: folding costs a pass over them",
   kLater, "weights are inputs of each call: folding costs a pass over them"},
  {10, "push_reduction", "move a reduction through a contraction", {{"axis", "axis"}}, "linear in the axis, nothing nonlinear between",
   kAlgebraic, kArithmetic, kCpu, kGpu, kLater, "no rewrite of the program yet",
   kLater, "no rewrite of the program yet"},
  {11, "conv_algorithm", "choose how a convolution becomes a contraction", {{"algorithm", "integer", 0, 3}}, "a contraction over a window; 0 direct, 1 implicit GEMM, 2 im2col",
   kRealEqual, kArithmetic, kCpu, kGpu, kOwned, "the contraction skeleton computes windows as implicit GEMM",
   kOwned, "the contraction skeleton computes windows as implicit GEMM"},
  {12, "phase_split", "split a strided window into dense ones", {{"phase", "integer", 0, 1, true}}, "a contraction with a divisibility guard",
   kRealEqual, kArithmetic, kCpu, kGpu, kApplied, "",
   kLater, "guards are tested as tiles are filled"},
  {13, "transform_layout", "store an operand in another order", {{"axis", "axis"}}, "all readers rewritten, repacking counted",
   kBitwise, kMemory, kCpu, kGpu, kOwned, "pack_panels lays contraction operands out",
   kOwned, "pack_panels lays contraction operands out in local memory"},
  {14, "eliminate_common", "compute equal subexpressions once, drop dead code", {}, "pure",
   kBitwise, kArithmetic, kCpu, kGpu, kOwned, "dead statements are never scheduled; the compiler merges the rest",
   kOwned, "dead statements are never scheduled; the compiler merges the rest"},
  {15, "merge_batch", "treat batch axes as one", {}, "independent contractions",
   kBitwise, kParallelism, kCpu, kGpu, kOwned, "the contraction skeleton flattens batch axes",
   kOwned, "the contraction skeleton counts batches with the tiles"},
  {16, "split", "cut an axis in blocks", {{"axis", "axis"}, {"factor", "integer", 1, kMany}}, "the axis is spatial; tails are handled",
   kBitwise, kCache, kCpu, kGpu, kApplied, "",
   kOwned, "launch_bounds, cross_thread_reduction and coarsen cut axes"},
  {17, "fuse_loops", "run adjacent axes as one", {}, "every access uses the axes as adjacent trailing dimensions, or not at all",
   kBitwise, kArithmetic, kCpu, kGpu, kApplied, "",
   kOwned, "axes that are adjacent in memory always run as one"},
  {18, "reorder", "make an axis the innermost", {{"inner", "axis"}}, "the axis belongs to the statement",
   kRealEqual, kCache, kCpu, kGpu, kApplied, "",
   kApplied, "`axis.<statement>`: which axis neighbouring threads take"},
  {19, "multi_level_tile", "tile for each cache level", {}, "split and reorder are legal",
   kRealEqual, kCache, kCpu, kGpu, kOwned, "kc, mc and nc of pack_panels",
   kOwned, "mc, nc and kc of pack_panels, mr and nr of unroll_and_jam"},
  {20, "vectorize", "run an axis in vector lanes", {{"axis", "axis", 0, 0, true}, {"width", "integer", 1, 64, true}}, "any axis; best with unit stride",
   kRealEqual, kArithmetic, kCpu, kGpu, kApplied, "",
   kApplied, "`width`: 4 for accesses of 16 bytes"},
  {21, "unroll", "unroll the innermost loop", {{"factor", "integer", 1, 16}}, "always",
   kBitwise, kRegisters, kCpu, kGpu, kApplied, "",
   kApplied, "`unroll`"},
  {22, "unroll_and_jam", "hold a block of results in registers", {{"mr", "integer", 1, 32}, {"nr", "integer", 1, 8}}, "a contraction; mr * nr + nr + 1 vectors fit the registers",
   kBitwise, kRegisters, kCpu, kGpu, kApplied, "",
   kApplied, "`mr`, `nr`"},
  {23, "interleave_accumulators", "reduce into several accumulators", {{"count", "integer", 1, 16}}, "the monoid is associative",
   kRealEqual, kRegisters, kCpu, kGpu, kApplied, "",
   kOwned, "vectorize gives a thread one accumulator for each element"},
  {24, "parallel", "share an axis among threads", {{"chunk", "integer", 1, kMany, true}, {"over", "integer", 0, 2, true}}, "writes are disjoint; over names a contraction's axis: 0 rows, 1 columns, 2 batch",
   kBitwise, kParallelism, kCpu, kGpu, kApplied, "",
   kOwned, "blocks and threads share all points"},
  {25, "loop_partition", "split loops where guards change", {}, "always",
   kBitwise, kArithmetic, kCpu, kGpu, kOwned, "guarded loads test whole vectors and take the free path inside",
   kOwned, "whole vectors take a path of their own"},
  {26, "predicate", "guard a loop body", {}, "always",
   kBitwise, kArithmetic, kCpu, kGpu, kOwned, "tails run with partial vectors",
   kOwned, "threads past the end store nothing"},
  {27, "pad_loop", "round an extent up", {{"multiple", "integer", 1, 4096}}, "the fill is neutral",
   kBitwise, kArithmetic, kCpu, kGpu, kOwned, "tails run with partial vectors; panels are padded when packed",
   kOwned, "threads past the end store nothing; tiles are filled up with zeros"},
  {28, "rfactor", "reduce in parts, then combine them", {{"parts", "integer", 0, 4096, true}}, "a reduction (no arg-form) or scan alone in its group; 0 parts: one a thread",
   kRealEqual, kParallelism, kCpu, kGpu, kApplied, "",
   kApplied, "`parts`: blocks that share a reduction, then a second launch"},
  {29, "compute_at", "compute a producer inside a row of its consumer", {{"at", "statement"}}, "leading axes agree, no path through another group",
   kBitwise, kCache, kCpu, kGpu, kApplied, "",
   kApplied, "one kernel for both"},
  {30, "cache_read", "copy what is read into a nearer buffer", {{"buffer", "word"}, {"columns", "integer", 4, 1024, true}}, "fits; columns: results beside one another that share the buffer",
   kBitwise, kCache, kCpu, kGpu, kOwned, "pack_panels, for contractions",
   kApplied, "`keep`: buffer=registers holds the row that later passes read; `window`: buffer=local the windows of a block"},
  {31, "cache_write", "accumulate in registers or a local buffer", {}, "single writer",
   kBitwise, kCache, kCpu, kGpu, kOwned, "every skeleton accumulates in registers",
   kOwned, "every skeleton accumulates in registers"},
  {32, "pack_panels", "copy operands into contiguous panels", {{"kc", "integer", 1, kMany}, {"mc", "integer", 1, kMany}, {"nc", "integer", 1, kMany}}, "a contraction",
   kBitwise, kCache, kCpu, kGpu, kApplied, "",
   kApplied, "`kc`, `mc`, `nc`: the tile of a block"},
  {33, "prefetch", "ask for memory ahead of use", {{"distance", "integer", 0, 4096}, {"late", "integer", 0, 1, true}}, "always; late: the last pass over a row asks for a later one, not the second",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kOwned, "many threads hide the latency of memory"},
  {34, "non_temporal_store", "write past the caches", {}, "f32, stored, not read again by its group",
   kBitwise, kMemory, kCpu, kGpu, kApplied, "",
   kApplied, "`nt.<tensor>`"},
  {35, "software_pipeline", "overlap loads of the next step with this one", {{"stages", "integer", 2, 6}}, "no carried dependence through memory; on a CPU the last passes over a row, at most so many, have the same loops and run in one, each a row behind the one before it",
   kBitwise, kArithmetic, kCpu, kGpu, kApplied, "",
   kApplied, "`stages`: 2 fetches the next tile while one is used"},
  {36, "register_transpose", "transpose tiles in registers", {}, "a map that reads along one axis and writes along another",
   kBitwise, kMemory, kCpu, kGpu, kLater, "maps that read along another axis load lane by lane",
   kApplied, "tiles of 32 by 32 pass through local memory"},
  {37, "bind", "map an axis to grid, warp or lane", {{"axis", "axis"}, {"to", "word"}}, "spatial",
   kBitwise, kParallelism, kNo, kGpu, kGpuOnly, "a CPU has threads and lanes: parallel and vectorize",
   kOwned, "rows to blocks, points to neighbouring threads"},
  {38, "cross_thread_reduction", "reduce across lanes of a block", {{"width", "integer", 1, 1024}, {"apart", "integer", 0, 1, true}}, "associative, uniform barrier; apart: neighbours take neighbouring results, those that share one lie apart",
   kRealEqual, kParallelism, kNo, kGpu, kGpuOnly, "on a CPU rfactor reduces in parts",
   kApplied, "`row_threads`, or `slices` where apart"},
  {39, "split_k", "share the reduced axis of a contraction", {{"parts", "integer", 1, 256}}, "a contraction",
   kRealEqual, kParallelism, kCpu, kGpu, kLater, "the contraction skeleton shares rows, columns or batches among threads",
   kApplied, "`parts`: blocks that share the terms of a tile, then a second launch adds them up"},
  {40, "persistent_grid", "keep blocks resident and walk tiles in a chosen order", {{"group", "integer", 1, 64}}, "independent tiles",
   kBitwise, kLaunch, kNo, kGpu, kGpuOnly, "CPU threads always persist",
   kLater, "every tile has a block of its own"},
  {41, "storage_align", "pad or swizzle a buffer", {{"pad", "integer", 0, 64}}, "bijective on a tile",
   kBitwise, kCache, kNo, kGpu, kGpuOnly, "CPU buffers are aligned to cache lines and have no banks",
   kOwned, "panels are padded by 16 bytes a row"},
  {42, "async_copy", "copy to shared memory in the background", {{"bytes", "integer", 4, 16}}, "aligned, affine",
   kBitwise, kMemory, kNo, kGpu, kGpuOnly, "a CPU has no copy engine a kernel may use",
   kLater, "tiles pass through registers"},
  {43, "tensorize", "compute with a matrix micro-kernel", {}, "a sum over a product of two operands with affine indices",
   kRealEqual, kArithmetic, kCpu, kGpu, kApplied, "",
   kApplied, "the contraction skeleton, on the ordinary units; on CUDA emulate_precision moves it to tensor cores"},
  {44, "warp_specialization", "give warps different work", {{"producers", "integer", 1, 8}}, "software_pipeline is present",
   kBitwise, kParallelism, kNo, kGpu, kGpuOnly, "a CPU has no warps",
   kLater, "every warp does the same work"},
  {45, "cluster", "share operands among blocks of a cluster", {{"size", "integer", 2, 16}}, "grid divisible, shared operand",
   kBitwise, kMemory, kNo, kGpu, kGpuOnly, "a CPU has no block clusters; the last-level cache is shared",
   kLater, "blocks share operands through the L2 cache"},
  {46, "launch_bounds", "choose the threads of a block", {{"threads", "integer", 32, 1024, true}, {"resident", "integer", 1, 8, true}}, "device limits; resident: blocks that shall fit a multiprocessor",
   kBitwise, kRegisters, kNo, kGpu, kGpuOnly, "a CPU core runs one kernel thread at a time",
   kApplied, "`threads` of a block (tiles have their own), `resident`"},
  {47, "coarsen", "give each thread several results", {{"factor", "integer", 1, 64}}, "spatial",
   kBitwise, kRegisters, kNo, kGpu, kGpuOnly, "on a CPU: interleave_accumulators, and chunk of parallel",
   kApplied, "`coarsen`: vectors a thread computes of a pointwise group"},
  {48, "merge_launches", "run several kernels in one launch", {}, "co-resident grid",
   kBitwise, kLaunch, kNo, kGpu, kGpuOnly, "a CPU candidate is one function already",
   kLater, "launches follow one another"},
  {49, "set_precision", "compute in a narrower type", {{"type", "word", 0, 0, true}}, "the contract allows it: `as_reference`, and a convolution",
   kNumeric, kPrecision, kCpu, kGpu, kLater, "CPUs have no contract narrower than fp32",
   kLater, "OpenCL C has no words for tensor cores",
   "`tf32` 1: type=tf32 multiplies on tensor cores, operands rounded to TF32"},
  {50, "emulate_precision", "compensate sums or split operands", {{"method", "word", 0, 0, true}, {"terms", "integer", 8, 64, true}}, "a contraction of f32",
   kNumeric, kPrecision, kCpu, kGpu, kLater, "ordinary units have f32 as it is",
   kLater, "OpenCL C has no words for tensor cores",
   "`tf32` 3: method=tf32x3 multiplies on tensor cores, each operand as a sum of two TF32 numbers; `terms` are summed there at a time"},
  {51, "approximate_math", "use a cheaper division or special function", {}, "an exponential or a division, in nests; a few ulp off",
   kNumeric, kArithmetic, kCpu, kGpu, kApplied, "",
   kLater, "the only contract so far is fp32"},
}};
// clang-format on

}  // namespace

std::span<const ActionInfo> all_actions() { return kActions; }

Support support_on(const ActionInfo& action, ScheduleTarget target) {
  if (target == ScheduleTarget::kCpu) return action.support;
  const bool cuda = target == ScheduleTarget::kCuda && !action.cuda_how.empty();
  return cuda ? Support::kApplied : action.device_support;
}

std::string_view how_on(const ActionInfo& action, ScheduleTarget target) {
  if (target == ScheduleTarget::kCpu) return action.how;
  const bool cuda = target == ScheduleTarget::kCuda && !action.cuda_how.empty();
  return cuda ? action.cuda_how : action.device_how;
}

const ActionInfo* find_action(std::string_view name) {
  for (const ActionInfo& action : kActions) {
    if (action.name == name) return &action;
  }
  return nullptr;
}

std::string_view exactness_name(Exactness exactness) {
  constexpr std::array<std::string_view, 4> kNames = {"bitwise", "real_equal", "algebraic",
                                                      "numeric"};
  return kNames[static_cast<size_t>(exactness)];
}

std::string_view resource_name(Resource resource) {
  constexpr std::array<std::string_view, 7> kNames = {
      "arithmetic", "registers", "cache", "memory bandwidth", "parallelism", "launch", "precision"};
  return kNames[static_cast<size_t>(resource)];
}

std::string_view support_name(Support support) {
  constexpr std::array<std::string_view, 4> kNames = {"applied", "owned", "gpu_only", "later"};
  return kNames[static_cast<size_t>(support)];
}

}  // namespace quern
