// Deformable sampling in float32: weighted sums of bilinear samples at free places, forward and backward.
//
// One image at a time: its map is copied to rows of whole vectors for each group of channels, with zeros beyond the border,
// so that a point has one cell, its four corners are always there, and what a group reads stays in the nearest cache.
// Backward, points are listed by the cell that they fall into: the cell's corners and the sums for their gradients are
// then loaded and stored once for all of its points, and no sum waits for the one before it to reach memory.
#include <algorithm>
#include <memory>
#include <type_traits>

#include "places.h"

namespace {

constexpr int MOST_FORWARD = 4, MOST_BACKWARD = 2;  // vectors of channels at a time
constexpr int64_t POINTS = 8192;                    // at a time, in whole queries: what they need stays in the second cache

struct Blocks : Sizes {
    int64_t row() const { return width + 2; }                     // of cells, with the border
    int64_t cells() const { return ((height + 2) * row()) | 1; }  // odd, for the maps of groups not to share cache sets
    int64_t vectors() const { return ceil_over(depth, LANES); }
    int64_t block() const { return larger(1, smaller(queries, POINTS / (points * part()))); }  // queries at a time
    int64_t room() const { return ceil_over(block() * part() * points, LANES) * LANES; }       // for their points
};

// The points of some queries and groups, with room for whole vectors of them. Corners are first, right, below and last:
// `share` holds what a point takes of each, side by side, `product` their products with the output's gradient.
struct Points {
    const Blocks& my;
    Room given, shares;
    std::vector<int32_t> cell;
    float *x, *y, *weight, *share;

    explicit Points(const Blocks& s)
        : my(s), given(s.room() * 3), shares(s.room() * 4), cell((size_t)s.room()), x(given.at), y(x + s.room()),
          weight(y + s.room()), share(shares.at) {}

    // Moves numbers of `count` queries from or to a tensor [N, Q, G, P].
    template <class Move>
    void move(const Part& part, int64_t query, int64_t count, Move each) const {
        const int64_t here = part.groups * my.points, all_of = my.groups * my.points;
        const int64_t at = (part.image * my.queries + query) * all_of + part.first * my.points;
        if (here == all_of) return each(0, at, (size_t)(count * here) * 4);
        for (int64_t q = 0; q < count; q++) each(q * here, at + q * all_of, (size_t)here * 4);
    }

    // Reads `count` queries from number `query` of the image on, and finds their cells.
    void place(const Part& part, int64_t query, int64_t count, const float* from_x, const float* from_y,
               const float* from_weight) {
        move(part, query, count, [&](int64_t to, int64_t at, size_t bytes) {
            memcpy(x + to, from_x + at, bytes), memcpy(y + to, from_y + at, bytes);
            memcpy(weight + to, from_weight + at, bytes);
        });
        const ints row = ints{} + (int32_t)my.row();
        for (int64_t i = 0; i < count * part.groups * my.points; i += LANES) {
            const Place at(my, load(x + i), load(y + i));
            const vec below = load(weight + i) * at.down, above = load(weight + i) - below;
            const vec right = above * at.across, last = below * at.across;
            together(share + i * 4, above - right, right, below - last, last);
            const ints column = __builtin_convertvector(at.left, ints), line = __builtin_convertvector(at.top, ints);
            const ints found = (line + 1) * row + (column + 1);
            memcpy(cell.data() + i, &found, sizeof found);
        }
    }

    // Writes the gradients of places and weights of the queries read last.
    void gradients(const Part& part, int64_t query, int64_t count, const float* product, float* d_x, float* d_y,
                   float* d_weight) {
        const vec wide = all((float)my.width), tall = all((float)my.height), before = all(-1);
        for (int64_t i = 0; i < count * part.groups * my.points; i += LANES) {
            vec corner[4];
            apart(product + i * 4, corner);
            const vec at_x = load(x + i), at_y = load(y + i), w = load(weight + i);
            const Place at(my, at_x, at_y);
            const vec upper = lerp(corner[0], corner[1], at.across), lower = lerp(corner[2], corner[3], at.across);
            const ints beyond = (at_x <= before) | (at_x >= wide) | (at_y <= before) | (at_y >= tall);
            const vec slope = lerp(corner[1] - corner[0], corner[3] - corner[2], at.down);
            store(weight + i, where(~beyond, lerp(upper, lower, at.down)));
            store(x + i, where(~beyond, w * slope)), store(y + i, where(~beyond, w * (lower - upper)));
        }
        move(part, query, count, [&](int64_t from, int64_t at, size_t bytes) {
            memcpy(d_x + at, x + from, bytes), memcpy(d_y + at, y + from, bytes);
            memcpy(d_weight + at, weight + from, bytes);
        });
    }
};

// Some vectors of a group's channels, from the first of them on; of all maps, packed [vectors, cells, LANES] side by side.
struct Run {
    int64_t vector, channel, channels;
};

// Calls each(run, vectors), the second a constant, for all runs of at most MOST vectors.
template <int MOST, class Each>
void over_runs(const Blocks& my, Each each) {
    for (int64_t first = 0; first < my.vectors(); first += MOST) {
        const Run run{first, first * LANES, smaller(MOST * LANES, my.depth - first * LANES)};
        switch (smaller(MOST, my.vectors() - first)) {
            case 1: each(run, std::integral_constant<int, 1>()); break;
            case 2: each(run, std::integral_constant<int, std::min(2, MOST)>()); break;
            case 3: each(run, std::integral_constant<int, std::min(3, MOST)>()); break;
            default: each(run, std::integral_constant<int, std::min(4, MOST)>());
        }
    }
}

// Rows of pixels [pixels, G, D] as rows of V vectors of one run, those of a group together. `end` is where memory ends.
template <int V>
struct Rows {
    int64_t pixel, depth, groups, channels, apart;  // apart: from group to group of the rows of vectors, in floats

    void read(const float* from, int64_t count, const float* end, float* to) const {
        for (int64_t i = 0; i < count; i++, from += pixel, to += V * LANES)
            for (int64_t g = 0; g < groups; g++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++)
                    store(to + g * apart + v * LANES, some(from + g * depth + v * LANES, channels - v * LANES, end));
    }
    void write(const float* from, int64_t count, float* to) const {
        for (int64_t i = 0; i < count; i++, to += pixel, from += V * LANES)
            for (int64_t g = 0; g < groups; g++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++)
                    copy(to + g * depth + v * LANES, from + g * apart + v * LANES, smaller(LANES, channels - v * LANES));
    }
};

// The map of each group in rows of V vectors for each run, with its border.
struct Packed {
    const Blocks& my;
    Room room;

    explicit Packed(const Blocks& s) : my(s), room(floats()) {}
    int64_t floats() const { return my.part() * my.vectors() * my.cells() * LANES; }
    float* of(const Run& run, int64_t group) const {
        return room.at + (group * my.vectors() + run.vector) * my.cells() * LANES;
    }
    template <int V>
    Rows<V> rows(const Part& part, const Run& run) const {
        return {my.pixel(), my.depth, part.groups, run.channels, my.vectors() * my.cells() * LANES};
    }
    template <int V>
    void read(const float* from, const Part& part, const Run& run, const float* end) {
        for (int64_t h = 0; h < my.height; h++, from += my.width * my.pixel())
            rows<V>(part, run).read(from, my.width, end, of(run, 0) + ((h + 1) * my.row() + 1) * V * LANES);
    }
    template <int V>
    void write(float* to, const Part& part, const Run& run) const {
        for (int64_t h = 0; h < my.height; h++, to += my.width * my.pixel())
            rows<V>(part, run).write(of(run, 0) + ((h + 1) * my.row() + 1) * V * LANES, my.width, to);
    }
};

// Sums over the points of each query, of one of `groups` groups; SUMS chains for each vector hide what an addition takes.
template <int V>
__attribute__((noinline)) void gather(const Blocks& my, const Points& points, int64_t group, int64_t groups, int64_t queries, const float* map,
            int64_t channels, float* out) {
    constexpr int SUMS = V == 1 ? 4 : V == 2 ? 2 : 1;
    const int64_t below = my.row() * V * LANES, each = my.points;
    for (int64_t q = 0; q < queries; q++, out += my.pixel()) {
        const int64_t first = (q * groups + group) * each;
        const int32_t* cell = points.cell.data() + first;
        const float* share = points.share + first * 4;
        vec sums[SUMS][V] = {};
        for (int64_t p = 0; p < each; p++, cell++, share += 4) {
            const float* at = map + (int64_t)*cell * (V * LANES);
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                const float* from = at + (corner / 2) * below + (corner % 2) * V * LANES;
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) sums[corner % SUMS][v] += load(from + v * LANES) * share[corner];
            }
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            vec sum = sums[0][v];
            if constexpr (SUMS > 1) sum += sums[1][v];
            if constexpr (SUMS > 2) sum += sums[2][v] + sums[3][v];
            if (channels >= (v + 1) * LANES) {
                store(out + v * LANES, sum);
            } else {
                float rest[LANES];
                store(rest, sum);
                copy(out + v * LANES, rest, channels - v * LANES);
            }
        }
    }
}

typedef float quad __attribute__((vector_size(16)));
typedef float loose_quad __attribute__((vector_size(16), aligned(4), may_alias));

// The sums over all lanes of four vectors.
inline __attribute__((always_inline)) quad sums_of(vec a, vec b, vec c, vec d) {
    ints low, high, first, second;  // within each four lanes: a0 b0 a1 b1, and a2 b2 a3 b3; then the lower, the upper halves
    for (int lane = 0; lane < LANES; lane++) {
        const int four = lane / 4 * 4, in = lane % 4;
        low[lane] = four + in / 2 + in % 2 * LANES, high[lane] = low[lane] + 2;
        first[lane] = four + in % 2 + in / 2 * LANES, second[lane] = first[lane] + 2;
    }
    const vec ab = choose(a, b, low) + choose(a, b, high), cd = choose(c, d, low) + choose(c, d, high);
    const vec fours = choose(ab, cd, first) + choose(ab, cd, second);
    quad part[LANES / 4];
    memcpy(part, &fours, sizeof part);
    if constexpr (LANES == 16) return (part[0] + part[1]) + (part[2] + part[3]);
    if constexpr (LANES == 8) return part[0] + part[1];
    return part[0];
}

// Points listed by cell: for each cell the last point in it, for each point the one before it in its cell; -1: none.
struct Lists {
    std::vector<int32_t> last, before, query;  // and which query a point belongs to

    explicit Lists(const Blocks& my) : last((size_t)my.cells()), before((size_t)my.room()), query((size_t)my.room()) {}

    // Lists the points of one of `groups` groups.
    void build(const Blocks& my, const std::vector<int32_t>& cell, int64_t group, int64_t groups, int64_t queries) {
        int32_t *head = last.data(), *next = before.data();
        const int32_t* in = cell.data();
        memset(head, -1, last.size() * 4);
        for (int64_t q = 0; q < queries; q++) {
            const int64_t first = (q * groups + group) * my.points;
            for (int64_t i = first; i < first + my.points; i++) {
                next[i] = head[in[i]], head[in[i]] = (int32_t)i;
                query[(size_t)i] = (int32_t)q;
            }
        }
    }
};

// Each point's products of its corners with its query's gradient, added to those of other channels unless it is the
// first time; and the map's gradient if it is wanted.
template <int V>
__attribute__((noinline)) void by_cell(const Blocks& my, Lists& lists, const Points& points, const float* map, const float* grad, float* product,
             bool first, float* d_map) {
    const int64_t corner_at[] = {0, V * LANES, my.row() * V * LANES, (my.row() + 1) * V * LANES};
    const int32_t *before = lists.before.data(), *query = lists.query.data();
    const float* share = points.share;
    const int64_t end = my.cells() - my.row() - 1;
    for (int64_t cell = 0; cell < end; cell++) {
        int32_t point = lists.last[(size_t)cell];
        if (point < 0) continue;
        const float* at = map + cell * (V * LANES);
        vec sums[4][V] = {};
        do {
            const float *g = grad + (int64_t)query[point] * (V * LANES), *takes = share + (int64_t)point * 4;
            vec products[4];
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                products[corner] = load(at + corner_at[corner]) * load(g);
                sums[corner][0] += load(g) * takes[corner];
#pragma GCC unroll 4
                for (int v = 1; v < V; v++) {
                    products[corner] += load(at + corner_at[corner] + v * LANES) * load(g + v * LANES);
                    sums[corner][v] += load(g + v * LANES) * takes[corner];
                }
            }
            const quad found = sums_of(products[0], products[1], products[2], products[3]);
            loose_quad* to = (loose_quad*)(product + (int64_t)point * 4);
            *to = first ? found : *to + found;
            point = before[point];
        } while (point >= 0);
        if (!d_map) continue;
#pragma GCC unroll 4
        for (int corner = 0; corner < 4; corner++) {
            float* to = d_map + cell * (V * LANES) + corner_at[corner];
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) store(to + v * LANES, load(to + v * LANES) + sums[corner][v]);
        }
    }
}

}  // namespace

extern "C" int sampling_forward(const int64_t* sizes, const float* value, const float* x, const float* y, const float* weight,
                                float* out) {
    Blocks my;
    memcpy(&my, sizes, sizeof my);
    const int64_t image = my.image();
    return over_images(my, [&](auto tasks) {
        Points points(my);
        Packed map(my);
        tasks([&](const Part& part) {
            const float* from = value + part.image * image + part.first * my.depth;
            over_runs<MOST_FORWARD>(my, [&](const Run& run, auto vectors) {
                map.read<vectors>(from + run.channel, part, run, value + my.batch * image);
            });
            for (int64_t q = 0; q < my.queries; q += my.block()) {
                const int64_t count = smaller(my.block(), my.queries - q);
                points.place(part, q, count, x, y, weight);
                float* to = out + (part.image * my.queries + q) * my.pixel() + part.first * my.depth;
                for (int64_t g = 0; g < part.groups; g++)
                    over_runs<MOST_FORWARD>(my, [&](const Run& run, auto vectors) {
                        gather<vectors>(my, points, g, part.groups, count, map.of(run, g), run.channels,
                                        to + g * my.depth + run.channel);
                    });
            }
        });
    });
}

// d_value is left out where its pointer is null.
extern "C" int sampling_backward(const int64_t* sizes, const float* grad, const float* value, const float* x, const float* y,
                                 const float* weight, float* d_value, float* d_x, float* d_y, float* d_weight) {
    Blocks my;
    memcpy(&my, sizes, sizeof my);
    const int64_t image = my.image(), grads_apart = my.vectors() * my.block() * LANES;
    return over_images(my, [&](auto tasks) {
        Points points(my);
        Lists lists(my);
        Packed map(my);
        Room grads(my.part() * grads_apart), product(my.room() * 4);
        std::unique_ptr<Packed> d_map(d_value ? new Packed(my) : nullptr);
        tasks([&](const Part& part) {
            const int64_t at = part.image * image + part.first * my.depth;
            over_runs<MOST_BACKWARD>(my, [&](const Run& run, auto vectors) {
                map.read<vectors>(value + at + run.channel, part, run, value + my.batch * image);
            });
            if (d_map) memset(d_map->room.at, 0, (size_t)d_map->floats() * 4);
            for (int64_t q = 0; q < my.queries; q += my.block()) {
                const int64_t count = smaller(my.block(), my.queries - q);
                const float* from = grad + (part.image * my.queries + q) * my.pixel() + part.first * my.depth;
                points.place(part, q, count, x, y, weight);
                over_runs<MOST_BACKWARD>(my, [&](const Run& run, auto vectors) {
                    const Rows<vectors> rows{my.pixel(), my.depth, part.groups, run.channels, grads_apart};
                    rows.read(from + run.channel, count, grad + my.batch * my.queries * my.pixel(),
                              grads.at + run.vector * my.block() * LANES);
                });
                for (int64_t g = 0; g < part.groups; g++) {
                    lists.build(my, points.cell, g, part.groups, count);
                    over_runs<MOST_BACKWARD>(my, [&](const Run& run, auto vectors) {
                        by_cell<vectors>(my, lists, points, map.of(run, g),
                                         grads.at + g * grads_apart + run.vector * my.block() * LANES, product.at,
                                         !run.vector, d_map ? d_map->of(run, g) : nullptr);
                    });
                }
                points.gradients(part, q, count, product.at, d_x, d_y, d_weight);
            }
            if (d_map)
                over_runs<MOST_BACKWARD>(my, [&](const Run& run, auto vectors) {
                    d_map->write<vectors>(d_value + at + run.channel, part, run);
                });
        });
    });
}
