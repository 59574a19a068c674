#pragma once
// How readers of a state that others replace say that they still need it.

#include <cstdint>
#include <filesystem>
#include <memory>

namespace msa {

/// A state has a number, its generation, which rises. A reader holds a shared lock on the byte of
/// its generation in a file of its own; the system frees it when the reader ends, however it ends.
/// Any number of locks may be held, within one process too.
class GenerationLock {
 public:
  /// Holds all generations: to be taken before the state is read, so that nothing of it goes. Null
  /// where the file may be neither opened nor made, or its file system has no such locks: nothing
  /// keeps the state then. Throws Error(kIo) for any other reason.
  static std::unique_ptr<GenerationLock> hold_all(const std::filesystem::path& path);

  /// Holds this generation alone from now on. Where the system refuses, all stay held.
  void narrow_to(int64_t generation);

  ~GenerationLock();
  GenerationLock(const GenerationLock&) = delete;
  GenerationLock& operator=(const GenerationLock&) = delete;

  /// Whether a reader holds a generation from `first` on, below `end`. Makes the file if it is not
  /// there. Throws Error(kIo) where it cannot tell.
  static bool is_held(const std::filesystem::path& path, int64_t first, int64_t end);

 private:
  explicit GenerationLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace msa
