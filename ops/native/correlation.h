// The one product of all depthwise convolutions: out[a, b] = sum over i, j of x[a s + i t, b s + j t] k[i, j].
//
// Vectors are channels. With s the stride and t the dilation this is the forward pass; the gradient of the input is the
// same of the output's gradient and the turned kernel; and the gradient of the kernel is the same too, with the taps as
// places and the output's gradient as kernel. A tile of ROWS x COLUMNS places stays in registers; each vector of x is
// read once for all rows of the tile, and what lies beyond the map is left out.
#pragma once
#include <utility>

#include "layout.h"

struct Correlation {
    const float* x;         // packed [height][packing.stride()][lane], rows without border
    int64_t height, width;  // of the map without border
    Packing packing;
    const float* kernel;  // [rows][kernel_stride][lane]
    int64_t kernel_rows, kernel_columns, kernel_stride;
    int64_t out_rows, out_columns;
    int64_t step_rows, step_columns, tap_rows, tap_columns;  // s and t above
    int64_t top, left;                                       // x begins so far before the map
    float* out;
    int64_t out_row, out_column;  // strides in floats
    vec start;             // what the sums start from
    bool adds;             // to what stands in out, instead
    const int64_t* shift;  // for each column of taps, where place 0 reads it in a packed row, in vectors
    int rows;              // of a tile; this and what follows is set by `plan`
    int64_t apart, lag, tiles;
};

struct Span {
    int64_t first, end;
};

// Taps i that meet the map from one of the places a ... b.
static inline Span taps_of(int64_t a, int64_t b, int64_t step, int64_t tap, int64_t before, int64_t side, int64_t taps) {
    int64_t first = before - b * step, last = side - 1 + before - a * step;
    if (tap != 1) first = ceil_over(first, tap), last = floor_over(last, tap);
    return {larger(first, 0), smaller(last + 1, taps)};
}

template <int ROWS, int COLUMNS>
static inline void row_of_taps(
    vec (&sums)[ROWS][COLUMNS], const float* x, const float* const (&kernel)[ROWS], const int64_t* shift, Span taps) {
    for (int64_t j = taps.first; j < taps.end; j++) {
        const vec* at = (const vec*)(x + shift[j] * LANES);
        vec weight[ROWS];
#pragma GCC unroll 8
        for (int q = 0; q < ROWS; q++) weight[q] = *(const vec*)(kernel[q] + j * LANES);
#pragma GCC unroll 16
        for (int c = 0; c < COLUMNS; c++) {
            const vec value = at[c];
#pragma GCC unroll 8
            for (int q = 0; q < ROWS; q++) sums[q][c] += value * weight[q];
        }
    }
}

template <int COLUMNS>
static inline void single_row(vec (&sums)[COLUMNS], const float* x, const float* kernel, const int64_t* shift, Span taps) {
    for (int64_t j = taps.first; j < taps.end; j++) {
        const vec* at = (const vec*)(x + shift[j] * LANES);
        const vec weight = *(const vec*)(kernel + j * LANES);
#pragma GCC unroll 16
        for (int c = 0; c < COLUMNS; c++) sums[c] += at[c] * weight;
    }
}

// Places (a + q apart, b + c), q < ROWS, c < COLUMNS; place q sees tap i of place 0 as tap i - q * lag.
template <int ROWS, int COLUMNS>
static void tile(const Correlation& my, int64_t a, int64_t b) {
    const int64_t apart = my.apart, lag = my.lag;
    vec sums[ROWS][COLUMNS];
    float* out = my.out + a * my.out_row + b * my.out_column;
#pragma GCC unroll 8
    for (int q = 0; q < ROWS; q++)
#pragma GCC unroll 16
        for (int c = 0; c < COLUMNS; c++)
            sums[q][c] = my.adds ? load(out + q * apart * my.out_row + c * my.out_column) : my.start;
    const Span columns = taps_of(b, b + COLUMNS - 1, my.step_columns, my.tap_columns, my.left, my.width, my.kernel_columns);
    const int64_t reach = my.kernel_rows + (ROWS - 1) * lag;
    const Span rows = taps_of(a, a, my.step_rows, my.tap_rows, my.top, my.height, reach);
    const float* x = my.x + b * LANES;
    const int64_t x_row = my.packing.stride() * LANES, k_row = my.kernel_stride * LANES;
    for (int64_t i = rows.first; i < rows.end; i++) {
        const float* from = x + (a * my.step_rows + i * my.tap_rows - my.top) * x_row;
        if (i >= (ROWS - 1) * lag && i < my.kernel_rows) {
            const float* kernel[ROWS];
#pragma GCC unroll 8
            for (int q = 0; q < ROWS; q++) kernel[q] = my.kernel + (i - q * lag) * k_row;
            row_of_taps<ROWS, COLUMNS>(sums, from, kernel, my.shift, columns);
        } else {
#pragma GCC unroll 8
            for (int q = 0; q < ROWS; q++)
                if (i >= q * lag && i - q * lag < my.kernel_rows)
                    single_row<COLUMNS>(sums[q], from, my.kernel + (i - q * lag) * k_row, my.shift, columns);
        }
    }
#pragma GCC unroll 8
    for (int q = 0; q < ROWS; q++)
#pragma GCC unroll 16
        for (int c = 0; c < COLUMNS; c++) store(out + q * apart * my.out_row + c * my.out_column, sums[q][c]);
}

typedef void (*Tile)(const Correlation&, int64_t, int64_t);
constexpr int MOST_ROWS = 4, MOST_COLUMNS = REGISTERS == 32 ? 14 : 12;

// The columns of a tile whose sums, kernel and one vector of x fit the registers.
constexpr int columns_for(int rows) {
    const int fit = (REGISTERS - 1 - rows) / rows;
    return fit < MOST_COLUMNS ? fit : MOST_COLUMNS;
}

template <int ROWS, int... COLUMNS>
static Tile tile_of(int columns, std::integer_sequence<int, COLUMNS...>) {
    static constexpr Tile tiles[] = {tile<ROWS, COLUMNS + 1>...};
    return tiles[columns - 1];
}

template <int ROWS>
static Tile tile_of(int columns) {
    return tile_of<ROWS>(columns, std::make_integer_sequence<int, columns_for(ROWS)>());
}

static Tile tile_for(int rows, int columns) {
    switch (rows) {
        case 1: return tile_of<1>(columns);
        case 2: return tile_of<2>(columns);
        case 3: return tile_of<3>(columns);
        default: return tile_of<4>(columns);
    }
}

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

// What tiles of so many rows cost: products, those that meet only zeros too, where reading x limits more by its reads.
static double cost(const Correlation& my, int rows, int64_t lag) {
    const int64_t most = columns_for(rows), tiles = ceil_over(my.out_columns, most);
    const double joint = (double)larger(my.kernel_rows - (rows - 1) * lag, 0) / (double)my.kernel_rows;
    double total = 0;
    for (int64_t n = 0; n < tiles; n++) {
        const int64_t b = my.out_columns * n / tiles, wide = my.out_columns * (n + 1) / tiles - b;
        const Span taps = taps_of(b, b + wide - 1, my.step_columns, my.tap_columns, my.left, my.width, my.kernel_columns);
        const double reads = joint * (double)(wide + rows) / (double)(wide * rows) + (1 - joint) * (double)(wide + 1) / (double)wide;
        total += (double)(larger(taps.end - taps.first, 0) * wide) * (0.6 + reads) + 3.0;
    }
    return total;
}

// Chooses the tiles; sizes, steps and borders must stand.
static void plan(Correlation& my) {
    my.apart = my.tap_rows / common_divisor(my.step_rows, my.tap_rows);
    my.lag = my.apart * my.step_rows / my.tap_rows;
    my.rows = 1;
    for (int more = 2; more <= MOST_ROWS && (more - 1) * my.apart < my.out_rows; more++)
        if (cost(my, more, my.lag) < cost(my, my.rows, my.lag)) my.rows = more;
    my.tiles = ceil_over(my.out_columns, columns_for(my.rows));
}

static void correlate(const Correlation& my) {
    for (int64_t phase = 0; phase < smaller(my.apart, my.out_rows); phase++) {
        int64_t a = phase;
        while (a < my.out_rows) {
            int here = my.rows;
            while (here > 1 && a + (here - 1) * my.apart >= my.out_rows) here--;
            for (int64_t n = 0; n < my.tiles; n++) {
                const int64_t b = my.out_columns * n / my.tiles, wide = my.out_columns * (n + 1) / my.tiles - b;
                tile_for(here, (int)wide)(my, a, b);
            }
            a += here * my.apart;
        }
    }
}
