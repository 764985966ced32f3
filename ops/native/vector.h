// Vectors of the machine's width, aligned memory and a static split over threads: what all kernels share.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(LANES * 4)));

static inline vec load(const float* from) { return *(const loose*)from; }
static inline void store(float* to, vec value) { *(loose*)to = value; }
static inline vec all(float value) { return value - vec{}; }

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t floor_over(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static inline int64_t ceil_over(int64_t a, int64_t b) { return -floor_over(-a, b); }

// Zeros for one thread, aligned to a vector. Throws where there is no memory.
struct Room {
    float* at;
    explicit Room(int64_t floats) : at(nullptr) {
        void* found = nullptr;
        if (posix_memalign(&found, 64, (size_t)larger(floats, 1) * sizeof(float))) throw std::bad_alloc();
        at = (float*)memset(found, 0, (size_t)floats * sizeof(float));
    }
    ~Room() { free(at); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
};

// Runs work(first, last, part) on `parts` runs of `count` tasks, each run in a thread of its own. The split depends on
// nothing but the two numbers, and nobody waits in a loop. Returns whether all went well.
template <class Work>
static bool in_parts(int64_t count, int64_t parts, Work work) {
    parts = larger(1, smaller(parts, count));
    std::vector<char> failed((size_t)parts, 0);
    auto run = [&](int64_t part) {
        try {
            work(count * part / parts, count * (part + 1) / parts, part);
        } catch (...) {
            failed[(size_t)part] = 1;
        }
    };
    std::vector<std::thread> threads;
    int64_t started = 1;
    try {
        threads.reserve((size_t)parts);
        for (; started < parts; started++) threads.emplace_back(run, started);
    } catch (...) {  // no more threads to be had: this one does the rest
    }
    run(0);
    for (int64_t part = started; part < parts; part++) run(part);
    for (auto& thread : threads) thread.join();
    for (char each : failed)
        if (each) return false;
    return true;
}
