#pragma once
// How a command fails that has done a part of its work.

#include <utility>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::cli {

/// What is done, `done`, stands beside the error in JSON.
class UnfinishedError : public Error {
 public:
  UnfinishedError(const Error& error, OrderedJson done) : Error(error), done_(std::move(done)) {}
  const OrderedJson& done() const { return done_; }

 private:
  OrderedJson done_;
};

}  // namespace msa::cli
