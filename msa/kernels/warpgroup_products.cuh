#pragma once
// Products of tiles by a group of four warps (sm_90a), for several widths. The instruction names
// all its registers, of which no loop can make a list: macros do.

#include <cstdint>

namespace msa::kernels {

/// sum[64 x kWidth] += a[64 x 32 bytes] times b[kWidth x 32 bytes] transposed; or = where `adds` is
/// 0. Both are tiles in shared memory, by their descriptors. Lane l of warp w holds of rows
/// 16 w + l / 4 and 8 below, in sum[4 n ..], columns 8 n + l % 4 * 2 and the next, row by row.
template <typename Sum, int kWidth>
struct Product;

/// The same of int8 with a in registers: of rows 16 w + l / 4 and 8 below, the bytes from
/// l % 4 * 4 on, then both from 16 further. Until the product is done they must stay.
template <int kWidth>
struct RowProduct;

/// The same of bfloat16 with a in registers, and b [16 x kWidth] as it stands: a is laid out as the
/// sums of 16 columns, narrowed in pairs.
template <int kWidth>
struct ValueProduct;

#define MSA_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define MSA_NAMES_16 MSA_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define MSA_NAMES_24 MSA_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define MSA_NAMES_32 MSA_NAMES_24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define MSA_NAMES_40 MSA_NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define MSA_NAMES_48 MSA_NAMES_40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define MSA_NAMES_56 MSA_NAMES_48 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define MSA_NAMES_64 MSA_NAMES_56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define MSA_NAMES_72 MSA_NAMES_64 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define MSA_NAMES_80 MSA_NAMES_72 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define MSA_NAMES_88 MSA_NAMES_80 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define MSA_NAMES_96 MSA_NAMES_88 ",%88,%89,%90,%91,%92,%93,%94,%95"

#define MSA_SUMS_8(c)                                                                       \
  "+" c(sum[0]), "+" c(sum[1]), "+" c(sum[2]), "+" c(sum[3]), "+" c(sum[4]), "+" c(sum[5]), \
      "+" c(sum[6]), "+" c(sum[7])
#define MSA_SUMS_16(c)                                                                         \
  MSA_SUMS_8(c), "+" c(sum[8]), "+" c(sum[9]), "+" c(sum[10]), "+" c(sum[11]), "+" c(sum[12]), \
      "+" c(sum[13]), "+" c(sum[14]), "+" c(sum[15])
#define MSA_SUMS_24(c)                                                                            \
  MSA_SUMS_16(c), "+" c(sum[16]), "+" c(sum[17]), "+" c(sum[18]), "+" c(sum[19]), "+" c(sum[20]), \
      "+" c(sum[21]), "+" c(sum[22]), "+" c(sum[23])
#define MSA_SUMS_32(c)                                                                            \
  MSA_SUMS_24(c), "+" c(sum[24]), "+" c(sum[25]), "+" c(sum[26]), "+" c(sum[27]), "+" c(sum[28]), \
      "+" c(sum[29]), "+" c(sum[30]), "+" c(sum[31])
#define MSA_SUMS_40(c)                                                                            \
  MSA_SUMS_32(c), "+" c(sum[32]), "+" c(sum[33]), "+" c(sum[34]), "+" c(sum[35]), "+" c(sum[36]), \
      "+" c(sum[37]), "+" c(sum[38]), "+" c(sum[39])
#define MSA_SUMS_48(c)                                                                            \
  MSA_SUMS_40(c), "+" c(sum[40]), "+" c(sum[41]), "+" c(sum[42]), "+" c(sum[43]), "+" c(sum[44]), \
      "+" c(sum[45]), "+" c(sum[46]), "+" c(sum[47])
#define MSA_SUMS_56(c)                                                                            \
  MSA_SUMS_48(c), "+" c(sum[48]), "+" c(sum[49]), "+" c(sum[50]), "+" c(sum[51]), "+" c(sum[52]), \
      "+" c(sum[53]), "+" c(sum[54]), "+" c(sum[55])
#define MSA_SUMS_64(c)                                                                            \
  MSA_SUMS_56(c), "+" c(sum[56]), "+" c(sum[57]), "+" c(sum[58]), "+" c(sum[59]), "+" c(sum[60]), \
      "+" c(sum[61]), "+" c(sum[62]), "+" c(sum[63])
#define MSA_SUMS_72(c)                                                                            \
  MSA_SUMS_64(c), "+" c(sum[64]), "+" c(sum[65]), "+" c(sum[66]), "+" c(sum[67]), "+" c(sum[68]), \
      "+" c(sum[69]), "+" c(sum[70]), "+" c(sum[71])
#define MSA_SUMS_80(c)                                                                            \
  MSA_SUMS_72(c), "+" c(sum[72]), "+" c(sum[73]), "+" c(sum[74]), "+" c(sum[75]), "+" c(sum[76]), \
      "+" c(sum[77]), "+" c(sum[78]), "+" c(sum[79])
#define MSA_SUMS_88(c)                                                                            \
  MSA_SUMS_80(c), "+" c(sum[80]), "+" c(sum[81]), "+" c(sum[82]), "+" c(sum[83]), "+" c(sum[84]), \
      "+" c(sum[85]), "+" c(sum[86]), "+" c(sum[87])
#define MSA_SUMS_96(c)                                                                            \
  MSA_SUMS_88(c), "+" c(sum[88]), "+" c(sum[89]), "+" c(sum[90]), "+" c(sum[91]), "+" c(sum[92]), \
      "+" c(sum[93]), "+" c(sum[94]), "+" c(sum[95])

#define MSA_PRODUCT(Sum, width, sums, a_name, b_name, adds_name, kind, constraint, rest)       \
  template <>                                                                                  \
  struct Product<Sum, width> {                                                                 \
    __device__ static void add(Sum (&sum)[sums], uint64_t a, uint64_t b, int adds) {           \
      asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #adds_name                       \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #width kind " {" MSA_NAMES_##sums \
                   "}, %" #a_name ", %" #b_name ", adds" rest ";\n}"                           \
                   : MSA_SUMS_##sums(constraint)                                               \
                   : "l"(a), "l"(b), "r"(adds));                                               \
    }                                                                                          \
  }
#define MSA_PRODUCTS(width, sums, a, b, adds)                                            \
  MSA_PRODUCT(float, width, sums, a, b, adds, "k16.f32.bf16.bf16", "f", ", 1, 1, 0, 0"); \
  MSA_PRODUCT(int32_t, width, sums, a, b, adds, "k32.s32.s8.s8", "r", "")

MSA_PRODUCTS(48, 24, 24, 25, 26);
MSA_PRODUCTS(64, 32, 32, 33, 34);
MSA_PRODUCTS(96, 48, 48, 49, 50);
MSA_PRODUCTS(112, 56, 56, 57, 58);
MSA_PRODUCTS(128, 64, 64, 65, 66);
MSA_PRODUCTS(144, 72, 72, 73, 74);
MSA_PRODUCTS(160, 80, 80, 81, 82);
MSA_PRODUCTS(176, 88, 88, 89, 90);
MSA_PRODUCTS(192, 96, 96, 97, 98);

#define MSA_ROW_PRODUCT(width, sums, a0, a1, a2, a3, b_name, adds_name)                      \
  template <>                                                                                \
  struct RowProduct<width> {                                                                 \
    __device__ static void add(int32_t (&sum)[sums], const uint32_t (&a)[4], uint64_t b,     \
                               int adds) {                                                   \
      asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #adds_name                     \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #width                          \
                   "k32.s32.s8.s8 {" MSA_NAMES_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 \
                                                      "}, %" #b_name ", adds;\n}"            \
                   : MSA_SUMS_##sums("r")                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));         \
    }                                                                                        \
  }

MSA_ROW_PRODUCT(48, 24, 24, 25, 26, 27, 28, 29);
MSA_ROW_PRODUCT(64, 32, 32, 33, 34, 35, 36, 37);
MSA_ROW_PRODUCT(96, 48, 48, 49, 50, 51, 52, 53);
MSA_ROW_PRODUCT(128, 64, 64, 65, 66, 67, 68, 69);

#define MSA_VALUE_PRODUCT(width, sums, a0, a1, a2, a3, b_name, adds_name)                          \
  template <>                                                                                      \
  struct ValueProduct<width> {                                                                     \
    __device__ static void add(float (&sum)[sums], const uint32_t (&a)[4], uint64_t b, int adds) { \
      asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #adds_name                           \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #width                                \
                   "k16.f32.bf16.bf16 {" MSA_NAMES_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3   \
                                                          "}, %" #b_name ", adds, 1, 1, 1;\n}"     \
                   : MSA_SUMS_##sums("f")                                                          \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));               \
    }                                                                                              \
  }

MSA_VALUE_PRODUCT(64, 32, 32, 33, 34, 35, 36, 37);
MSA_VALUE_PRODUCT(128, 64, 64, 65, 66, 67, 68, 69);

#undef MSA_VALUE_PRODUCT
#undef MSA_ROW_PRODUCT
#undef MSA_PRODUCTS
#undef MSA_PRODUCT
#undef MSA_SUMS_8
#undef MSA_NAMES_8
#undef MSA_SUMS_16
#undef MSA_NAMES_16
#undef MSA_SUMS_24
#undef MSA_NAMES_24
#undef MSA_SUMS_32
#undef MSA_NAMES_32
#undef MSA_SUMS_40
#undef MSA_NAMES_40
#undef MSA_SUMS_48
#undef MSA_NAMES_48
#undef MSA_SUMS_56
#undef MSA_NAMES_56
#undef MSA_SUMS_64
#undef MSA_NAMES_64
#undef MSA_SUMS_72
#undef MSA_NAMES_72
#undef MSA_SUMS_80
#undef MSA_NAMES_80
#undef MSA_SUMS_88
#undef MSA_NAMES_88
#undef MSA_SUMS_96
#undef MSA_NAMES_96

}  // namespace msa::kernels
