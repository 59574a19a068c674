#pragma once
// The operations of a random life of a bank, while every call to the disk is recorded.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"
#include "msa/storage/encrypted_files.h"
#include "tests/crash/bank_script.h"
#include "tests/crash/recording_file_system.h"
#include "tests/crash/recording_vfs.h"

namespace msa::crash {

struct Operation;

class Script {
 public:
  /// Begins on a disk of which all is durable, and that holds `held`.
  Script(const ScriptOptions& options, const DiskModel& start, DiskContents held);
  ~Script();
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;

  BankRecording run(const ScriptOptions& options);

  // The operations. Each draws what it needs.
  void open_writer();
  void open_writer_without_room();
  void reopen();
  void kill_and_reopen();
  void commit();
  void commit_killed();
  void commit_without_room();
  void commit_with_failing_log_write();
  void commit_with_failing_sync();
  void replace();
  void forget();
  void compact();
  void purge();
  void change_killed();
  void change_without_room();
  void change_with_failing_log_write();
  void change_with_failing_sync();
  void read();
  void back_up();
  void restore();
  void copy_killed();
  void copy_with_failing_call();

 private:
  uint64_t draw(uint64_t below) { return random_() % below; }
  std::filesystem::path bank() const { return folder_ / kBankName; }
  size_t now() const { return recorder_.events().size(); }
  FileSystem& files();
  void new_writer();

  const Operation& choose();
  static const Operation& named(const std::string& name);
  void begin(BankContents after);
  void end(bool is_acknowledged, bool may_come_back = false);
  memory::RandomBatch next_batch();
  std::vector<std::string> some_names();
  void change();
  void attempt(const std::function<void()>& change);
  void kill_within(void (Script::*operation)(), uint64_t most_calls = 40);
  void add_span(size_t first, std::vector<BankContents> acceptable);
  void copy();
  void copy_to(const std::string& name, BankContents after, const std::function<void()>& work);
  void leave_no_room();
  void fail_log_writes();
  void fail_syncs();
  void reopen_after_kill();
  void fail_from(int64_t good_calls, int error, std::function<bool(const DiskCall&)> counts);
  void kill();

  std::filesystem::path folder_;
  std::mt19937_64 random_;
  DiskRecorder recorder_;
  RecordingVfs vfs_;
  RecordingFileSystem plain_files_;
  std::unique_ptr<storage::EncryptedFiles> encrypted_files_;
  bool is_encrypted_;
  std::unique_ptr<memory::BankWriter> writer_;
  std::unique_ptr<memory::Bank> reader_;
  BankContents contents_;                                    // acknowledged
  BankContents after_;                                       // if the operation under way succeeds
  std::map<std::string, std::vector<BankContents>> copies_;  // what each may hold
  bool has_failed_sync_ = false;
  bool dies_ = false;  // before the operation under way returns
  BankRecording recording_;
};

}  // namespace msa::crash
