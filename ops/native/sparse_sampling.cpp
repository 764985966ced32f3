// Deformable sampling in float32 where there are fewer points than pixels: maps are read and written where they lie.
//
// Vectors are channels of one group, in segments of up to LANES. What a query's points take from the map is computed for
// all of its points first, and the gradients of places and weights for all of them at the end; so both run over points
// side by side. An image's map is written by one thread alone.
#include <utility>

#include "places.h"

namespace {

// Where points lie, and which corners are on the map.
struct Corners : Place {
    ints has_left, has_right, has_top, has_bottom;

    Corners(const Sizes& my, vec x, vec y) : Place(my, x, y) {
        has_left = left >= all(0), has_right = left < all((float)my.width - 1);
        has_top = top >= all(0), has_bottom = top < all((float)my.height - 1);
    }
};

// The points of one query and some of its groups, with room for whole vectors of them. Corners are first, right, below
// and last; of each, what a point takes and where it lies in the map, and its product with the output's gradient.
struct Points {
    Room given, room;
    std::vector<int32_t> cells;
    float *x, *y, *weight, *share[4], *product;
    int32_t* cell[4];

    explicit Points(int64_t count) : given(count * 3), room(count * 8), cells((size_t)count * 4) {
        x = given.at, y = x + count, weight = y + count, product = room.at + 4 * count;
        for (int i = 0; i < 4; i++) share[i] = room.at + i * count, cell[i] = cells.data() + i * count;
    }

    void place(const Sizes& my, int64_t count, const float* from_x, const float* from_y, const float* from_weight) {
        memcpy(x, from_x, (size_t)count * 4), memcpy(y, from_y, (size_t)count * 4);
        memcpy(weight, from_weight, (size_t)count * 4);
        const vec wide = all((float)my.width), tall = all((float)my.height), none = all(0);
        const int32_t pixel = (int32_t)(my.groups * my.depth);
        for (int64_t i = 0; i < count; i += LANES) {
            const Corners at(my, load(x + i), load(y + i));
            const vec below = load(weight + i) * at.down, above = load(weight + i) - below;
            const vec l = where(at.has_left, 1 - at.across), t = where(at.has_top, above);
            // the right and lower corners are those on the map, or what is no number
            const vec r = at.left >= wide - 1 ? none : at.across, b = at.top >= tall - 1 ? none : below;
            store(share[0] + i, l * t), store(share[1] + i, r * t), store(share[2] + i, l * b), store(share[3] + i, r * b);
            const vec column = where(at.has_left, at.left), row = where(at.has_top, at.top) * wide;
            const vec column_right = where(at.has_right, at.left + 1), row_below = where(at.has_bottom, at.top + 1) * wide;
            put(cell[0] + i, row + column, pixel), put(cell[1] + i, row + column_right, pixel);
            put(cell[2] + i, row_below + column, pixel), put(cell[3] + i, row_below + column_right, pixel);
        }
    }

    static void put(int32_t* to, vec cell, int32_t pixel) {
        const ints whole = __builtin_convertvector(cell, ints) * pixel;
        memcpy(to, &whole, sizeof whole);
    }

    // Gradients of places and weights from the products.
    void gradients(const Sizes& my, int64_t count, float* d_x, float* d_y, float* d_weight) {
        const vec wide = all((float)my.width), tall = all((float)my.height), before = all(-1);
        for (int64_t i = 0; i < count; i += LANES) {
            vec corner[4];
            apart(product + i * 4, corner);
            const vec at_x = load(x + i), at_y = load(y + i), w = load(weight + i);
            const Corners at(my, at_x, at_y);
            const vec first = where(at.has_left & at.has_top, corner[0]), right = where(at.has_right & at.has_top, corner[1]);
            const vec below = where(at.has_left & at.has_bottom, corner[2]), last = where(at.has_right & at.has_bottom, corner[3]);
            const vec upper = lerp(first, right, at.across), lower = lerp(below, last, at.across);
            const vec scale = where((at_x > before) & (at_x < wide) & (at_y > before) & (at_y < tall), w);
            store(weight + i, lerp(upper, lower, at.down));
            store(x + i, scale * lerp(right - first, last - below, at.down)), store(y + i, scale * (lower - upper));
        }
        memcpy(d_x, x, (size_t)count * 4), memcpy(d_y, y, (size_t)count * 4);
        memcpy(d_weight, weight, (size_t)count * 4);
    }
};

template <int COUNT>
vec some(const float* from) {
    if constexpr (COUNT == LANES) return load(from);
    vec out{};
    memcpy(&out, from, COUNT * 4);
    return out;
}

template <int COUNT>
void put(float* to, vec value) {
    memcpy(to, &value, COUNT * 4);
}

// One query and group: the sum over points of one segment of channels.
template <int COUNT>
void gather(const Points& my, int64_t first, int64_t points, const float* map, float* out) {
    vec sums[4] = {};
    for (int64_t p = first; p < first + points; p++) {
#pragma GCC unroll 4
        for (int corner = 0; corner < 4; corner++)
            sums[corner] += some<COUNT>(map + my.cell[corner][p]) * my.share[corner][p];
    }
    put<COUNT>(out, (sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Products of the output's gradient with the corners of a point, to be summed over lanes whose numbers agree in the two
// lowest bits.
template <int COUNT>
inline vec products(const Points& my, int64_t p, const float* map, vec grad) {
    vec product[4];
#pragma GCC unroll 4
    for (int corner = 0; corner < 4; corner++) product[corner] = some<COUNT>(map + my.cell[corner][p]) * grad;
    return folded<2>(folded<1>(product[0], product[1]), folded<1>(product[2], product[3]));
}

// The same backward: adds to each point's products with its corners, and to the map's gradient if it is wanted.
template <int COUNT>
void scatter(Points& my, int64_t first, int64_t points, const float* map, const float* grad, float* d_map) {
    constexpr int TOGETHER = LANES / 4;
    const vec g = some<COUNT>(grad);
    for (int64_t p = first; p < first + points; p += TOGETHER) {
        vec each[TOGETHER] = {};
        const int64_t count = smaller(TOGETHER, first + points - p);
        if (count == TOGETHER) {
#pragma GCC unroll 4
            for (int i = 0; i < TOGETHER; i++) each[i] = products<COUNT>(my, p + i, map, g);
        } else {
            for (int64_t i = 0; i < count; i++) each[i] = products<COUNT>(my, p + i, map, g);
        }
        if constexpr (TOGETHER == 4) each[0] = folded<8>(folded<4>(each[0], each[1]), folded<4>(each[2], each[3]));
        if constexpr (TOGETHER == 2) each[0] = folded<4>(each[0], each[1]);
        store(my.product + p * 4, load(my.product + p * 4) + each[0]);
    }
    for (int64_t p = first; d_map && p < first + points; p++) {
#pragma GCC unroll 4
        for (int corner = 0; corner < 4; corner++) {
            float* to = d_map + my.cell[corner][p];
            put<COUNT>(to, some<COUNT>(to) + g * my.share[corner][p]);
        }
    }
}

typedef void (*Gather)(const Points&, int64_t, int64_t, const float*, float*);
typedef void (*Scatter)(Points&, int64_t, int64_t, const float*, const float*, float*);

template <int... COUNT>
Gather gather_of(int64_t count, std::integer_sequence<int, COUNT...>) {
    static constexpr Gather all_of[] = {gather<COUNT + 1>...};
    return all_of[count - 1];
}

template <int... COUNT>
Scatter scatter_of(int64_t count, std::integer_sequence<int, COUNT...>) {
    static constexpr Scatter all_of[] = {scatter<COUNT + 1>...};
    return all_of[count - 1];
}

using Counts = std::make_integer_sequence<int, LANES>;

}  // namespace

extern "C" int sparse_sampling_forward(const int64_t* sizes, const float* value, const float* x, const float* y,
                                       const float* weight, float* out) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    return over_images(my, [&](auto tasks) {
        Points points(ceil_over(my.part() * my.points + LANES, LANES) * LANES);
        tasks([&](const Part& part) {
            const float* map = value + part.image * my.image();
            for (int64_t q = 0; q < my.queries; q++) {
                const int64_t query = part.image * my.queries + q, at = (query * my.groups + part.first) * my.points;
                points.place(my, part.groups * my.points, x + at, y + at, weight + at);
                for (int64_t g = 0; g < part.groups; g++)
                    for (int64_t d = 0; d < my.depth; d += LANES) {
                        const int64_t channel = (part.first + g) * my.depth + d;
                        gather_of(smaller(LANES, my.depth - d), Counts())(
                            points, g * my.points, my.points, map + channel, out + query * my.pixel() + channel);
                    }
            }
        });
    });
}

// d_value must be zero; it is left out where its pointer is null.
extern "C" int sparse_sampling_backward(const int64_t* sizes, const float* grad, const float* value, const float* x,
                                        const float* y, const float* weight, float* d_value, float* d_x, float* d_y,
                                        float* d_weight) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    return over_images(my, [&](auto tasks) {
        Points points(ceil_over(my.part() * my.points + LANES, LANES) * LANES);
        tasks([&](const Part& part) {
            const float* map = value + part.image * my.image();
            float* d_map = d_value ? d_value + part.image * my.image() : nullptr;
            const int64_t count = part.groups * my.points;
            for (int64_t q = 0; q < my.queries; q++) {
                const int64_t query = part.image * my.queries + q, at = (query * my.groups + part.first) * my.points;
                points.place(my, count, x + at, y + at, weight + at);
                memset(points.product, 0, (size_t)count * 16);
                for (int64_t g = 0; g < part.groups; g++)
                    for (int64_t d = 0; d < my.depth; d += LANES) {
                        const int64_t channel = (part.first + g) * my.depth + d;
                        scatter_of(smaller(LANES, my.depth - d), Counts())(
                            points, g * my.points, my.points, map + channel, grad + query * my.pixel() + channel,
                            d_map ? d_map + channel : nullptr);
                    }
                points.gradients(my, count, d_x + at, d_y + at, d_weight + at);
            }
        });
    });
}
