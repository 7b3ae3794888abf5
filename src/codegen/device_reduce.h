// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "codegen/device_text.h"
#include "ir/program.h"

namespace quern {

/// The accumulator of a reduction or scan in device code: a variable, and for positions a second.
/// With a `count` it is an array, of which the text below means element `q_v`.
class Reducer {
 public:
  Reducer(const ir::Program& program, const ir::Statement& statement, std::string name,
          int count = 0);

  bool is_position() const;
  std::string type() const { return wide_ ? "double" : "float"; }
  std::string neutral() const;

  std::string declare() const;
  /// Takes in a term; `position` is that of the reduced axis, for arg-forms.
  std::string add(const std::string& value, const std::string& position) const;
  /// Lines that declare `into` (no array) as the combination of this array.
  std::string gather(const Reducer& into) const;
  /// Combines the threads' accumulators: lines that leave the result in every one of `width`
  /// neighbours. `scratch` is local memory of 8 bytes a thread. Not for arrays.
  std::string across(const std::string& width, const std::string& scratch) const;
  /// The same among `slices` threads that lie `columns` apart; for arrays too, element by element.
  std::string apart(int columns, int slices, const std::string& scratch) const;
  /// The combination of two values of the monoid; for arg-forms, of the greatest values alone.
  std::string combine(const std::string& a, const std::string& b) const;
  std::string result() const;
  const std::string& name() const { return name_; }

 private:
  /// One element combined by the prelude's functions `q_KIND_…`, which take `sharing`.
  std::string combined(const std::string& kind, const std::string& sharing,
                       const std::string& scratch) const;
  std::string value() const { return count_ > 0 ? name_ + "[q_v]" : name_; }
  std::string at() const { return count_ > 0 ? name_ + "_at[q_v]" : name_ + "_at"; }

  ir::Monoid monoid_;
  bool wide_;
  std::string name_;
  int count_;
};

/// The scratch tensor of a statement that other launches read.
DeviceScratch scratch_of(const ir::Program& program, const ir::Statement& statement);

/// "sum", "prod", "max", "min": how the prelude's reductions and scans end.
std::string monoid_suffix(ir::Monoid monoid);

}  // namespace quern
