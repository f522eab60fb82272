/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The allocator as a native program, for the thread and address sanitizers: threads that allocate, resize,
 * hand blocks to each other, end and begin anew, under a limit and without, of an owner and a system that
 * refuse now and then, while another trims and looks; and one thread whose every count is compared.
 */

#include <stdio.h>
#include "heap_private.h"

__thread struct native_thread native_thread;
unsigned int native_generation[NATIVE_SLOTS];
bool native_used[NATIVE_SLOTS];
uint32_t native_last_id;
unsigned int native_refused_of_1024;

static uint32_t scatter(uint32_t n)
{
    n *= 2654435761u;
    n = (n ^ n >> 15) * 2246822507u;
    return n ^ n >> 13;
}

bool native_refuses(void)
{
    static uint32_t calls;

    return native_refused_of_1024
            && scatter(__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED)) % 1024 < native_refused_of_1024;
}

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
    unsigned int refused_of_1024;
    uint32_t calls;
};

static struct heap *heap;

static bool charge(struct heap_owner *owner, size_t bytes, unsigned int level, bool urgent)
{
    struct account *account = (struct account *)owner;
    size_t now = __atomic_load_n(&account->now, __ATOMIC_RELAXED), top;

    (void)level;
    if (scatter(__atomic_add_fetch(&account->calls, 1, __ATOMIC_RELAXED)) % 1024 < account->refused_of_1024)
    {
        if (urgent && heap) heap_trim(heap);
        return false;
    }
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

static struct account account = { { charge, credit, spare }, SIZE_MAX / 2, 0, 0, 0, 0 };
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
#define GONE 256

struct block
{
    unsigned char *mem;
    size_t size;
    unsigned char fill;
    int line;           /* that was noted; 0: none */
    DWORD thread;
    bool sure;          /* the note has found memory */
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

static void *take(size_t size)
{
    void *mem = quick_alloc(size);

    return mem ? mem : heap_alloc(heap, size, 0);
}

static void *quick_debug_alloc(size_t size, int line)
{
    void *mem, **volatile out = &mem;
    volatile int line_there = line;
    struct cache *cache;

    switch (heap_debug_alloc_inline(&heap->front, heap->way, size, 0, __FILE__, &line_there, &out, &cache))
    {
        case HEAP_DONE: return mem;
        case HEAP_SETTLE: heap_settle(cache); return mem;
        default: break;
    }
    if ((mem = take(size))) heap_note(heap, mem, 0, __FILE__, line);
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

/* Each byte of a small block; of a larger one some that its neighbours would write to first. */
static size_t step_of(const struct block *block, size_t at)
{
    if (block->size <= 4096 || at < 32 || at + 32 >= block->size) return 1;
    return at + 4096 < block->size - 32 ? 499 : block->size - 32 - at;
}

static void fill(struct block *block, unsigned char with)
{
    size_t i;

    block->fill = with;
    for (i = 0; i < block->size; i += step_of(block, i)) block->mem[i] = (unsigned char)(with + i);
}

/* The first bytes, after it was resized. */
static void check_filled(const struct block *block, size_t bytes)
{
    size_t i;

    for (i = 0; i < bytes; i += step_of(block, i)) CHECK(block->mem[i] == (unsigned char)(block->fill + i));
}

static void check_refused(void *mem)
{
    size_t size;

    CHECK(!heap_size(heap, mem, &size));
    CHECK(!release(mem));
}

static void check_block(const struct block *block)
{
    size_t size = 0;

    CHECK(heap_size(heap, block->mem, &size) && size == block->size);
    check_filled(block, block->size);
    CHECK(!heap_free(heap, block->mem + 1));
    if (size > 4096) check_refused(block->mem + (size / 2 & ~(size_t)15));
    if (size > 8192) check_refused((void *)((uintptr_t)(block->mem + size - 1) & ~(uintptr_t)4095));
}

static void end_block(struct block *block)
{
    check_block(block);
    CHECK(release(block->mem));
    block->mem = NULL;
}

static enum
{
    MIXED,
    WIDE,               /* nearly all of few wide sizes, of which a thread soon holds some that it freed */
    LARGE
}
sizes;

static size_t random_size(unsigned int *state)
{
    static const size_t borders[] = { 16, 256, 1024, 4096, 32768, 65536, 0x100000, 0x400000 };
    unsigned int kind = next_random(state) % 1000;

    if (sizes == WIDE && kind < 900) return 4097 + next_random(state) % 2048;
    if (sizes == LARGE) return 32769 + next_random(state) % (65536u << next_random(state) % 7);
    if (kind < 820) return next_random(state) % 300;
    if (kind < 900) return next_random(state) % 5000;
    if (kind < 950) return next_random(state) % 33000;
    if (kind < 980) return borders[next_random(state) % 8] - 17 + next_random(state) % 34;
    if (kind < 996) return next_random(state) % 100000;
    if (kind < 999) return next_random(state) % 6000000;
    return SIZE_MAX - next_random(state) % 0x200000;
}

static bool make_block(struct block *block, unsigned int *state, unsigned int kind)
{
    size_t size = random_size(state), i;

    block->line = 0;
    if (kind == 0)
        block->mem = quick_debug_alloc(size, block->line = 1 + (int)(next_random(state) % 1000));
    else if (kind == 1) block->mem = heap_alloc_zeroed(heap, size, 0);
    else block->mem = take(size);
    if (!block->mem) return false;
    CHECK(!((uintptr_t)block->mem & 15));
    for (i = 0; kind == 1 && i < size; i++) CHECK(!block->mem[i]);
    block->thread = block->line ? GetCurrentThreadId() : 0;
    block->sure = !account.refused_of_1024 && !native_refused_of_1024 && account.limit == SIZE_MAX / 2;
    block->size = size;
    fill(block, (unsigned char)next_random(state));
    return true;
}

/* To any size, to a little more or less, or to a part that is left where it lies. */
static void resize_block(struct block *block, unsigned int *state)
{
    unsigned int kind = next_random(state) % 4;
    size_t size = block->size;
    unsigned char *mem;

    if (kind == 0) size += next_random(state) % (next_random(state) % 2 ? 32 : 32 + size / 8);
    else if (kind == 1) size -= size / 8;
    else if (kind == 2 && size > 65536) size = 32769 + next_random(state) % (size - 32768);
    else size = random_size(state);
    check_block(block);
    if (!(mem = heap_realloc(heap, block->mem, size, 0)))
    {
        check_block(block);
        return;
    }
    if (mem != block->mem)
    {
        block->mem = mem;
        block->line = 0;
        block->thread = 0;
    }
    check_filled(block, size < block->size ? size : block->size);
    block->size = size;
    fill(block, (unsigned char)next_random(state));
}

struct view
{
    const struct block *blocks;
    unsigned int found;
    size_t live_bytes, live_blocks;
};

static bool view_block(void *context, const struct heap_block *block)
{
    struct view *view = context;
    const struct block *mine;

    view->live_bytes += block->size;
    view->live_blocks++;
    for (mine = view->blocks; mine < view->blocks + BLOCKS && mine->mem != block->mem; mine++) ;
    if (mine == view->blocks + BLOCKS) return true;
    view->found++;
    CHECK(block->size == mine->size);
    if (mine->line && !block->file) CHECK(!mine->sure);
    else CHECK(!block->file == !mine->line && block->line == mine->line && block->thread == mine->thread);
    return true;
}

/* Each of the thread's blocks is shown once. */
static void view_blocks(const struct block *blocks, bool alone)
{
    struct view view = { blocks, 0, 0, 0 };
    size_t live_bytes = 0, live_blocks = 0;
    struct heap_usage usage;
    unsigned int i;

    for (i = 0; i < BLOCKS; i++)
    {
        if (!blocks[i].mem) continue;
        live_bytes += blocks[i].size;
        live_blocks++;
    }
    heap_walk(heap, view_block, &view);
    heap_get_usage(heap, &usage);
    CHECK(view.found == live_blocks);
    CHECK(usage.peak_live_bytes >= live_bytes && usage.peak_live_blocks >= live_blocks);
    if (!alone) return;
    CHECK(view.live_bytes == live_bytes && view.live_blocks == live_blocks);
    CHECK(usage.live_bytes == live_bytes && usage.live_blocks == live_blocks);
    CHECK(usage.committed == account.now);
}

/* A thread that is alone also frees what it has freed, and what lay in that. */
static void free_again(const struct block *blocks, void *const *gone, unsigned int *state)
{
    char *mem = gone[next_random(state) % GONE];
    unsigned int i;

    if (next_random(state) % 2) mem += 4096 * (next_random(state) % 16);
    for (i = 0; i < BLOCKS; i++)
    {
        if (blocks[i].mem == (unsigned char *)mem) return;
    }
    check_refused(mem);
}

static void act(unsigned int state, unsigned int count, bool alone)
{
    struct block blocks[BLOCKS] = {{0}}, *block, *other;
    void *gone[GONE] = {0};
    unsigned int turn, kind;

    for (turn = 0; turn < count; turn++)
    {
        block = &blocks[next_random(&state) % BLOCKS];
        if (block->mem)
        {
            gone[turn % GONE] = block->mem;
            end_block(block);
        }
        if (alone) free_again(blocks, gone, &state);
        kind = next_random(&state) % 8;
        if (!make_block(block, &state, kind)) continue;
        if (kind == 2 || alone)
        {
            for (other = block; other - block < 3 && other < blocks + BLOCKS; other++)
            {
                if (other->mem) resize_block(other, &state);
            }
        }
        if (kind < 4 && !alone)
        {
            other = malloc(sizeof(*other));
            *other = *block;
            block->mem = NULL;
            other = __atomic_exchange_n(&boxes[next_random(&state) % BOXES], other, __ATOMIC_ACQ_REL);
            if (other) end_block(other);
            free(other);
        }
        if (next_random(&state) % (sizes == WIDE ? 100 : 4000) == 0) heap_trim(heap);
        if (next_random(&state) % (alone ? 300 : 8000) == 0) view_blocks(blocks, alone);
        if (alone && next_random(&state) % 100 == 0)
        {
            account.refused_of_1024 = next_random(&state) % 4 ? 0 : 100 + next_random(&state) % 1000;
            native_refused_of_1024 = next_random(&state) % 4 ? 0 : next_random(&state) % 1000;
        }
    }
    for (turn = 0; turn < BLOCKS; turn++)
    {
        if (blocks[turn].mem) end_block(&blocks[turn]);
    }
}

static void *work(void *seed)
{
    act((unsigned int)(uintptr_t)seed * 2654435761u + 1, turns, false);
    heap_thread_ended();
    return NULL;
}

static bool looking;

/* As the pressure thread does it, and who asks for statistics. */
static void *look_on(void *context)
{
    struct heap_usage usage;
    unsigned int turn;

    for (turn = 0; __atomic_load_n(&looking, __ATOMIC_RELAXED); turn++)
    {
        heap_tend(heap);
        heap_get_usage(heap, &usage);
        if (turn % 64 == 0) heap_trim(heap);
        usleep(1000);
    }
    (void)context;
    return NULL;
}

static bool add_up(void *context, const struct heap_block *block)
{
    struct heap_usage *sum = context;

    sum->live_bytes += block->size;
    sum->live_blocks++;
    return true;
}

#define LITTLE ((size_t)5 << 20)

static void check_given_back(void)
{
    struct heap_usage usage;

    heap_trim(heap);
    heap_get_usage(heap, &usage);
    CHECK(!usage.live_bytes && !usage.live_blocks);
    CHECK(usage.committed == account.now && usage.committed < LITTLE);
}

static void round_of_threads(unsigned int count, size_t limit, unsigned int refused_of_1024,
        unsigned int seed)
{
    struct heap_usage usage, sum = {0};
    size_t bytes = 0, blocks = 0;
    pthread_t threads[64], looker;
    unsigned int i;

    heap_trim(heap);
    account.limit = limit;
    account.top = account.now;
    account.refused_of_1024 = refused_of_1024;
    native_refused_of_1024 = refused_of_1024 / 16;
    looking = true;
    pthread_create(&looker, NULL, look_on, NULL);
    for (i = 0; i < count; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(seed * 100 + i));
    for (i = 0; i < count; i++) pthread_join(threads[i], NULL);
    __atomic_store_n(&looking, false, __ATOMIC_RELAXED);
    pthread_join(looker, NULL);
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
    account.refused_of_1024 = native_refused_of_1024 = 0;
    check_given_back();
}

static void *contended;
static size_t contended_size;
static unsigned int arrived;

/* Until this thread holds some of the size. */
static void ask_often(size_t size)
{
    unsigned int i;

    for (i = 0; i < 100; i++) CHECK(release(take(size)));
}

static void *free_it(void *context)
{
    bool done;

    if (contended_size > SLACK_TOP) ask_often(contended_size);
    __atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2) ;
    done = release(contended);
    heap_thread_ended();
    (void)context;
    return (void *)(uintptr_t)done;
}

/* Two threads free one block at the same instant. */
static void both_at_once(size_t size, unsigned int count)
{
    void *first, *second;
    pthread_t thread;
    unsigned int i;

    for (i = 0; i < count; i++)
    {
        arrived = 0;
        contended_size = size + i;
        contended = heap_alloc(heap, contended_size, 0);
        pthread_create(&thread, NULL, free_it, NULL);
        first = free_it(NULL);
        pthread_join(thread, &second);
        if ((uintptr_t)first + (uintptr_t)second != 1) twice++;
    }
    CHECK(!twice);
}

#define HELD_SIZE 5000
#define TAKEN 16

static unsigned int count_held(void)
{
    unsigned int count = 0, i;
    struct cache *cache;

    for (cache = heap->caches; cache; cache = cache->next)
    {
        for (i = 0; cache->more && i < WIDE_COUNT; i++) count += cache->more->held_count[i];
    }
    return count;
}

/* Blocks that this thread then holds, and nobody any other. */
static void hold(void **gone)
{
    unsigned int i, count = 0;
    void *others[HELD_MOST];

    ask_often(HELD_SIZE);
    for (i = 0; i < HELD_MOST; i++) gone[i] = take(HELD_SIZE);
    while (count_held() && count < HELD_MOST) others[count++] = take(HELD_SIZE);
    for (i = 0; i < HELD_MOST; i++) CHECK(release(gone[i]));
    CHECK(count_held() == HELD_MOST);
    while (count) CHECK(release(others[--count]));
}

static void take_some(void **taken)
{
    unsigned int i;

    for (i = 0; i < TAKEN; i++)
    {
        taken[i] = take(HELD_SIZE);
        *(void ***)taken[i] = &taken[i];
    }
}

static void free_some(void **taken)
{
    unsigned int i;

    for (i = 0; i < TAKEN; i++)
    {
        CHECK(*(void ***)taken[i] == &taken[i]);
        CHECK(release(taken[i]));
    }
}

struct meddling
{
    void *gone[HELD_MOST], *taken[TAKEN];
};

static void *meddle(void *context)
{
    struct meddling *meddling = context;
    unsigned int i;

    for (i = 0; i < HELD_MOST; i++) check_refused(meddling->gone[i]);
    ask_often(HELD_SIZE);
    take_some(meddling->taken);
    heap_thread_ended();
    return NULL;
}

static void *trim(void *context)
{
    heap_trim(heap);
    return context;
}

static void beside(void *(*act_there)(void *), void *context)
{
    pthread_t thread;

    pthread_create(&thread, NULL, act_there, context);
    pthread_join(thread, NULL);
}

/* A block that a thread holds is nobody else's, and live to nobody; until somebody sweeps, or it ends. */
static void held_by_a_thread(void)
{
    struct heap_usage usage, seen = {0};
    struct meddling meddling;
    void *taken[TAKEN];
    unsigned int i;

    hold(meddling.gone);
    for (i = 0; i < HELD_MOST; i++) check_refused(meddling.gone[i]);
    beside(meddle, &meddling);
    CHECK(count_held() == HELD_MOST);
    take_some(taken);
    heap_walk(heap, add_up, &seen);
    heap_get_usage(heap, &usage);
    CHECK(seen.live_blocks == 2 * TAKEN && usage.live_blocks == 2 * TAKEN);
    CHECK(seen.live_bytes == 2 * TAKEN * HELD_SIZE && usage.live_bytes == 2 * TAKEN * HELD_SIZE);
    free_some(taken);
    free_some(meddling.taken);

    heap_trim(heap);
    hold(meddling.gone);
    beside(trim, NULL);
    CHECK(!count_held());
    hold(meddling.gone);
    heap_thread_ended();
    CHECK(!count_held());
}

/* Chunks lie so that their pages have the same entries in the map, as long as it is small. */
static void same_entries(void)
{
    unsigned int state = 5, i, turn;
    struct block blocks[1000];

    for (i = 0; i < ARRAY_SIZE(blocks); i++)
    {
        blocks[i].mem = take(blocks[i].size = 2 * SLACK_TOP);
        fill(&blocks[i], (unsigned char)i);
    }
    for (turn = 0; turn < 100000 && heap->map_share == 1; turn++)
    {
        i = next_random(&state) % ARRAY_SIZE(blocks);
        CHECK(release(blocks[i].mem));
        blocks[i].mem = take(blocks[i].size);
        fill(&blocks[i], (unsigned char)i);
    }
    CHECK(heap->map_share > 1);
    for (i = 0; i < ARRAY_SIZE(blocks); i++) end_block(&blocks[i]);
    check_given_back();
}

static void open_heap(unsigned int flags)
{
    account.limit = SIZE_MAX / 2;
    native_refused_of_1024 = 300;
    while (!(heap = heap_create(flags, &account.owner))) CHECK(!account.now);
    native_refused_of_1024 = 0;
}

static void close_heap(void)
{
    struct heap *ended = heap;

    heap = NULL;
    heap_destroy(ended);
    CHECK(!account.now);
}

static void test(unsigned int flags, unsigned int rounds)
{
    unsigned int i;

    open_heap(HEAP_THREADSAFE | flags);
    both_at_once(40, 300);
    for (i = 0; i < rounds; i++)
    {
        round_of_threads(1, SIZE_MAX / 2, 0, 5 * i);
        round_of_threads(8, SIZE_MAX / 2, 0, 5 * i + 1);
        round_of_threads(8, 6000000, 0, 5 * i + 2);
        round_of_threads(8, SIZE_MAX / 2, 300, 5 * i + 3);
        round_of_threads(32, SIZE_MAX / 2, 0, 5 * i + 4);
    }
    close_heap();
}

static void test_wide(unsigned int rounds)
{
    unsigned int i;

    open_heap(HEAP_THREADSAFE);
    held_by_a_thread();
    same_entries();
    both_at_once(SLACK_TOP + 1, 100);
    sizes = WIDE;
    for (i = 0; i < rounds; i++) round_of_threads(8, 6000000, 0, 5 * i + 5);
    sizes = MIXED;
    close_heap();
}

/* A heap for each round: what a heap has been through stays with it. */
static void test_alone(unsigned int flags, unsigned int rounds)
{
    unsigned int i;

    for (i = 0; i < 5 * rounds; i++)
    {
        open_heap(flags);
        sizes = i % 5 == 4 ? WIDE : i % 2 ? LARGE : MIXED;
        act(i * 2654435761u + 77, turns / (sizes == LARGE ? 4 : 2), true);
        sizes = MIXED;
        account.refused_of_1024 = native_refused_of_1024 = 0;
        if (flags & HEAP_THREADSAFE) check_given_back();
        close_heap();
    }
}

/* heap-native [ROUNDS TURNS]: turns each thread makes in each round. */
int main(int argc, char **argv)
{
    unsigned int rounds = argc == 3 ? (unsigned int)atoi(argv[1]) : 3;

    if (argc == 3) turns = (unsigned int)atoi(argv[2]);
    test_alone(0, rounds);
    test_alone(HEAP_THREADSAFE, rounds);
    test_alone(HEAP_SYSTEM, rounds);
    test_wide(rounds);
    test(0, rounds);
    test(HEAP_SYSTEM, rounds);
    puts(failures ? "heap-native: FAILED" : "heap-native: passed");
    return failures != 0;
}
