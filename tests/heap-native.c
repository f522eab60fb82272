/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The allocator as a native program, for the thread and address sanitizers: threads that allocate, resize,
 * hand blocks to each other, end and begin anew, under a limit and without, while another trims and looks.
 */

#include <stdio.h>
#include "heap_private.h"

__thread struct native_thread native_thread;
unsigned int native_generation[NATIVE_SLOTS];
bool native_used[NATIVE_SLOTS];
uint32_t native_last_id;

bool process_is_ending(void)
{
    return false;
}

void *system_alloc(HANDLE system, DWORD flags, size_t bytes)
{
    return HeapAlloc(system, flags, bytes);
}

void system_free(HANDLE system, void *mem)
{
    HeapFree(system, 0, mem);
}

bool system_extend(HANDLE system, void *mem, size_t bytes)
{
    return HeapReAlloc(system, HEAP_REALLOC_IN_PLACE_ONLY, mem, bytes);
}

bool lock_wait(struct lock *lock)
{
    while (InterlockedExchange(&lock->held, 1)) sched_yield();
    return true;
}

struct account
{
    struct heap_owner owner;
    size_t limit, now, top;
};

static struct heap *heap;

static bool charge(struct heap_owner *owner, size_t bytes, unsigned int level, bool urgent)
{
    struct account *account = (struct account *)owner;
    size_t now = __atomic_load_n(&account->now, __ATOMIC_RELAXED), top;

    (void)level;
    do
    {
        while (now + bytes > account->limit)
        {
            if (!urgent || !heap) return false;
            heap_trim(heap);
            urgent = false;
            now = __atomic_load_n(&account->now, __ATOMIC_RELAXED);
        }
    }
    while (!__atomic_compare_exchange_n(&account->now, &now, now + bytes, 0, __ATOMIC_RELAXED,
            __ATOMIC_RELAXED));
    now += bytes;
    top = __atomic_load_n(&account->top, __ATOMIC_RELAXED);
    while (top < now && !__atomic_compare_exchange_n(&account->top, &top, now, 0, __ATOMIC_RELAXED,
            __ATOMIC_RELAXED)) ;
    return true;
}

static void credit(struct heap_owner *owner, size_t bytes)
{
    __atomic_fetch_sub(&((struct account *)owner)->now, bytes, __ATOMIC_RELAXED);
}

static void spare(struct heap_owner *owner)
{
    (void)owner;
}

static struct account account = { { charge, credit, spare }, SIZE_MAX / 2, 0, 0 };
static int failures;
static unsigned int turns = 8000;

#define CHECK(x) do { if (!(x)) fail(__LINE__, #x); } while (0)

static void fail(int line, const char *what)
{
    fprintf(stderr, "heap-native: line %d: %s\n", line, what);
    if (__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED) > 20) exit(1);
}

#define BOXES 64
#define BLOCKS 200

struct block
{
    unsigned char *mem;
    size_t size;
    unsigned char fill;
};

static struct block *boxes[BOXES];
static int twice;       /* blocks whose two simultaneous frees both succeeded, or neither */

static unsigned int next_random(unsigned int *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* As the COM methods do it. */
static void *quick_alloc(size_t size)
{
    struct cache *cache;
    void *mem;

    enum heap_answer answer = heap_alloc_inline(&heap->front, heap->way, size, &mem, &cache);

    if (answer == HEAP_SLOW && cache) answer = heap_alloc_wide(cache, size, &mem);
    if (answer == HEAP_SETTLE) heap_settle(cache);
    if (answer != HEAP_SLOW) return mem;
    return cache ? heap_alloc_more(cache, size) : NULL;
}

static void *quick_debug_alloc(size_t size)
{
    volatile int line = __LINE__;
    void *mem, **volatile out = &mem;
    struct cache *cache;

    switch (heap_debug_alloc_inline(&heap->front, heap->way, size, 0, __FILE__, &line, &out, &cache))
    {
        case HEAP_DONE: return mem;
        case HEAP_SETTLE: heap_settle(cache); return mem;
        default: break;
    }
    if ((mem = quick_alloc(size)) || (mem = heap_alloc(heap, size, 0)))
        heap_note(heap, mem, 0, __FILE__, line);
    return mem;
}

static bool release(void *mem)
{
    struct freeing freeing;
    enum heap_answer answer = heap_free_inline(&heap->front, heap->way, mem, &freeing);

    if (answer == HEAP_SHARED) answer = heap_free_shared(&freeing);
    if (answer == HEAP_SETTLE) heap_settle(freeing.cache);
    return answer != HEAP_SLOW || heap_free(heap, mem);
}

static void end_block(struct block *block)
{
    size_t size, i;

    CHECK(heap_size(heap, block->mem, &size) && size == block->size);
    for (i = 0; i < block->size; i += block->size > 64 ? 31 : 1) CHECK(block->mem[i] == block->fill);
    CHECK(!heap_free(heap, block->mem + 1));
    CHECK(release(block->mem));
    block->mem = NULL;
}

static size_t random_size(unsigned int *state)
{
    unsigned int kind = next_random(state) % 1000;

    if (kind < 860) return next_random(state) % 300;
    if (kind < 940) return next_random(state) % 5000;
    if (kind < 985) return next_random(state) % 33000;
    if (kind < 997) return next_random(state) % 100000;
    return next_random(state) % 3000000;
}

static void *work(void *seed)
{
    unsigned int state = (unsigned int)(uintptr_t)seed * 2654435761u + 1, turn, kind;
    struct block blocks[BLOCKS] = {{0}}, *block, *other;
    size_t size, i;

    for (turn = 0; turn < turns; turn++)
    {
        block = &blocks[next_random(&state) % BLOCKS];
        if (block->mem) end_block(block);
        size = random_size(&state);
        kind = next_random(&state) % 8;
        if (kind == 0) block->mem = quick_debug_alloc(size);
        else if (kind == 1) block->mem = heap_alloc_zeroed(heap, size, 0);
        else if (!(block->mem = quick_alloc(size)))
            block->mem = heap_alloc(heap, size, 0);
        if (!block->mem) continue;
        CHECK(!((uintptr_t)block->mem & 15));
        if (kind == 1)
        {
            for (i = 0; i < size; i++) CHECK(!block->mem[i]);
        }
        block->size = size;
        memset(block->mem, block->fill = (unsigned char)next_random(&state), size);
        if (kind == 2)
        {
            unsigned char *mem;

            size = random_size(&state);
            if ((mem = heap_realloc(heap, block->mem, size, 0)))
            {
                block->mem = mem;
                for (i = 0; i < size && i < block->size; i++) CHECK(mem[i] == block->fill);
                memset(mem, block->fill, block->size = size);
            }
        }
        if (kind < 4)
        {
            other = malloc(sizeof(*other));
            *other = *block;
            block->mem = NULL;
            other = __atomic_exchange_n(&boxes[next_random(&state) % BOXES], other, __ATOMIC_ACQ_REL);
            if (other) end_block(other);
            free(other);
        }
        if (next_random(&state) % 4000 == 0) heap_trim(heap);
    }
    for (turn = 0; turn < BLOCKS; turn++)
    {
        if (blocks[turn].mem) end_block(&blocks[turn]);
    }
    heap_thread_ended();
    return NULL;
}

static bool add_up(void *context, const struct heap_block *block)
{
    struct heap_usage *sum = context;

    sum->live_bytes += block->size;
    sum->live_blocks++;
    return true;
}

static void round_of_threads(unsigned int count, size_t limit, unsigned int seed)
{
    struct heap_usage usage, sum = {0};
    size_t bytes = 0, blocks = 0;
    pthread_t threads[64];
    unsigned int i;

    heap_trim(heap);
    account.limit = limit;
    account.top = account.now;
    for (i = 0; i < count; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(seed * 100 + i));
    for (i = 0; i < count; i++) pthread_join(threads[i], NULL);
    for (i = 0; i < BOXES; i++)
    {
        if (!boxes[i]) continue;
        bytes += boxes[i]->size;
        blocks++;
    }
    heap_get_usage(heap, &usage);
    heap_walk(heap, add_up, &sum);
    CHECK(usage.live_bytes == bytes && usage.live_blocks == blocks);
    CHECK(sum.live_bytes == bytes && sum.live_blocks == blocks);
    CHECK(usage.committed == account.now);
    CHECK(account.top <= limit);
    for (i = 0; i < BOXES; i++)
    {
        if (boxes[i]) end_block(boxes[i]);
        free(boxes[i]);
        boxes[i] = NULL;
    }
    heap_get_usage(heap, &usage);
    CHECK(!usage.live_bytes && !usage.live_blocks);
}

static void *contended;
static unsigned int arrived;

static void *free_it(void *context)
{
    bool done;

    __atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2) ;
    done = release(contended);
    heap_thread_ended();
    (void)context;
    return (void *)(uintptr_t)done;
}

/* Two threads free one block at the same instant. */
static void both_at_once(void)
{
    void *first, *second;
    pthread_t thread;
    unsigned int i;

    for (i = 0; i < 300; i++)
    {
        arrived = 0;
        contended = heap_alloc(heap, 40 + i, 0);
        pthread_create(&thread, NULL, free_it, NULL);
        first = free_it(NULL);
        pthread_join(thread, &second);
        if ((uintptr_t)first + (uintptr_t)second != 1) twice++;
    }
    CHECK(!twice);
}

static void test(unsigned int flags, unsigned int rounds)
{
    unsigned int i;

    account.limit = SIZE_MAX / 2;
    heap = heap_create(HEAP_THREADSAFE | flags, &account.owner);
    both_at_once();
    for (i = 0; i < rounds; i++)
    {
        round_of_threads(1, SIZE_MAX / 2, 5 * i);
        round_of_threads(8, SIZE_MAX / 2, 5 * i + 1);
        round_of_threads(8, 6000000, 5 * i + 2);
        round_of_threads(32, SIZE_MAX / 2, 5 * i + 3);
    }
    heap_destroy(heap);
    CHECK(!account.now);
}

/* heap-native [ROUNDS TURNS]: turns each thread makes in each round. */
int main(int argc, char **argv)
{
    unsigned int rounds = argc == 3 ? (unsigned int)atoi(argv[1]) : 3;

    if (argc == 3) turns = (unsigned int)atoi(argv[2]);
    test(0, rounds);
    test(HEAP_SYSTEM, rounds);
    puts(failures ? "heap-native: FAILED" : "heap-native: passed");
    return failures != 0;
}
