# The self-contained folder quern/ of the build directory: bin/, lib/ (every shared library but
# glibc's, found by a relative rpath), tasks/. tools/check_portable.sh proves it.

set(folder ${PROJECT_BINARY_DIR}/quern)
set(programs)
foreach(program quern quern-runner quern-nvrtc quern-device-worker cuda_device_test)
  if(TARGET ${program})
    # The old kind of rpath also holds for what the libraries themselves need.
    target_link_options(${program} PRIVATE LINKER:--disable-new-dtags)
    set_target_properties(${program} PROPERTIES BUILD_RPATH "\$ORIGIN/../lib")
    list(APPEND programs $<TARGET_FILE:${program}>)
  endif()
endforeach()
add_custom_target(portable_folder ALL
  COMMAND ${PROJECT_SOURCE_DIR}/tools/make_portable.sh ${folder} ${PROJECT_SOURCE_DIR} ${programs}
  COMMENT "Making the self-contained folder" VERBATIM)
