/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The workloads with large blocks, on one thread. Only the first word of a block is written, save in one of
 * them.
 */

#include "bench.h"

#define LARGE_COUNT 8
#define LARGE_MIX_COUNT 16
#define LARGE_MANY_COUNT 512
#define PAGE 4096

static void replace_each(IHostMalloc *malloc, void **blocks, SIZE_T size)
{
    unsigned int i;

    for (i = 0; i < LARGE_COUNT; ++i)
    {
        give(malloc, blocks[i]);
        blocks[i] = take(malloc, size);
    }
}

static double run_large(const struct settings *settings, IHostMalloc *malloc, SIZE_T size)
{
    uint64_t start, elapsed, count = 0;
    void *blocks[LARGE_COUNT];
    unsigned int i;

    for (i = 0; i < LARGE_COUNT; ++i) blocks[i] = take(malloc, size);
    for (i = 0; i < 8; ++i) replace_each(malloc, blocks, size);
    start = time_ns();
    do
    {
        for (i = 0; i < 8; ++i) replace_each(malloc, blocks, size);
        count += 8 * LARGE_COUNT;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    for (i = 0; i < LARGE_COUNT; ++i) give(malloc, blocks[i]);
    return (double)elapsed / count;
}

static void replace_random(IHostMalloc *malloc, void **blocks, unsigned int block_count, bool touch,
        unsigned int *state)
{
    unsigned int random = next_random(state);
    SIZE_T size = (SIZE_T)0x8000 << (random >> 8) % 6, offset;
    void **block = &blocks[random % block_count];

    size += next_random(state) % size;
    if (*block) give(malloc, *block);
    *block = take(malloc, size);
    for (offset = PAGE; touch && offset < size; offset += PAGE) ((volatile char *)*block)[offset] = 1;
}

/* 32 KiB to 2 MiB, of every scale alike. */
static double replace_mix(const struct settings *settings, IHostMalloc *malloc, unsigned int block_count,
        bool touch)
{
    void *blocks[LARGE_MANY_COUNT] = {NULL};
    uint64_t start, elapsed, count = 0;
    unsigned int i, state = 521288629;

    for (i = 0; i < 16 * block_count; ++i) replace_random(malloc, blocks, block_count, touch, &state);
    start = time_ns();
    do
    {
        for (i = 0; i < 64; ++i) replace_random(malloc, blocks, block_count, touch, &state);
        count += 64;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    for (i = 0; i < block_count; ++i) if (blocks[i]) give(malloc, blocks[i]);
    return (double)elapsed / count;
}

static double run_large_mix(const struct settings *settings, IHostMalloc *malloc, SIZE_T touch)
{
    return replace_mix(settings, malloc, LARGE_MIX_COUNT, touch);
}

static double run_large_many(const struct settings *settings, IHostMalloc *malloc, SIZE_T block_count)
{
    return replace_mix(settings, malloc, block_count, false);
}

const struct workload large_workloads[] =
{
    {"large-64K", run_large, 0x10000},
    {"large-256K", run_large, 0x40000},
    {"large-1M", run_large, 0x100000},
    {"large-4M", run_large, 0x400000},
    {"largemix", run_large_mix, false},
    {"largemix-touch", run_large_mix, true},
    {"largemix-512", run_large_many, LARGE_MANY_COUNT},
    {NULL, NULL, 0}
};
