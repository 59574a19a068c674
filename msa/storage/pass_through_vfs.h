#pragma once
// Calls of SQLite on an open file that a shim over another VFS hands on as they are.

#include <sqlite3.h>

namespace msa::storage {

/// `OpenFile` is the shim's: a sqlite3_file stands first in it, and real() is the other VFS's. A
/// shim replaces the methods in which it does something.
template <typename OpenFile>
struct PassThroughMethods {
  static OpenFile& of(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }

  static sqlite3_io_methods methods() {
    sqlite3_io_methods m{};
    m.iVersion = 2;  // without mapped reads
    m.xClose = close;
    m.xRead = [](sqlite3_file* file, void* out, int count, sqlite3_int64 offset) {
      return calls(file).xRead(real(file), out, count, offset);
    };
    m.xWrite = [](sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
      return calls(file).xWrite(real(file), bytes, count, offset);
    };
    m.xTruncate = [](sqlite3_file* file, sqlite3_int64 size) {
      return calls(file).xTruncate(real(file), size);
    };
    m.xSync = [](sqlite3_file* file, int flags) { return calls(file).xSync(real(file), flags); };
    m.xFileSize = [](sqlite3_file* file, sqlite3_int64* size) {
      return calls(file).xFileSize(real(file), size);
    };
    m.xLock = [](sqlite3_file* file, int level) { return calls(file).xLock(real(file), level); };
    m.xUnlock = [](sqlite3_file* file, int level) {
      return calls(file).xUnlock(real(file), level);
    };
    m.xCheckReservedLock = [](sqlite3_file* file, int* out) {
      return calls(file).xCheckReservedLock(real(file), out);
    };
    m.xFileControl = [](sqlite3_file* file, int operation, void* argument) {
      return calls(file).xFileControl(real(file), operation, argument);
    };
    m.xSectorSize = [](sqlite3_file* file) { return calls(file).xSectorSize(real(file)); };
    m.xDeviceCharacteristics = [](sqlite3_file* file) {
      return calls(file).xDeviceCharacteristics(real(file));
    };
    m.xShmMap = [](sqlite3_file* file, int page, int size, int extend, void volatile** out) {
      return calls(file).xShmMap(real(file), page, size, extend, out);
    };
    m.xShmLock = [](sqlite3_file* file, int offset, int count, int flags) {
      return calls(file).xShmLock(real(file), offset, count, flags);
    };
    m.xShmBarrier = [](sqlite3_file* file) { calls(file).xShmBarrier(real(file)); };
    m.xShmUnmap = [](sqlite3_file* file, int remove) {
      return calls(file).xShmUnmap(real(file), remove);
    };
    return m;
  }

 private:
  static sqlite3_file* real(sqlite3_file* file) { return of(file).real(); }
  static const sqlite3_io_methods& calls(sqlite3_file* file) { return *real(file)->pMethods; }

  /// Also of a file that the other VFS could not open.
  static int close(sqlite3_file* file) {
    return real(file)->pMethods == nullptr ? SQLITE_OK : calls(file).xClose(real(file));
  }
};

}  // namespace msa::storage
