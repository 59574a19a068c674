#pragma once
// SQLite's own VFS whose calls on open files fail where a test wants it.

#include <sqlite3.h>

#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "msa/storage/page_vfs.h"
#include "msa/storage/pass_through_vfs.h"

namespace msa::storage {

/// Registered under name() as long as it lives; must outlive what is opened through it.
class FailingVfs {
 public:
  struct Call {
    std::string_view name;  // "read", "write" or "sync"
    std::string_view path;  // empty: a file without a name
    sqlite3_int64 offset = 0;
  };
  /// What the call gives: SQLITE_OK makes it.
  using Fault = std::function<int(const Call&)>;

  explicit FailingVfs(Fault fault) : fault_(std::move(fault)), real_(sqlite3_vfs_find("unix")) {
    vfs_ = *real_;
    vfs_.pNext = nullptr;
    vfs_.zName = "failing";
    vfs_.szOsFile = static_cast<int>(sizeof(OpenFile)) + real_->szOsFile;
    vfs_.pAppData = this;
    vfs_.xOpen = open;
    sqlite3_vfs_register(&vfs_, 0);
  }
  ~FailingVfs() { sqlite3_vfs_unregister(&vfs_); }
  FailingVfs(const FailingVfs&) = delete;
  FailingVfs& operator=(const FailingVfs&) = delete;

  const char* name() const { return vfs_.zName; }

  /// What the system says of the last call that failed; 0: what it has said itself.
  int system_error = 0;

 private:
  /// As SQLite holds it; the real VFS's file follows it in memory.
  struct OpenFile {
    sqlite3_file base;
    FailingVfs* owner;
    const char* path;  // lives until the file is closed

    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };

  struct Methods : PassThroughMethods<OpenFile> {
    static int fault(sqlite3_file* file, std::string_view name, sqlite3_int64 offset) {
      const OpenFile& self = of(file);
      return self.owner->fault_(
          {.name = name, .path = self.path == nullptr ? "" : self.path, .offset = offset});
    }
    static int read(sqlite3_file* file, void* out, int count, sqlite3_int64 offset) {
      const int result = fault(file, "read", offset);
      if (result != SQLITE_OK) return result;
      return of(file).real()->pMethods->xRead(of(file).real(), out, count, offset);
    }
    static int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
      const int result = fault(file, "write", offset);
      if (result != SQLITE_OK) return result;
      return of(file).real()->pMethods->xWrite(of(file).real(), bytes, count, offset);
    }
    static int sync(sqlite3_file* file, int flags) {
      const int result = fault(file, "sync", 0);
      if (result != SQLITE_OK) return result;
      return of(file).real()->pMethods->xSync(of(file).real(), flags);
    }
    static int control(sqlite3_file* file, int operation, void* argument) {
      OpenFile& self = of(file);
      if (operation == kRealFileControl) {  // nothing is sealed here: it is its own real file
        *static_cast<sqlite3_file**>(argument) = file;
        return SQLITE_OK;
      }
      if (operation == SQLITE_FCNTL_LAST_ERRNO && self.owner->system_error != 0) {
        *static_cast<int*>(argument) = self.owner->system_error;
        return SQLITE_OK;
      }
      return self.real()->pMethods->xFileControl(self.real(), operation, argument);
    }
    static const sqlite3_io_methods* all() {
      static const sqlite3_io_methods all = [] {
        sqlite3_io_methods m = PassThroughMethods<OpenFile>::methods();
        m.xRead = read;
        m.xWrite = write;
        m.xSync = sync;
        m.xFileControl = control;
        return m;
      }();
      return &all;
    }
  };

  static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
    auto& self = *static_cast<FailingVfs*>(vfs->pAppData);
    auto* opened = new (file) OpenFile{.base = {}, .owner = &self, .path = name};
    const int result = self.real_->xOpen(self.real_, name, opened->real(), flags, out_flags);
    if (opened->real()->pMethods != nullptr) opened->base.pMethods = Methods::all();
    return result;
  }

  Fault fault_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_{};
};

}  // namespace msa::storage
