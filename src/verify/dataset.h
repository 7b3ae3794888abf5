// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/precision.h"
#include "tensor/fill.h"
#include "verify/compare.h"

namespace quern {

/// How the inputs of one call are drawn, by name. Integer inputs (labels, indices) always follow
/// the task; parameters are drawn at random like everything else, never left at 1 and 0.
struct InputMix {
  enum class Kind {
    kDeclared,    ///< as the task says
    kNormal,      ///< zero-mean normal
    kWide,        ///< magnitudes from 1e-3 to 1e3, both signs
    kOffset,      ///< mean 100, deviation 1: variances and differences suffer
    kSparse,      ///< mostly zeros
    kCancelling,  ///< neighbours that nearly cancel
    kProbe,       ///< small whole numbers; `level` halves their range
    kTwin,        ///< as declared, but for a few elements in the middle: see `twin_of`
    kMeter,       ///< input `wide` holds odd 20-bit whole numbers, the others few signs
    // Where convolutions may round their operands to TF32:
    kTf32Meter,  ///< as `kMeter`, of 11 bits, which TF32 has and bf16 has not
    kSigns,      ///< what reaches convolutions is -1, 0 or 1, which rounding keeps; else normal
    kFar,        ///< what reaches convolutions goes beyond the exponents of fp16; else normal
  };
  Kind kind = Kind::kNormal;
  int level = 0;
  int wide = 0;
};

std::string input_mix_name(const InputMix& mix, const ir::Program& program);
/// What a kernel that is wrong on such inputs alone has probably rounded, and what to do instead;
/// "" where nothing speaks for it.
std::string input_mix_hint(const InputMix& mix, const ir::Program& program);
/// The same of errors beyond the bound, in units of the rounding-error scale, that are no larger
/// than narrower operands explain.
std::string narrow_operands_hint(double max_error);

/// How one input of a data set is drawn: `fill`, then `ir::impose`, then, for a twin, every
/// `altered_place` anew.
struct InputDraw {
  DType type = DType::kF32;
  Shape shape;
  ir::Distribution::Structure structure = ir::Distribution::Structure::kNone;
  FillSpec spec;
  uint64_t seed = 0;
  bool alters = false;  ///< the twin of this input differs from it
};

/// The inputs of one call, with what each output must be.
struct Dataset {
  InputMix mix;
  uint64_t seed = 0;
  uint64_t twin_seed = 0;  ///< of a twin: of what is drawn anew, and of its places
  std::vector<std::vector<std::byte>> inputs;
  std::vector<ExpectedOutput> outputs;
  /// Twins: which elements of each input differ from the original's.
  std::vector<std::vector<int64_t>> altered;
  /// Probes: every element exact, so that outputs must agree bit for bit.
  bool exact = false;
  /// Scales are what random rounding shows, not a bound (verify/rounding_samples.h).
  bool sampled = false;
  double sampled_share = 1;  ///< what these are of the bound, over an output; the largest of them
};

/// How `draw_dataset` draws each input.
std::vector<InputDraw> input_draws(const ir::Program& program, const ir::Sizes& sizes,
                                   const InputMix& mix, uint64_t seed);

/// Draws the inputs; `outputs` stays empty.
Dataset draw_dataset(const ir::Program& program, const ir::Sizes& sizes, const InputMix& mix,
                     uint64_t seed);

/// The same data set with about one element in 64 of every float input drawn anew, none of them
/// near the ends: a kernel that recognises inputs by a few of their elements takes it for the
/// original.
Dataset twin_of(const ir::Program& program, const ir::Sizes& sizes, const Dataset& original,
                uint64_t seed);

/// The mixes worth trying on small shapes, in order.
std::vector<InputMix> input_mixes(Contract contract = Contract::kFp32);

/// The inputs that some convolution's operands are made of.
std::set<std::string> convolved_inputs(const ir::Program& program);

/// Sizes for hidden workloads: small and odd, drawn from `seed` around the task's smallest size
/// set. A size that has one value in all of the task's size sets is a property of the operator (a
/// kernel width, a stride) and keeps it. The result passes `ir::check_sizes`, has at most
/// `max_elements` elements in any tensor, and differs from every declared set where possible.
/// `smallest` is the least extent drawn: 1 reaches the edge cases, but a softmax over one element
/// says little about its inputs.
ir::Sizes hidden_sizes(const ir::Program& program, uint64_t seed, int64_t max_elements,
                       int64_t smallest = 3);

}  // namespace quern
