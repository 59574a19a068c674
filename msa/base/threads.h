#pragma once
// Data-parallel loops on the one thread pool of the process (OpenMP, the same that libtorch uses).

#include <omp.h>

#include <cstdint>
#include <exception>

namespace msa {

/// Threads that parallel_for uses. set_num_threads before the first parallel work; 0 = one per
/// core.
inline int num_threads() { return omp_get_max_threads(); }
inline void set_num_threads(int count) {
  omp_set_num_threads(count > 0 ? count : omp_get_num_procs());
}

/// Calls body(i) for every i in [0, count), each once, in any order, on all threads.
/// The first exception is passed on after all threads have stopped.
template <typename Body>
void parallel_for(int64_t count, const Body& body) {
  if (count <= 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(msa_parallel_for)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace msa
