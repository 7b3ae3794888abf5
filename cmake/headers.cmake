# `ninja headers_alone`: every header compiles alone. A source that includes its own header first
# proves that of the header in every build; for each of the others there is a source that only
# includes it. Which is which is looked up when the build is configured.

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/src/*.h)
list(FILTER headers EXCLUDE REGEX "^codegen/prelude/")  # the candidates' own, not ours to include
set(sources)
foreach(header IN LISTS headers)
  string(REGEX REPLACE "\\.h$" ".cpp" own ${PROJECT_SOURCE_DIR}/src/${header})
  set(first "")
  if(EXISTS ${own})
    file(STRINGS ${own} first REGEX "^#include" LIMIT_COUNT 1)
  endif()
  if(NOT first STREQUAL "#include \"${header}\"")
    set(source ${PROJECT_BINARY_DIR}/headers/${header}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n")
    list(APPEND sources ${source})
  endif()
endforeach()
add_library(headers_alone OBJECT EXCLUDE_FROM_ALL ${sources})
target_link_libraries(headers_alone PRIVATE quern_options)
target_compile_options(headers_alone PRIVATE -O0 -g0)
