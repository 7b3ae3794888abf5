// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_tile_tensor.h"

#include <fmt/format.h>

namespace quern {
namespace {

class TensorMultiply {
 public:
  TensorMultiply(const TileParams& params, const TilePanel& a, const TilePanel& b,
                 const std::string& buffer, bool unrolls, Lines& out)
      : p_(params), a_(a), b_(b), buffer_(buffer), unrolls_(unrolls), out_(out) {}

  void print() {
    const int64_t steps = p_.terms / 8;
    open("q_kk", "0", p_.kc, p_.terms);
    declare("q_x", fmt::format("[{}][{}][4]", steps, p_.mr));
    open("q_s", "0", steps, 1);
    open("q_i", "0", p_.mr, 1);
    open("q_e", "0", 4, 1);
    // Fragments of the first operand: rows l / 4 and 8 more, then the same 4 further in k.
    split("q_x", "[q_s][q_i][q_e]",
          a_.at("q_row + q_lane / 4 + q_i * 16 + q_e % 2 * 8", depth("q_e / 2")), a_);
    out_.add_lines("}\n}\n}");
    open("q_j", "0", p_.nr, 1);
    declare("q_y", fmt::format("[{}][2]", steps));
    open("q_s", "0", steps, 1);
    open("q_e", "0", 2, 1);
    split("q_y", "[q_s][q_e]", b_.at("q_col + q_lane / 4 + q_j * 8", depth("q_e")), b_);
    out_.add_lines("}\n}");
    print_products(steps);
    out_.add_lines("}\n}");
  }

 private:
  void open(const std::string& name, const std::string& from, int64_t to, int64_t step) {
    out_.add(unrolls_ ? "#pragma unroll" : "#pragma unroll 1");
    out_.add(fmt::format("for (int {0} = {1}; {0} < {2}; {0} += {3}) {{", name, from, to, step));
  }

  static std::string depth(const std::string& half) {
    return fmt::format("q_kk + q_s * 8 + q_lane % 4 + {} * 4", half);
  }

  /// Registers for the two parts of fragments.
  void declare(const std::string& name, const std::string& extents) {
    out_.add(fmt::format("unsigned {}h{};", name, extents));
    if (p_.tf32 > 1) out_.add(fmt::format("unsigned {}l{};", name, extents));
  }

  /// Fetches an element of a fragment.
  void split(const std::string& name, const std::string& element, const std::string& at,
             const TilePanel& panel) {
    const std::string from =
        fmt::format("q_{}[{} * {} + {}]", panel.name, buffer_, panel.floats, at);
    out_.add(p_.tf32 > 1
                 ? fmt::format("q_tf32_split({0}, &{1}h{2}, &{1}l{2});", from, name, element)
                 : fmt::format("{}h{} = q_tf32({});", name, element, from));
  }

  void print_products(int64_t steps) {
    out_.add(fmt::format("float q_d[{}][4];", p_.mr));
    open("q_i", "0", p_.mr, 1);
    out_.add("q_d[q_i][0] = q_d[q_i][1] = q_d[q_i][2] = q_d[q_i][3] = 0.0f;");
    out_.add("}");
    if (p_.tf32 > 1) {
      open("q_s", "0", steps, 1);
      print_product("l", "h");
      print_product("h", "l");
      out_.add("}");
    }
    open("q_s", "0", steps, 1);
    print_product("h", "h");
    out_.add("}");
    open("q_i", "0", p_.mr, 1);
    open("q_e", "0", 4, 1);
    out_.add("q_acc[q_i * 2 + q_e / 2][q_j * 2 + q_e % 2] += q_d[q_i][q_e];");
    out_.add_lines("}\n}");
  }

  /// One product of all fragments: neighbours do not wait for one another.
  void print_product(const char* x, const char* y) {
    open("q_i", "0", p_.mr, 1);
    out_.add(fmt::format("q_mma_tf32(q_d[q_i], q_x{}[q_s][q_i], q_y{}[q_s]);", x, y));
    out_.add("}");
  }

  const TileParams& p_;
  const TilePanel& a_;
  const TilePanel& b_;
  const std::string& buffer_;
  bool unrolls_;
  Lines& out_;
};

}  // namespace

std::string tensor_place(const TileParams& params) {
  return fmt::format(
      "const int q_lane = q_thread() % 32;\n"
      "const int q_row = q_thread() / 32 / {0} * {1}, q_col = q_thread() / 32 % {0} * {2};",
      params.warps_n(), 16 * params.mr, 8 * params.nr);
}

std::string tensor_row(const std::string& i) {
  return fmt::format("q_row + q_lane / 4 + {0} / 2 * 16 + {0} % 2 * 8", i);
}

std::string tensor_column(const std::string& j) {
  return fmt::format("q_col + q_lane % 4 * 2 + {0} / 2 * 8 + {0} % 2", j);
}

void print_tensor_multiply(const TileParams& params, const TilePanel& a, const TilePanel& b,
                           const std::string& buffer, bool unrolls, Lines* out) {
  TensorMultiply(params, a, b, buffer, unrolls, *out).print();
}

}  // namespace quern
