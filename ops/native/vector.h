// Vectors of the machine's width, aligned memory and a static split over threads: what all kernels share.
#pragma once
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
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

// The OpenMP runtime that PyTorch has loaded, if any: its threads stay awake for a while after each of PyTorch's own
// parallel loops, and would take a core each from threads of ours.
struct Pool {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
    int (*thread)();
    int (*threads)();
    Pool()
        : parallel((decltype(parallel))dlsym(RTLD_DEFAULT, "GOMP_parallel")),
          thread((decltype(thread))dlsym(RTLD_DEFAULT, "omp_get_thread_num")),
          threads((decltype(threads))dlsym(RTLD_DEFAULT, "omp_get_num_threads")) {}
    explicit operator bool() const { return parallel && thread && threads; }
};
static inline const Pool& pool() {
    static const Pool found;
    return found;
}

// Calls run(part) for each part in threads of its own.
template <class Run>
static void in_threads(int64_t parts, Run& run) {
    std::vector<std::thread> threads;
    int64_t started = 1;
    try {
        threads.reserve((size_t)parts);
        for (; started < parts; started++) threads.emplace_back(std::ref(run), started);
    } catch (...) {  // no more threads to be had: this one does the rest
    }
    run(0);
    for (int64_t part = started; part < parts; part++) run(part);
    for (auto& thread : threads) thread.join();
}

// Calls run(part) for each part in the pool's threads, of which there may be fewer than asked for.
template <class Run>
static void in_pool(int64_t parts, Run& run) {
    struct Job {
        Run& run;
        int64_t parts;
    } job{run, parts};
    auto some = [](void* given) {
        Job& mine = *(Job*)given;
        for (int64_t part = pool().thread(); part < mine.parts; part += pool().threads()) mine.run(part);
    };
    pool().parallel(some, &job, (unsigned)parts, 0);
}

// Runs work(first, last, part) on `parts` runs of `count` tasks. The split depends on nothing but the two numbers.
// Returns whether all went well.
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
    if (parts == 1)
        run(0);
    else if (pool())
        in_pool(parts, run);
    else
        in_threads(parts, run);
    for (char each : failed)
        if (each) return false;
    return true;
}
