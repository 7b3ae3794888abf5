# Compile options, rooms and their tests. A room is one static library made of every .cpp in its
# folder that is not a test; its tests are one binary that links only that room.

add_library(quern_options INTERFACE)
target_include_directories(quern_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(quern_options INTERFACE -Wall -Wextra -Wpedantic -Werror -fno-omit-frame-pointer
  $<$<CXX_COMPILER_ID:GNU>:-Wno-missing-field-initializers>
  $<$<CXX_COMPILER_ID:Clang>:-Wno-missing-field-initializers>)
target_link_libraries(quern_options INTERFACE fmt::fmt nlohmann_json::nlohmann_json Threads::Threads)
if(QUERN_SANITIZE)
  target_compile_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE} -fno-sanitize-recover=undefined)
  target_link_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE})
endif()

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
  if(QUERN_TESTS AND tests)
    add_executable(${room}_test ${tests})
    target_link_libraries(${room}_test PRIVATE quern_${room} GTest::gtest GTest::gmock GTest::gtest_main)
    add_test(NAME ${room} COMMAND ${room}_test)
    set_tests_properties(${room} PROPERTIES LABELS unit TIMEOUT 300)
  endif()
endfunction()
