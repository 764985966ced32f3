// Selective scan in float32: h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t, y_t = <C_t, h_t>, forward and backward.
//
// Vectors are channels of one group, which share B and C; states follow one another. Positions are taken in chunks; the
// forward pass keeps the states before each chunk, and the backward pass computes the others again.
#include <algorithm>

#include "layout.h"

namespace {

constexpr int CHUNK = 16;  // positions, a multiple of all LANES

struct Read {
    int64_t image, group, state;  // strides of B or C, whose positions lie side by side
};

// Sizes as the caller gives them, in this order. u, delta and y are contiguous [B, D, L], A [D, N].
struct Sizes {
    int64_t batch, channels, length, states, groups, threads;
    Read b, c;
    int64_t width() const { return channels / groups; }  // of a group
    int64_t blocks() const { return (width() + LANES - 1) / LANES; }
    int64_t chunks() const { return (length + CHUNK - 1) / CHUNK; }
    int64_t kept() const { return blocks() * chunks() * states * LANES; }  // floats of one image and group
};

// 2 to the power of x, to a relative 2e-7; nothing overflows, and what would be below 2^-126 is that.
vec power_of_two(vec x) {
    const vec low = all(-126.0f), high = all(127.0f), magic = all(12582912.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    const vec rounded = x + magic, f = x - (rounded - magic);
    vec p = all(1.5403530393381609e-4f);
    p = p * f + 1.3333558146428443e-3f;
    p = p * f + 9.6181291076284772e-3f;
    p = p * f + 5.5504108664821580e-2f;
    p = p * f + 2.4022650695910072e-1f;
    p = p * f + 6.9314718055994531e-1f;
    p = p * f + 1.0f;
    return (vec)((ints)p + ((ints)rounded << 23));
}

// Copies positions of channels [count][length] to [CHUNK][lane]; zeros beyond both.
void take(const float* from, int64_t length, int64_t count, int64_t t, float* into) {
    if (count == LANES && t + CHUNK <= length) {
        for (int part = 0; part < CHUNK; part += LANES) {
            vec square[LANES];
            for (int lane = 0; lane < LANES; lane++) square[lane] = load(from + lane * length + t + part);
            transpose(square);
            for (int i = 0; i < LANES; i++) store(into + (part + i) * LANES, square[i]);
        }
        return;
    }
    for (int i = 0; i < CHUNK; i++)
        for (int lane = 0; lane < LANES; lane++)
            into[i * LANES + lane] = lane < count && t + i < length ? from[lane * length + t + i] : 0.0f;
}

// The way back.
void give(const float* from, int64_t length, int64_t count, int64_t t, float* into) {
    if (count == LANES && t + CHUNK <= length) {
        for (int part = 0; part < CHUNK; part += LANES) {
            vec square[LANES];
            for (int i = 0; i < LANES; i++) square[i] = load(from + (part + i) * LANES);
            transpose(square);
            for (int lane = 0; lane < LANES; lane++) store(into + lane * length + t + part, square[lane]);
        }
        return;
    }
    for (int i = 0; i < CHUNK && t + i < length; i++)
        for (int lane = 0; lane < count; lane++) into[lane * length + t + i] = from[i * LANES + lane];
}

// Positions [states][length] as [length][states].
void turned(const float* from, int64_t stride, int64_t states, int64_t length, float* into) {
    for (int64_t n = 0; n < states; n++)
        for (int64_t t = 0; t < length; t++) into[t * states + n] = from[n * stride + t];
}

// One block of channels of one image and group.
struct Block {
    int64_t first, count;  // channels
    Block(const Sizes& my, int64_t group, int64_t block)
        : first(group * my.width() + block * LANES), count(smaller(LANES, my.width() - block * LANES)) {}
    // rows of [D, N] as [N][lane]
    void rates(const Sizes& my, const float* of, float scale, float* into) const {
        for (int64_t n = 0; n < my.states; n++)
            for (int lane = 0; lane < LANES; lane++)
                into[n * LANES + lane] = lane < count ? scale * of[(first + lane) * my.states + n] : 0.0f;
    }
    void put(const Sizes& my, const float* from, float* into) const {
        for (int64_t lane = 0; lane < count; lane++)
            for (int64_t n = 0; n < my.states; n++) into[(first + lane) * my.states + n] = from[n * LANES + lane];
    }
};

constexpr float LOG2_E = 1.4426950408889634f;

struct Chunk {
    Room u, delta, y;
    Chunk() : u(CHUNK * LANES), delta(CHUNK * LANES), y(CHUNK * LANES) {}
};

// Advances COUNT states over a chunk and adds what they give to y.
template <int COUNT>
void advance(const Chunk& chunk, int64_t n, int64_t steps, int64_t states, const float* rates, const float* b, const float* c,
             float* h) {
    vec state[COUNT], rate[COUNT];
    for (int k = 0; k < COUNT; k++) state[k] = load(h + (n + k) * LANES), rate[k] = load(rates + (n + k) * LANES);
    for (int64_t t = 0; t < steps; t++) {
        const vec delta = load(chunk.delta.at + t * LANES), entering = delta * load(chunk.u.at + t * LANES);
        vec y = load(chunk.y.at + t * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; k++) {
            state[k] = power_of_two(delta * rate[k]) * state[k] + entering * b[t * states + n + k];
            y += state[k] * c[t * states + n + k];
        }
        store(chunk.y.at + t * LANES, y);
    }
    for (int k = 0; k < COUNT; k++) store(h + (n + k) * LANES, state[k]);
}

// What the backward pass of one image and group needs.
struct Back {
    Room decay, h, d_y, d_product, d_delta, d_b, d_c;  // of a chunk: [CHUNK][N][lane], h one more position; [CHUNK][lane]
    Room scaled, rates, following, d_rates;             // of all blocks [blocks][N][lane]
    explicit Back(const Sizes& my)
        : decay(CHUNK * my.states * LANES), h((CHUNK + 1) * my.states * LANES), d_y(CHUNK * LANES), d_product(CHUNK * LANES),
          d_delta(CHUNK * LANES), d_b(CHUNK * my.states * LANES), d_c(CHUNK * my.states * LANES),
          scaled(my.blocks() * my.states * LANES), rates(my.blocks() * my.states * LANES),
          following(my.blocks() * my.states * LANES), d_rates(my.blocks() * my.states * LANES) {}
};

// Computes decays and states of COUNT states in a chunk again, then their gradients from the last position to the first.
template <int COUNT>
void return_over(Back& my, const Chunk& chunk, int64_t n, int64_t steps, int64_t states, int64_t block, const float* b,
                 const float* c) {
    const int64_t row = states * LANES, at = n * LANES;
    const float *scaled = my.scaled.at + block * row + at, *rates = my.rates.at + block * row + at;
    vec state[COUNT], g[COUNT], d_rate[COUNT];
    for (int k = 0; k < COUNT; k++) state[k] = load(my.h.at + at + k * LANES);
    for (int64_t t = 0; t < steps; t++) {
        const vec delta = load(chunk.delta.at + t * LANES), entering = delta * load(chunk.u.at + t * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; k++) {
            const vec decay = power_of_two(delta * load(scaled + k * LANES));
            state[k] = decay * state[k] + entering * b[t * states + n + k];
            store(my.decay.at + t * row + at + k * LANES, decay);
            store(my.h.at + (t + 1) * row + at + k * LANES, state[k]);
        }
    }
    for (int k = 0; k < COUNT; k++) {
        g[k] = load(my.following.at + block * row + at + k * LANES);
        d_rate[k] = vec{};
    }
    for (int64_t t = steps - 1; t >= 0; t--) {
        const vec delta = load(chunk.delta.at + t * LANES), entering = delta * load(chunk.u.at + t * LANES);
        const vec d_y = load(my.d_y.at + t * LANES);
        vec d_product = load(my.d_product.at + t * LANES), d_delta = load(my.d_delta.at + t * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; k++) {
            const int64_t here = t * row + at + k * LANES;
            const vec all_of = g[k] + d_y * c[t * states + n + k];
            store(my.d_c.at + here, load(my.d_c.at + here) + load(my.h.at + here + row) * d_y);
            store(my.d_b.at + here, load(my.d_b.at + here) + all_of * entering);
            d_product += all_of * b[t * states + n + k];
            g[k] = all_of * load(my.decay.at + here);
            const vec d_exponent = g[k] * load(my.h.at + here);
            d_delta += d_exponent * load(rates + k * LANES);
            d_rate[k] += d_exponent * delta;
        }
        store(my.d_product.at + t * LANES, d_product);
        store(my.d_delta.at + t * LANES, d_delta);
    }
    for (int k = 0; k < COUNT; k++) {
        store(my.following.at + block * row + at + k * LANES, g[k]);
        float* total = my.d_rates.at + block * row + at + k * LANES;  // sums of sums lose fewer digits
        store(total, load(total) + d_rate[k]);
    }
}

// Sums over lanes of [CHUNK][N][lane], which becomes zero, to positions of [N][length].
void sum_lanes(float* sums, int64_t steps, int64_t states, int64_t length, int64_t t, float* into) {
    for (int64_t i = 0; i < steps; i++)
        for (int64_t n = 0; n < states; n++) {
            float* each = sums + (i * states + n) * LANES;
            float total = 0;
            for (int lane = 0; lane < LANES; lane++) total += each[lane];
            into[n * length + t + i] = total;
            store(each, vec{});
        }
}

}  // namespace

// starts, where it is not null, takes the states before each chunk: [B, G][blocks][chunks][N][lane].
extern "C" int scan_forward(const int64_t* sizes, const float* u, const float* delta, const float* rates, const float* b,
                            const float* c, float* y, float* last, float* starts) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    return in_parts(my.batch * my.groups, my.threads, [&](int64_t begin, int64_t end, int64_t) {
        Room bs(my.length * my.states), cs(my.length * my.states), scaled(my.states * LANES), h(my.states * LANES);
        Chunk chunk;
        for (int64_t task = begin; task < end; task++) {
            const int64_t image = task / my.groups, group = task % my.groups;
            turned(b + image * my.b.image + group * my.b.group, my.b.state, my.states, my.length, bs.at);
            turned(c + image * my.c.image + group * my.c.group, my.c.state, my.states, my.length, cs.at);
            for (int64_t block = 0; block < my.blocks(); block++) {
                const Block here(my, group, block);
                const int64_t offset = (image * my.channels + here.first) * my.length;
                here.rates(my, rates, LOG2_E, scaled.at);
                std::fill_n(h.at, my.states * LANES, 0.0f);
                for (int64_t part = 0; part < my.chunks(); part++) {
                    const int64_t t = part * CHUNK, steps = smaller(CHUNK, my.length - t);
                    if (starts)
                        memcpy(starts + task * my.kept() + (block * my.chunks() + part) * my.states * LANES, h.at,
                               (size_t)(my.states * LANES) * 4);
                    take(u + offset, my.length, here.count, t, chunk.u.at);
                    take(delta + offset, my.length, here.count, t, chunk.delta.at);
                    std::fill_n(chunk.y.at, CHUNK * LANES, 0.0f);
                    const float *b_t = bs.at + t * my.states, *c_t = cs.at + t * my.states;
                    int64_t n = 0;
                    for (; n + 4 <= my.states; n += 4) advance<4>(chunk, n, steps, my.states, scaled.at, b_t, c_t, h.at);
                    for (; n < my.states; n++) advance<1>(chunk, n, steps, my.states, scaled.at, b_t, c_t, h.at);
                    give(chunk.y.at, my.length, here.count, t, y + offset);
                }
                here.put(my, h.at, last + image * my.channels * my.states);
            }
        }
    }) ? 0 : 1;
}

// d_rates is [B, D, N], for the caller to sum over images; d_b and d_c are contiguous [B, G, N, L].
extern "C" int scan_backward(const int64_t* sizes, const float* d_y, const float* d_last, const float* u, const float* delta,
                             const float* rates, const float* b, const float* c, const float* starts, float* d_u,
                             float* d_delta, float* d_rates, float* d_b, float* d_c) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    return in_parts(my.batch * my.groups, my.threads, [&](int64_t begin, int64_t end, int64_t) {
        const int64_t row = my.states * LANES;
        Room bs(my.length * my.states), cs(my.length * my.states);
        Chunk chunk;
        Back back(my);
        for (int64_t task = begin; task < end; task++) {
            const int64_t image = task / my.groups, group = task % my.groups;
            turned(b + image * my.b.image + group * my.b.group, my.b.state, my.states, my.length, bs.at);
            turned(c + image * my.c.image + group * my.c.group, my.c.state, my.states, my.length, cs.at);
            std::fill_n(back.d_rates.at, my.blocks() * row, 0.0f);
            for (int64_t block = 0; block < my.blocks(); block++) {
                const Block here(my, group, block);
                here.rates(my, rates, LOG2_E, back.scaled.at + block * row);
                here.rates(my, rates, 1.0f, back.rates.at + block * row);
                here.rates(my, d_last + image * my.channels * my.states, 1.0f, back.following.at + block * row);
            }
            for (int64_t part = my.chunks() - 1; part >= 0; part--) {
                const int64_t t = part * CHUNK, steps = smaller(CHUNK, my.length - t);
                const float *b_t = bs.at + t * my.states, *c_t = cs.at + t * my.states;
                for (int64_t block = 0; block < my.blocks(); block++) {
                    const Block here(my, group, block);
                    const int64_t offset = (image * my.channels + here.first) * my.length;
                    memcpy(back.h.at, starts + task * my.kept() + (block * my.chunks() + part) * row, (size_t)row * 4);
                    take(u + offset, my.length, here.count, t, chunk.u.at);
                    take(delta + offset, my.length, here.count, t, chunk.delta.at);
                    take(d_y + offset, my.length, here.count, t, back.d_y.at);
                    std::fill_n(back.d_product.at, CHUNK * LANES, 0.0f);
                    std::fill_n(back.d_delta.at, CHUNK * LANES, 0.0f);
                    int64_t n = 0;
                    for (; n + 4 <= my.states; n += 4) return_over<4>(back, chunk, n, steps, my.states, block, b_t, c_t);
                    for (; n < my.states; n++) return_over<1>(back, chunk, n, steps, my.states, block, b_t, c_t);
                    for (int64_t i = 0; i < steps; i++) {
                        const vec product = load(back.d_product.at + i * LANES);
                        store(back.d_delta.at + i * LANES,
                              load(back.d_delta.at + i * LANES) + product * load(chunk.u.at + i * LANES));
                        store(back.d_product.at + i * LANES, product * load(chunk.delta.at + i * LANES));
                    }
                    give(back.d_product.at, my.length, here.count, t, d_u + offset);
                    give(back.d_delta.at, my.length, here.count, t, d_delta + offset);
                }
                const int64_t of_group = task * my.states * my.length;
                sum_lanes(back.d_b.at, steps, my.states, my.length, t, d_b + of_group);
                sum_lanes(back.d_c.at, steps, my.states, my.length, t, d_c + of_group);
            }
            for (int64_t block = 0; block < my.blocks(); block++)
                Block(my, group, block).put(my, back.d_rates.at + block * row, d_rates + image * my.channels * my.states);
        }
    }) ? 0 : 1;
}

extern "C" int64_t scan_lanes() { return LANES; }
extern "C" int64_t scan_chunk() { return CHUNK; }
