/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What each thread has to itself: cursors, spans, and its part of the counters.
 */

#include "heap_private.h"

#define TLS_DIRECT 64           /* slots in the thread's environment block itself */
#define OWN_AFTER (HOLD_AFTER + 8)      /* these and windows of a class, after which it has for that class */
#define HOT_BLOCKS 16           /* least of a class that is much used */
#define QUIET_SPINS 100         /* a Free that is not interrupted is over by then */
#define QUIET_TURNS 2000
#define LET_GO_AFTER (1 << 20)  /* bytes that a thread freed and did not take again */

#ifdef _WIN64
#define TLS_OFFSET 0x1480
#else
#define TLS_OFFSET 0xe10
#endif

static struct lock heaps_lock;
static struct heap *heaps;

/* ---- the counters ---- */

/* One thread's room, in bytes; in blocks a thirty-second of that, or what there are bits for. All together
 * hold no more than 512 KiB, by which a peak that several threads make may be told too high; the first has
 * more, where the number has bits for it, until it next allocates or frees after there is a second. */
#define ROOM_TOP_BITS 17
#define ROOM_LEAST_BITS 11
#define ROOM_ALL_BITS 19
#ifdef _WIN64
#define ROOM_ALONE_BITS 23
#define ROOM_BLOCKS_BITS 18
#else
#define ROOM_ALONE_BITS ROOM_TOP_BITS
#define ROOM_BLOCKS_BITS 9
#endif

static unsigned int blocks_bits(unsigned int bits)
{
    return bits - 5 < ROOM_BLOCKS_BITS ? bits - 5 : ROOM_BLOCKS_BITS;
}

static void set_guard(struct room *room, unsigned int bits)
{
    POKE(room->guard, ((ROOM_BLOCK - 1) & ~(((size_t)1 << bits) - 1))
            | (~(size_t)0 << (ROOM_SHIFT + blocks_bits(bits))));
}

/* Its thread settles at its next call. */
static void close_room(struct room *room)
{
    POKE(room->guard, ~(size_t)0);
}

static void get_room(const struct room *room, intptr_t *bytes, intptr_t *blocks)
{
    unsigned int above = 8 * (unsigned int)sizeof(size_t) - ROOM_SHIFT;
    size_t both = PEEK(room->both);

    *bytes = (intptr_t)(both << above) >> above;
    *blocks = (intptr_t)(both - (size_t)*bytes) >> ROOM_SHIFT;
}

static void set_room(struct room *room, intptr_t bytes, intptr_t blocks)
{
    POKE(room->both, (size_t)bytes + ((size_t)blocks << ROOM_SHIFT));
}

/* Below 0: take from what is spare below the peak, and where that is not enough raise the peak, by exactly
 * what is missing. Past the share: half of it back. */
static intptr_t settle(intptr_t room, size_t share, size_t *spare, uint64_t *raised)
{
    size_t take;

    if (room >= 0 && (size_t)room >= share)
    {
        POKE(*spare, *spare + ((size_t)room - share / 2));
        return (intptr_t)(share / 2);
    }
    if (room >= 0) return room;
    take = (size_t)-room + share / 2;
    if (take > *spare) take = *spare;
    POKE(*spare, *spare - take);
    room += (intptr_t)take;
    if (room >= 0) return room;
    POKE(*raised, *raised + (uint64_t)-room);
    return 0;
}

static unsigned int share_bits(const struct heap *heap)
{
    unsigned int bits = ROOM_ALL_BITS, count = PEEK(heap->cache_count);

    if (count <= 1) return ROOM_ALONE_BITS;
    for (; count > 1 && bits > ROOM_LEAST_BITS; count = (count + 1) / 2) bits--;
    return bits < ROOM_TOP_BITS ? bits : ROOM_TOP_BITS;
}

/* Under the lock. */
static void drop_window(struct cache *cache, unsigned int class)
{
    struct home *home = home_of(cache, class);

    if (!home->span) return;
    cursor_of(cache, class)->bits = 0;
    if (!home->span->owner) home->span->claimed &= ~((uint64_t)1 << home->window);
    home->span = NULL;
    home->blocks = 0;
    home->records = NULL;
}

/* Much has been freed. The windows of a thread that frees and then goes idle would keep a chunk each. */
static void let_go(struct cache *cache)
{
    struct heap *heap = cache->heap;

    if (cache->returned >= LET_GO_AFTER && lock_acquire(&heap->lock))
    {
        cache->returned = 0;
        heap_cache_drop(cache);
        lock_release(&heap->lock);
    }
    heap_ask_to_tend(heap);
    heap_tend(heap);
}

static int settle_both(struct cache *cache, intptr_t bytes, intptr_t blocks)
{
    struct heap *heap = cache->heap;
    intptr_t before = bytes;
    unsigned int bits;
    bool locked, much;

    /* The peak itself rises: nobody else need know. */
    if (bytes <= 0 && blocks <= 0 && (!bytes || !PEEK(heap->spare_bytes))
            && (!blocks || !PEEK(heap->spare_blocks)))
    {
        POKE(cache->raised_bytes, cache->raised_bytes + (uint64_t)-bytes);
        POKE(cache->raised_blocks, cache->raised_blocks + (uint64_t)-blocks);
        set_room(&cache->room, 0, 0);
        return 0;
    }
    bits = share_bits(heap);
    locked = lock_acquire(&heap->room_lock);
    set_guard(&cache->room, bits);
    much = bytes > 0 && bytes >> bits;
    bytes = settle(bytes, (size_t)1 << bits, &heap->spare_bytes, &cache->raised_bytes);
    blocks = settle(blocks, (size_t)1 << blocks_bits(bits), &heap->spare_blocks, &cache->raised_blocks);
    set_room(&cache->room, bytes, blocks);
    if (locked) lock_release(&heap->room_lock);
    cache->returned += before - bytes;
    if (cache->returned < 0) cache->returned = 0;
    if (much && cache != heap->common) let_go(cache);
    return 0;
}

int heap_settle(struct cache *cache)
{
    intptr_t bytes, blocks;

    get_room(&cache->room, &bytes, &blocks);
    return settle_both(cache, bytes, blocks);
}

void heap_count_in(struct cache *cache, size_t size)
{
    intptr_t bytes, blocks;

    if (size < COUNT_TOP)
    {
        if (!room_take(&cache->room, size)) heap_settle(cache);
        return;
    }
    get_room(&cache->room, &bytes, &blocks);
    settle_both(cache, bytes - (intptr_t)size, blocks - 1);
}

void heap_count_out(struct cache *cache, size_t size)
{
    intptr_t bytes, blocks;

    if (size < COUNT_TOP)
    {
        if (!room_give(&cache->room, size)) heap_settle(cache);
        return;
    }
    get_room(&cache->room, &bytes, &blocks);
    settle_both(cache, bytes + (intptr_t)size, blocks + 1);
}

void heap_get_usage(struct heap *heap, struct heap_usage *usage)
{
    uint64_t peak_bytes = 0, peak_blocks = 0, room_bytes, room_blocks;
    bool locked, room_locked;
    struct cache *cache;
    intptr_t bytes, blocks;

    if (heap->flags & HEAP_SYSTEM)
    {
        heap_system_get_usage(heap, usage);
        return;
    }
    locked = lock_acquire(&heap->lock);
    room_locked = lock_acquire(&heap->room_lock);
    room_bytes = heap->spare_bytes;
    room_blocks = heap->spare_blocks;
    for (cache = heap->caches; cache; cache = cache->next)
    {
        get_room(&cache->room, &bytes, &blocks);
        room_bytes += (uint64_t)bytes;
        room_blocks += (uint64_t)blocks;
        peak_bytes += PEEK(cache->raised_bytes);
        peak_blocks += PEEK(cache->raised_blocks);
    }
    usage->live_bytes = (size_t)(peak_bytes - room_bytes);
    usage->live_blocks = (size_t)(peak_blocks - room_blocks);
    usage->peak_live_bytes = (size_t)peak_bytes;
    usage->peak_live_blocks = (size_t)peak_blocks;
    usage->committed = heap->committed + heap->uncredited;
    if (room_locked) lock_release(&heap->room_lock);
    if (locked) lock_release(&heap->lock);
}

/* ---- caches ---- */

struct home heap_no_home;

/* Under the lock. */
struct cache *heap_cache_create(struct heap *heap, struct heap_need *need)
{
    struct cache *cache = heap_meta_take(heap, sizeof(*cache), need);

    if (!cache) return NULL;
    memset(cache, 0, sizeof(*cache));
    cache->heap = heap;
    set_guard(&cache->room, share_bits(heap));
    cache->next = heap->caches;
    __atomic_store_n(&heap->caches, cache, __ATOMIC_RELEASE);
    return cache;
}

/* Under the lock. Most threads never need the larger classes. */
bool heap_cache_widen(struct cache *cache, struct heap_need *need)
{
    struct heap *heap = cache->heap;
    struct cache_more *more;

    if (cache->more) return true;
    if (!(more = heap_meta_take(heap, sizeof(*more), need))) return false;
    memset(more, 0, sizeof(*more));
    __atomic_store_n(&cache->more, more, __ATOMIC_RELEASE);
    return true;
}

static struct cache *adopt(struct heap *heap, struct heap_need *need)
{
    struct cache *cache = heap->parked;

    if (cache)
    {
        heap->parked = cache->next_parked;
        cache->shares = 0;
    }
    else
    {
        if (!(cache = heap_cache_create(heap, need))) return NULL;
        if (!heap->cache_count) heap->first = cache;
        POKE(heap->cache_count, heap->cache_count + 1);
        if (heap->cache_count == 2) close_room(&heap->first->room);
    }
    return cache;
}

/* The calling thread's. NULL: it has none and there is no memory for one. */
struct cache *heap_cache_get(struct heap *heap, unsigned int level, bool may_grow)
{
    struct cache *cache = heap_cache_of(&heap->front, heap->way);
    struct heap_need need;

    if (cache || heap->way == HEAP_WAY_NONE) return cache;
    for (;;)
    {
        memset(&need, 0, sizeof(need));
        if (!lock_acquire(&heap->lock)) return NULL;
        if (heap->way == HEAP_WAY_SOLO && heap->front.solo) cache = heap->front.solo;
        else cache = adopt(heap, &need);
        if (cache && heap->way == HEAP_WAY_SOLO)
        {
            heap->front.solo = cache;
            if (heap->copy) heap->copy->solo = cache;
        }
        lock_release(&heap->lock);
        if (cache) break;
        if (!may_grow || !heap_meta_grow(heap, need.meta, level)) return NULL;
    }
    if (heap->way != HEAP_WAY_SOLO) TlsSetValue(heap->tls_index, cache);
    return cache;
}

static bool fill_own(struct heap *heap, struct cache *cache, unsigned int class, size_t least,
        struct heap_need *need)
{
    if (!cache->own)
    {
        struct own_spans *own = heap_meta_take(heap, sizeof(*own), need);

        if (!own) return false;
        memset(own, 0, sizeof(*own));
        cache->own = own;
    }
    return heap_span_new(heap, cache, class, least, need)
            && heap_span_search(list_of(cache, class), cursor_of(cache, class), home_of(cache, class));
}

/* Under the lock, once in each turn of the heap. What the thread takes next comes from the oldest chunks, and
 * the others can go. */
void heap_cache_catch_up(struct heap *heap, struct cache *cache)
{
    cache->turn = PEEK(heap->turn);
    heap_cache_drop(cache);
    heap_spans_retire_own(heap, cache);
}

/* Under the lock: blocks of spans that all share, whatever the size. */
bool heap_cache_refill_shared(struct heap *heap, struct cache *cache, unsigned int class,
        struct heap_need *need)
{
    struct span_list *list = &heap->shared[class];
    struct cursor *cursor = cursor_of(cache, class);
    struct home *home = home_of(cache, class);

    if (home->span && heap_span_again(cursor, home)) return true;
    drop_window(cache, class);
    return heap_span_search(list, cursor, home)
            || (heap_span_new(heap, NULL, class, 0, need) && heap_span_search(list, cursor, home));
}

/* Under the lock: blocks of a class above SLACK_TOP, of the thread's own spans. */
bool heap_cache_refill_wide(struct heap *heap, struct cache *cache, unsigned int class,
        struct heap_need *need)
{
    struct wide_windows *wide = cache->wide;

    if (!wide)
    {
        if (!(wide = heap_meta_take(heap, sizeof(*wide), need))) return false;
        memset(wide, 0, sizeof(*wide));
        cache->wide = wide;
    }
    return cursor_of(cache, class)->bits || heap_span_search_own(cache, class)
            || fill_own(heap, cache, class, 0, need);
}

/* The cursor of the class, to SLACK_TOP, of a thread has run out: more blocks for it. Without the lock. */
bool heap_cache_refill(struct heap *heap, struct cache *cache, unsigned int class, struct heap_need *need)
{
    struct cursor *cursor = cursor_of(cache, class);
    struct home *home = home_of(cache, class);
    size_t hot = HOT_BLOCKS * (size_t)heap_class_sizes[class];
    bool found = false, own, settled, thin;

    memset(need, 0, sizeof(*need));
    if (cache->turn != PEEK(heap->turn) && lock_acquire(&heap->lock))
    {
        heap_cache_catch_up(heap, cache);
        lock_release(&heap->lock);
    }
    /* A class that is much used but has few blocks comes here too often. */
    thin = home->turns && !(home->turns & 255) && cache->own
            && PEEK(cache->own->list[class].pages) * PAGE_BYTES < hot;
    if (!thin && home->span && heap_span_again(cursor, home)) return true;
    if (!thin && heap_span_search_own(cache, class)) return true;
    if (!lock_acquire(&heap->lock)) return false;
    if (home->span && !home->span->owner)
    {
        if (home->turns < OWN_AFTER) home->turns++;
        if (cache->windows < BUSY_AFTER) cache->windows++;
        drop_window(cache, class);
        found = heap_span_search_own(cache, class);
    }
    own = home->turns >= OWN_AFTER || cache->windows >= BUSY_AFTER || cache == heap->first;
    /* A window that others share has few blocks, for a lock, and a locked instruction to free each. */
    settled = own && cache->own && cache->own->list[class].pages;
    if (!found && !own) found = heap_cache_refill_shared(heap, cache, class, need);
    else if (!found)
    {
        drop_window(cache, class);
        found = (!thin && !settled && heap_span_search(&heap->shared[class], cursor, home))
                || fill_own(heap, cache, class, thin ? hot : 0, need);
    }
    lock_release(&heap->lock);
    return found;
}

/* Under the lock. Lets go of all the blocks that a thread holds ready. */
void heap_cache_drop(struct cache *cache)
{
    unsigned int class;

    for (class = 0; class < CACHED_COUNT; class++) drop_window(cache, class);
    heap_cache_drop_wide(cache);
}

/* By its own thread: of windows in spans without a live block, so that those can go. */
void heap_cache_drop_free(struct cache *cache)
{
    struct span *span;
    unsigned int class;

    heap_span_drop_held(cache);
    for (class = 0; class < CLASS_COUNT; class++)
    {
        if ((span = home_of(cache, class)->span) && heap_span_is_free(span)) drop_window(cache, class);
    }
}

/* The same of classes above SLACK_TOP, also with the cache stopped. */
void heap_cache_drop_wide(struct cache *cache)
{
    unsigned int class;

    heap_span_drop_held(cache);
    for (class = CACHED_COUNT; class < CLASS_COUNT; class++) drop_window(cache, class);
}

/* ---- waiting for Free ---- */

static void barrier_everywhere(void)
{
    static struct lock page_lock;
    static char *page;
    DWORD error = GetLastError(), old;

    FlushProcessWriteBuffers();
    /* A stub under Wine 8.0. There, taking the right to write from a page that was written to makes the
     * kernel interrupt every processor that runs this process, which is a barrier. */
    if (!__atomic_load_n(&page, __ATOMIC_ACQUIRE))
    {
        char *made = VirtualAlloc(NULL, PAGE_BYTES, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

        if (made && InterlockedCompareExchangePointer((void *volatile *)&page, made, NULL))
            VirtualFree(made, 0, MEM_RELEASE);
    }
    if (page && lock_acquire(&page_lock))
    {
        VirtualProtect(page, PAGE_BYTES, PAGE_READWRITE, &old);
        InterlockedIncrement((volatile LONG *)(void *)page);
        VirtualProtect(page, PAGE_BYTES, PAGE_READONLY, &old);
        lock_release(&page_lock);
    }
    SetLastError(error);
}

/* Under the lock. No thread is busy with what it began before this; of one cache, or of all. False: one is
 * still, suspended or dead, and its cache is not quiet. With more threads than processors one of them is
 * often interrupted while it is busy; who can do without it had better not wait for it, with everybody that
 * wants the lock behind him. */
bool heap_caches_quiet(struct heap *heap, struct cache *one, bool patient)
{
    struct cache *cache;
    unsigned int turn;
    bool all = true;

    barrier_everywhere();
    for (cache = one ? one : heap->caches; cache; cache = one ? NULL : cache->next)
    {
        for (turn = 0; __atomic_load_n(&cache->busy, __ATOMIC_ACQUIRE); turn++)
        {
            if (turn == (patient ? QUIET_TURNS : QUIET_SPINS) || process_is_ending()) break;
            if (turn < QUIET_SPINS) YieldProcessor();
            else SwitchToThread();
        }
        cache->quiet = !__atomic_load_n(&cache->busy, __ATOMIC_ACQUIRE);
        all &= cache->quiet;
    }
    return all;
}

/* Under the lock. The spans that are a cache's own may be looked at and changed where the cache is quiet
 * then. */
void heap_caches_stop(struct heap *heap, struct cache *one, bool patient)
{
    struct cache *cache;

    for (cache = one ? one : heap->caches; cache; cache = one ? NULL : cache->next)
        __atomic_store_n(&cache->stopped, 1, __ATOMIC_RELEASE);
    heap_caches_quiet(heap, one, patient);
}

void heap_caches_go(struct heap *heap, struct cache *one)
{
    struct cache *cache;

    for (cache = one ? one : heap->caches; cache; cache = one ? NULL : cache->next)
        __atomic_store_n(&cache->stopped, 0, __ATOMIC_RELEASE);
}

/* ---- threads that end ---- */

static void park(struct heap *heap, struct cache *cache)
{
    intptr_t bytes, blocks;

    if (!lock_acquire(&heap->lock)) return;
    heap_cache_drop(cache);
    if (lock_acquire(&heap->room_lock))
    {
        get_room(&cache->room, &bytes, &blocks);
        if (bytes > 0) POKE(heap->spare_bytes, heap->spare_bytes + (size_t)bytes);
        if (blocks > 0) POKE(heap->spare_blocks, heap->spare_blocks + (size_t)blocks);
        set_room(&cache->room, bytes > 0 ? 0 : bytes, blocks > 0 ? 0 : blocks);
        lock_release(&heap->room_lock);
    }
    cache->next_parked = heap->parked;
    heap->parked = cache;
    lock_release(&heap->lock);
}

/* From DllMain: waits for no lock but ours, which nobody holds while waiting for the loader's. */
void heap_thread_ended(void)
{
    struct heap *heap;
    struct cache *cache;

    if (!lock_acquire(&heaps_lock)) return;
    for (heap = heaps; heap; heap = heap->next)
    {
        if (!(cache = heap_cache_of(&heap->front, heap->way))) continue;
        TlsSetValue(heap->tls_index, NULL);
        park(heap, cache);
    }
    lock_release(&heaps_lock);
}

enum heap_way heap_attach(struct heap *heap, struct heap_front *front)
{
    *front = heap->front;
    heap->copy = front;
    return heap->way;
}

void heap_cache_register(struct heap *heap)
{
    DWORD error = GetLastError();

    heap->way = HEAP_WAY_SOLO;
    heap->tls_index = TLS_OUT_OF_INDEXES;
    if (!(heap->flags & HEAP_THREADSAFE)) return;
    heap->way = HEAP_WAY_NONE;
    if ((heap->tls_index = TlsAlloc()) == TLS_OUT_OF_INDEXES)
    {
        SetLastError(error);
        return;
    }
    heap->way = heap->tls_index < TLS_DIRECT ? HEAP_WAY_TEB : HEAP_WAY_MORE;
    heap->front.tls_offset = heap->way == HEAP_WAY_TEB ? TLS_OFFSET + heap->tls_index * sizeof(void *)
            : (heap->tls_index - TLS_DIRECT) * sizeof(void *);
    if (lock_acquire(&heaps_lock))
    {
        heap->next = heaps;
        heaps = heap;
        lock_release(&heaps_lock);
    }
    SetLastError(error);
}

void heap_cache_unregister(struct heap *heap)
{
    struct heap **link;

    if (heap->tls_index == TLS_OUT_OF_INDEXES) return;
    if (lock_acquire(&heaps_lock))
    {
        for (link = &heaps; *link && *link != heap; link = &(*link)->next) ;
        if (*link) *link = heap->next;
        lock_release(&heaps_lock);
    }
    TlsFree(heap->tls_index);
}
