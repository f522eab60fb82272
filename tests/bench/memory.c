/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What a load of small blocks takes from the system, and how much of it comes back.
 */

#include <stdio.h>
#include <string.h>
#include "bench.h"
#include "usage.h"

#define FRESH_COUNT 10

struct load
{
    IHostMalloc *malloc;
    struct usage before;
    void **blocks;
    unsigned int *sizes;
    SIZE_T capacity, count, live;
    unsigned int state;
};

static void show(const struct load *load, const char *step)
{
    struct usage now;

    get_usage(&now);
    printf("%s %lld %lld %lld\n", step, (long long)load->live, now.committed - load->before.committed,
            now.resident - load->before.resident);
    fflush(stdout);
}

static void make(struct load *load, SIZE_T i)
{
    load->sizes[i] = mix_size(next_random(&load->state));
    load->blocks[i] = take(load->malloc, load->sizes[i]);
    memset(load->blocks[i], 1, load->sizes[i]);
    load->live += load->sizes[i];
}

static void drop(struct load *load, SIZE_T i)
{
    if (!load->blocks[i]) return;
    give(load->malloc, load->blocks[i]);
    load->blocks[i] = NULL;
    load->live -= load->sizes[i];
}

/* Its pages are all there before the first look. */
static void *touched(SIZE_T size)
{
    void *mem = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    if (!mem) fatal("no memory for the list of blocks");
    return memset(mem, 0, size);
}

void bench_memory(const struct settings *settings, SIZE_T bytes)
{
    struct load load = {.state = 1812433253};
    unsigned int i, j;

    load.capacity = bytes / 64;
    load.blocks = touched(load.capacity * sizeof(*load.blocks));
    load.sizes = touched(load.capacity * sizeof(*load.sizes));
    /* Twice: what the first look itself takes is not to be counted. */
    get_usage(&load.before);
    get_usage(&load.before);
    load.malloc = open_malloc(settings);

    for (; load.count < FRESH_COUNT; ++load.count) make(&load, load.count);
    show(&load, "fresh");
    for (; load.live < bytes && load.count < load.capacity; ++load.count) make(&load, load.count);
    show(&load, "filled");
    for (i = 0; i < 4 * load.count; ++i)
    {
        j = (uint64_t)next_random(&load.state) * load.count >> 32;
        drop(&load, j);
        make(&load, j);
    }
    show(&load, "churned");
    for (i = 0; i < load.count; ++i)
        if (next_random(&load.state) % 10) drop(&load, i);
    show(&load, "tenth-left");
    for (i = 0; i < load.count; ++i) drop(&load, i);
    show(&load, "all-freed");
    /* A program that goes on, a little. */
    for (i = 0; i < 25; ++i)
    {
        Sleep(20);
        for (j = 0; j < 400; ++j) give(load.malloc, take(load.malloc, mix_size(j)));
    }
    show(&load, "after-500ms");
    IHostMalloc_Release(load.malloc);
    show(&load, "released");
}
