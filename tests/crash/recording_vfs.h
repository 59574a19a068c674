#pragma once
// SQLite's way to the disk with every change recorded, and calls failed on demand.

#include <sqlite3.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/crash/disk_recorder.h"

namespace msa::crash {

/// The default VFS of this process for as long as it lives: SQLite's own for Unix, with databases,
/// their logs and journals recorded. Shared memory is left out: it is made anew after a crash, and
/// so are temporary files. Folders are recorded as synced where SQLite opens one, which its VFS
/// does only to sync it. One at a time, on one thread; every connection is opened and closed within
/// its life. `recorder` must outlive it.
///
/// A fault stands for what the system would have said: a write that finds no room (ENOSPC) is
/// SQLITE_FULL and anything else the SQLITE_IOERR of its call. Where `writes_half` is set, a write
/// that fails has written its first half.
class RecordingVfs {
 public:
  explicit RecordingVfs(DiskRecorder& recorder);
  ~RecordingVfs();
  RecordingVfs(const RecordingVfs&) = delete;
  RecordingVfs& operator=(const RecordingVfs&) = delete;

  bool writes_half = false;

 private:
  struct OpenFile;
  struct Methods;

  static RecordingVfs& of(sqlite3_vfs* vfs) { return *static_cast<RecordingVfs*>(vfs->pAppData); }
  static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags);
  static int remove(sqlite3_vfs* vfs, const char* name, int sync_folder);
  static int access(sqlite3_vfs* vfs, const char* name, int flags, int* out);
  static int randomness(sqlite3_vfs* vfs, int count, char* out);
  static int open_folder(const char* path, int* descriptor);

  void record_synced_folders();

  DiskRecorder& recorder_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_{};
  sqlite3_syscall_ptr real_open_folder_ = nullptr;
  std::vector<std::string> synced_folders_;  // by the call that is being made
};

}  // namespace msa::crash
