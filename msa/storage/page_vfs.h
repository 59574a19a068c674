#pragma once
// SQLite over encrypted files: a shim that seals every page on its way to the disk.

#include <sqlite3.h>

#include <string>

#include "msa/storage/cipher.h"

namespace msa::storage {

/// Of the databases that it is made for. Their last bytes of every page are the shim's.
inline constexpr int kEncryptedPageBytes = 4096;
inline constexpr int kReservedPageBytes = 32;  // nonce, tag, four zeros

/// What SQLite says of a page that is not as it was written.
inline constexpr int kNotWhatWasSealed = SQLITE_IOERR_DATA;

/// A file control (sqlite3_file_control) of its files that gives the sqlite3_file* below: what is
/// read and written there stays as it is.
inline constexpr int kRealFileControl = 0x6d736101;

/// A VFS over SQLite's default one, registered under a name of its own while it lives. Each page of
/// a database, of its write-ahead log and of its rollback journal is sealed under a fresh random
/// nonce. Its context is its place in its file; of a database's first page also SQLite's header,
/// which stays readable, and of a log's page the page number, size and salts of its frame. Readable
/// are these, the log's check sums, and sizes. What is not as it was written is an error
/// (SQLITE_IOERR_DATA), or in a log its end, as a torn write is. Nothing else is read or written:
/// other page sizes, temporary files and journals that another process left are refused.
/// Databases must be created with pages and reserved bytes of the sizes above. A key must seal
/// fewer than 2^32 pages, copies of its databases included.
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
