#include "tests/crash/power_sweep.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "msa/base/error.h"
#include "tests/crash/bank_check.h"

namespace msa::crash {
namespace {

constexpr int kStatesASecondLoss = 16;  // one of so many is followed by another loss
constexpr int kSecondPositions = 4;
constexpr int kStatesAThoroughCheck = 8;

uint64_t mix(std::initializer_list<uint64_t> numbers) {
  uint64_t mixed = 0;
  for (const uint64_t number : numbers) {  // splitmix64
    mixed += number + 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
  }
  return mixed;
}

using Matches = std::function<bool(const DiskEvent&)>;

bool is_sync_of(const DiskEvent& event, std::string_view path) {
  return event.kind == DiskEvent::Kind::kSync && event.path == path;
}
bool is_folder_sync_of(const DiskEvent& event, std::string_view path) {
  return event.kind == DiskEvent::Kind::kSyncFolder && event.path == path;
}

const std::map<std::string, Matches>& syncs() {
  static const std::map<std::string, Matches> all{
      {"segment",
       [](const DiskEvent& event) {
         return event.kind == DiskEvent::Kind::kSync && event.path.starts_with("bank/tmp/");
       }},
      {"segments folder",
       [](const DiskEvent& event) { return is_folder_sync_of(event, "bank/segments"); }},
      {"bank folder", [](const DiskEvent& event) { return is_folder_sync_of(event, "bank"); }},
      {"parent folder", [](const DiskEvent& event) { return is_folder_sync_of(event, ""); }},
      {"log", [](const DiskEvent& event) { return is_sync_of(event, "bank/catalog.db-wal"); }},
      {"catalog", [](const DiskEvent& event) { return is_sync_of(event, "bank/catalog.db"); }},
      {"copied segment",
       [](const DiskEvent& event) {
         return event.kind == DiskEvent::Kind::kSync && event.path.starts_with("backup/tmp/0");
       }},
      {"folder of copied segments",
       [](const DiskEvent& event) { return is_folder_sync_of(event, "backup/segments"); }},
      {"copied catalog",
       [](const DiskEvent& event) { return is_sync_of(event, "backup/tmp/catalog.db"); }},
      {"backup folder", [](const DiskEvent& event) { return is_folder_sync_of(event, "backup"); }},
      {"new catalog", [](const DiskEvent& event) { return is_sync_of(event, "bank/catalog.new"); }},
  };
  return all;
}

class Sweep {
 public:
  explicit Sweep(const PowerSweepOptions& options) : options_(options) {}
  ~Sweep() { std::filesystem::remove_all(options_.folder); }
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  PowerSweep run() {
    for (int64_t n = 0; n < options_.num_scripts && !is_over(); ++n) {
      run_script(options_.first_script + n * options_.script_step);
    }
    return std::move(result_);
  }

 private:
  bool is_over() const {
    return result_.states >= options_.max_states ||
           result_.failures.size() >= options_.max_failures;
  }

  void run_script(int64_t script) {
    BankRecording recording = record_script_of(options_, script);
    if (!options_.without.empty()) forget_sync(recording, options_.without);
    ++result_.scripts;
    result_.operations += static_cast<int64_t>(recording.operations.size());
    for (const RecordedOperation& operation : recording.operations) {
      result_.commits += operation.has_committed;
    }
    DiskModel disk = recording.start;
    seen_.clear();
    for (size_t position = 0; position <= recording.events.size() && !is_over(); ++position) {
      if (position > 0) disk.apply(recording.events[position - 1]);
      if (options_.only_position >= 0 && position != static_cast<size_t>(options_.only_position)) {
        continue;
      }
      ++result_.boundaries;
      for (int64_t n = 0; n < options_.num_variants && !is_over(); ++n) {
        lose_at(recording, disk, script, position, options_.first_variant + n);
      }
    }
  }

  void lose_at(const BankRecording& recording, const DiskModel& disk, int64_t script,
               size_t position, int64_t variant) {
    const auto number = [](int64_t n) { return static_cast<uint64_t>(n); };
    std::mt19937_64 random(mix({options_.seed, number(script), position, number(variant)}));
    const std::string name = "--seed " + std::to_string(options_.seed) + " --script " +
                             std::to_string(script) + " --position " + std::to_string(position) +
                             " --variant " + std::to_string(variant);
    const Loss loss = draw_loss(static_cast<int>(std::min<int64_t>(variant, 2)), random);
    const DiskModel after = disk.after_power_loss(loss, random);
    const auto known = seen_.find(after.digest());
    if (known != seen_.end() && recording.span_at(position).accepts(known->second)) {
      ++result_.states;  // the same bytes as before, and found good
      return;
    }
    const DiskVerdict verdict = check(after, recording, position, name, random);
    if (!verdict.problem.empty()) return;
    seen_[after.digest()] = verdict.held;
    if (random() % kStatesASecondLoss == 0) lose_again(after, verdict.held, name, random);
  }

  /// Loses the power again while a writer opens what the first loss left, and goes on.
  void lose_again(const DiskModel& disk, const DiskContents& held, const std::string& name,
                  std::mt19937_64& random) {
    BankRecording recording = record_recovery({.folder = options_.folder / "recovery",
                                               .seed = random(),
                                               .num_operations = 3,
                                               .is_encrypted = options_.is_encrypted},
                                              disk, held);
    if (!options_.without.empty()) forget_sync(recording, options_.without);
    std::vector<size_t> positions;
    for (int n = 0; n < kSecondPositions; ++n) {
      positions.push_back(random() % (recording.events.size() + 1));
    }
    std::sort(positions.begin(), positions.end());
    DiskModel again = disk;
    size_t done = 0;
    for (const size_t position : positions) {
      for (; done < position; ++done) again.apply(recording.events[done]);
      const Loss loss = draw_loss(static_cast<int>(random() % 6), random);
      const DiskModel after = again.after_power_loss(loss, random);
      check(after, recording, position, name + " and again at " + std::to_string(position), random);
      ++result_.second_losses;
    }
  }

  DiskVerdict check(const DiskModel& disk, const BankRecording& recording, size_t position,
                    const std::string& name, std::mt19937_64& random) {
    const auto folder = options_.folder / "state";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    disk.write_to(folder);
    ++result_.states;
    ++result_.distinct;
    const bool is_thorough = random() % kStatesAThoroughCheck == 0 || options_.only_position >= 0;
    DiskVerdict verdict = check_disk(folder, recording.span_at(position), is_thorough);
    if (!verdict.problem.empty()) {
      std::string last = position == 0 ? "" : to_string(recording.events[position - 1]);
      for (const RecordedOperation& operation : recording.operations) {
        if (operation.first < position && position <= operation.end) {
          last += " (" + operation.name + ")";
        }
      }
      result_.failures.push_back(name + ", after \"" + last + "\": " + verdict.problem);
    }
    return verdict;
  }

  const PowerSweepOptions& options_;
  PowerSweep result_;
  std::map<storage::Digest, DiskContents> seen_;  // good states of the script, and what they hold
};

}  // namespace

std::filesystem::path folder_in_memory() {
  std::error_code error;
  const std::filesystem::path shared = "/dev/shm";
  const bool has_shared = std::filesystem::is_directory(shared, error);
  return (has_shared ? shared : std::filesystem::temp_directory_path()) /
         ("msa_power_" + std::to_string(getpid()));
}

std::vector<std::string> syncs_that_matter() {
  std::vector<std::string> names;
  for (const auto& [name, matches] : syncs()) names.push_back(name);
  return names;
}

void forget_sync(BankRecording& recording, const std::string& name) {
  for (DiskEvent& event : recording.events) {
    if (syncs().at(name)(event)) event = {.kind = DiskEvent::Kind::kSyncFolder, .path = "nowhere"};
  }
}

BankRecording record_script_of(const PowerSweepOptions& options, int64_t script) {
  return record_script({.folder = options.folder / "script",
                        .seed = mix({options.seed, static_cast<uint64_t>(script)}),
                        .num_operations = options.num_operations,
                        .operations = options.operations,
                        .is_encrypted = options.is_encrypted});
}

PowerSweep sweep_power(const PowerSweepOptions& options) { return Sweep(options).run(); }

}  // namespace msa::crash
