/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The allocator: creation and the calls of heap.h. The rest of this comment is the design.
 *
 * From the system up. A chunk is one HeapAlloc from the private heap, from 64 KiB to a MiB by what there
 * is already, to which it grows where it lies; its pages are handed out as runs, from the oldest chunk that
 * has one (heap_chunk.c). A span is a run cut into blocks of one of 80 sizes, 12 % apart (heap_class.c,
 * heap_span.c), or one block above 32 KiB (heap_large.c). Nothing of the allocator's lies in the blocks:
 * descriptors of spans, and one state byte for each block, have memory of their own (heap_meta.c). The byte
 * is 0x80 for a free block; for a live one it is how much larger the block is than what was asked for. So a
 * block that is written to after Free damages nobody's list, a page of free blocks need not be touched, and
 * whether a pointer is a live block is never asked of the pointer.
 *
 * Alloc. A thread finds its cache in a slot of its environment block, one load. The cache has a cursor for
 * each class: the free blocks of one window, up to 64 neighbours in a span, as a word of bits. Alloc takes
 * the lowest bit, writes the state byte, and counts. Free blocks are found 64 state bytes at a time, when a
 * cursor is empty: first of the same window, then round the spans of the thread. DebugAlloc does the same and
 * fills the block's record, in a table beside the span (heap_record.c); records of free blocks are cleared as
 * the cursor is filled, so that Alloc need not know of them.
 *
 * Free. The page number leads through an array to a span, or to one that says that it is not (heap_map.c).
 * If the pointer is within the span, one multiplication by the reciprocal of the block size gives the index,
 * and tells starts of blocks from the rest; the state byte tells live from free, and becomes 0x80. That is
 * all: the block is not put anywhere, and Alloc and Free have no word in common that one would have to wait
 * for the other's store to. A pair takes about 65 instructions, and 10 ns where this was measured.
 *
 * Free in two threads at once. A locked instruction in each Free would add 6 ns. Instead a span is biased to
 * the cache that owns it: that thread reads and writes the state byte plainly. The first other thread that
 * frees in the span ends that, under the heap's lock: it marks the span, makes every processor of the process
 * pass a barrier, and waits until the owner is not inside a Free that began before (cache->busy). From then
 * on all exchange the byte, and of two who free one block at one instant exactly one finds it live. The
 * barrier costs microseconds, and everybody who wants the lock waits: from a thread's second such span of a
 * class on all of the class go that way, and from its eighth of any class on all that it has. Only the owner
 * takes blocks from its spans, before and after.
 *
 * Threads are many and mostly idle. The first blocks of a class that a thread asks for come from a cache
 * that all share, under the lock: windows of each class, held by each of 200 threads, were a twentieth of
 * a heap. Then it takes windows, small ones, from spans that all share, and once it has used a few it has
 * spans of its own. When it ends, its cache waits for the next thread to begin, blocks that others still
 * use and all (heap_cache.c). Blocks from 4 to 32 KiB come from spans that all share: of the sizes that a
 * thread asks for often, it holds some that it freed for its next requests (STATE_HELD), until somebody
 * sweeps. Only one that has met others at the lock again and again has spans of its own of these too; had
 * each that asks often, heaps with many threads would be a fortieth larger. The tables of a thread's own
 * spans lie together: side by side in one page with those of another, they made two threads on two
 * processors 18 % slower, since processors fetch neighbouring lines too.
 *
 * Counters. Live bytes are the peak less the room below it. Threads hold parts of the room, and count in
 * those alone: both counters in one word, which one test finds to have left its range.
 *
 * Limit. The owner of the heap is asked before anything is taken from the system, without the lock. Before
 * it refuses, everything that is spare is given back. The sweep that does it makes spans without a live
 * block pages again, and returns chunks without a used page. It takes two barriers; shared spans, and those
 * of the thread that asks, become pages without one, before every second growth (heap_spans_retire_some).
 * After much was freed the heap is swept every 50 ms until it is calm, by the pressure thread where there is
 * one, else in the course of calls (heap_tend). Descriptors stay until the heap's end: a Free of a wild
 * pointer may be looking at one at any time.
 */

#include "heap_private.h"

#define SWEEP_GAIN(bytes) ((bytes) / 16 + (1 << 20))    /* less is not worth a sweep */
#define WIDE_AFTER 64       /* requests above INLINE_TOP, after which a thread gets cursors for them */

struct heap *heap_create(unsigned int flags, struct heap_owner *owner)
{
    size_t bytes = ROUND_UP(sizeof(struct heap) + META_GRAIN, PAGE_BYTES)
            + (flags & HEAP_SYSTEM ? 2 : 1) * PAGE_BYTES;
    DWORD error = GetLastError();
    struct heap_need need = {0};
    struct heap *heap = NULL;
    HANDLE system;

    /* Process critical: without its heap there is no runtime. */
    if (!owner->charge(owner, bytes, 2, true)) return NULL;
    if (!(system = HeapCreate(flags & HEAP_EXECUTABLE ? HEAP_CREATE_ENABLE_EXECUTE : 0, 0, 0)))
        goto no_system;
    if (!(heap = system_alloc(system, HEAP_ZERO_MEMORY, sizeof(*heap)))) goto no_heap;
    heap->system = system;
    heap->owner = owner;
    heap->flags = flags;
    heap->committed = bytes;
    if (flags & HEAP_SYSTEM)
    {
        if (!heap_system_create(heap)) goto no_heap;
        SetLastError(error);
        return heap;
    }
    if (!heap_map_create(heap)) goto no_heap;
    while (!(heap->common || (heap->common = heap_cache_create(heap, &need)))
            || !heap_cache_widen(heap->common, &need))
    {
        if (!heap_meta_grow(heap, need.meta, 2)) goto no_common;
    }
    heap->common->wide = &heap->wide;
    heap_cache_register(heap);
    SetLastError(error);
    return heap;

no_common:
    heap_meta_destroy(heap);
    heap_map_destroy(heap);
no_heap:
    HeapDestroy(system);
no_system:
    owner->credit(owner, bytes);
    return NULL;
}

void heap_destroy(struct heap *heap)
{
    struct heap_owner *owner = heap->owner;
    size_t committed = heap->committed + heap->uncredited;
    DWORD error = GetLastError();

    if (heap->flags & HEAP_SYSTEM) heap_system_destroy(heap);
    else
    {
        heap_cache_unregister(heap);
        heap_meta_destroy(heap);
        heap_map_destroy(heap);
    }
    if (!process_is_ending()) HeapDestroy(heap->system);
    owner->credit(owner, committed);
    SetLastError(error);
}

/* Spans without a live block become pages again, chunks that have been empty for age milliseconds go back. */
size_t heap_give_back(struct heap *heap, unsigned int age)
{
    struct chunk *chunks;
    size_t uncredited;
    bool quiet;

    if (!lock_acquire(&heap->lock)) return 0;
    heap_caches_stop(heap, NULL, !age);
    heap_spans_retire(heap);
    heap_large_retire(heap, age == AGE_NEVER ? LARGE_NONE : age ? LARGE_OLD : LARGE_ALL);
    heap_caches_go(heap, NULL);
    if (heap->limbo || heap->limbo_large)
    {
        /* Under the lock: nobody else's limbo is mixed with ours. */
        quiet = heap_caches_quiet(heap, NULL, !age);
        if (quiet)
        {
            heap_spans_recycle(heap);
            heap_large_recycle(heap);
        }
    }
    chunks = heap_chunk_collect(heap, age);
    uncredited = heap->uncredited;
    heap->uncredited = 0;
    lock_release(&heap->lock);
    if (uncredited) heap->owner->credit(heap->owner, uncredited);
    return heap_chunk_release(heap, chunks) + uncredited;
}

void heap_ask_to_tend(struct heap *heap)
{
    if (PEEK(heap->tended)) return;
    POKE(heap->tended, true);
    POKE(heap->last_tend, GetTickCount());
    heap->owner->spare(heap->owner);
}

#define TEND_LITTLE ((size_t)1 << 20)   /* and an eighth, not live: not worth a look */
#define TEND_CALM 10                    /* turns */
#define TEND_VAIN 8

/* Goes on while the heap changes. Where there is much that cannot be given back, since each chunk has
 * something live, it looks less and less often, until more has been freed. */
static bool tend(struct heap *heap, struct cache *cache)
{
    struct heap_usage usage;
    size_t given = 0;

    POKE(heap->last_tend, GetTickCount());
    heap_get_usage(heap, &usage);
    if (usage.live_bytes + usage.committed / 16 < heap->vain_live) heap->wait_turns = heap->vain_turns = 0;
    if (usage.committed < usage.live_bytes + usage.committed / 8 + TEND_LITTLE) heap->wait_turns = 0;
    else if (heap->wait_turns) heap->wait_turns--;
    else
    {
        POKE(heap->turn, heap->turn + 1);
        if (lock_acquire(&heap->lock))
        {
            /* What is taken next comes from the oldest chunks. */
            heap_cache_drop(heap->common);
            if (cache)
            {
                cache->turn = heap->turn;
                heap_cache_drop(cache);
            }
            lock_release(&heap->lock);
        }
        given = heap_give_back(heap, GIVE_BACK_AGE);
        heap->vain_turns = given ? 0 : heap->vain_turns + 1;
        heap->vain_live = usage.live_bytes;
        if (heap->vain_turns > TEND_VAIN) heap->wait_turns = heap->vain_turns - TEND_VAIN;
        if (heap->wait_turns > 2 * TEND_VAIN) heap->wait_turns = 2 * TEND_VAIN;
    }
    heap->calm_turns = given || usage.live_bytes != heap->tended_live ? 0 : heap->calm_turns + 1;
    heap->tended_live = usage.live_bytes;
    if (heap->calm_turns < TEND_CALM) return true;
    heap->calm_turns = heap->vain_turns = 0;
    POKE(heap->tended, false);
    return false;
}

bool heap_tend_by(struct heap *heap, struct cache *cache)
{
    bool again;

    if (!PEEK(heap->tended)) return false;
    if (!heap_tend_is_due(heap) || __atomic_exchange_n(&heap->tending, true, __ATOMIC_ACQ_REL)) return true;
    again = tend(heap, cache);
    __atomic_store_n(&heap->tending, false, __ATOMIC_RELEASE);
    return again;
}

bool heap_tend(struct heap *heap)
{
    return heap_tend_by(heap, NULL);
}

static size_t trim(struct heap *heap, struct cache *cache)
{
    if (lock_acquire(&heap->lock))
    {
        if (cache) heap_cache_drop(cache);
        heap_cache_drop(heap->common);
        lock_release(&heap->lock);
    }
    return heap_give_back(heap, 0);
}

size_t heap_trim(struct heap *heap)
{
    if (heap->flags & HEAP_SYSTEM) return heap_system_trim(heap);
    /* In a heap whose caller serialises, the one cache may be another thread's at this moment. */
    return trim(heap, heap->way == HEAP_WAY_SOLO ? NULL : heap_cache_of(&heap->front, heap->way));
}

/* Before more is taken from the system: are there spans without a live block? Looking for them costs as much
 * as growing by a few dozen pages. So it is done where much is not live, and after one that found little only
 * when there is more of that. */
static bool sweep_instead(struct heap *heap)
{
    size_t bytes = PEEK(heap->chunk_bytes), found = 0, unused;
    struct heap_usage usage;
    struct chunk *chunk;

    heap_get_usage(heap, &usage);
    unused = bytes > usage.live_bytes ? bytes - usage.live_bytes : 0;
    if (unused < PEEK(heap->left_unused)) POKE(heap->left_unused, unused);
    if (unused < bytes / 8 || unused < PEEK(heap->left_unused) + SWEEP_GAIN(bytes)) return false;
    heap_give_back(heap, AGE_NEVER);
    if (!lock_acquire(&heap->lock)) return false;
    for (chunk = heap->chunks; chunk; chunk = chunk->next) found += chunk->own ? 0 : chunk->free_count;
    found *= PAGE_BYTES;
    POKE(heap->left_unused, found >= SWEEP_GAIN(bytes) ? 0 : unused - found);
    lock_release(&heap->lock);
    return found != 0;
}

/* Before more is taken from the system, and before a sweep: what takes no barrier. */
static bool retire_some(struct heap *heap, struct cache *cache)
{
    size_t uncredited;
    bool found;

    if (!lock_acquire(&heap->lock)) return false;
    found = heap_spans_retire_some(heap, cache);
    uncredited = heap->uncredited;
    heap->uncredited = 0;
    lock_release(&heap->lock);
    if (uncredited) heap->owner->credit(heap->owner, uncredited);
    return found;
}

bool heap_grow(struct heap *heap, const struct heap_need *need, unsigned int level)
{
    if (need->meta) return heap_meta_grow(heap, need->meta, level);
    if (!need->pages) return false;
    if (!heap_chunk_grow(heap, need->pages, need->own, level)) return false;
    heap_map_grow(heap, level);
    if (PEEK(heap->chunk_bytes) > TEND_LITTLE) heap_ask_to_tend(heap);
    return true;
}

/* Under the lock. Does the cache have cursors for sizes above INLINE_TOP? False with nothing needed: not yet,
 * and everybody's will do. Where there is no memory for them after the heap was to grow, that is so again for
 * a while. */
static bool is_wide(struct cache *cache, struct heap_need *need)
{
    if (cache->more) return true;
    if (++cache->wide_turns <= WIDE_AFTER) return false;
    if (heap_cache_widen(cache, need)) return true;
    if (cache->wide_turns == WIDE_AFTER + 1) return false;
    cache->wide_turns = 0;
    need->meta = 0;
    return false;
}

/* Under the lock. Does this thread ask for this class, above SLACK_TOP, often? */
static bool holds_wide(struct heap *heap, struct cache *cache, unsigned int class, struct heap_need *need)
{
    uint8_t *asked;

    /* The methods of HEAP_WAY_MORE do not call heap_alloc_more. */
    if (!cache || heap->way == HEAP_WAY_MORE || !is_wide(cache, need)) return false;
    asked = &cache->more->asked[class - CACHED_COUNT];
    if (*asked < HOLD_AFTER) ++*asked;
    if (*asked < HOLD_AFTER) return false;
    if (cache->turn != PEEK(heap->turn)) heap_cache_catch_up(heap, cache);
    return true;
}

/* Under the lock; met: which others had. */
static void *try_common(struct heap *heap, struct cache *cache, size_t size, bool met, struct heap_need *need)
{
    unsigned int class;
    bool hold;
    void *mem;

    memset(need, 0, sizeof(*need));
    if (size > CLASS_TOP) return heap_large_take(heap, cache, size, need);
    class = heap_class_of(size);
    hold = class >= CACHED_COUNT && holds_wide(heap, cache, class, need);
    if (need->meta) return NULL;
    if (hold && met && cache->more->met < WIDE_OWN_AFTER) cache->more->met++;
    if (hold && cache->more->met >= WIDE_OWN_AFTER)
        return heap_cache_refill_wide(heap, cache, class, need) ? heap_span_take(cache, class, size) : NULL;
    if (!cursor_of(heap->common, class)->bits && !heap_cache_refill_shared(heap, heap->common, class, need))
        return NULL;
    mem = heap_span_take(heap->common, class, size);
    if (hold) heap_span_hold(cache, class);
    return mem;
}

#define LAST_BYTES 65536

/* Only one thread runs, nobody will give it back, and no limit matters any more. The system's own records of
 * address space may be half changed like ours: Wine 8.0 takes no lock there any more, finds a range that a
 * dead thread had in hand to be free and in use, and ends the program. So it is asked only for what these
 * bytes cannot be: much, or executable. */
static void *end_of_process(struct heap *heap, size_t size)
{
    static char last[LAST_BYTES] __attribute__((aligned(16)));
    static size_t used;
    size_t bytes = ROUND_UP(size ? size : 1, 16);

    if (bytes <= LAST_BYTES - used && !(heap->flags & HEAP_EXECUTABLE))
    {
        used += bytes;
        return last + used - bytes;
    }
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT,
            heap->flags & HEAP_EXECUTABLE ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE);
}

/* Windows of all classes that threads ask for now and then would be much, where there are many threads. */
static bool is_rare(struct heap *heap, struct cache *cache, unsigned int class)
{
    struct home *home = home_of(cache, class);

    if (cache == heap->first || home->turns >= HOLD_AFTER || cache->windows >= BUSY_AFTER) return false;
    home->turns++;
    return true;
}

static void *try_alloc(struct heap *heap, struct cache *cache, size_t size, struct heap_need *need)
{
    bool wide = true, met;
    unsigned int class;
    void *mem;

    if (cache && size <= SLACK_TOP)
    {
        class = heap_class_of(size);
        if (class >= FIRST_COUNT && !cache->more)
        {
            if (!lock_acquire(&heap->lock)) return NULL;
            wide = is_wide(cache, need);
            lock_release(&heap->lock);
            if (need->meta) return NULL;
        }
        if (wide && !is_rare(heap, cache, class))
        {
            if (!cursor_of(cache, class)->bits && !heap_cache_refill(heap, cache, class, need)) return NULL;
            mem = heap_span_take(cache, class, size);
            heap_count_in(cache, size);
            return mem;
        }
    }
    met = PEEK(heap->lock.held);
    /* A thread died in here: what is behind the lock cannot be used any more. */
    if (!lock_acquire(&heap->lock)) return end_of_process(heap, size);
    mem = try_common(heap, cache, size, met, need);
    if (mem && !cache) heap_count_in(heap->common, size);
    lock_release(&heap->lock);
    if (mem && cache) heap_count_in(cache, size);
    return mem;
}

static void *take_any(struct heap *heap, struct cache *cache, size_t size)
{
    void *mem;

    if (size > CLASS_TOP || !lock_acquire(&heap->lock)) return NULL;
    heap_caches_stop(heap, NULL, true);
    mem = heap_span_take_any(heap, size);
    heap_caches_go(heap, NULL);
    if (mem && !cache) heap_count_in(heap->common, size);
    lock_release(&heap->lock);
    if (mem && cache) heap_count_in(cache, size);
    return mem;
}

void *heap_alloc(struct heap *heap, size_t size, unsigned int level)
{
    struct heap_need need, refused;
    struct cache *cache;
    bool looked = false, swept = false;
    void *mem;

    if (size > (SIZE_MAX >> 1) - (1 << 20)) return NULL;
    if (heap->flags & HEAP_SYSTEM)
    {
        mem = heap_system_alloc(heap, size, level);
        return mem || !process_is_ending() ? mem : end_of_process(heap, size);
    }
    cache = heap_cache_get(heap, level, true);
    heap_tend_by(heap, cache);
    heap_map_settle(heap, level);
    for (;;)
    {
        memset(&need, 0, sizeof(need));
        if ((mem = try_alloc(heap, cache, size, &need))) return mem;
        if ((!need.meta && !need.pages) || process_is_ending()) return end_of_process(heap, size);
        /* Not twice in a row: spans that are made and given up in turn cost more than a few pages. */
        if (PEEK(heap->retired)) looked = swept = true;
        if (!need.meta && !need.own && !looked)
        {
            looked = true;
            if (retire_some(heap, cache)) continue;
        }
        if (!need.meta && !swept && sweep_instead(heap))
        {
            swept = true;
            continue;
        }
        if (heap_grow(heap, &need, level)) continue;
        /* The owner, unlike the system, sees to it that what is spare is given back before he refuses. What
         * that left here may be just enough. */
        if (PEEK(heap->starved))
        {
            POKE(heap->starved, false);
            trim(heap, cache);
        }
        refused = need;
        memset(&need, 0, sizeof(need));
        if ((mem = try_alloc(heap, cache, size, &need))) return mem;
        if (need.meta >= refused.meta && need.pages >= refused.pages) return take_any(heap, cache, size);
        if (!heap_grow(heap, &need, level)) return take_any(heap, cache, size);
    }
}

void *heap_alloc_zeroed(struct heap *heap, size_t size, unsigned int level)
{
    void *mem = heap_alloc(heap, size, level);

    return mem ? memset(mem, 0, size) : NULL;
}

static void set_busy(struct cache *cache, uint32_t busy)
{
    __asm__ volatile("" ::: "memory");
    __atomic_store_n(&cache->busy, busy, __ATOMIC_RELEASE);
    __asm__ volatile("" ::: "memory");
}

enum answer
{
    FREED,
    NOT_LIVE,
    NOT_SHARED      /* another cache's: to be shared first */
};

static enum answer try_free(struct heap *heap, struct cache *cache, void *mem, bool anyway, struct span **out,
        size_t *size)
{
    enum answer answer = NOT_LIVE;
    struct span *span;
    uint32_t index;

    set_busy(cache, 1);
    if (!heap_find_block(heap, mem, &span, &index)) goto done;
    *out = span;
    *size = heap_block_size(span, index);
    if (PEEK(span->bias) == cache)
    {
        __atomic_store_n(&span->state[index], STATE_FREE, __ATOMIC_RELEASE);
        answer = FREED;
    }
    else if (PEEK(span->bias) == BIAS_SHARED || anyway)
    {
        /* Of two threads that free the block at one instant, one finds it free. (Where the owner has taken it
         * again at that instant the other frees that, and of a wide block counts the size it had before.) */
        uint8_t state = 0;

        if (span->kind == SPAN_SMALL)
        {
            state = __atomic_exchange_n(&span->state[index], STATE_FREE, __ATOMIC_ACQ_REL);
            if (state & STATE_FREE) goto done;
            *size = span->block_size - state;
        }
        /* What another thread holds must stay so. */
        else if (!__atomic_compare_exchange_n(&span->state[index], &state, STATE_FREE, false,
                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) goto done;
        answer = FREED;
    }
    else answer = NOT_SHARED;
    /* Another's page had its place in the map that is looked at first. */
    if (answer == FREED && (span->kind <= SPAN_WIDE || PEEK(span->bias) == cache))
        heap_map_note(heap, mem, span);
done:
    set_busy(cache, 0);
    return answer;
}

bool heap_free(struct heap *heap, void *mem)
{
    bool locked = false, anyway = false;
    enum answer answer;
    struct cache *cache;
    struct span *span;
    size_t size;

    if (heap->flags & HEAP_SYSTEM) return heap_system_free(heap, mem);
    cache = heap_cache_get(heap, 0, false);
    if (!cache && !(locked = lock_acquire(&heap->lock))) return true;
    while ((answer = try_free(heap, cache ? cache : heap->common, mem, anyway, &span, &size))
            == NOT_SHARED)
    {
        if (!locked && !lock_acquire(&heap->lock)) return true;
        anyway = !heap_span_share(heap, span);
        if (!locked) lock_release(&heap->lock);
    }
    if (answer != NOT_LIVE) heap_count_out(cache ? cache : heap->common, size);
    if (locked) lock_release(&heap->lock);
    /* What end_of_process gave is in no table. */
    return answer != NOT_LIVE || process_is_ending();
}

bool heap_size(struct heap *heap, void *mem, size_t *size)
{
    struct span *span;
    uint32_t index;
    bool found;

    if (!lock_acquire(&heap->lock)) return false;
    if (heap->flags & HEAP_SYSTEM) found = heap_system_size(heap, mem, size);
    else if ((found = heap_find_block(heap, mem, &span, &index))) *size = heap_block_size(span, index);
    lock_release(&heap->lock);
    return found;
}

/* Under the lock. */
static bool resize_in_place(struct span *span, uint32_t index, size_t size)
{
    if (span->kind > SPAN_WIDE) return heap_large_resize(span, size);
    if (size > CLASS_TOP || heap_class_of(size) != span->class) return false;
    block_set_live(span, index, size);
    return true;
}

static void count_again(struct cache *cache, size_t old, size_t size)
{
    heap_count_out(cache, old);
    heap_count_in(cache, size);
}

void *heap_realloc(struct heap *heap, void *mem, size_t size, unsigned int level)
{
    struct cache *cache;
    struct span *span;
    bool done = false;
    size_t old = 0;
    uint32_t index;
    void *new;

    if (size > (SIZE_MAX >> 1) - (1 << 20)) return NULL;
    cache = heap_cache_get(heap, level, true);
    if (!lock_acquire(&heap->lock)) return NULL;
    /* There it always moves, so that who kept the old address is found out. */
    if (heap->flags & HEAP_SYSTEM) heap_system_size(heap, mem, &old);
    else if (heap_find_block(heap, mem, &span, &index))
    {
        old = heap_block_size(span, index);
        done = resize_in_place(span, index, size);
        if (done && !cache) count_again(heap->common, old, size);
    }
    lock_release(&heap->lock);
    if (done && cache) count_again(cache, old, size);
    if (done) return mem;
    if (!(new = heap_alloc(heap, size, level))) return NULL;
    memcpy(new, mem, old < size ? old : size);
    heap_free(heap, mem);
    return new;
}

struct walk
{
    bool (*visit)(void *context, const struct heap_block *block);
    void *context;
};

static bool walk_span(void *context, struct span *span)
{
    struct walk *walk = context;
    uint32_t i;

    for (i = 0; i < span->block_count; i++)
    {
        struct heap_block block = {0};
        uint32_t who;
        int line;

        if (!block_is_live(span, __atomic_load_n(&span->state[i], __ATOMIC_ACQUIRE))) continue;
        block.mem = span->base + (size_t)i * span->block_size;
        block.size = heap_block_size(span, i);
        if (span->records && (who = read_record(&span->records[i], &line)))
        {
            block.file = span->records[i].file;
            block.line = line;
            block.thread = who & ~3u;
            block.level = who & 3;
        }
        if (!walk->visit(walk->context, &block)) return false;
    }
    return true;
}

static bool walk_list(struct span *span, struct walk *walk)
{
    for (; span; span = span->next)
    {
        if (!walk_span(walk, span)) return false;
    }
    return true;
}

void heap_walk(struct heap *heap, bool (*visit)(void *context, const struct heap_block *block), void *context)
{
    struct walk walk = { visit, context };
    struct span_list *list;
    struct cache *cache;
    unsigned int class;
    bool more;

    if (!lock_acquire(&heap->lock)) return;
    if (heap->flags & HEAP_SYSTEM)
    {
        heap_system_walk(heap, visit, context);
        lock_release(&heap->lock);
        return;
    }
    more = heap_large_walk(&heap->large, walk_span, &walk);
    for (class = 0; class < CLASS_COUNT && more; class++)
        more = walk_list(heap->shared[class].first, &walk);
    heap_caches_stop(heap, NULL, true);
    for (cache = heap->caches; cache && more; cache = cache->next)
    {
        if (!cache->quiet) continue;
        if (cache->large) more = heap_large_walk(cache->large, walk_span, &walk);
        for (class = 0; class < CLASS_COUNT && more; class++)
        {
            if ((list = own_list(cache, class))) more = walk_list(list->first, &walk);
        }
    }
    heap_caches_go(heap, NULL);
    lock_release(&heap->lock);
}
