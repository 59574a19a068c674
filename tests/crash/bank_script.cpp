#include "tests/crash/bank_script.h"

#include <omp.h>
#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "msa/base/error.h"
#include "tests/crash/batches.h"
#include "tests/crash/recording_file_system.h"
#include "tests/crash/recording_vfs.h"

namespace msa::crash {
namespace {

using memory::Bank;
using memory::BankWriter;
using memory::RandomBatch;

/// How many pages of its log make SQLite move them into the database: few, so that a short script
/// sees it happen. Set by each connection as it opens.
int checkpoint_pages = 1000;

int set_checkpoint_pages(sqlite3* database, const char** /*message*/,
                         const sqlite3_api_routines* /*api*/) {
  return sqlite3_wal_autocheckpoint(database, checkpoint_pages);
}

struct Operation;

class Script {
 public:
  Script(const ScriptOptions& options, const DiskModel& start, BankContents held)
      : folder_(options.folder),
        random_(options.seed),
        recorder_(prepared(options.folder, start), start.files()),
        vfs_(recorder_),
        files_(recorder_),
        contents_(std::move(held)) {
    omp_set_num_threads(1);  // small files: threads would wait for each other
    recording_.start = start;
    recording_.spans.push_back({.first = 0, .acceptable = {contents_}});
    constexpr int kPages[] = {8, 30, 1000};
    checkpoint_pages = kPages[draw(3)];
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(set_checkpoint_pages));
  }
  ~Script() {
    kill();
    sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(set_checkpoint_pages));
    std::filesystem::remove_all(folder_);
  }
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
  void read();

 private:
  static const std::filesystem::path& prepared(const std::filesystem::path& folder,
                                               const DiskModel& start) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    start.write_to(folder);
    return folder;
  }

  uint64_t draw(uint64_t below) { return random_() % below; }
  std::filesystem::path bank() const { return folder_ / kBankName; }
  size_t now() const { return recorder_.events().size(); }
  void new_writer() { writer_ = BankWriter::open(files_, bank(), memory::crash_facts()); }

  const Operation& choose();
  static const Operation& named(const std::string& name);
  void begin(BankContents after);
  void end(bool is_acknowledged, bool may_come_back = false);
  RandomBatch next_batch();
  void commit_batch();
  void reopen_after_kill();
  void fail_from(int64_t good_calls, int error, std::function<bool(const DiskCall&)> counts);
  void kill();

  std::filesystem::path folder_;
  std::mt19937_64 random_;
  DiskRecorder recorder_;
  RecordingVfs vfs_;
  RecordingFileSystem files_;
  std::unique_ptr<BankWriter> writer_;
  std::unique_ptr<Bank> reader_;
  BankContents contents_;  // acknowledged
  BankContents after_;     // if the operation under way succeeds
  bool has_failed_sync_ = false;
  BankRecording recording_;
};

struct Operation {
  const char* name;
  int weight;
  void (Script::*run)();
};

// Further operations on a bank are added here: each calls begin() with what the bank holds if it
// succeeds, and end().
constexpr Operation kOperations[] = {
    {"open", 0, &Script::open_writer},
    {"commit", 12, &Script::commit},
    {"commit killed", 2, &Script::commit_killed},
    {"commit without room", 2, &Script::commit_without_room},
    {"commit with a failing write to the log", 2, &Script::commit_with_failing_log_write},
    {"commit with a failing sync", 2, &Script::commit_with_failing_sync},
    {"reopen", 2, &Script::reopen},
    {"kill and reopen", 2, &Script::kill_and_reopen},
    {"open without room", 1, &Script::open_writer_without_room},
    {"read", 2, &Script::read},
};

void Script::begin(BankContents after) {
  after_ = std::move(after);
  has_failed_sync_ = false;
  auto acceptable = recording_.spans.back().acceptable;
  if (std::find(acceptable.begin(), acceptable.end(), after_) == acceptable.end()) {
    acceptable.push_back(after_);
  }
  recording_.spans.push_back({.first = now() + 1, .acceptable = std::move(acceptable)});
}

/// After a success the bank holds what was acknowledged; after a failure what it held before, and
/// what a failed sync left may come back after a crash, until the next success.
void Script::end(bool is_acknowledged, bool may_come_back) {
  auto acceptable = recording_.spans.back().acceptable;
  if (is_acknowledged) {
    contents_ = after_;
    acceptable = {contents_};
  } else if (!may_come_back && !(after_ == contents_)) {
    std::erase(acceptable, after_);
  }
  while (!recording_.spans.empty() && recording_.spans.back().first > now()) {
    recording_.spans.pop_back();
  }
  recording_.spans.push_back({.first = now(), .acceptable = std::move(acceptable)});
  recording_.operations.back().is_acknowledged = is_acknowledged;
}

const Operation& Script::choose() {
  static constexpr Operation kOpen{"open", 0, &Script::open_writer};
  static constexpr Operation kOpenWithoutRoom{"open without room", 0,
                                              &Script::open_writer_without_room};
  if (writer_ == nullptr) return draw(4) == 0 ? kOpenWithoutRoom : kOpen;
  int sum = 0;
  for (const Operation& operation : kOperations) sum += operation.weight;
  auto place = static_cast<int>(draw(sum));
  const Operation* chosen = std::begin(kOperations);
  while (place >= chosen->weight) place -= chosen++->weight;
  return *chosen;
}

const Operation& Script::named(const std::string& name) {
  for (const Operation& operation : kOperations) {
    if (operation.name == name) return operation;
  }
  throw Error(ErrorCode::kInvalidArgument, "there is no operation ", name);
}

BankRecording Script::run(const ScriptOptions& options) {
  const auto count = options.operations.empty() ? static_cast<size_t>(options.num_operations)
                                                : options.operations.size();
  for (size_t n = 0; n < count; ++n) {
    const Operation& chosen = options.operations.empty() ? choose() : named(options.operations[n]);
    recording_.operations.push_back({.name = chosen.name, .first = now()});
    (this->*chosen.run)();
    recording_.operations.back().end = now();
    recorder_.set_fault({});
  }
  recording_.events = recorder_.take_events();
  return std::move(recording_);
}

void Script::open_writer() {
  BankContents after = contents_;
  after.is_there = true;
  begin(std::move(after));
  new_writer();
  end(true);
}

void Script::open_writer_without_room() {
  BankContents after = contents_;
  after.is_there = true;
  begin(std::move(after));
  writer_.reset();
  fail_from(static_cast<int64_t>(draw(10)), ENOSPC,
            [](const DiskCall& call) { return call.name != "open" && call.name != "read"; });
  try {
    new_writer();
    end(true);
  } catch (const Error&) {
    end(false, true);
  }
}

void Script::reopen() {
  begin(contents_);
  writer_.reset();
  new_writer();
  end(true);
}

/// As a process that is gone: SQLite closes nothing properly.
void Script::kill() {
  recorder_.set_paused(true);
  recorder_.set_fault([](const DiskCall&) { return EIO; });
  reader_.reset();
  writer_.reset();
  recorder_.set_fault({});
  recorder_.set_paused(false);
}

void Script::kill_and_reopen() {
  begin(contents_);
  kill();
  reopen_after_kill();
}

/// What was in flight, or what a failed sync left, is in the bank for good then, or gone for good.
void Script::reopen_after_kill() {
  if (draw(2) == 0) Bank::open(files_, bank());
  new_writer();
  BankContents held = contents_of(*Bank::open(files_, bank()));
  const auto& acceptable = recording_.spans.back().acceptable;
  if (std::find(acceptable.begin(), acceptable.end(), held) == acceptable.end()) {
    throw Error(ErrorCode::kInternal, "the bank holds what was never committed");
  }
  after_ = std::move(held);
  end(true);
}

/// At any call of a commit.
void Script::commit_killed() {
  int64_t good_calls = static_cast<int64_t>(draw(40));
  recorder_.set_fault([this, good_calls](const DiskCall&) mutable {
    if (good_calls-- > 0) return 0;
    recorder_.set_paused(true);
    return EIO;
  });
  RandomBatch batch = next_batch();
  try {
    writer_->commit(std::move(batch.documents), batch.encoded);
  } catch (const Error&) {
    // It is dead.
  }
  kill();
  reopen_after_kill();
}

void Script::fail_from(int64_t good_calls, int error, std::function<bool(const DiskCall&)> counts) {
  recorder_.set_fault(
      [this, good_calls, error, counts = std::move(counts)](const DiskCall& call) mutable {
        if (!counts(call) || good_calls-- > 0) return 0;
        has_failed_sync_ |= call.name == "sync" && call.is_of_sqlite;
        return error;
      });
}

/// Begins the commit of a batch.
RandomBatch Script::next_batch() {
  RandomBatch batch = make_random_batch(memory::crash_facts().shape,
                                        {.first_id = writer_->next_passage_id(),
                                         .num_documents = 1 + static_cast<int64_t>(draw(3)),
                                         .max_passages = 2,
                                         .max_chunks = 3,
                                         .seed = static_cast<uint32_t>(random_())});
  BankContents after = contents_;
  add_batch(after, batch, memory::crash_facts().shape.key_dim());
  begin(std::move(after));
  return batch;
}

void Script::commit_batch() {
  RandomBatch batch = next_batch();
  try {
    writer_->commit(std::move(batch.documents), batch.encoded);
  } catch (const Error& error) {
    const bool is_wanted = error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kIo;
    if (!is_wanted) throw;
    end(false, has_failed_sync_);
    return;
  }
  recording_.operations.back().has_committed = true;
  end(true);
}

void Script::commit() { commit_batch(); }

void Script::commit_without_room() {
  fail_from(static_cast<int64_t>(draw(12)), ENOSPC, [](const DiskCall& call) {
    return !call.is_of_sqlite && call.name != "list" && call.name != "remove";
  });
  commit_batch();
}

void Script::commit_with_failing_log_write() {
  vfs_.writes_half = draw(2) == 0;
  fail_from(static_cast<int64_t>(draw(16)), draw(2) == 0 ? ENOSPC : EIO,
            [](const DiskCall& call) { return call.is_of_sqlite && call.name == "write"; });
  commit_batch();
}

void Script::commit_with_failing_sync() {
  fail_from(static_cast<int64_t>(draw(2)), EIO,
            [](const DiskCall& call) { return call.is_of_sqlite && call.name == "sync"; });
  commit_batch();
}

/// Looks at the bank while the power is on, and keeps it open until the next time.
void Script::read() {
  reader_.reset();
  reader_ = Bank::open(files_, bank());
  if (!(contents_of(*reader_) == contents_)) {
    throw Error(ErrorCode::kInternal, "the bank does not hold what was acknowledged");
  }
  if (draw(2) == 0) reader_.reset();
  recording_.operations.back().is_acknowledged = true;  // of what may come back it says nothing
}

}  // namespace

const std::vector<BankContents>& BankRecording::acceptable_at(size_t position) const {
  const auto after =
      std::upper_bound(spans.begin(), spans.end(), position,
                       [](size_t wanted, const Span& span) { return wanted < span.first; });
  return std::prev(after)->acceptable;
}

BankRecording record_script(const ScriptOptions& options) {
  return Script(options, {}, {}).run(options);
}

BankRecording record_recovery(const ScriptOptions& options, const DiskModel& start,
                              const BankContents& held) {
  return Script(options, start, held).run(options);
}

}  // namespace msa::crash
