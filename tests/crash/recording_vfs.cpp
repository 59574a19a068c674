#include "tests/crash/recording_vfs.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>

#include "msa/storage/pass_through_vfs.h"

namespace msa::crash {
namespace {

RecordingVfs* recording =
    nullptr;  // the one that lives: what SQLite opens folders with has no user data

constexpr int kRecorded =
    SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;

}  // namespace

/// As SQLite holds it; the real VFS's file follows it in memory.
struct RecordingVfs::OpenFile {
  sqlite3_file base;
  RecordingVfs* owner;
  const char* path;  // lives until the file is closed
  int number;        // -1: not recorded

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

/// The calls on an open file.
struct RecordingVfs::Methods : storage::PassThroughMethods<OpenFile> {
  static int fault(const OpenFile& file, std::string_view call) {
    if (file.number < 0) return 0;
    return file.owner->recorder_.fault({.name = call, .path = file.path, .is_of_sqlite = true});
  }

  static int read(sqlite3_file* file, void* out, int count, sqlite3_int64 offset) {
    if (fault(of(file), "read") != 0) return SQLITE_IOERR_READ;
    return of(file).real()->pMethods->xRead(of(file).real(), out, count, offset);
  }
  static int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
    OpenFile& self = of(file);
    const int error = fault(self, "write");
    if (error != 0) {
      if (self.owner->writes_half) write_now(self, bytes, count / 2, offset);
      return error == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return write_now(self, bytes, count, offset);
  }
  static int write_now(OpenFile& self, const void* bytes, int count, sqlite3_int64 offset) {
    const int result = self.real()->pMethods->xWrite(self.real(), bytes, count, offset);
    if (result == SQLITE_OK && self.number >= 0) {
      const auto* first = static_cast<const std::byte*>(bytes);
      self.owner->recorder_.wrote(self.number, self.path, static_cast<uint64_t>(offset),
                                  std::span(first, static_cast<size_t>(count)));
    }
    return result;
  }
  static int truncate(sqlite3_file* file, sqlite3_int64 size) {
    OpenFile& self = of(file);
    if (fault(self, "truncate") != 0) return SQLITE_IOERR_TRUNCATE;
    const int result = self.real()->pMethods->xTruncate(self.real(), size);
    if (result == SQLITE_OK && self.number >= 0) {
      self.owner->recorder_.truncated(self.number, self.path, static_cast<uint64_t>(size));
    }
    return result;
  }
  static int sync(sqlite3_file* file, int flags) {
    OpenFile& self = of(file);
    if (fault(self, "sync") != 0) {
      self.owner->recorder_.synced(self.number, self.path, false);
      return SQLITE_IOERR_FSYNC;
    }
    self.owner->synced_folders_.clear();
    const int result = self.real()->pMethods->xSync(self.real(), flags);
    if (self.number >= 0) {
      self.owner->recorder_.synced(self.number, self.path, result == SQLITE_OK);
      self.owner->record_synced_folders();
    }
    return result;
  }
  static int file_size(sqlite3_file* file, sqlite3_int64* size) {
    if (fault(of(file), "size") != 0) return SQLITE_IOERR_FSTAT;
    return of(file).real()->pMethods->xFileSize(of(file).real(), size);
  }
  static int lock(sqlite3_file* file, int level) {
    if (fault(of(file), "lock") != 0) return SQLITE_IOERR_LOCK;
    return of(file).real()->pMethods->xLock(of(file).real(), level);
  }
  static int map_shared(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
    if (fault(of(file), "map") != 0) return SQLITE_IOERR_SHMMAP;
    return of(file).real()->pMethods->xShmMap(of(file).real(), page, size, extend, out);
  }

  static const sqlite3_io_methods* all() {
    static const sqlite3_io_methods all = [] {
      sqlite3_io_methods m = methods();
      m.xRead = read;
      m.xWrite = write;
      m.xTruncate = truncate;
      m.xSync = sync;
      m.xFileSize = file_size;
      m.xLock = lock;
      m.xShmMap = map_shared;
      return m;
    }();
    return &all;
  }
};

RecordingVfs::RecordingVfs(DiskRecorder& recorder)
    : recorder_(recorder), real_(sqlite3_vfs_find("unix")) {
  if (recording != nullptr || real_ == nullptr) std::abort();
  recording = this;
  vfs_ = *real_;
  vfs_.pNext = nullptr;
  vfs_.zName = "recording";
  vfs_.szOsFile = static_cast<int>(sizeof(OpenFile)) + real_->szOsFile;
  vfs_.pAppData = this;
  vfs_.xOpen = open;
  vfs_.xDelete = remove;
  vfs_.xAccess = access;
  vfs_.xRandomness = randomness;
  real_open_folder_ = real_->xGetSystemCall(real_, "openDirectory");
  real_->xSetSystemCall(real_, "openDirectory", reinterpret_cast<sqlite3_syscall_ptr>(open_folder));
  sqlite3_vfs_register(&vfs_, 1);
  sqlite3_randomness(0, nullptr);  // SQLite draws anew, from the VFS: the same run, the same bytes
}

RecordingVfs::~RecordingVfs() {
  sqlite3_vfs_unregister(&vfs_);
  sqlite3_vfs_register(real_, 1);
  real_->xSetSystemCall(real_, "openDirectory", real_open_folder_);
  recording = nullptr;
}

int RecordingVfs::open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                       int* out_flags) {
  RecordingVfs& self = of(vfs);
  auto* opened = new (file) OpenFile{.base = {}, .owner = &self, .path = name, .number = -1};
  const bool is_recorded =
      name != nullptr && (flags & kRecorded) != 0 && (flags & SQLITE_OPEN_DELETEONCLOSE) == 0;
  if (is_recorded &&
      self.recorder_.fault({.name = "open", .path = name, .is_of_sqlite = true}) != 0) {
    return SQLITE_CANTOPEN;
  }
  const int result = self.real_->xOpen(self.real_, name, opened->real(), flags, out_flags);
  if (opened->real()->pMethods != nullptr) opened->base.pMethods = Methods::all();
  if (result != SQLITE_OK || !is_recorded) return result;
  const auto known = self.recorder_.find(name);
  opened->number = known ? *known : self.recorder_.created(name);
  return SQLITE_OK;
}

int RecordingVfs::remove(sqlite3_vfs* vfs, const char* name, int sync_folder) {
  RecordingVfs& self = of(vfs);
  if (self.recorder_.fault({.name = "remove", .path = name, .is_of_sqlite = true}) != 0) {
    return SQLITE_IOERR_DELETE;
  }
  self.synced_folders_.clear();
  const int result = self.real_->xDelete(self.real_, name, sync_folder);
  if (self.recorder_.find(name) && (result == SQLITE_OK || result == SQLITE_IOERR_DIR_FSYNC)) {
    self.recorder_.removed(name);
  }
  self.record_synced_folders();
  return result;
}

int RecordingVfs::access(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
  RecordingVfs& self = of(vfs);
  return self.real_->xAccess(self.real_, name, flags, out);
}

int RecordingVfs::randomness(sqlite3_vfs* /*vfs*/, int count, char* out) {
  std::memset(out, 0x5a, static_cast<size_t>(count));
  return count;
}

int RecordingVfs::open_folder(const char* path, int* descriptor) {
  const std::string name(path);
  const size_t slash = name.rfind('/');
  recording->synced_folders_.push_back(slash == std::string::npos ? "." : name.substr(0, slash));
  using Open = int (*)(const char*, int*);
  return reinterpret_cast<Open>(recording->real_open_folder_)(path, descriptor);
}

void RecordingVfs::record_synced_folders() {
  for (const std::string& folder : synced_folders_) {
    recorder_.changed_folder(DiskEvent::Kind::kSyncFolder, folder);
  }
  synced_folders_.clear();
}

}  // namespace msa::crash
