#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/command.h"
#include "cli/eval.h"
#include "msa/base/error.h"

namespace msa::cli {

void ProgressText::show(const std::string& text, bool is_last) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::seconds(1) && !is_last) return;
  last_ = now;
  const bool is_terminal = has_terminal();
  std::fprintf(stderr, "%s%s%s", is_terminal ? "\r" : "", text.c_str(),
               is_terminal ? "\033[K" : "\n");
  is_open_ = is_terminal;
  if (is_last) close();
}

void ProgressText::close() {
  if (is_open_) std::fputs("\n", stderr);
  is_open_ = false;
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
  errno = 0;
  out_.open(path, std::ios::binary | std::ios::trunc);
  expect_good();
}

void OutputFile::write(const std::string& line) {
  errno = 0;
  out_ << line << '\n' << std::flush;
  expect_good();
}

void OutputFile::expect_good() const {
  if (out_) return;
  const bool is_full = errno == ENOSPC || errno == EFBIG || errno == EDQUOT;
  throw Error(is_full ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot write ", path_, ": ",
              std::strerror(errno));
}

}  // namespace msa::cli
