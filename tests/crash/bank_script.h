#pragma once
// A random life of a bank, recorded: what it asked of the disk, and what it must hold at any
// moment.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/crash/bank_contents.h"
#include "tests/crash/disk_model.h"
#include "tests/crash/disk_recorder.h"

namespace msa::crash {

inline constexpr const char* kBankName = "bank";  // in the recorded folder
inline constexpr const char* kBackupName = "backup";

/// Before event `end` of a recording was made, but after event `first` - 1.
struct RecordedOperation {
  std::string name;
  size_t first = 0;
  size_t end = 0;
  bool is_acknowledged = false;
  bool has_committed = false;  // documents
};

struct BankRecording {
  /// What the bank and each of its copies may hold once the events before `first` have happened,
  /// until the next span.
  struct Span {
    size_t first = 0;
    std::vector<BankContents> acceptable;
    std::map<std::string, std::vector<BankContents>> copies;

    bool accepts(const DiskContents& contents) const;
  };

  DiskModel start;
  std::vector<DiskEvent> events;
  std::vector<Span> spans;  // by rising `first`
  std::vector<RecordedOperation> operations;

  /// `position` is a number of events, up to all.
  const Span& span_at(size_t position) const;
};

struct ScriptOptions {
  std::filesystem::path folder;  // made and removed
  uint64_t seed = 0;             // the same seed gives the same recording, byte for byte
  int num_operations = 25;
  std::vector<std::string> operations{};  // by name, in place of random ones
  bool is_encrypted = false;
};

/// Creates a bank and does random operations of the table in bank_script.cpp to it. Throws
/// Error(kInternal) if the bank does not hold what it should while the power is on.
BankRecording record_script(const ScriptOptions& options);

/// The same on a disk that came back after a power loss, of which all is durable, and that was
/// found to hold `held`.
BankRecording record_recovery(const ScriptOptions& options, const DiskModel& start,
                              const DiskContents& held);

}  // namespace msa::crash
