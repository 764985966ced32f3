// Places of points among the pixels of a map, for both ways of deformable sampling.
#pragma once
#include "layout.h"

namespace {

// Sizes as the caller gives them, in this order: value [N, H, W, G, D]; x, y and weight [N, Q, G, P]; all contiguous.
struct Sizes {
    int64_t batch, height, width, groups, depth, queries, points, threads;
    int64_t pixel() const { return groups * depth; }
    int64_t image() const { return height * width * pixel(); }
    // parts of an image's groups, where images alone do not keep the threads busy, and the groups of the largest part
    int64_t splits() const { return smaller(groups, ceil_over(threads, batch)); }
    int64_t part() const { return ceil_over(groups, splits()); }
};

// A task: some groups of an image.
struct Part {
    int64_t image, first, groups;
};

vec between(vec x, float low, float high) {  // what is no number stays none
    x = x < all(low) ? all(low) : x;
    return x > all(high) ? all(high) : x;
}

// The whole number at or below x, for x from -1 to below 2^31; -1 for what is no number.
vec down_to_whole(vec x) {
    vec out = __builtin_convertvector(__builtin_convertvector(x, ints), vec);
    out = out > x ? out - 1 : out;
    return out < all(-1) ? all(-1) : out;
}

vec lerp(vec a, vec b, vec share) { return a + (b - a) * share; }

vec where(ints condition, vec value) { return condition ? value : vec{}; }

// Where LANES points lie: columns left and top of them, from -1, and the distance from there.
struct Place {
    vec left, top, across, down;

    Place(const Sizes& my, vec x, vec y) {
        const float wide = (float)my.width, tall = (float)my.height;
        const vec px = between(x, -1, wide), py = between(y, -1, tall);
        left = down_to_whole(px), top = down_to_whole(py);
        left = left > all(wide - 1) ? all(wide - 1) : left, top = top > all(tall - 1) ? all(tall - 1) : top;
        across = px - left, down = py - top;
    }
};

// Copies of few numbers in few overlapping moves.
void copy(float* to, const float* from, int64_t count) {
    constexpr int64_t HALF = LANES / 2;
    if (count >= LANES) {
        for (int64_t i = 0; i + LANES <= count; i += LANES) store(to + i, load(from + i));
        store(to + count - LANES, load(from + count - LANES));
    } else if (count >= HALF) {
        float head[HALF], tail[HALF];
        memcpy(head, from, sizeof head), memcpy(tail, from + count - HALF, sizeof tail);
        memcpy(to, head, sizeof head), memcpy(to + count - HALF, tail, sizeof tail);
    } else {
        for (int64_t i = 0; i < count; i++) to[i] = from[i];
    }
}

ints numbers() {
    ints out;
    for (int lane = 0; lane < LANES; lane++) out[lane] = lane;
    return out;
}

// The first `count` of LANES numbers, the rest zeros; `end` is where memory ends.
vec some(const float* from, int64_t count, const float* end) {
    if (count >= LANES) return load(from);
    if (from + LANES <= end) return where(numbers() < (ints{} + (int32_t)count), load(from));
    vec out{};
    memcpy(&out, from, (size_t)count * 4);
    return out;
}

// Four vectors in turn, (a, b, c, d) of one lane side by side.
void together(float* to, vec a, vec b, vec c, vec d) {
    ints low, high;
    for (int lane = 0; lane < LANES; lane++) low[lane] = lane / 2 + lane % 2 * LANES, high[lane] = low[lane] + LANES / 2;
    const vec ac[2] = {choose(a, c, low), choose(a, c, high)}, bd[2] = {choose(b, d, low), choose(b, d, high)};
    for (int i = 0; i < 2; i++)
        store(to + i * 2 * LANES, choose(ac[i], bd[i], low)), store(to + (i * 2 + 1) * LANES, choose(ac[i], bd[i], high));
}

// And back.
void apart(const float* from, vec (&corner)[4]) {
    ints even, odd;
    for (int lane = 0; lane < LANES; lane++) even[lane] = lane * 2, odd[lane] = lane * 2 + 1;
    const vec a = load(from), b = load(from + LANES), c = load(from + 2 * LANES), d = load(from + 3 * LANES);
    const vec even_ab = choose(a, b, even), odd_ab = choose(a, b, odd);
    const vec even_cd = choose(c, d, even), odd_cd = choose(c, d, odd);
    corner[0] = choose(even_ab, even_cd, even), corner[2] = choose(even_ab, even_cd, odd);
    corner[1] = choose(odd_ab, odd_cd, even), corner[3] = choose(odd_ab, odd_cd, odd);
}

// Runs each(part) over all images, in parts of the groups. Calls work(tasks) once in each thread, and that
// calls tasks(each) with what it made for them.
template <class Work>
int over_images(const Sizes& my, Work work) {
    const int64_t splits = my.splits();
    return in_parts(my.batch * splits, my.threads, [&](int64_t begin, int64_t end, int64_t) {
        work([&](auto each) {
            for (int64_t task = begin; task < end; task++) {
                const int64_t split = task % splits, first = my.groups * split / splits;
                each(Part{task / splits, first, my.groups * (split + 1) / splits - first});
            }
        });
    }) ? 0 : 1;
}

}  // namespace
