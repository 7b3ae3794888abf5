// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "codegen/contraction_match.h"
#include "codegen/device_text.h"
#include "codegen/group.h"
#include "codegen/lines.h"

namespace quern {

/// The tile of a block and that of a thread, in elements; `stages` of the former lie in local
/// memory. With `tf32` not 0 a warp multiplies on tensor cores, that many products in TF32 for one:
/// its tile is `mr` fragments of 16 rows by `nr` fragments of 8 columns, of which a thread holds
/// rows() by columns() results.
struct TileParams {
  int64_t mr, nr, mc, nc, kc, stages, width, resident, tf32;
  int64_t parts;  ///< blocks that share the terms of a tile's results
  int64_t terms;  ///< `tf32`: summed on tensor cores before they are added to the results
  int64_t warps_n() const { return nc / (8 * nr); }
  int64_t threads() const {
    return tf32 > 0 ? mc / (16 * mr) * warps_n() * 32 : mc / mr * (nc / nr);
  }
  int64_t rows() const { return tf32 > 0 ? 2 * mr : mr; }
  int64_t columns() const { return tf32 > 0 ? 2 * nr : nr; }
  /// Local memory of all stages, or somewhat more.
  int64_t bytes() const;
};

/// As the schedule has set them. Errors: kInput: they do not fit one another, or a device.
Result<TileParams> tile_params_of(const Group& group);

/// How the tile of one operand is filled.
struct TilePanel {
  const char* name;  ///< "a", "b"
  const Operand* operand;
  const std::vector<ir::Axis>* own;  ///< its dimension: m or n
  const char* extent;                ///< of that dimension
  const char* origin;                ///< of the block's tile in it
  int64_t size;                      ///< of the tile in it
  bool k_fast;                       ///< neighbours in memory are neighbours in k
  bool vector;                       ///< four neighbours may be one access
  bool k_rows;                       ///< … and in local memory: one row for each of its own
  int64_t pitch;                     ///< of rows in local memory; a pad keeps them off each
                                     ///< other's banks
  int64_t floats;                    ///< of one tile there
  /// Where an element lies in a tile.
  std::string at(const std::string& own, const std::string& k) const;
};

/// Prints how the tiles of a contraction's operands come to local memory, `q_a` and `q_b`.
class TileOperands {
 public:
  /// All outlive it. `unrolls`: whether compilers shall unroll its loops.
  TileOperands(const ir::Program& program, const TileParams& params, const Contraction& contraction,
               bool unrolls, Lines& out)
      : program_(program),
        p_(params),
        c_(contraction),
        unrolls_(unrolls),
        text_(program),
        out_(out) {}

  /// One of the two; what it needs to be known at run time is printed at once.
  TilePanel panel(const char* name, const Operand& operand, const std::vector<ir::Axis>& own,
                  const char* extent, const char* origin, int64_t size);

  /// Declares the local memory of both; what a launch must ask for, in bytes.
  int64_t declare_tiles(const TilePanel& a, const TilePanel& b);

  // Through registers `q_f<name>`.
  void declare_fetched(const TilePanel& panel);
  /// Fetches this thread's share of a tile at depth `k`.
  void print_fetch(const TilePanel& panel, const std::string& k);
  /// Writes what was fetched to local memory, `buffer` tiles on.
  void print_put(const TilePanel& panel, const std::string& buffer);

  // In the background.
  /// Whether an operand is memory as it is, and not computed as it is loaded.
  static bool copied(const Operand& operand);
  /// Asks for this thread's share of the tile at depth `k` to be copied to local memory.
  void print_copy(TilePanel panel, const std::string& k, const std::string& buffer);

  /// Before a loop that compilers for GPUs shall unroll.
  void print_unroll() { out_.add(unrolls_ ? "#pragma unroll" : "#pragma unroll 1"); }
  /// Sets the axes to where a position in them all lies.
  void decode(const std::string& position, const std::vector<ir::Axis>& axes);

 private:
  int64_t fetches(const TilePanel& panel) const;
  void print_place(const TilePanel& panel);
  std::string condition_of(const TilePanel& panel) const;
  void print_element(const TilePanel& panel, const std::string& into, const std::string& own,
                     const std::string& k);
  void print_source(const TilePanel& panel, const std::string& own, const std::string& k);

  const ir::Program& program_;
  const TileParams& p_;
  const Contraction& c_;
  bool unrolls_;
  DeviceText text_;
  Lines& out_;
};

}  // namespace quern
