#pragma once
// SQLite over encrypted files: a shim that seals every page on its way to the disk.

#include <sqlite3.h>

#include <string>

#include "msa/storage/cipher.h"

namespace msa::storage {

/// Of the databases that it is made for. Their last bytes of every page are the shim's.
inline constexpr int kEncryptedPageBytes = 4096;
inline constexpr int kReservedPageBytes = 32;  // nonce, tag, four zeros

/// A VFS over SQLite's default one, registered under a name of its own while it lives. Each page of
/// a database, of its write-ahead log and of its rollback journal is sealed under a fresh random
/// nonce, with its place in the file as context. Not secret: the database's first 100 bytes
/// (SQLite's header: sizes and counters), page numbers and check sums in the log, and sizes. A page
/// that is not what was written is an error (SQLITE_IOERR_DATA) where SQLite has no check of its
/// own, else it fails that check: so a torn end of a log stays what it is to SQLite.
/// Databases must be created with pages and reserved bytes of the sizes above.
class PageVfs {
 public:
  explicit PageVfs(const CipherKey& key);
  ~PageVfs();
  PageVfs(const PageVfs&) = delete;
  PageVfs& operator=(const PageVfs&) = delete;

  const char* name() const { return name_.c_str(); }

 private:
  struct OpenFile;
  struct Methods;

  static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags);

  SealingKey key_;
  std::string name_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;
};

}  // namespace msa::storage
