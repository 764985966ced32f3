// Maps [channel][row][column] in any strides, taken LANES channels at a time to and from [row][column][lane].
#pragma once
#include <cstring>

#include "vector.h"

// A map of `count` <= LANES channels; strides in floats. Either channels or columns lie side by side.
struct Map {
    float* at;
    int64_t count, height, width, channel, row, column;
};

// What two rows of a square become when blocks of SIDE lanes change places between them: the first row has lanes of a
// where the bit SIDE of a lane's number is unset, and before it lanes of b where it is set.
#if defined(__clang__)
static inline vec choose(vec a, vec b, const ints& from) {
    vec out;
    for (int l = 0; l < LANES; l++) out[l] = from[l] < LANES ? a[from[l]] : b[from[l] - LANES];
    return out;
}
#else
static inline vec choose(vec a, vec b, const ints& from) { return __builtin_shuffle(a, b, from); }
#endif

template <int SIDE>
static inline vec first_of(vec a, vec b) {
    ints from;
    for (int l = 0; l < LANES; l++) from[l] = l & SIDE ? l - SIDE + LANES : l;
    return choose(a, b, from);
}

template <int SIDE>
static inline vec second_of(vec a, vec b) {
    ints from;
    for (int l = 0; l < LANES; l++) from[l] = l & SIDE ? l + LANES : l + SIDE;
    return choose(a, b, from);
}

// Transposes a square of LANES vectors.
template <int SIDE = 1>
static inline void transpose(vec (&square)[LANES]) {
    if constexpr (SIDE < LANES) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & SIDE) continue;
            const vec a = square[i], b = square[i | SIDE];
            square[i] = first_of<SIDE>(a, b);
            square[i | SIDE] = second_of<SIDE>(a, b);
        }
        transpose<SIDE * 2>(square);
    }
}

// Sums neighbours of both: lanes whose number has the bit SIDE become sums of b, the others sums of a.
template <int SIDE>
static inline vec folded(vec a, vec b) {
    return first_of<SIDE>(a, b) + second_of<SIDE>(a, b);
}

// Where a column stands in a packed row: columns of equal remainder by `phases` stand side by side.
struct Packing {
    int64_t left, width, phases;  // zeros before the first column, all columns with zeros, phases
    int64_t run() const { return ceil_over(width, phases); }
    int64_t stride() const { return run() * phases; }
    int64_t of(int64_t column) const {
        if (phases == 1) return column;
        return column % phases * run() + column / phases;
    }
};

// Writes a map as rows of vectors into a room that is zero where no column stands; lanes without a channel become zero.
static inline void pack(const Map& map, const Packing& to, float* room) {
    for (int64_t h = 0; h < map.height; h++) {
        float* row = room + h * to.stride() * LANES;
        const float* from = map.at + h * map.row;
        int64_t w = 0;
        if (map.channel == 1 && map.count == LANES) {
            if (to.phases == 1) {
                for (float* into = row + to.left * LANES; w < map.width; w++, into += LANES, from += map.column)
                    store(into, load(from));
            }
            for (; w < map.width; w++) store(row + to.of(to.left + w) * LANES, load(from + w * map.column));
        } else if (map.column == 1 && map.count == LANES) {
            for (; w + LANES <= map.width; w += LANES) {
                vec square[LANES];
                for (int lane = 0; lane < LANES; lane++) square[lane] = load(from + lane * map.channel + w);
                transpose(square);
                for (int i = 0; i < LANES; i++) store(row + to.of(to.left + w + i) * LANES, square[i]);
            }
        }
        for (; w < map.width; w++) {
            float* into = row + to.of(to.left + w) * LANES;
            for (int lane = 0; lane < LANES; lane++)
                into[lane] = lane < map.count ? from[lane * map.channel + w * map.column] : 0.0f;
        }
    }
}

// Writes rows of vectors without zeros back to a map.
static inline void unpack(const float* room, const Map& map) {
    for (int64_t h = 0; h < map.height; h++) {
        const float* row = room + h * map.width * LANES;
        float* to = map.at + h * map.row;
        int64_t w = 0;
        if (map.channel == 1 && map.count == LANES) {
            for (; w < map.width; w++) store(to + w * map.column, load(row + w * LANES));
        } else if (map.column == 1 && map.count == LANES) {
            for (; w + LANES <= map.width; w += LANES) {
                vec square[LANES];
                for (int i = 0; i < LANES; i++) square[i] = load(row + (w + i) * LANES);
                transpose(square);
                for (int lane = 0; lane < LANES; lane++) store(to + lane * map.channel + w, square[lane]);
            }
        }
        for (; w < map.width; w++)
            for (int lane = 0; lane < map.count; lane++) to[lane * map.channel + w * map.column] = row[w * LANES + lane];
    }
}
