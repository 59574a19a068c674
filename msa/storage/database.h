#pragma once
// A SQLite database and its statements as owners: no call leaks, every failure is an Error.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace msa::storage {

class Database;

/// A prepared statement. bind_* number parameters from 1, columns are numbered from 0.
class Statement {
 public:
  Statement& bind(int parameter, int64_t value);
  Statement& bind(int parameter, std::string_view text);            // copied
  Statement& bind(int parameter, std::span<const std::byte> blob);  // copied

  /// Steps to the next row; false at the end, after which it can be bound and run again.
  bool next();

  /// Runs to the end.
  void run();

  /// Leaves the rows that are left, so that it can be bound and run again.
  void reset();

  int64_t integer(int column) const;
  std::string text(int column) const;

  /// A blob; gone with the next call that moves on.
  std::span<const std::byte> bytes(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(const Database& database, sqlite3_stmt* statement);

  const Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// Not for use by several threads at once. Waits up to ten seconds for another process's lock.
/// The file may come from anyone: SQLite runs without trust in its schema or its page layout.
class Database {
 public:
  enum class Mode { kRead, kWrite, kCreate };

  /// Write-ahead log, full synchronisation, deleted rows overwritten. kRead works beside a writer;
  /// where the folder cannot be written to, only if no log is left over, or SQLite's shared memory
  /// beside it; else Error(kIo) says so. Once kWrite has opened a database, all that it shows is
  /// durable, whatever the writer before it died of. `vfs`: the name of the SQLite VFS that reads
  /// and writes; null: SQLite's own; else pages are those of a PageVfs. Throws Error(kNotFound), or
  /// Error(kCorruption) if the file is no database.
  Database(const std::filesystem::path& path, Mode mode, const char* vfs = nullptr);

  /// kRead leaves a log that is not empty to the next writer.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(std::string_view sql) const;
  void execute(const std::string& sql) const;

  /// Moves everything from the log into the database file and empties it. Throws Error(kLocked) if
  /// others read the log for more than a second.
  void checkpoint() const;

  /// Writes the database anew, as small as it can be, without what deleted rows left behind in
  /// pages. `temporary`, empty or not there, holds a copy afterwards; the caller removes it.
  void rebuild(const std::filesystem::path& temporary) const;

  /// Makes it hold what another database of the same page size does, in one transaction: for
  /// kWrite.
  void replace_with(const std::filesystem::path& other) const;

  /// Writes what the database holds now to `path`, an empty file or none: a database of its own
  /// with an empty log, as small as it can be. Others may read and write meanwhile.
  void copy_to(const std::filesystem::path& path) const;

  /// Throws the Error that an SQLite result code stands for unless it is a success.
  void check(int result) const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };

  void open(const std::string& name, int flags);
  bool is_on_read_only_media() const;
  uint64_t log_bytes() const;
  void rewrite_log() const;
  void make_pages_fit() const;
  void keep_log_on_close(bool keeps) const;

  std::filesystem::path path_;
  Mode mode_;
  const char* vfs_;
  std::unique_ptr<sqlite3, Close> database_;
};

/// Rolls back unless committed. Reads within one see one state, whatever others write meanwhile.
class Transaction {
 public:
  enum class Kind { kRead, kWrite };
  explicit Transaction(const Database& database, Kind kind = Kind::kWrite);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  const Database& database_;
  bool is_open_ = true;
};

}  // namespace msa::storage
