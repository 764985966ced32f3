// The most multiply-accumulates that one core does in float32: independent sums in registers, nothing from memory.
#include "vector.h"

extern "C" int64_t peak_macs_per_round() { return 12 * LANES; }

extern "C" int peak_run(const int64_t* rounds, float* out) {
    vec sums[12];
    for (int i = 0; i < 12; i++) sums[i] = load(out) + (float)i;
    const vec factor = load(out + LANES), term = load(out + 2 * LANES);
    for (int64_t round = 0; round < *rounds; round++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) sums[i] = sums[i] * factor + term;
    }
    vec total{};
    for (int i = 0; i < 12; i++) total += sums[i];
    store(out, total);
    return 0;
}
