#include "msa/storage/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <new>
#include <vector>

#include "msa/base/error.h"
#include "msa/storage/page_vfs.h"

namespace msa::storage {
namespace {

constexpr int kBusyTimeoutMs = 10'000;
constexpr int kLogPieceBytes = 1 << 16;  // SQLite writes less than 128 KiB at once
constexpr int kLogTimeoutMs = 1'000;

/// Names a file that nobody changes while it is read.
std::string immutable_uri(const std::filesystem::path& path) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(path).string()) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '/' || c == '.' || c == '-' || c == '_') {
      uri += c;
    } else {
      uri += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return uri + "?immutable=1";
}

/// Whether the last call that failed on the database or its log found no room. SQLite tells a full
/// disk apart by itself, but not a quota or a limit on file sizes.
bool has_no_room(sqlite3* database) {
  for (const int which : {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER}) {
    sqlite3_file* file = nullptr;
    int error = 0;
    if (sqlite3_file_control(database, "main", which, static_cast<void*>(&file)) != SQLITE_OK ||
        file == nullptr || file->pMethods == nullptr ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error) != SQLITE_OK) {
      continue;
    }
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) return true;
  }
  return false;
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Statement::Statement(const Database& database, sqlite3_stmt* statement)
    : database_(&database), statement_(statement) {}

Statement& Statement::bind(int parameter, int64_t value) {
  database_->check(sqlite3_bind_int64(statement_.get(), parameter, value));
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) {
  database_->check(sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int parameter, std::span<const std::byte> blob) {
  database_->check(
      sqlite3_bind_blob64(statement_.get(), parameter, blob.data(), blob.size(), SQLITE_TRANSIENT));
  return *this;
}

bool Statement::next() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  sqlite3_reset(statement_.get());
  if (result != SQLITE_DONE) database_->check(result);
  return false;
}

void Statement::run() {
  while (next()) {
  }
}

void Statement::reset() { sqlite3_reset(statement_.get()); }

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  const int length = sqlite3_column_bytes(statement_.get(), column);
  return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(length));
}

std::span<const std::byte> Statement::bytes(int column) const {
  const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(statement_.get(), column));
  const int length = sqlite3_column_bytes(statement_.get(), column);
  return {bytes, bytes == nullptr ? 0 : static_cast<size_t>(length)};
}

Database::Database(const std::filesystem::path& path, Mode mode, const char* vfs)
    : path_(path), mode_(mode), vfs_(vfs) {
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (mode == Mode::kCreate) flags |= SQLITE_OPEN_CREATE;
  std::error_code error;
  if (mode != Mode::kCreate && !std::filesystem::exists(path, error)) {
    throw Error(ErrorCode::kNotFound, "cannot open ", path.string(), ": no such database");
  }
  open(path.string(), flags);
  if (mode == Mode::kRead && is_on_read_only_media()) {
    flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
    open(immutable_uri(path), flags);
  }
  if (mode == Mode::kRead) {
    execute("PRAGMA query_only = ON");
    return;
  }
  if (mode == Mode::kCreate && vfs_ != nullptr) make_pages_fit();
  execute("PRAGMA journal_mode = WAL");
  execute("PRAGMA synchronous = FULL");
  execute("PRAGMA secure_delete = ON");
  execute("PRAGMA foreign_keys = ON");
  if (mode == Mode::kWrite && log_bytes() > 0) rewrite_log();
  keep_log_on_close(false);
}

// The last connection that closes moves the log into the database, which rewrite_log makes safe for
// writers alone. One that could not be opened leaves it too.
Database::~Database() {
  if (mode_ != Mode::kRead) return;
  bool has_log = true;
  try {
    has_log = log_bytes() > 0;
  } catch (const std::bad_alloc&) {
    // Then the log stays, if there is one.
  }
  if (!has_log) keep_log_on_close(false);
}

void Database::keep_log_on_close(bool keeps) const {
  sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keeps ? 1 : 0, nullptr);
}

void Database::open(const std::string& name, int flags) {
  sqlite3* database = nullptr;
  const int result = sqlite3_open_v2(name.c_str(), &database, flags, vfs_);
  database_.reset(database);
  check(result);
  keep_log_on_close(true);
  check(sqlite3_busy_timeout(database, kBusyTimeoutMs));
  execute("PRAGMA trusted_schema = OFF");
  execute("PRAGMA cell_size_check = ON");
  if (vfs_ != nullptr) execute("PRAGMA temp_store = MEMORY");
}

/// Of a database that is empty; others keep the pages that they have.
void Database::make_pages_fit() const {
  execute("PRAGMA page_size = " + std::to_string(kEncryptedPageBytes));
  int reserved = kReservedPageBytes;
  check(sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved));
}

/// A write-ahead log needs files beside the database, even to be read. What fails for other
/// reasons, such as a lack of descriptors, must not be taken for it: a writer may be at work.
bool Database::is_on_read_only_media() const {
  const auto folder = std::filesystem::absolute(path_).parent_path();
  if (faccessat(AT_FDCWD, folder.c_str(), W_OK, AT_EACCESS) == 0) return false;
  const int result =
      sqlite3_exec(database_.get(), "SELECT 1 FROM sqlite_schema", nullptr, nullptr, nullptr);
  if ((result & 0xff) != SQLITE_CANTOPEN && (result & 0xff) != SQLITE_READONLY) return false;
  if (log_bytes() == 0) return true;
  throw Error(ErrorCode::kIo, path_.string(),
              ": its log holds changes of a writer that died, and cannot be read where nothing can "
              "be written; open it once where the folder can be written to");
}

uint64_t Database::log_bytes() const {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path_.string() + "-wal", error);
  return error ? 0 : bytes;
}

/// What a process left in the log may be in the system's memory only: it died before it had synced
/// it, or its sync failed, after which the system takes the bytes for written and syncs them no
/// more. Nothing may build on them before they have been written again.
void Database::rewrite_log() const {
  const Transaction transaction(*this);  // nobody else writes to the log meanwhile
  sqlite3_file* log = nullptr;
  check(sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER,
                             static_cast<void*>(&log)));
  if (log == nullptr || log->pMethods == nullptr) return;
  const auto expect_done = [&](int result) {
    if (result == SQLITE_OK) return;
    const bool is_full = result == SQLITE_FULL || has_no_room(database_.get());
    throw Error(is_full ? ErrorCode::kNoSpace : ErrorCode::kIo, path_.string(),
                ": cannot make its log durable: ", sqlite3_errstr(result));
  };
  if (vfs_ != nullptr) {
    expect_done(log->pMethods->xFileControl(log, kRealFileControl, static_cast<void*>(&log)));
  }
  sqlite3_int64 size = 0;
  expect_done(log->pMethods->xFileSize(log, &size));
  std::vector<std::byte> bytes(kLogPieceBytes);
  for (sqlite3_int64 offset = 0; offset < size; offset += kLogPieceBytes) {
    const int count = static_cast<int>(std::min<sqlite3_int64>(kLogPieceBytes, size - offset));
    expect_done(log->pMethods->xRead(log, bytes.data(), count, offset));
    expect_done(log->pMethods->xWrite(log, bytes.data(), count, offset));
  }
  expect_done(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL));
}

void Database::checkpoint() const {
  Statement row = prepare("PRAGMA wal_checkpoint(TRUNCATE)");
  check(sqlite3_busy_timeout(database_.get(), kLogTimeoutMs));
  bool is_busy = true;
  try {
    is_busy = row.next() && row.integer(0) != 0;
  } catch (...) {
    sqlite3_busy_timeout(database_.get(), kBusyTimeoutMs);
    throw;
  }
  check(sqlite3_busy_timeout(database_.get(), kBusyTimeoutMs));
  if (is_busy) {
    throw Error(ErrorCode::kLocked, path_.string(), ": its log is in use");
  }
  // SQLite does not sync a log that it has emptied: its old bytes could come back.
  sqlite3_file* log = nullptr;
  check(sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER,
                             static_cast<void*>(&log)));
  if (log != nullptr && log->pMethods != nullptr &&
      log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) != SQLITE_OK) {
    throw Error(ErrorCode::kIo, path_.string(), ": cannot make the end of its log durable");
  }
}

void Database::rebuild(const std::filesystem::path& temporary) const {
  prepare("VACUUM INTO ?").bind(1, temporary.string()).run();
  replace_with(temporary);
}

void Database::replace_with(const std::filesystem::path& other) const {
  const Database source(other, Mode::kRead, vfs_);
  sqlite3_backup* backup =
      sqlite3_backup_init(database_.get(), "main", source.database_.get(), "main");
  if (backup == nullptr) check(sqlite3_extended_errcode(database_.get()));
  const int copied = sqlite3_backup_step(backup, -1);  // all pages
  check(sqlite3_backup_finish(backup));
  if (copied != SQLITE_DONE) check(copied);
}

void Database::copy_to(const std::filesystem::path& path) const {
  // Nothing is written to this database, but SQLite takes the copy for a part of it.
  if (mode_ == Mode::kRead) execute("PRAGMA query_only = OFF");
  try {
    prepare("VACUUM INTO ?").bind(1, path.string()).run();
  } catch (const Error& error) {
    // A copy whose size SQLite cannot ask for is one that "already exists".
    const bool is_copy = (sqlite3_errcode(database_.get()) & 0xff) == SQLITE_ERROR;
    if (mode_ == Mode::kRead) execute("PRAGMA query_only = ON");
    if (!is_copy) throw;
    throw Error(ErrorCode::kIo, path_.string(), ": cannot be copied to ", path.string(), ": ",
                error.what());
  }
  if (mode_ == Mode::kRead) execute("PRAGMA query_only = ON");
  const Database copy(path, Mode::kCreate, vfs_);  // gives it a log
  copy.checkpoint();
}

Statement Database::prepare(std::string_view sql) const {
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement,
                           nullptr));
  return Statement(*this, statement);
}

void Database::execute(const std::string& sql) const {
  check(sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr));
}

void Database::check(int result) const {
  if (result == SQLITE_OK || result == SQLITE_ROW || result == SQLITE_DONE) return;
  ErrorCode code = ErrorCode::kIo;
  switch (result & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
      code = ErrorCode::kCorruption;
      break;
    case SQLITE_IOERR:
      if (result == SQLITE_IOERR_DATA) {
        throw Error(ErrorCode::kCorruption, path_.string(), ": holds what was not encrypted there");
      }
      if (has_no_room(database_.get())) code = ErrorCode::kNoSpace;
      break;
    case SQLITE_TOOBIG:
      code = ErrorCode::kLimit;
      break;
    case SQLITE_FULL:
      code = ErrorCode::kNoSpace;
      break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      code = ErrorCode::kLocked;
      break;
    case SQLITE_CONSTRAINT:
      code = ErrorCode::kInvalidArgument;
      break;
    default:
      break;
  }
  const char* reason =
      database_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(database_.get());
  throw Error(code, path_.string(), ": ", reason);
}

Transaction::Transaction(const Database& database, Kind kind) : database_(database) {
  database_.execute(kind == Kind::kRead ? "BEGIN" : "BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!is_open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (...) {
    // SQLite rolls back by itself when the connection closes.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  is_open_ = false;
}

}  // namespace msa::storage
