# Compile options, rooms and their tests. A room is one static library made of every .cpp in its
# folder that is not a test; its tests are one binary that links only that room.

add_library(quern_options INTERFACE)
target_include_directories(quern_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(quern_options INTERFACE -Wall -Wextra -Wpedantic -Werror -fno-omit-frame-pointer
  # -Wrestrict is wrong about std::string in GCC 12 (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-missing-field-initializers;-Wno-restrict>
  $<$<CXX_COMPILER_ID:Clang>:-Wno-missing-field-initializers>)
target_link_libraries(quern_options INTERFACE fmt::fmt nlohmann_json::nlohmann_json Threads::Threads)
if(QUERN_TIDY)
  target_compile_options(quern_options INTERFACE -Wglobal-constructors -Wexit-time-destructors)
endif()
if(QUERN_SANITIZE)
  target_compile_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE} -fno-sanitize-recover=undefined
    $<$<BOOL:$<TARGET_PROPERTY:QUERN_WITHOUT_CASTS>>:-fno-sanitize=null,alignment,object-size,vptr>)
  target_link_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE})
endif()

# Rooms that never take raw bytes for something else. There AddressSanitizer sees every bad pointer
# that UBSan would, and a fifth of the compiling of a sanitised build is UBSan's checks of them.
set(quern_rooms_without_casts ir task record schedule codegen llm evaluate store propose search deploy)

# What one ring of the tests needs, as a target.
add_custom_target(unit_tests)
add_custom_target(golden_tests)

add_custom_target(check_layers ALL
  COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/check_layers.py ${PROJECT_SOURCE_DIR}/src
  COMMENT "Checking that rooms include only what they depend on" VERBATIM)

function(quern_library room)
  cmake_parse_arguments(arg "" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${room}/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|_main)\\.cpp$")
  if(sources)
    add_library(quern_${room} STATIC ${sources})
    set(visibility PUBLIC)
    add_dependencies(quern_${room} check_layers)
  else()
    add_library(quern_${room} INTERFACE)
    set(visibility INTERFACE)
  endif()
  target_link_libraries(quern_${room} ${visibility} quern_options)
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(quern_${room} ${visibility} quern_${dependency})
  endforeach()
  set(without_casts OFF)
  if(QUERN_SANITIZE MATCHES "undefined" AND room IN_LIST quern_rooms_without_casts)
    set(without_casts ON)
  endif()
  set_target_properties(quern_${room} PROPERTIES QUERN_WITHOUT_CASTS ${without_casts})
  if(QUERN_TESTS AND tests)
    add_executable(${room}_test ${tests})
    target_link_libraries(${room}_test PRIVATE quern_${room} GTest::gtest GTest::gmock GTest::gtest_main)
    set_target_properties(${room}_test PROPERTIES QUERN_WITHOUT_CASTS ${without_casts})
    add_dependencies(unit_tests ${room}_test)
    # Tests that read the shipped tasks find them from the folder they run in.
    gtest_discover_tests(${room}_test TEST_PREFIX ${room}. DISCOVERY_MODE PRE_TEST
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      PROPERTIES LABELS unit TIMEOUT 300)
  endif()
endfunction()

# quern_test(NAME RING COMMAND...): a test that is a command; RING is its label (STYLE: golden, cli,
# cheats, fuzz, device).
function(quern_test name ring)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS ${ring} TIMEOUT 600)
endfunction()

# quern_embed(ROOM SYMBOL FILE): makes `extern "C" const char SYMBOL[]` of the text of FILE (relative
# to the caller's folder), NUL-terminated, part of the room's library.
function(quern_embed room symbol file)
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embed/${symbol}.cpp)
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT [[
asm(".section .rodata\n.global @symbol@\n@symbol@:\n.incbin \"@path@\"\n.byte 0\n.previous\n");
]])
  set_source_files_properties(${out} PROPERTIES OBJECT_DEPENDS ${path})
  target_sources(quern_${room} PRIVATE ${out})
endfunction()

# quern_embed_folder(ROOM SYMBOL FOLDER EXTENSION): `const quern::EmbeddedFile SYMBOL[]`, a row for
# each such file of the folder and an empty one, part of the room's library.
function(quern_embed_folder room symbol folder extension)
  file(GLOB paths CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.${extension})
  set(texts "")
  set(rows "")
  foreach(path IN LISTS paths)
    get_filename_component(name ${path} NAME_WE)
    string(MAKE_C_IDENTIFIER "${symbol}_${name}" id)
    string(APPEND texts "extern \"C\" const char ${id}[];\nasm(\".section .rodata\\n.global ${id}\\n"
      "${id}:\\n.incbin \\\"${path}\\\"\\n.byte 0\\n.previous\\n\");\n")
    string(APPEND rows "    {\"${name}\", ${id}},\n")
  endforeach()
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embed/${symbol}.cpp)
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT [[
#include "base/embedded.h"
@texts@
namespace quern {
extern const EmbeddedFile @symbol@[];
const EmbeddedFile @symbol@[] = {
@rows@    {}};
}
]])
  set_source_files_properties(${out} PROPERTIES OBJECT_DEPENDS "${paths}")
  target_sources(quern_${room} PRIVATE ${out})
endfunction()
