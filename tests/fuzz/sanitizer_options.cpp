// What the address sanitizer of every fuzzer begins with; ASAN_OPTIONS goes before it.

extern "C" const char* __asan_default_options();

/// Memory that was freed is kept apart from new memory for as long as one input takes: all 256 MiB
/// would be gone from the processor's caches each time.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16"; }
