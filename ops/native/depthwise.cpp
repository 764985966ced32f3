// Depthwise convolution in float32: forward pass, and all gradients in one call.
#include "correlation.h"

namespace {

struct Strides {
    int64_t image, channel, row, column;
};

// Sizes as the caller gives them, in this order; zeros beyond the border as far as dilation * (side / 2).
struct Sizes {
    int64_t batch, channels, height, width, kernel_rows, kernel_columns, stride, dilation, threads;
    Strides x, out, d_x;  // out's gradient lies as `out` says in the backward pass
    int64_t out_height() const { return (height - 1) / stride + 1; }
    int64_t out_width() const { return (width - 1) / stride + 1; }
    int64_t blocks() const { return (channels + LANES - 1) / LANES; }
    // taps on each side of the middle that can meet a map
    int64_t rows_aside() const { return smaller(kernel_rows / 2, (height - 1) / dilation); }
    int64_t columns_aside() const { return smaller(kernel_columns / 2, (width - 1) / dilation); }

    // the input with all columns that some tap reads
    Packing packing(int64_t phases) const {
        const int64_t left = columns_aside() * dilation, read = left * 2 + (out_width() - 1) * stride + 1;
        return {left, larger(read, left + width), phases};
    }

    Map map(const float* of, const Strides& by, int64_t image, int64_t block, int64_t rows, int64_t columns) const {
        const int64_t first = block * LANES;
        return {const_cast<float*>(of) + image * by.image + first * by.channel, smaller(LANES, channels - first), rows,
                columns, by.channel, by.row, by.column};
    }
    // the taps [C, K, L] that can meet a map
    Map taps(const float* of, int64_t block) const {
        const int64_t first = block * LANES, area = kernel_rows * kernel_columns;
        const int64_t corner = (kernel_rows / 2 - rows_aside()) * kernel_columns + kernel_columns / 2 - columns_aside();
        return {const_cast<float*>(of) + first * area + corner, smaller(LANES, channels - first), 2 * rows_aside() + 1,
                2 * columns_aside() + 1, area, kernel_columns, 1};
    }
};

// Where each column of taps is read in a packed row, when x begins `left` before the map.
std::vector<int64_t> shifts(const Packing& packing, int64_t left, int64_t taps, int64_t apart) {
    std::vector<int64_t> found;
    for (int64_t j = 0; j < taps; j++) found.push_back(packing.of(packing.left - left + j * apart));
    return found;
}

// Computes a map in place where its channels fill vectors side by side, otherwise by way of `room`.
void written(Correlation& product, const Map& to, float* room) {
    const bool direct = to.channel == 1 && to.count == LANES;
    product.out = direct ? to.at : room;
    product.out_row = direct ? to.row : to.width * LANES;
    product.out_column = direct ? to.column : LANES;
    correlate(product);
    if (!direct) unpack(room, to);
}

vec lanes(const float* from, int64_t count) {
    vec out{};
    for (int64_t lane = 0; lane < count; lane++) out[lane] = from[lane];
    return out;
}

// The taps of a packed kernel in reverse order, every `step`-th of rows and columns from the first ones on.
void turned(const float* kernel, int64_t columns, int64_t rows_from, int64_t columns_from, int64_t step, int64_t tall,
            int64_t wide, float* into) {
    for (int64_t i = 0; i < tall; i++)
        for (int64_t j = 0; j < wide; j++) {
            const int64_t row = rows_from + step * (tall - 1 - i), column = columns_from + step * (wide - 1 - j);
            store(into + (i * wide + j) * LANES, load(kernel + (row * columns + column) * LANES));
        }
}

// Of the input's rows (or columns) with remainder `phase` by the stride: which taps write to them and from where.
struct Phase {
    int64_t first, taps, places, before;
    Phase(int64_t phase, int64_t stride, int64_t dilation, int64_t aside, int64_t side) {
        const int64_t pad = aside * dilation, count = 2 * aside + 1;
        places = phase < side ? (side - 1 - phase) / stride + 1 : 0;
        if (stride == 1) {
            first = 0, taps = count, before = pad;
            return;
        }
        first = (phase + pad) % stride;  // the dilation is 1
        taps = first < count ? (count - 1 - first) / stride + 1 : 0;
        before = taps - 1 - (phase + pad - first) / stride;
    }
};

struct ToInput {
    int64_t row, column;
    Phase down, across;
    std::vector<int64_t> shift;
    Correlation product;
};

// The gradients of some images and one block of channels; which of them, the pointers say.
struct Gradients {
    const Sizes& my;
    const int64_t rows, columns, tall, wide;  // of the output, and taps that count
    const Packing of_x, of_grad;
    Room x, grad, part, room;
    std::vector<int64_t> shift_x;
    Correlation taps;
    std::vector<ToInput> inputs;  // one for each phase of rows and columns

    explicit Gradients(const Sizes& s)
        : my(s), rows(s.out_height()), columns(s.out_width()), tall(2 * s.rows_aside() + 1),
          wide(2 * s.columns_aside() + 1),
          of_x(s.packing(s.dilation)),
          of_grad{s.columns_aside() * s.dilation, columns + 2 * s.columns_aside() * s.dilation + 1, 1},
          x(s.height * of_x.stride() * LANES), grad(rows * of_grad.stride() * LANES),
          part(tall * wide * LANES), room(s.height * s.width * LANES),
          shift_x(shifts(of_x, of_x.left, columns, s.stride)) {
        taps = {x.at, s.height, s.width, of_x, grad.at + of_grad.left * LANES, rows, columns, of_grad.stride(), tall, wide,
                s.dilation, s.dilation, s.stride, s.stride, s.rows_aside() * s.dilation, of_x.left, nullptr, wide * LANES,
                LANES, vec{}, true, shift_x.data(), 1, 1, 1, 1};
        plan(taps);
        for (int64_t p = 0; p < s.stride; p++)
            for (int64_t q = 0; q < s.stride; q++) add_input(p, q);
    }

    void add_input(int64_t p, int64_t q) {
        const Phase down(p, my.stride, my.dilation, my.rows_aside(), my.height);
        const Phase across(q, my.stride, my.dilation, my.columns_aside(), my.width);
        if (!down.places || !across.places) return;
        auto shift = shifts(of_grad, across.before, across.taps, my.dilation);
        Correlation product{grad.at, rows, columns, of_grad, part.at, down.taps, across.taps, across.taps, down.places,
                            across.places, 1, 1, my.dilation, my.dilation, down.before, across.before, nullptr, 0, 0,
                            vec{}, false, shift.data(), 1, 1, 1, 1};
        plan(product);
        inputs.push_back({p, q, down, across, std::move(shift), product});
    }

    void to_input(const float* kernel, const Map& to) {
        for (auto& each : inputs) {
            turned(kernel, wide, each.down.first, each.across.first, my.stride, each.down.taps, each.across.taps, part.at);
            Map here = to;
            here.at += each.row * to.row + each.column * to.column;
            here.height = each.down.places, here.width = each.across.places;
            here.row *= my.stride, here.column *= my.stride;
            written(each.product, here, room.at);
        }
    }

    void to_taps(float* sums) {
        taps.out = sums;
        correlate(taps);
    }

    vec total() const {
        vec sum{};
        for (int64_t h = 0; h < rows; h++) {
            vec row{};
            for (int64_t w = 0; w < columns; w++) row += load(grad.at + (h * of_grad.stride() + of_grad.left + w) * LANES);
            sum += row;
        }
        return sum;
    }
};

}  // namespace

// The kernels of all blocks, packed.
static void pack_taps(const Sizes& my, const float* weight, float* into) {
    const int64_t tall = 2 * my.rows_aside() + 1, wide = 2 * my.columns_aside() + 1;
    for (int64_t block = 0; block < my.blocks(); block++)
        pack(my.taps(weight, block), {0, wide, 1}, into + block * tall * wide * LANES);
}

extern "C" int depthwise_forward(const int64_t* sizes, const float* x, const float* weight, const float* bias, float* out) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    const int64_t rows = my.out_height(), columns = my.out_width(), tall = 2 * my.rows_aside() + 1,
                  wide = 2 * my.columns_aside() + 1, left = my.columns_aside() * my.dilation;
    const Packing packing = my.packing(my.stride);
    const auto shift = shifts(packing, left, wide, my.dilation);
    Room kernels(my.blocks() * tall * wide * LANES);
    pack_taps(my, weight, kernels.at);
    return in_parts(my.batch * my.blocks(), my.threads, [&](int64_t first, int64_t last, int64_t) {
        Room packed(my.height * packing.stride() * LANES), room(rows * columns * LANES);
        Correlation product{packed.at, my.height, my.width, packing, nullptr, tall, wide, wide, rows, columns, my.stride,
                            my.stride, my.dilation, my.dilation, my.rows_aside() * my.dilation, left, nullptr, 0, 0, vec{},
                            false, shift.data(), 1, 1, 1, 1};
        plan(product);
        for (int64_t task = first; task < last; task++) {
            const int64_t image = task / my.blocks(), block = task % my.blocks();
            pack(my.map(x, my.x, image, block, my.height, my.width), packing, packed.at);
            const Map to = my.map(out, my.out, image, block, rows, columns);
            product.kernel = kernels.at + block * tall * wide * LANES;
            product.start = bias ? lanes(bias + block * LANES, to.count) : vec{};
            written(product, to, room.at);
        }
    }) ? 0 : 1;
}

// Gradients whose pointer is null are left out. Each part keeps sums of its own over its images; they are added in order.
extern "C" int depthwise_backward(const int64_t* sizes, const float* grad, const float* x, const float* weight,
                                  float* d_x, float* d_weight, float* d_bias) {
    Sizes my;
    memcpy(&my, sizes, sizeof my);
    const int64_t tall = 2 * my.rows_aside() + 1, wide = 2 * my.columns_aside() + 1, taps = tall * wide * LANES;
    const int64_t tasks = my.batch * my.blocks(), parts = larger(1, smaller(my.threads, tasks)), each = taps + LANES;
    Room sums(parts * my.blocks() * each), kernels(my.blocks() * taps);
    if (d_x) pack_taps(my, weight, kernels.at);
    const bool done = in_parts(tasks, parts, [&](int64_t first, int64_t last, int64_t part) {
        Gradients here(my);
        for (int64_t task = first; task < last; task++) {
            const int64_t image = task / my.blocks(), block = task % my.blocks();
            float* total = sums.at + (part * my.blocks() + block) * each;
            pack(my.map(grad, my.out, image, block, here.rows, here.columns), here.of_grad, here.grad.at);
            if (d_bias) store(total + taps, load(total + taps) + here.total());
            if (d_x) here.to_input(kernels.at + block * taps, my.map(d_x, my.d_x, image, block, my.height, my.width));
            if (!d_weight) continue;
            pack(my.map(x, my.x, image, block, my.height, my.width), here.of_x, here.x.at);
            here.to_taps(total);
        }
    });
    for (int64_t block = 0; block < my.blocks(); block++) {
        float* whole = sums.at + block * each;
        for (int64_t part = 1; part < parts; part++)
            for (int64_t i = 0; i < each; i++) whole[i] += sums.at[(part * my.blocks() + block) * each + i];
        if (d_weight) unpack(whole, my.taps(d_weight, block));
        const int64_t first = block * LANES, end = smaller(first + LANES, my.channels);
        for (int64_t channel = first; d_bias && channel < end; channel++) d_bias[channel] = whole[taps + channel - first];
    }
    return done ? 0 : 1;
}
