// Rows side by side are columns to cuBLASLt: out^T [M, T] = weight [M, K] times x^T [K, T].

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/device_gemm.h"

namespace msa::kernels {
namespace {

void expect_success(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorCode::kDevice, "device_gemm: ", what, ": ", cublasLtGetStatusName(status));
}

cublasLtHandle_t handle() {
  static const cublasLtHandle_t shared = [] {
    cublasLtHandle_t created = nullptr;
    expect_success(cublasLtCreate(&created), "cublasLtCreate");
    return created;
  }();
  return shared;
}

template <typename Handle, cublasStatus_t (*kDestroy)(Handle)>
struct Destroy {
  using pointer = Handle;
  void operator()(Handle handle) const { kDestroy(handle); }
};
template <typename Handle, cublasStatus_t (*kDestroy)(Handle)>
using Owned = std::unique_ptr<void, Destroy<Handle, kDestroy>>;
using Product = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

/// What a way depends on. `alignment` is that of all addresses, at most kMostAlignment.
struct Shape {
  int64_t num_rows;
  int64_t num_outputs;
  int64_t num_columns;
  NumberType out_type;
  bool adds;
  uint32_t alignment;

  auto all() const {
    return std::make_tuple(num_rows, num_outputs, num_columns, out_type, adds, alignment);
  }
  bool operator<(const Shape& other) const { return all() < other.all(); }
};

constexpr uintptr_t kMostAlignment = 256;

Shape shape_of(const DeviceGemmParams& p) {
  const auto places = reinterpret_cast<uintptr_t>(p.x) | reinterpret_cast<uintptr_t>(p.weight) |
                      reinterpret_cast<uintptr_t>(p.out) | kMostAlignment;
  return {p.num_rows, p.num_outputs, p.num_columns,
          p.out_type, p.adds,        static_cast<uint32_t>(places & -places)};
}

/// How one shape is multiplied.
struct Plan {
  Product product;
  Layout weight;
  Layout x;
  Layout out;
  cublasLtMatmulAlgo_t way{};
};

Layout make_layout(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  expect_success(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(rows),
                                            static_cast<uint64_t>(columns), rows),
                 "a layout");
  return Layout(layout);
}

template <typename Value>
void prefer(const Preference& preference, cublasLtMatmulPreferenceAttributes_t what, Value value) {
  expect_success(cublasLtMatmulPreferenceSetAttribute(preference.get(), what, &value, sizeof value),
                 "a preference");
}

// Of the ways for many rows on Hopper those with tiles that leave room for a second one in the
// registers are the fastest, by up to 10 % of a product on an H200: while one tile is written the
// other is multiplied.
constexpr int64_t kManyRows = 4096;
constexpr int kMostWays = 8;
constexpr cublasLtMatmulTile_t kPreferredTiles[] = {
    CUBLASLT_MATMUL_TILE_128x128, CUBLASLT_MATMUL_TILE_128x160, CUBLASLT_MATMUL_TILE_176x128,
    CUBLASLT_MATMUL_TILE_168x128};

/// The first of `num_ways` with the most preferred tile, else the first.
const cublasLtMatmulHeuristicResult_t& best_of(const cublasLtMatmulHeuristicResult_t* ways,
                                               int num_ways) {
  for (const cublasLtMatmulTile_t preferred : kPreferredTiles) {
    for (int i = 0; i < num_ways; ++i) {
      const auto& way = ways[i];
      if (way.state != CUBLAS_STATUS_SUCCESS) continue;
      uint32_t tile = CUBLASLT_MATMUL_TILE_UNDEFINED;
      size_t size = 0;
      expect_success(cublasLtMatmulAlgoConfigGetAttribute(&way.algo, CUBLASLT_ALGO_CONFIG_TILE_ID,
                                                          &tile, sizeof tile, &size),
                     "a way's tile");
      if (tile == static_cast<uint32_t>(preferred)) return way;
    }
  }
  return ways[0];
}

Plan make_plan(const Shape& shape) {
  Plan plan;
  cublasLtMatmulDesc_t product = nullptr;
  expect_success(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  plan.product.reset(product);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  expect_success(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                sizeof transposed),
                 "a product");
  plan.weight = make_layout(CUDA_R_16BF, shape.num_columns, shape.num_outputs);
  plan.x = make_layout(CUDA_R_16BF, shape.num_columns, shape.num_rows);
  plan.out = make_layout(shape.out_type == NumberType::kFloat32 ? CUDA_R_32F : CUDA_R_16BF,
                         shape.num_outputs, shape.num_rows);
  cublasLtMatmulPreference_t created = nullptr;
  expect_success(cublasLtMatmulPreferenceCreate(&created), "a preference");
  const Preference preference(created);
  prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
         static_cast<uint64_t>(kDeviceGemmWorkspaceBytes));
  for (const auto what :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(preference, what, shape.alignment);
  }
  const bool is_choice =
      shape.num_rows >= kManyRows && device_attribute(cudaDevAttrComputeCapabilityMajor) == 9;
  cublasLtMatmulHeuristicResult_t found[kMostWays];
  int num_found = 0;
  expect_success(cublasLtMatmulAlgoGetHeuristic(handle(), product, plan.weight.get(), plan.x.get(),
                                                plan.out.get(), plan.out.get(), preference.get(),
                                                is_choice ? kMostWays : 1, found, &num_found),
                 "no way to multiply");
  MSA_CHECK(num_found > 0, "device_gemm: no way to multiply ", shape.num_rows, " rows of ",
            shape.num_columns, " by ", shape.num_outputs);
  plan.way = best_of(found, num_found).algo;
  return plan;
}

const Plan& plan_of(const DeviceGemmParams& p) {
  static std::mutex mutex;
  static std::map<Shape, Plan> plans;  // its elements stay where they are
  const Shape shape = shape_of(p);
  const std::lock_guard<std::mutex> lock(mutex);
  auto place = plans.find(shape);
  if (place == plans.end()) place = plans.emplace(shape, make_plan(shape)).first;
  return place->second;
}

}  // namespace

void device_gemm_cuda(const DeviceGemmParams& params, std::byte* workspace, CudaStream stream) {
  MSA_CHECK(params.num_rows > 0 && params.num_outputs > 0 && params.num_columns > 0 &&
                params.num_outputs % 8 == 0 && params.num_columns % 8 == 0,
            "device_gemm: outputs and columns must be multiples of 8, got ", params.num_rows,
            " rows of ", params.num_columns, " by ", params.num_outputs);
  const Plan& plan = plan_of(params);
  const float one = 1;
  const float kept = params.adds ? 1 : 0;
  expect_success(
      cublasLtMatmul(handle(), plan.product.get(), &one, params.weight, plan.weight.get(), params.x,
                     plan.x.get(), &kept, params.out, plan.out.get(), params.out, plan.out.get(),
                     &plan.way, workspace, static_cast<size_t>(kDeviceGemmWorkspaceBytes),
                     static_cast<cudaStream_t>(stream)),
      "cublasLtMatmul");
}

}  // namespace msa::kernels
