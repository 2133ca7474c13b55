/* CUDA's words for a C compiler, for the tests: a kernel becomes a function, which tests/driver/driver.c calls once per thread. */
#ifndef GPU_KERNELS_HOST_H
#define GPU_KERNELS_HOST_H

#include <string.h>

#define KERNEL static void
#define INLINE static inline
#define ARGUMENT const
#define STATIC_ASSERT _Static_assert

typedef struct {
    unsigned x, y, z;
} Index3;

/* Set by the caller before each call. */
static _Thread_local Index3 blockIdx, threadIdx, blockDim;

static inline unsigned atomicAdd(unsigned *counter, unsigned by) {
    unsigned before = *counter;
    *counter += by;
    return before;
}

/* IEEE 754 binary16, rounded to nearest, ties to even: the conversion of the instruction cvt.rn.f16.f32. */
static inline unsigned short half_of(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    unsigned sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (unsigned short)(sign | 0x7e00);
    /* 65520 and above round to infinity. */
    if (magnitude >= 0x477ff000) return (unsigned short)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* Below 2^-14 a half is a multiple of 2^-24. Adding 0.5, whose last bit is 2^-24, rounds to these. */
        float shifted;
        memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (unsigned short)(sign | (bits - 0x3f000000));
    }
    unsigned odd = magnitude >> 13 & 1;
    return (unsigned short)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

static inline float float_of(unsigned short half) {
    unsigned sign = (unsigned)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    float value;
    if (exponent == 0) {
        /* A subnormal, or zero: a multiple of 2^-24. */
        value = (float)fraction / 16777216.0f;
        return sign ? -value : value;
    }
    unsigned bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
