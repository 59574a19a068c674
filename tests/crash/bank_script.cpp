#include "tests/crash/bank_script.h"

#include <omp.h>
#include <openssl/rand.h>
#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "msa/base/error.h"
#include "tests/crash/changes.h"
#include "tests/crash/script_run.h"

namespace msa::crash {
namespace {

using memory::Bank;
using memory::BankWriter;

/// How many pages of its log make SQLite move them into the database: few, so that a short script
/// sees it happen. Set by each connection as it opens.
int checkpoint_pages = 1000;

int set_checkpoint_pages(sqlite3* database, const char** /*message*/,
                         const sqlite3_api_routines* /*api*/) {
  return sqlite3_wal_autocheckpoint(database, checkpoint_pages);
}

uint64_t nonces = 0;  // the state of a generator

int draw_bytes(unsigned char* out, int count) {
  for (int n = 0; n < count; ++n) {  // splitmix64
    uint64_t z = nonces += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    out[n] = static_cast<unsigned char>(z ^ (z >> 31));
  }
  return 1;
}

/// So that the same seed gives the same recording, byte for byte.
void draw_nonces_from(uint64_t seed) {
  nonces = seed;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  static const RAND_METHOD method{.seed = nullptr,
                                  .bytes = draw_bytes,
                                  .cleanup = nullptr,
                                  .add = nullptr,
                                  .pseudorand = draw_bytes,
                                  .status = [] { return 1; }};
  RAND_set_rand_method(&method);
#pragma GCC diagnostic pop
}

std::filesystem::path prepared(const std::filesystem::path& folder, const DiskModel& start) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  start.write_to(folder);
  return folder;
}

}  // namespace

Script::Script(const ScriptOptions& options, const DiskModel& start, DiskContents held)
    : folder_(options.folder),
      random_(options.seed),
      recorder_(prepared(options.folder, start), start.files()),
      vfs_(recorder_),
      plain_files_(recorder_),
      is_encrypted_(options.is_encrypted),
      contents_(std::move(held.bank)) {
  for (auto& [name, contents] : held.copies) copies_[name] = {std::move(contents)};
  if (is_encrypted_) draw_nonces_from(options.seed);
  omp_set_num_threads(1);  // small files: threads would wait for each other
  recording_.start = start;
  recording_.spans.push_back({.first = 0, .acceptable = {contents_}, .copies = copies_});
  constexpr int kPages[] = {8, 30, 1000};
  checkpoint_pages = kPages[draw(3)];
  sqlite3_auto_extension(reinterpret_cast<void (*)()>(set_checkpoint_pages));
}

Script::~Script() {
  kill();
  sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(set_checkpoint_pages));
  std::filesystem::remove_all(folder_);
}

/// Of an encrypted bank made anew as long as it has no key.
FileSystem& Script::files() {
  if (!is_encrypted_) return plain_files_;
  if (!encrypted_files_) {
    encrypted_files_ =
        storage::EncryptedFiles::create(plain_files_, bank(), memory::crash_secret());
  }
  return *encrypted_files_;
}

void Script::new_writer() {
  writer_ = BankWriter::open(files(), bank(), memory::crash_facts(),
                             {.max_segment_bytes = int64_t{64} << 10});
}

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
    {"replace", 6, &Script::replace},
    {"forget", 4, &Script::forget},
    {"compact", 2, &Script::compact},
    {"purge", 1, &Script::purge},
    {"change killed", 3, &Script::change_killed},
    {"change without room", 2, &Script::change_without_room},
    {"change with a failing write to the log", 2, &Script::change_with_failing_log_write},
    {"change with a failing sync", 2, &Script::change_with_failing_sync},
    {"reopen", 2, &Script::reopen},
    {"kill and reopen", 2, &Script::kill_and_reopen},
    {"open without room", 1, &Script::open_writer_without_room},
    {"read", 2, &Script::read},
    {"back up", 4, &Script::back_up},
    {"restore", 2, &Script::restore},
    {"copy killed", 3, &Script::copy_killed},
    {"copy with a failing call", 3, &Script::copy_with_failing_call},
};

void Script::begin(BankContents after) {
  after_ = std::move(after);
  has_failed_sync_ = false;
  auto acceptable = recording_.spans.back().acceptable;
  if (std::find(acceptable.begin(), acceptable.end(), after_) == acceptable.end()) {
    acceptable.push_back(after_);
  }
  add_span(now() + 1, std::move(acceptable));
}

void Script::add_span(size_t first, std::vector<BankContents> acceptable) {
  while (!recording_.spans.empty() && recording_.spans.back().first > first) {
    recording_.spans.pop_back();
  }
  recording_.spans.push_back(
      {.first = first, .acceptable = std::move(acceptable), .copies = copies_});
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
  add_span(now(), std::move(acceptable));
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
  if (draw(2) == 0) Bank::open(files(), bank());
  new_writer();
  BankContents held = contents_of(*Bank::open(files(), bank()));
  const auto& acceptable = recording_.spans.back().acceptable;
  if (std::find(acceptable.begin(), acceptable.end(), held) == acceptable.end()) {
    throw Error(ErrorCode::kInternal, "the bank holds what was never committed");
  }
  after_ = std::move(held);
  end(true);
}

/// Looks at the bank while the power is on, and keeps it open until the next time.
void Script::read() {
  reader_.reset();
  reader_ = Bank::open(files(), bank());
  if (!(contents_of(*reader_) == contents_)) {
    throw Error(ErrorCode::kInternal, "the bank does not hold what was acknowledged");
  }
  if (draw(2) == 0) reader_.reset();
  recording_.operations.back().is_acknowledged = true;  // of what may come back it says nothing
}

bool BankRecording::Span::accepts(const DiskContents& contents) const {
  const auto has = [](const auto& all, const BankContents& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
  };
  return has(acceptable, contents.bank) && copies.size() == contents.copies.size() &&
         std::all_of(copies.begin(), copies.end(), [&](const auto& copy) {
           const auto found = contents.copies.find(copy.first);
           return found != contents.copies.end() && has(copy.second, found->second);
         });
}

const BankRecording::Span& BankRecording::span_at(size_t position) const {
  const auto after =
      std::upper_bound(spans.begin(), spans.end(), position,
                       [](size_t wanted, const Span& span) { return wanted < span.first; });
  return *std::prev(after);
}

BankRecording record_script(const ScriptOptions& options) {
  return Script(options, {}, {}).run(options);
}

BankRecording record_recovery(const ScriptOptions& options, const DiskModel& start,
                              const DiskContents& held) {
  return Script(options, start, held).run(options);
}

}  // namespace msa::crash
