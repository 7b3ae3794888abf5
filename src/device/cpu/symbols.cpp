// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/symbols.h"

#include <elf.h>

#include <cstring>
#include <optional>

#include "base/file.h"

namespace quern {
namespace {

/// A `T` at an offset of the file, if it is wholly inside.
template <class T>
std::optional<T> at(const std::string& file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::string name_at(const std::string& file, uint64_t offset) {
  if (offset >= file.size()) return "";
  return std::string(file.c_str() + offset);
}

/// Calls `take(symbol, name)` for every entry of the symbol tables of a kind.
template <class Take>
Result<void> each_symbol(const std::string& path, uint32_t kind, Take take) {
  QUERN_ASSIGN(std::string file, read_file(path));
  auto header = at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
    return Error{ErrorKind::kInput, path + " is not an ELF file", ""};
  }
  auto section = [&](uint64_t index) {
    return at<Elf64_Shdr>(file, header->e_shoff + index * sizeof(Elf64_Shdr));
  };
  for (uint64_t i = 0; i < header->e_shnum; ++i) {
    auto table = section(i);
    if (!table || table->sh_type != kind) continue;
    auto strings = section(table->sh_link);
    if (!strings) continue;
    for (uint64_t offset = 0; offset + sizeof(Elf64_Sym) <= table->sh_size;
         offset += sizeof(Elf64_Sym)) {
      auto symbol = at<Elf64_Sym>(file, table->sh_offset + offset);
      if (!symbol) break;
      take(*symbol, name_at(file, strings->sh_offset + symbol->st_name));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> exported_functions(const std::string& path) {
  std::vector<std::string> names;
  QUERN_TRY(each_symbol(path, SHT_DYNSYM, [&](const Elf64_Sym& symbol, std::string name) {
    bool function = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC;
    if (function && symbol.st_shndx != SHN_UNDEF) names.push_back(std::move(name));
  }));
  return names;
}

Result<std::vector<std::string>> undefined_symbols(const std::string& path) {
  std::vector<std::string> names;
  QUERN_TRY(each_symbol(path, SHT_SYMTAB, [&](const Elf64_Sym& symbol, std::string name) {
    if (symbol.st_shndx == SHN_UNDEF && !name.empty()) names.push_back(std::move(name));
  }));
  return names;
}

}  // namespace quern
