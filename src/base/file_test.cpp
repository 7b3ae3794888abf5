// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace quern {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "quern_file_test_" + std::to_string(getpid());
    ASSERT_TRUE(make_directories(folder_));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(FileTest, ReadsBackWhatWasWritten) {
  std::string content("a\0b\n", 4);
  ASSERT_TRUE(write_file_atomic(folder_ + "/f", content));
  EXPECT_EQ(read_file(folder_ + "/f").value(), content);
}

TEST_F(FileTest, WritingLeavesNoTemporaryFileBehind) {
  ASSERT_TRUE(write_file_atomic(folder_ + "/f", "1"));
  ASSERT_TRUE(write_file_atomic(folder_ + "/f", "2"));
  EXPECT_EQ(read_file(folder_ + "/f").value(), "2");
  EXPECT_FALSE(write_file_atomic(folder_ + "/missing/f", "3"));
  ASSERT_TRUE(make_directories(folder_ + "/d/x"));
  EXPECT_FALSE(write_file_atomic(folder_ + "/d", "4")) << "a folder is in the way";
  int entries = 0;
  for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator(folder_)) ++entries;
  EXPECT_EQ(entries, 2);
}

TEST_F(FileTest, ErrorsNameThePathAndTheReason) {
  Error missing = read_file(folder_ + "/none").error();
  EXPECT_EQ(missing.kind, ErrorKind::kInput);
  EXPECT_NE(missing.message.find(folder_ + "/none: No such file"), std::string::npos);
  EXPECT_NE(read_file(folder_).error().message.find("Is a directory"), std::string::npos);
  EXPECT_NE(read_file("/dev/zero", 100).error().message.find("larger than 100"), std::string::npos);
}

TEST_F(FileTest, AFullDiskIsSaidInPlainWords) {
  Error error = system_error("write", "x", ENOSPC);
  EXPECT_EQ(error.kind, ErrorKind::kEnvironment);
  EXPECT_EQ(error.message, "cannot write x: the disk is full");
}

TEST_F(FileTest, MakingDirectoriesTwiceIsFineButAFileInTheWayIsNot) {
  EXPECT_TRUE(make_directories(folder_ + "/a/b/c"));
  EXPECT_TRUE(make_directories(folder_ + "/a/b/c"));
  ASSERT_TRUE(write_file_atomic(folder_ + "/f", ""));
  EXPECT_FALSE(make_directories(folder_ + "/f"));
  EXPECT_FALSE(make_directories(folder_ + "/f/g"));
}

TEST_F(FileTest, AFileSystemThatMakesNoFoldersIsTheEnvironment) {
  EXPECT_EQ(make_directories("/proc/quern").error().kind, ErrorKind::kEnvironment);
}

TEST_F(FileTest, ADirectoryLockIsExclusiveAndEndsWithItsHolder) {
  {
    auto first = DirectoryLock::acquire(folder_);
    ASSERT_TRUE(first);
    EXPECT_EQ(DirectoryLock::acquire(folder_).error().kind, ErrorKind::kBusy);
  }
  EXPECT_TRUE(DirectoryLock::acquire(folder_));
}

}  // namespace
}  // namespace quern
