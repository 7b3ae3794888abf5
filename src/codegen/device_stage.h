// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "codegen/device_reduce.h"
#include "codegen/device_text.h"
#include "codegen/lines.h"
#include "codegen/stage.h"

namespace quern {

/// In generated code `a_base` is the last axis of the points at the first element of a vector.
inline constexpr const char* kBaseAxis = "base";

/// How threads share the points of a stage.
struct DeviceStyle {
  int threads = 256;  ///< of a block
  int width = 0;      ///< threads that share a row; 0: the whole grid shares the points
  int vector = 1;     ///< neighbouring elements of a thread: 1, or 4 where all accesses allow it
  int coarsen = 1;    ///< grid-wide: vectors of a thread
  int slices = 1;     ///< grid-wide: threads of a block that share the terms of one result; they
                      ///< lie apart, so that neighbours still take neighbouring results
  int unroll = 1;
  bool online = false;  ///< a maximum and the sum of exponentials less it in one pass
  int keep = 0;         ///< vectors of a row that a thread keeps in registers; 0: none
  int columns() const { return threads / slices; }
  std::string first, last;         ///< bounds of the reduced points where a block takes a part
  std::set<std::string> streamed;  ///< tensors stored past the caches
};

/// Prints the stages of a row (or of the whole grid) for one device thread. In scope: `q_lane`, the
/// thread's place among the `width` of its row, `q_alive`, whether its row exists, the row axes
/// `a_0` …, and `q_shared`, 8 bytes of local memory a thread.
class DeviceStages {
 public:
  DeviceStages(const ir::Program& program, const std::vector<Item>& items,
               const std::vector<Stage>& stages, DeviceStyle style, std::set<std::string> stored,
               Lines* out);

  void print();

  /// What must hold for vectors and kept rows; empty: nothing. Over names in scope; of what the
  /// stages make themselves only `stored` is.
  static std::vector<std::string> conditions(const ir::Program& program,
                                             const std::vector<Item>& items,
                                             const std::vector<Stage>& stages,
                                             const DeviceStyle& style,
                                             const std::set<std::string>& stored);
  /// Intermediates that must have memory under this style: outside readers aside, those that a
  /// later stage reads and no register holds.
  static std::set<std::string> in_memory(const std::vector<Item>& items,
                                         const std::vector<Stage>& stages,
                                         const DeviceStyle& style);
  /// Whether some thread combines values with others through `q_shared`.
  static bool combines(const std::vector<Item>& items, const std::vector<Stage>& stages,
                       const DeviceStyle& style);

 private:
  struct Access {
    const ir::Expr* load = nullptr;
    std::string array;
  };

  void print_stage(const Stage& stage);
  void print_row_scalar(const Item& item);
  void print_points(const Stage& stage);     ///< maps, and reductions with several results
  void print_reduction(const Stage& stage);  ///< reductions to one value a row
  void print_block_scan(const Stage& stage);
  void print_line_scan(const Stage& stage);
  bool online_pair(size_t stage) const;
  void print_online(const Item& largest, const Item& total, const Stage& stage);
  void name_scalar(const Item& item, const std::string& value);
  void finish_reduction(const Item& item, const Reducer& reducer);
  void reserve(const std::string& key);
  void reserve_kept();

  /// Opens the loop over the points of `loops`, which declares their axes at vector `q_v` 0.
  int open_points(const std::vector<Loop>& loops);
  void open_elements();
  void declare_axes(const std::vector<Loop>& loops);
  std::vector<Access> vector_loads(const Stage& stage, const std::vector<Loop>& loops,
                                   const std::vector<int>& members);
  void print_members(const Stage& stage, const std::vector<Loop>& loops,
                     const std::vector<int>& members, const std::vector<Access>& loaded,
                     const std::map<int, Reducer>& reducers);
  void print_value(const Stage& stage, const std::vector<Loop>& loops, const Item& item,
                   const std::string& value);
  DeviceText text_for(const Item& item, const std::vector<Loop>& loops,
                      const std::vector<Access>& loaded) const;
  void store(const Item& item, const std::string& value);
  void store_vectors(const std::vector<int>& members, const std::vector<Loop>& loops);
  bool vector_store(const Item& item, const std::vector<Loop>& loops) const;
  void close(int count);

  const Item& item(int index) const { return items_[static_cast<size_t>(index)]; }
  static std::string key(const std::vector<Loop>& loops, const ir::Expr& load);

  const ir::Program& program_;
  const std::vector<Item>& items_;
  const std::vector<Stage>& stages_;
  DeviceStyle style_;
  std::set<std::string> stored_;
  Lines* out_;
  std::map<std::string, std::string> kept_;  ///< by `key`: arrays of registers that hold a load
  std::set<std::string> pending_;            ///< of these, those not yet loaded
  std::set<std::string> scalars_;            ///< row scalars computed so far
  std::set<std::string> here_;               ///< values of the current point
  int arrays_ = 0;
};

/// The loops whose points threads share. Terms of a reduction with several results stay within one
/// thread.
std::vector<Loop> point_loops(const std::vector<Item>& items, const Stage& stage);
/// Loops with a second bound run to the lesser of the two.
ir::IntExpr extent_of(const Loop& loop);

}  // namespace quern
