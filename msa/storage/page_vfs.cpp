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
constexpr int kFrameBytes = kFrameHeaderBytes + kEncryptedPageBytes;
constexpr int kSealedBytes = kEncryptedPageBytes - kReservedPageBytes;

using Page = std::array<std::byte, kEncryptedPageBytes>;

/// Whether a page of a write-ahead log begins at `offset`.
bool is_page_of_log(sqlite3_int64 offset) {
  return offset > kLogHeaderBytes && (offset - kLogHeaderBytes) % kFrameBytes == kFrameHeaderBytes;
}

bool is_frame_of_log(sqlite3_int64 offset) {
  return offset >= kLogHeaderBytes && (offset - kLogHeaderBytes) % kFrameBytes == 0;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

/// As SQLite holds it; the real VFS's file follows it in memory.
struct PageVfs::OpenFile {
  enum class Kind { kDatabase, kLog, kOther };

  sqlite3_file base;
  const SealingKey* key;
  Kind kind;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }

  /// What binds a page to its place.
  std::array<std::byte, 9> context(sqlite3_int64 offset) const {
    std::array<std::byte, 9> context{static_cast<std::byte>(kind)};
    std::memcpy(context.data() + 1, &offset, sizeof offset);
    return context;
  }
  /// Bytes of the page at `offset` that stay readable.
  int plain_bytes(sqlite3_int64 offset) const {
    return kind == Kind::kDatabase && offset == 0 ? kDatabaseHeaderBytes : 0;
  }

  /// False if a byte that is the shim's is in use.
  bool seal(std::span<const std::byte> page, sqlite3_int64 offset, Page& sealed) const {
    if (!is_zero(page.subspan(kSealedBytes))) return false;
    const auto first = static_cast<size_t>(plain_bytes(offset));
    std::ranges::copy(page, sealed.begin());
    const auto reserved = std::span(sealed).subspan<kSealedBytes>();
    draw_random(reserved.first<kNonceBytes>());
    const auto secret = std::span(sealed).subspan(first, kSealedBytes - first);
    key->seal(reserved.first<kNonceBytes>(), context(offset), secret, secret,
              reserved.subspan<kNonceBytes, kTagBytes>());
    return true;
  }

  /// False if the page is not what was sealed; it is then as it was. A page of zeros was never
  /// written.
  bool unseal(std::span<std::byte> page, sqlite3_int64 offset) const {
    if (is_zero(page)) return true;
    const auto first = static_cast<size_t>(plain_bytes(offset));
    Page opened;
    std::ranges::copy(page, opened.begin());
    const auto reserved = std::span(opened).subspan<kSealedBytes>();
    const bool is_good = key->open(reserved.first<kNonceBytes>(), context(offset),
                                   page.subspan(first, kSealedBytes - first),
                                   std::span(opened).subspan(first, kSealedBytes - first),
                                   reserved.subspan<kNonceBytes, kTagBytes>());
    if (!is_good) return false;
    std::ranges::fill(reserved, std::byte{0});
    std::ranges::copy(opened, page.begin());
    return true;
  }
};

/// The calls on an open file.
struct PageVfs::Methods {
  using Kind = OpenFile::Kind;

  static OpenFile& of(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }

  static int close(sqlite3_file* file) {
    sqlite3_file* real = of(file).real();
    return real->pMethods == nullptr ? SQLITE_OK : real->pMethods->xClose(real);
  }

  static int read(sqlite3_file* file, void* out, int count, sqlite3_int64 offset) noexcept {
    OpenFile& self = of(file);
    sqlite3_file* real = self.real();
    const bool is_database = self.kind == Kind::kDatabase;
    const bool is_in_header = is_database && offset + count <= kDatabaseHeaderBytes;
    if (is_database && !is_in_header && count < kEncryptedPageBytes) {
      Page page;  // a part of one
      const sqlite3_int64 inside = offset % kEncryptedPageBytes;
      const int result = read(file, page.data(), kEncryptedPageBytes, offset - inside);
      if (result != SQLITE_OK) return result;
      std::memcpy(out, page.data() + inside, static_cast<size_t>(count));
      return SQLITE_OK;
    }
    const int result = real->pMethods->xRead(real, out, count, offset);
    if (result != SQLITE_OK || is_in_header) return result;
    const std::span bytes(static_cast<std::byte*>(out), static_cast<size_t>(count));
    if (self.kind == Kind::kLog && is_frame_of_log(offset) && count == kFrameBytes) {
      self.unseal(bytes.subspan(kFrameHeaderBytes), offset + kFrameHeaderBytes);
      return SQLITE_OK;  // SQLite looks at its check sum
    }
    if (count != kEncryptedPageBytes) return SQLITE_OK;
    if (self.kind == Kind::kLog && !is_page_of_log(offset)) return SQLITE_OK;
    const bool is_good = self.unseal(bytes, offset);
    // A journal's pages have check sums.
    return is_good || self.kind == Kind::kOther ? SQLITE_OK : SQLITE_IOERR_DATA;
  }

  static int write(sqlite3_file* file, const void* bytes, int count,
                   sqlite3_int64 offset) noexcept {
    OpenFile& self = of(file);
    sqlite3_file* real = self.real();
    const bool is_page =
        count == kEncryptedPageBytes && (self.kind != Kind::kLog || is_page_of_log(offset));
    if (!is_page) {
      // Nothing of a database is written but pages.
      if (self.kind == Kind::kDatabase) return SQLITE_IOERR_WRITE;
      return real->pMethods->xWrite(real, bytes, count, offset);
    }
    try {
      Page sealed;
      const std::span page(static_cast<const std::byte*>(bytes), static_cast<size_t>(count));
      if (!self.seal(page, offset, sealed)) return SQLITE_IOERR_WRITE;
      return real->pMethods->xWrite(real, sealed.data(), count, offset);
    } catch (const Error&) {
      return SQLITE_IOERR_WRITE;
    }
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
  sqlite3_vfs_register(&vfs_, 0);
}

PageVfs::~PageVfs() { sqlite3_vfs_unregister(&vfs_); }

int PageVfs::open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
  PageVfs& self = *static_cast<PageVfs*>(vfs->pAppData);
  const auto kind = (flags & SQLITE_OPEN_MAIN_DB) != 0 ? OpenFile::Kind::kDatabase
                    : (flags & SQLITE_OPEN_WAL) != 0   ? OpenFile::Kind::kLog
                                                       : OpenFile::Kind::kOther;
  auto* opened = new (file) OpenFile{.base = {}, .key = &self.key_, .kind = kind};
  const int result = self.real_->xOpen(self.real_, name, opened->real(), flags, out_flags);
  if (opened->real()->pMethods != nullptr) opened->base.pMethods = Methods::all();
  return result;
}

}  // namespace msa::storage
