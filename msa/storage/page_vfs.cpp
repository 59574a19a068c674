#include "msa/storage/page_vfs.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <span>

#include "msa/base/error.h"

namespace msa::storage {
namespace {

constexpr int kDatabaseHeaderBytes = 100;  // "Database File Format", section 1.3
constexpr int kLogHeaderBytes = 32;        // section 4.1
constexpr int kFrameHeaderBytes = 24;
constexpr int kFrameSumsOffset = 16;  // of a frame's header: the check sums
constexpr int kSumsBytes = 8;
constexpr int kFrameBytes = kFrameHeaderBytes + kEncryptedPageBytes;
constexpr int kSealedBytes = kEncryptedPageBytes - kReservedPageBytes;
constexpr int kJournals = SQLITE_OPEN_MAIN_JOURNAL;
constexpr int kTaken = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | kJournals;

using Page = std::array<std::byte, kEncryptedPageBytes>;

/// Where a read or write of a write-ahead log begins, within its frame.
sqlite3_int64 place_in_frame(sqlite3_int64 offset) {
  return offset < kLogHeaderBytes ? -1 : (offset - kLogHeaderBytes) % kFrameBytes;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

uint32_t big_endian(std::span<const std::byte> bytes) {
  uint32_t value = 0;
  for (const std::byte b : bytes) value = value << 8 | std::to_integer<uint32_t>(b);
  return value;
}

}  // namespace

/// As SQLite holds it; the real VFS's file follows it in memory.
struct PageVfs::OpenFile {
  enum class Kind { kDatabase, kLog, kJournal };

  sqlite3_file base;
  const SealingKey* key;
  Kind kind;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }

  int read_real(std::span<std::byte> out, sqlite3_int64 offset) {
    return real()->pMethods->xRead(real(), out.data(), static_cast<int>(out.size()), offset);
  }

  /// What binds a page to its place: kind and offset, then of a database's first page its plain
  /// header, of a log's page the header of its frame but for the check sums.
  struct Context {
    std::array<std::byte, 9 + kDatabaseHeaderBytes> bytes{};
    size_t size = 9;
    std::span<const std::byte> all() const { return std::span(bytes).first(size); }
  };
  Context context(sqlite3_int64 offset, std::span<const std::byte> plain) const {
    Context context;
    context.bytes[0] = static_cast<std::byte>(kind);
    std::memcpy(context.bytes.data() + 1, &offset, sizeof offset);
    std::ranges::copy(plain, context.bytes.begin() + 9);
    context.size += plain.size();
    return context;
  }
  /// Bytes at the beginning of the page at `offset` that stay readable.
  size_t plain_bytes(sqlite3_int64 offset) const {
    return kind == Kind::kDatabase && offset == 0 ? kDatabaseHeaderBytes : 0;
  }

  /// `frame` is the header before a page of the log, else empty. False if a byte that is the shim's
  /// is in use.
  bool seal(std::span<const std::byte> page, sqlite3_int64 offset, std::span<const std::byte> frame,
            Page& sealed) const {
    if (!is_zero(page.subspan(kSealedBytes))) return false;
    const size_t first = plain_bytes(offset);
    std::ranges::copy(page, sealed.begin());
    const auto reserved = std::span(sealed).subspan<kSealedBytes>();
    draw_random(reserved.first<kNonceBytes>());
    const auto secret = std::span(sealed).subspan(first, kSealedBytes - first);
    const Context bound = context(offset, first > 0 ? page.first(first) : frame);
    key->seal(reserved.first<kNonceBytes>(), bound.all(), secret, secret,
              reserved.subspan<kNonceBytes, kTagBytes>());
    return true;
  }

  /// False if the page is not what was sealed; it is then as it was.
  bool unseal(std::span<std::byte> page, sqlite3_int64 offset,
              std::span<const std::byte> frame) const {
    const size_t first = plain_bytes(offset);
    Page opened;
    std::ranges::copy(page, opened.begin());
    const auto reserved = std::span(opened).subspan<kSealedBytes>();
    const Context bound = context(offset, first > 0 ? page.first(first) : frame);
    const bool is_good = is_zero(reserved.subspan<kNonceBytes + kTagBytes>()) &&
                         key->open(reserved.first<kNonceBytes>(), bound.all(),
                                   page.subspan(first, kSealedBytes - first),
                                   std::span(opened).subspan(first, kSealedBytes - first),
                                   reserved.subspan<kNonceBytes, kTagBytes>());
    if (!is_good) return false;
    std::ranges::fill(reserved, std::byte{0});
    std::ranges::copy(opened, page.begin());
    return true;
  }

  /// Of a database. A page that was never written, amid others, is zeros.
  int read_page(std::span<std::byte> page, sqlite3_int64 offset) {
    const int result = read_real(page, offset);
    if (result == SQLITE_IOERR_SHORT_READ) {
      sqlite3_int64 size = 0;
      const int sized = real()->pMethods->xFileSize(real(), &size);
      if (sized != SQLITE_OK) return sized;
      return size > offset ? SQLITE_IOERR_DATA : SQLITE_IOERR_SHORT_READ;
    }
    if (result != SQLITE_OK) return result;
    if (offset > 0 && is_zero(page)) return SQLITE_OK;
    return unseal(page, offset, {}) ? SQLITE_OK : SQLITE_IOERR_DATA;
  }

  int read_database(std::span<std::byte> out, sqlite3_int64 offset) {
    const auto count = static_cast<sqlite3_int64>(out.size());
    if (offset + count <= kDatabaseHeaderBytes) {
      const int result = read_real(out, offset);
      const bool has_sizes = result == SQLITE_OK && offset == 0 && count >= 21;
      const bool is_ours = !has_sizes || (big_endian(out.subspan(16, 2)) == kEncryptedPageBytes &&
                                          big_endian(out.subspan(20, 1)) == kReservedPageBytes);
      return is_ours ? result : SQLITE_IOERR_DATA;
    }
    const sqlite3_int64 inside = offset % kEncryptedPageBytes;
    if (inside + count > kEncryptedPageBytes) return SQLITE_IOERR_DATA;
    Page page{};
    const int result = read_page(page, offset - inside);
    std::ranges::copy(std::span(page).subspan(static_cast<size_t>(inside), out.size()),
                      out.begin());
    return result;
  }

  /// The header that precedes a page of the log, but for its check sums.
  int read_frame_header(sqlite3_int64 page_offset, std::span<std::byte> out) {
    return read_real(out, page_offset - kFrameHeaderBytes);
  }

  /// SQLite looks at check sums of headers and whole frames by itself: what is not ours becomes
  /// zeros, at which its log ends. So a torn end stays one.
  int read_log(std::span<std::byte> out, sqlite3_int64 offset) {
    const auto count = static_cast<int>(out.size());
    const sqlite3_int64 place = place_in_frame(offset);
    const bool is_header = offset == 0 && count == kLogHeaderBytes;
    const bool is_first_sums = offset == kLogHeaderBytes - kSumsBytes && count == kSumsBytes;
    const bool is_frame = place == 0 && count == kFrameBytes;
    const bool is_frame_header = place == 0 && count == kFrameHeaderBytes;
    const bool is_sums = place == kFrameSumsOffset && count == kSumsBytes;
    const bool is_page = place == kFrameHeaderBytes && count == kEncryptedPageBytes;
    if (!is_header && !is_first_sums && !is_frame && !is_frame_header && !is_sums && !is_page) {
      return SQLITE_IOERR_DATA;
    }
    const int result = read_real(out, offset);
    if (result != SQLITE_OK) return result;
    if (is_header && big_endian(out.subspan(8, 4)) != kEncryptedPageBytes) {
      std::ranges::fill(out, std::byte{0});
    }
    if (is_frame && !unseal(out.subspan(kFrameHeaderBytes), offset + kFrameHeaderBytes,
                            out.first(kFrameSumsOffset))) {
      std::ranges::fill(out, std::byte{0});
    }
    if (!is_page) return SQLITE_OK;
    std::array<std::byte, kFrameSumsOffset> frame{};
    const int headed = read_frame_header(offset, frame);
    if (headed != SQLITE_OK) return headed;
    return unseal(out, offset, frame) ? SQLITE_OK : SQLITE_IOERR_DATA;
  }

  /// Of a transaction of this process's own.
  int read_journal(std::span<std::byte> out, sqlite3_int64 offset) {
    const int result = read_real(out, offset);
    if (result != SQLITE_OK || out.size() != kEncryptedPageBytes) return result;
    return unseal(out, offset, {}) ? SQLITE_OK : SQLITE_IOERR_DATA;
  }

  int write(std::span<const std::byte> bytes, sqlite3_int64 offset) {
    const auto count = static_cast<int>(bytes.size());
    const sqlite3_int64 place = place_in_frame(offset);
    const bool is_log = kind == Kind::kLog;
    const bool is_page =
        count == kEncryptedPageBytes &&
        (is_log ? place == kFrameHeaderBytes : kind == Kind::kJournal || offset % count == 0);
    const bool is_header = is_log && ((offset == 0 && count == kLogHeaderBytes) ||
                                      (place == 0 && count == kFrameHeaderBytes));
    if (is_page) {
      std::array<std::byte, kFrameSumsOffset> frame{};
      if (is_log && read_frame_header(offset, frame) != SQLITE_OK) return SQLITE_IOERR_WRITE;
      Page sealed;
      const std::span<const std::byte> bound(frame.data(), is_log ? frame.size() : 0);
      if (!seal(bytes, offset, bound, sealed)) return SQLITE_IOERR_WRITE;
      return real()->pMethods->xWrite(real(), sealed.data(), count, offset);
    }
    if (!is_header && (kind != Kind::kJournal || count > kEncryptedPageBytes)) {
      return SQLITE_IOERR_WRITE;
    }
    return real()->pMethods->xWrite(real(), bytes.data(), count, offset);
  }
};

/// The calls on an open file.
struct PageVfs::Methods {
  using Kind = OpenFile::Kind;

  static OpenFile& of(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }

  /// No exception may pass through SQLite.
  template <typename Call>
  static int guarded(const Call& call) noexcept {
    try {
      return call();
    } catch (const std::bad_alloc&) {
      return SQLITE_IOERR_NOMEM;
    } catch (...) {
      return SQLITE_IOERR;
    }
  }

  static int close(sqlite3_file* file) {
    sqlite3_file* real = of(file).real();
    return real->pMethods->xClose(real);
  }

  static int read(sqlite3_file* file, void* out, int count, sqlite3_int64 offset) {
    OpenFile& self = of(file);
    const std::span bytes(static_cast<std::byte*>(out), static_cast<size_t>(count));
    return guarded([&] {
      return self.kind == Kind::kDatabase ? self.read_database(bytes, offset)
             : self.kind == Kind::kLog    ? self.read_log(bytes, offset)
                                          : self.read_journal(bytes, offset);
    });
  }

  static int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
    const std::span all(static_cast<const std::byte*>(bytes), static_cast<size_t>(count));
    return guarded([&] { return of(file).write(all, offset); });
  }

  static int truncate(sqlite3_file* file, sqlite3_int64 size) {
    return of(file).real()->pMethods->xTruncate(of(file).real(), size);
  }
  static int sync(sqlite3_file* file, int flags) {
    return of(file).real()->pMethods->xSync(of(file).real(), flags);
  }
  static int file_size(sqlite3_file* file, sqlite3_int64* size) {
    return of(file).real()->pMethods->xFileSize(of(file).real(), size);
  }
  static int lock(sqlite3_file* file, int level) {
    return of(file).real()->pMethods->xLock(of(file).real(), level);
  }
  static int unlock(sqlite3_file* file, int level) {
    return of(file).real()->pMethods->xUnlock(of(file).real(), level);
  }
  static int check_reserved_lock(sqlite3_file* file, int* out) {
    return of(file).real()->pMethods->xCheckReservedLock(of(file).real(), out);
  }
  static int control(sqlite3_file* file, int operation, void* argument) {
    if (operation == kRealFileControl) {
      *static_cast<sqlite3_file**>(argument) = of(file).real();
      return SQLITE_OK;
    }
    return of(file).real()->pMethods->xFileControl(of(file).real(), operation, argument);
  }
  static int sector_size(sqlite3_file* file) {
    return of(file).real()->pMethods->xSectorSize(of(file).real());
  }
  static int device_characteristics(sqlite3_file* file) {
    const int all = of(file).real()->pMethods->xDeviceCharacteristics(of(file).real());
    return all & ~SQLITE_IOCAP_BATCH_ATOMIC;
  }
  static int map_shared(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
    return of(file).real()->pMethods->xShmMap(of(file).real(), page, size, extend, out);
  }
  static int lock_shared(sqlite3_file* file, int offset, int count, int flags) {
    return of(file).real()->pMethods->xShmLock(of(file).real(), offset, count, flags);
  }
  static void shared_barrier(sqlite3_file* file) {
    of(file).real()->pMethods->xShmBarrier(of(file).real());
  }
  static int unmap_shared(sqlite3_file* file, int remove) {
    return of(file).real()->pMethods->xShmUnmap(of(file).real(), remove);
  }

  static const sqlite3_io_methods* all() {
    static const sqlite3_io_methods methods = [] {
      sqlite3_io_methods m{};
      m.iVersion = 2;  // without mapped reads
      m.xClose = close;
      m.xRead = read;
      m.xWrite = write;
      m.xTruncate = truncate;
      m.xSync = sync;
      m.xFileSize = file_size;
      m.xLock = lock;
      m.xUnlock = unlock;
      m.xCheckReservedLock = check_reserved_lock;
      m.xFileControl = control;
      m.xSectorSize = sector_size;
      m.xDeviceCharacteristics = device_characteristics;
      m.xShmMap = map_shared;
      m.xShmLock = lock_shared;
      m.xShmBarrier = shared_barrier;
      m.xShmUnmap = unmap_shared;
      return m;
    }();
    return &methods;
  }
};

PageVfs::PageVfs(const CipherKey& key) : key_(key), real_(sqlite3_vfs_find(nullptr)) {
  static std::atomic<int> number{0};
  if (real_ == nullptr) throw Error(ErrorCode::kInternal, "SQLite has no VFS");
  name_ = "msa-pages-" + std::to_string(++number);
  vfs_ = *real_;
  vfs_.pNext = nullptr;
  vfs_.zName = name_.c_str();
  vfs_.szOsFile = static_cast<int>(sizeof(OpenFile)) + real_->szOsFile;
  vfs_.pAppData = this;
  vfs_.xOpen = open;
  // The others are given the real VFS's own data.
  vfs_.xDelete = [](sqlite3_vfs* vfs, const char* path, int sync_folder) {
    sqlite3_vfs* real = static_cast<PageVfs*>(vfs->pAppData)->real_;
    return real->xDelete(real, path, sync_folder);
  };
  vfs_.xAccess = [](sqlite3_vfs* vfs, const char* path, int flags, int* out) {
    sqlite3_vfs* real = static_cast<PageVfs*>(vfs->pAppData)->real_;
    return real->xAccess(real, path, flags, out);
  };
  vfs_.xFullPathname = [](sqlite3_vfs* vfs, const char* path, int count, char* out) {
    sqlite3_vfs* real = static_cast<PageVfs*>(vfs->pAppData)->real_;
    return real->xFullPathname(real, path, count, out);
  };
  vfs_.xRandomness = [](sqlite3_vfs* vfs, int count, char* out) {
    sqlite3_vfs* real = static_cast<PageVfs*>(vfs->pAppData)->real_;
    return real->xRandomness(real, count, out);
  };
  if (sqlite3_vfs_register(&vfs_, 0) != SQLITE_OK) {
    throw Error(ErrorCode::kInternal, "SQLite takes no VFS");
  }
}

PageVfs::~PageVfs() { sqlite3_vfs_unregister(&vfs_); }

int PageVfs::open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
  PageVfs& self = *static_cast<PageVfs*>(vfs->pAppData);
  const auto kind = (flags & SQLITE_OPEN_MAIN_DB) != 0 ? OpenFile::Kind::kDatabase
                    : (flags & SQLITE_OPEN_WAL) != 0   ? OpenFile::Kind::kLog
                                                       : OpenFile::Kind::kJournal;
  auto* opened = new (file) OpenFile{.base = {}, .key = &self.key_, .kind = kind};
  if ((flags & kTaken) == 0) return SQLITE_CANTOPEN;  // temporary files: they are kept in memory
  // A journal that is there before its transaction is not ours: whoever made it could have a
  // database rolled back to what it holds.
  if ((flags & kJournals) != 0 && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_IOERR_DATA;
  const int result = self.real_->xOpen(self.real_, name, opened->real(), flags, out_flags);
  if (opened->real()->pMethods != nullptr) opened->base.pMethods = Methods::all();
  return result;
}

}  // namespace msa::storage
