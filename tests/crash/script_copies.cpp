// What a script does to copies of a bank.

#include <algorithm>
#include <cerrno>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/copy_bank.h"
#include "tests/crash/script_run.h"

namespace msa::crash {
namespace {

constexpr uint64_t kCallsOfACopy = 150;

}  // namespace

/// Makes a copy that a fault may keep from being made; the bank stays as it is.
void Script::copy_to(const std::string& name, BankContents after,
                     const std::function<void()>& work) {
  std::vector<BankContents>& held = copies_[name];
  if (held.empty()) held.push_back({});
  if (std::find(held.begin(), held.end(), after) == held.end()) held.push_back(after);
  const auto acceptable = recording_.spans.back().acceptable;
  add_span(now() + 1, acceptable);
  try {
    work();
  } catch (const Error& error) {
    if (dies_) return;
    if (error.code() != ErrorCode::kNoSpace && error.code() != ErrorCode::kIo) throw;
    return;
  }
  if (dies_) return;
  held = {std::move(after)};
  add_span(now(), acceptable);
  recording_.operations.back().is_acknowledged = true;
}

void Script::back_up() {
  copy_to(kBackupName, contents_,
          [&] { memory::back_up_bank(files(), bank(), folder_ / kBackupName); });
}

/// Of what the backup is known to hold, to a new place.
void Script::restore() {
  const auto backup = copies_.find(kBackupName);
  const bool is_known = backup != copies_.end() && backup->second.size() == 1;
  if (!is_known || !backup->second.front().is_there) {
    back_up();
    return;
  }
  const std::string name = "restored" + std::to_string(copies_.size());
  copy_to(name, backup->second.front(),
          [&] { memory::restore_bank(files(), folder_ / kBackupName, folder_ / name); });
}

void Script::copy() {
  if (draw(2) == 0) {
    back_up();
  } else {
    restore();
  }
}

void Script::copy_killed() { kill_within(&Script::copy, kCallsOfACopy); }

void Script::copy_with_failing_call() {
  vfs_.writes_half = draw(2) == 0;
  fail_from(static_cast<int64_t>(draw(kCallsOfACopy)), draw(2) == 0 ? ENOSPC : EIO,
            [](const DiskCall&) { return true; });
  copy();
}

}  // namespace msa::crash
