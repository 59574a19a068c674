// What a script does to the documents of a bank, and what keeps it from doing so.

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "msa/base/error.h"
#include "tests/crash/changes.h"
#include "tests/crash/script_run.h"

namespace msa::crash {

using memory::RandomBatch;

/// At any of its calls.
void Script::kill_within(void (Script::*operation)(), uint64_t most_calls) {
  int64_t good_calls = static_cast<int64_t>(draw(most_calls));
  recorder_.set_fault([this, good_calls](const DiskCall&) mutable {
    if (good_calls-- > 0) return 0;
    recorder_.set_paused(true);
    return EIO;
  });
  dies_ = true;
  (this->*operation)();
  dies_ = false;
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

void Script::leave_no_room() {
  fail_from(static_cast<int64_t>(draw(12)), ENOSPC, [](const DiskCall& call) {
    return !call.is_of_sqlite && call.name != "list" && call.name != "remove";
  });
}

void Script::fail_log_writes() {
  vfs_.writes_half = draw(2) == 0;
  fail_from(static_cast<int64_t>(draw(16)), draw(2) == 0 ? ENOSPC : EIO,
            [](const DiskCall& call) { return call.is_of_sqlite && call.name == "write"; });
}

void Script::fail_syncs() {
  fail_from(static_cast<int64_t>(draw(2)), EIO,
            [](const DiskCall& call) { return call.is_of_sqlite && call.name == "sync"; });
}

/// Makes a change that has begun, and that a fault may keep from happening.
void Script::attempt(const std::function<void()>& change) {
  try {
    change();
  } catch (const Error& error) {
    if (dies_) return;
    const bool is_wanted = error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kIo ||
                           (error.code() == ErrorCode::kLocked && reader_ != nullptr);
    if (!is_wanted) throw;
    end(false, has_failed_sync_);
    return;
  }
  if (!dies_) end(true);
}

RandomBatch Script::next_batch() {
  return make_random_batch(memory::crash_facts().shape,
                           {.first_id = writer_->next_passage_id(),
                            .num_documents = 1 + static_cast<int64_t>(draw(3)),
                            .max_passages = 2,
                            .max_chunks = 3,
                            .seed = static_cast<uint32_t>(random_())});
}

/// Of documents that the bank holds: up to three.
std::vector<std::string> Script::some_names() {
  std::vector<std::string> all;
  for (const auto& [name, digest] : contents_.documents) all.push_back(name);
  std::vector<std::string> names;
  std::sample(all.begin(), all.end(), std::back_inserter(names), 1 + draw(3), random_);
  return names;
}

void Script::commit() {
  RandomBatch batch = next_batch();
  BankContents after = contents_;
  add_batch(after, batch, memory::crash_facts().shape.key_dim());
  begin(std::move(after));
  attempt([&] {
    writer_->commit(std::move(batch.documents), batch.encoded);
    recording_.operations.back().has_committed = !dies_;
  });
}

void Script::replace() {
  RandomBatch batch = next_batch();
  const std::vector<std::string> names = some_names();
  for (size_t n = 0; n < std::min(names.size(), batch.documents.size()); ++n) {
    batch.documents[n].name = names[n];
  }
  BankContents after = contents_;
  add_batch(after, batch, memory::crash_facts().shape.key_dim());
  begin(std::move(after));
  attempt([&] {
    writer_->commit(std::move(batch.documents), batch.encoded, memory::KnownName::kReplace);
    recording_.operations.back().has_committed = !dies_;
  });
}

void Script::forget() {
  const std::vector<std::string> names = some_names();
  BankContents after = contents_;
  for (const std::string& name : names) after.documents.erase(name);
  begin(std::move(after));
  attempt([&] { writer_->forget(names); });
}

void Script::compact() {
  begin(contents_);
  attempt([&] { writer_->compact(); });
}

void Script::purge() {
  begin(contents_);
  attempt([&] { writer_->compact(/*purges=*/true); });
}

/// One of those that a bank knows beside commits of new documents.
void Script::change() {
  constexpr void (Script::*kChanges[])() = {&Script::replace, &Script::forget, &Script::compact,
                                            &Script::purge};
  (this->*kChanges[draw(std::size(kChanges))])();
}

void Script::commit_killed() { kill_within(&Script::commit); }

void Script::commit_without_room() {
  leave_no_room();
  commit();
}

void Script::commit_with_failing_log_write() {
  fail_log_writes();
  commit();
}

void Script::commit_with_failing_sync() {
  fail_syncs();
  commit();
}

void Script::change_killed() { kill_within(&Script::change); }

void Script::change_without_room() {
  leave_no_room();
  change();
}

void Script::change_with_failing_log_write() {
  fail_log_writes();
  change();
}

void Script::change_with_failing_sync() {
  fail_syncs();
  change();
}

}  // namespace msa::crash
