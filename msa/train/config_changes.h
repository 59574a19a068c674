#pragma once
// Which keys of a config changed between two starts of a run.

#include <string>
#include <string_view>
#include <vector>

namespace msa::train {

/// "phase.0.rate = 0.004 before, 0.002 now" for each key that differs between two texts of
/// print_config, in the order of the first and then of the second; a key that one of them lacks is
/// "not there".
std::vector<std::string> config_changes(std::string_view before, std::string_view now);

}  // namespace msa::train
