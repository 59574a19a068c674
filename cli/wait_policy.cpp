// Threads of OpenMP that wait for each other sleep in this program.

#include <cstdlib>

namespace {

// They spin otherwise, which makes an answer several times slower where another program wants the
// same cores. libgomp reads the variable in a constructor without a priority; it is linked into the
// program (CMakeLists.txt), so that this one comes first. What the user set stays.
__attribute__((constructor(101))) void let_waiting_threads_sleep() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
}

}  // namespace
