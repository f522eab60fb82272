/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Spans: runs of pages cut into blocks of one size, each with a state byte in a table outside. The table is
 * the free list: who needs blocks reads the bytes of a window, 64 at a time.
 */

#include "heap_private.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SPAN_TOP 65536
#define SHARED_TOP 32768
#define SEARCH_WINDOWS 64
#define LIMBO_MOST 64
#define SHARE_ALL 2             /* so many spans of a list shared: the others will be too */
#define SHARE_EVERY 8           /* so often in a thread's: those of all classes will be */

/* Which of the blocks at state are free; blocks is a power of two from 4 on. */
static inline __attribute__((always_inline)) mask_t free_mask(const uint8_t *state, unsigned int blocks)
{
    mask_t mask = 0;
    unsigned int i;

#if defined(__SSE2__) && defined(_WIN64) && !defined(HEAP_NATIVE)
#define SIXTEEN(at) \
    (mask_t)(unsigned int)_mm_movemask_epi8(_mm_load_si128((const __m128i *)(const void *)(state + (at))))
    if (blocks == 64) return SIXTEEN(0) | SIXTEEN(16) << 16 | SIXTEEN(32) << 32 | SIXTEEN(48) << 48;
    if (blocks == 32) return SIXTEEN(0) | SIXTEEN(16) << 16;
    if (blocks == 16) return SIXTEEN(0);
#endif
#ifdef HEAP_NATIVE
    /* One by one, as they were stored: else the thread sanitizer sees no connection. */
    for (i = 0; i < blocks; i++) mask |= (mask_t)(__atomic_load_n(&state[i], __ATOMIC_ACQUIRE) >> 7) << i;
    return mask;
#endif
    for (i = 0; i < blocks; i += 4)
    {
        uint32_t four = __atomic_load_n((const uint32_t *)(const void *)(state + i), __ATOMIC_ACQUIRE);

        /* The top bits of four bytes to the low four bits. */
        mask |= (mask_t)((four >> 7 & 0x01010101) * 0x10204080 >> 28) << i;
    }
    return mask;
}

/* The next search begins with it. */
static void link_span(struct span_list *list, struct span *span)
{
    span->prev = NULL;
    if ((span->next = list->first)) list->first->prev = span;
    list->first = list->at = span;
    list->at_window = 0;
    POKE(list->pages, list->pages + span->page_count);
}

static void unlink_span(struct span_list *list, struct span *span)
{
    if (span->prev) span->prev->next = span->next;
    else list->first = span->next;
    if (span->next) span->next->prev = span->prev;
    POKE(list->pages, list->pages - span->page_count);
    if (list->at != span) return;
    list->at = span->next;
    list->at_window = 0;
}

/* The records of free blocks are of ones that are gone. */
static inline __attribute__((always_inline)) void clear_records(struct span_record *records, mask_t bits,
        unsigned int count)
{
    unsigned int i;

    if (bits == ~(mask_t)0 >> (MASK_BITS - count))
    {
        for (i = 0; i < count; i++) POKE(records[i].who, 0);
        return;
    }
    for (; bits; bits &= bits - 1) POKE(records[__builtin_ctzll(bits)].who, 0);
}

/* The free blocks of a window, if there are enough: one in so many. */
static inline __attribute__((always_inline)) mask_t enough_free(const struct span *span,
        unsigned int window, unsigned int one_in)
{
    unsigned int first = window * span->window_blocks, count = span->block_count - first;
    struct span_record *records = __atomic_load_n(&span->records, __ATOMIC_ACQUIRE);
    mask_t bits = free_mask(span->state + first, span->window_blocks);

    if (count > span->window_blocks) count = span->window_blocks;
    if (count_bits(bits) * one_in < count) return 0;
    if (records) clear_records(records + first, bits, count);
    return bits;
}

/* Blocks of the window just used up that were freed meanwhile. Needs no lock: the window is the cursor's. */
bool heap_span_again(struct cursor *cursor, struct home *home)
{
    return (cursor->bits = enough_free(home->span, home->window, 4));
}

static inline __attribute__((always_inline)) bool look(struct cursor *cursor, struct home *home,
        struct span *span, unsigned int window, unsigned int one_in)
{
    unsigned int first = window * span->window_blocks;

    if (!(cursor->bits = enough_free(span, window, one_in))) return false;
    if (!span->owner) span->claimed |= (uint64_t)1 << window;
    home->span = span;
    home->window = (uint16_t)window;
    cursor->base = span->base + (size_t)first * span->block_size;
    cursor->state = span->state + first;
    cursor->block_size = span->block_size;
    home->records = span->records ? span->records + first : NULL;
    home->blocks = span->window_blocks;
    return true;
}

/* Goes round the spans from where it stopped last. After SEARCH_WINDOWS without luck a new span is the
 * better way: it adds a sixteenth at most to what was searched in vain. */
static inline __attribute__((always_inline)) bool search(struct span_list *list, struct cursor *cursor,
        struct home *home)
{
    unsigned int searched = 0, window = list->at_window;
    /* What a small list wastes is little, and its thread's next blocks are soon used up. */
    unsigned int one_in = list->pages < 32 ? 4 : 16;
    struct span *span = list->at, *start = span;
    bool round = false;

    while (searched < SEARCH_WINDOWS)
    {
        if (!span)
        {
            if (round || !(span = list->first)) break;
            round = true;
            window = 0;
        }
        if (window * span->window_blocks >= span->block_count)
        {
            span = span->next;
            window = 0;
            if (round && span == start) break;
            continue;
        }
        if (span->owner || !(span->claimed >> window & 1))
        {
            if (look(cursor, home, span, window, one_in))
            {
                list->at = span;
                list->at_window = (uint16_t)(window + 1);
                return true;
            }
            searched++;
        }
        window++;
    }
    list->at = span;
    list->at_window = (uint16_t)window;
    return false;
}

bool heap_span_search(struct span_list *list, struct cursor *cursor, struct home *home)
{
    return search(list, cursor, home);
}

/* Among the cache's own spans. A window of another span must have been dropped first. No locked
 * instruction: it would wait for all stores before it, which after a burst of first writes to blocks is
 * 100 ns. */
static inline __attribute__((always_inline)) bool search_own(struct cache *cache, struct cursor *cursor,
        struct home *home, unsigned int class)
{
    struct span_list *list = own_list(cache, class);
    bool found = false;

    if (!list) return false;
    POKE(cache->busy, 1);
    __asm__ volatile("" ::: "memory");
    if (!__atomic_load_n(&cache->stopped, __ATOMIC_ACQUIRE) && (!home->span || home->span->owner == cache))
        found = search(list, cursor, home);
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    return found;
}

bool heap_span_search_own(struct cache *cache, unsigned int class)
{
    return search_own(cache, cursor_of(cache, class), home_of(cache, class), class);
}

static void *__attribute__((noinline)) small_more(struct cache *cache, size_t size)
{
    struct cursor *cursor;
    unsigned int class;
    struct home *home;
    mask_t bits;
    size_t i;
    void *mem;

    if (size <= INLINE_TOP)
    {
        cursor = (struct cursor *)((char *)cache + heap_cursor_offsets[(size + 15) / 16]);
        class = (unsigned int)(cursor - cache->cursors);
    }
    else
    {
        if (!cache->more) return NULL;
        class = heap_class_of(size);
        cursor = &cache->more->cursors[class - FIRST_COUNT];
    }
    if (!(bits = cursor->bits))
    {
        /* Now and then the long way, which also gives back what has long been empty. */
        home = home_of(cache, class);
        if (!(++home->turns & 255))
        {
            home->turns |= 0x8000;      /* it goes round */
            return NULL;
        }
        if (!(++cache->refills & 63) || cache->turn != PEEK(cache->heap->turn)
                || heap_tend_is_due(cache->heap)) return NULL;
        /* What was freed of this window meanwhile, if it is a quarter of it. Two samples first: a wide
         * read of bytes that were just stored one by one has to wait until those stores have reached the
         * first cache. */
        if (home->blocks && (PEEK(cursor->state[0]) | PEEK(cursor->state[home->blocks / 2])) & STATE_FREE)
            bits = free_mask(cursor->state, home->blocks);
        if (!bits || count_bits(bits) * 4 < home->blocks)
        {
            if (!search_own(cache, cursor, home, class)) return NULL;
            bits = cursor->bits;
        }
        else if (home->records) clear_records(home->records, bits, home->blocks);
    }
    i = lowest_bit(bits);
    cursor->bits = bits & (bits - 1);
    mem = cursor->base + i * cursor->block_size;
    POKE(cursor->state[i], (uint8_t)(cursor->block_size - size));
    if (!room_take(&cache->room, size)) heap_settle(cache);
    return mem;
}

/* From the cursor, which is not empty. */
static void *take_one(struct cursor *cursor, struct span *span, size_t size)
{
    size_t i = take_bit(cursor);

    block_set_live(span, (uint32_t)(cursor->state + i - span->state), size);
    return cursor->base + i * cursor->block_size;
}

/* By the cache's own thread, or under the lock. */
void *heap_span_take(struct cache *cache, unsigned int class, size_t size)
{
    return take_one(cursor_of(cache, class), home_of(cache, class)->span, size);
}

/* Spans of wide blocks have few, and mostly are everybody's: to find one that was freed takes the lock and a
 * look at many. Where a thread asks for a size often, some of those that it freed wait for it. */
bool heap_free_wide(struct cache *cache, struct span *span, uint32_t index, size_t *size)
{
    unsigned int wide = span->class - CACHED_COUNT;
    struct cache_more *more = cache->more;
    uint8_t live = 0;
    bool hold;

    *size = LOOK(span->block_size) - (size_t)PEEK(LOOK(span->slacks)[index]);
    hold = more && !__atomic_load_n(&cache->stopped, __ATOMIC_ACQUIRE) && more->asked[wide] >= HOLD_AFTER
            && more->held_count[wide] < HELD_MOST;
    if (!__atomic_compare_exchange_n(LOOK(span->state) + index, &live, hold ? STATE_HELD : STATE_FREE, false,
            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return false;
    if (hold) more->held[wide][more->held_count[wide]++] = (uintptr_t)span | index;
    return true;
}

static struct span *next_held(struct cache_more *more, unsigned int wide, uint32_t *index)
{
    uintptr_t block = more->held[wide][--more->held_count[wide]];

    *index = block & (META_GRAIN - 1);
    return (struct span *)(block - *index);
}

/* Under the lock: more blocks of the window that everybody uses, so that not each request takes the lock. */
void heap_span_hold(struct cache *cache, unsigned int class)
{
    struct cursor *cursor = cursor_of(cache->heap->common, class);
    struct span *span = home_of(cache->heap->common, class)->span;
    struct cache_more *more = cache->more;
    unsigned int wide = class - CACHED_COUNT;
    size_t index;

    while (cursor->bits && more->held_count[wide] < HELD_MOST - 1)
    {
        index = (size_t)(cursor->state - span->state) + take_bit(cursor);
        __atomic_store_n(&span->state[index], STATE_HELD, __ATOMIC_RELEASE);
        more->held[wide][more->held_count[wide]++] = (uintptr_t)span | index;
    }
}

/* By its own thread under the lock, or with the cache stopped. */
void heap_span_drop_held(struct cache *cache)
{
    struct cache_more *more = cache->more;
    unsigned int wide;
    struct span *span;
    uint32_t index;

    for (wide = 0; more && wide < WIDE_COUNT; wide++)
    {
        while (more->held_count[wide])
        {
            span = next_held(more, wide, &index);
            __atomic_store_n(&span->state[index], STATE_FREE, __ATOMIC_RELEASE);
        }
    }
}

/* Are there blocks in the thread's own spans? */
static bool again_wide(struct wide_windows *windows, unsigned int wide)
{
    struct cursor *cursor = &windows->cursors[wide];
    struct home *home = &windows->homes[wide];

    return cursor->bits || (home->span && heap_span_again(cursor, home))
            || search(&windows->list[wide], cursor, home);
}

static void *take_wide(struct cache *cache, unsigned int class, size_t size)
{
    unsigned int wide = class - CACHED_COUNT;
    struct span_record *records;
    struct span *span;
    uint32_t index;

    if (cache->more->held_count[wide])
    {
        span = next_held(cache->more, wide, &index);
        /* Another thread may just be giving the span its table, for a block of its own. */
        if ((records = __atomic_load_n(&span->records, __ATOMIC_ACQUIRE))) POKE(records[index].who, 0);
        block_set_live(span, index, size);
        return span->base + (size_t)index * span->block_size;
    }
    if (!cache->wide || !again_wide(cache->wide, wide)) return NULL;
    return heap_span_take(cache, class, size);
}

/* Whoever has stopped the caches may take away what this one holds. So this thread is busy when it looks. */
static void *__attribute__((noinline)) wide_more(struct cache *cache, size_t size)
{
    void *mem = NULL;

    if (!cache->more || cache->turn != PEEK(cache->heap->turn) || heap_tend_is_due(cache->heap)) return NULL;
    POKE(cache->busy, 1);
    __asm__ volatile("" ::: "memory");
    if (!__atomic_load_n(&cache->stopped, __ATOMIC_ACQUIRE))
        mem = take_wide(cache, heap_class_of(size), size);
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    if (mem && !room_take(&cache->room, size)) heap_settle(cache);
    return mem;
}

void *heap_alloc_more(struct cache *cache, size_t size)
{
    if (size <= SLACK_TOP) return small_more(cache, size);
    return size > CLASS_TOP ? heap_large_again(cache, size) : wide_more(cache, size);
}

static size_t state_bytes(unsigned int blocks)
{
    return blocks <= OWN_STATES ? OWN_STATES : ROUND_UP(blocks, META_GRAIN);
}

static void give_tables(struct heap *heap, struct pool *pool, struct span *span, unsigned int blocks)
{
    if (span->slacks && span->slacks != span->own_slacks)
        heap_meta_give(heap, pool, span->slacks, blocks * sizeof(*span->slacks));
    if (span->state != span->own_state) heap_meta_give(heap, pool, span->state, state_bytes(blocks));
}

/* A few states and slacks have room in the descriptor. */
static bool take_tables(struct heap *heap, struct pool *pool, struct span *span, unsigned int blocks,
        bool small, struct heap_need *need)
{
    uint8_t *state = span->own_state;

    if (blocks > OWN_STATES && !(state = heap_meta_take_from(heap, pool, state_bytes(blocks), need)))
        return false;
    POKE(span->state, state);
    span->slacks = small ? NULL : span->own_slacks;
    if (small || blocks <= OWN_SLACKS) return true;
    span->slacks = heap_meta_take_from(heap, pool, blocks * sizeof(*span->slacks), need);
    if (!span->slacks) give_tables(heap, pool, span, blocks);
    return span->slacks != NULL;
}

/* So many pages, or a few more where less is left over then than a sixteenth. */
static unsigned int fitting_pages(unsigned int pages, size_t block)
{
    while (pages * PAGE_BYTES % block * 16 > pages * PAGE_BYTES) pages++;
    return pages;
}

static struct pool *pool_of(struct heap *heap, struct cache *owner)
{
    return owner ? &owner->own->pool : &heap->meta.pool;
}

/* A list that has little gets little: half of what it has, between a page (or a block) and 64 KiB. Fewer
 * and longer spans would be quicker, since their descriptors share the processor's first cache with all
 * else, and waste more. Spans that threads share are smaller, since one live block keeps all of a span, and
 * so are their windows, so that a thread which is idle holds few blocks. */
bool heap_span_new(struct heap *heap, struct cache *owner, unsigned int class, size_t least,
        struct heap_need *need)
{
    struct span_list *list = owner ? list_of(owner, class) : &heap->shared[class];
    struct pool *pool = pool_of(heap, owner);
    size_t block = heap_class_sizes[class], bytes = (size_t)list->pages * PAGE_BYTES / 2;
    bool small = block <= SLACK_TOP, fitting = list->pages * PAGE_BYTES >= 16 * block;
    unsigned int pages, blocks, page;
    struct span *span;
    bool biased;
    char *base;

    if (!owner) bytes /= 16;
    else if (!small) bytes /= 4;
    if (bytes > (owner ? SPAN_TOP : SHARED_TOP)) bytes = owner ? SPAN_TOP : SHARED_TOP;
    if (bytes < least) bytes = least;
again:
    if (bytes < block) bytes = block;
    pages = (unsigned int)(ROUND_UP(bytes, PAGE_BYTES) >> PAGE_SHIFT);
    if (fitting) pages = fitting_pages(pages, block);
    blocks = (unsigned int)((pages << PAGE_SHIFT) / block);
    if ((span = pool->spare)) pool->spare = span->next;
    else if ((span = heap_meta_take_from(heap, pool, sizeof(*span), need))) memset(span, 0, sizeof(*span));
    else return false;
    if (!take_tables(heap, pool, span, blocks, small, need)) goto no_tables;
    if (!(base = heap_run_take(heap, pages, &span->chunk, &page)))
    {
        need->pages = pages;
        give_tables(heap, pool, span, blocks);
        goto no_tables;
    }
    POKE(span->base, base);
    memset(span->state, 0, state_bytes(blocks));
    memset(span->state, STATE_FREE, blocks);
    POKE(span->kind, small ? SPAN_SMALL : SPAN_WIDE);
    span->class = (uint8_t)class;
    POKE(span->block_size, (uint32_t)block);
    span->block_count = blocks;
    POKE(span->recip, (uint32_t)((((uint64_t)1 << 32) + block - 1) / block));
    span->window_blocks = (uint8_t)heap_window_blocks(class);
    if (!owner)
    {
        span->window_blocks = block <= 128 ? 8 : 4;
        while (span->window_blocks * 64u < blocks) span->window_blocks *= 2;
    }
    if (blocks <= OWN_STATES) span->window_blocks = OWN_STATES;
    span->claimed = 0;
    span->page_count = pages;
    span->owner = owner;
    biased = owner && small && list->shared < SHARE_ALL && owner->shares < SHARE_EVERY;
    POKE(span->bias, biased ? (void *)owner : BIAS_SHARED);
    __atomic_store_n(&span->bytes, blocks * (uint32_t)block, __ATOMIC_RELEASE);
    link_span(list, span);
    heap_map_set(heap, span->base, pages, span);
    need->pages = 0;
    return true;

no_tables:
    span->next = pool->spare;
    pool->spare = span;
    if (need->meta || least || pages == ROUND_UP(block, PAGE_BYTES) >> PAGE_SHIFT) return false;
    bytes = 0;
    fitting = false;    /* perhaps there is room for the smallest */
    goto again;
}

static void change_bias(struct span_list *list, const void *from, void *to)
{
    struct span *span;

    for (span = list->first; span; span = span->next)
    {
        if (PEEK(span->bias) == from) __atomic_store_n(&span->bias, to, __ATOMIC_RELEASE);
    }
}

/* Under the lock. Makes a span that only one cache could free in without a locked instruction everybody's to
 * free in. False: that cache's thread does not come to rest (it is suspended within a Free), so that this
 * has to wait. */
bool heap_span_share(struct heap *heap, struct span *span)
{
    struct cache *owner = span->owner;
    unsigned int i, count = 1;
    struct span_list *list;

    /* Or out of use: another thread was first, and the span was given up. */
    if (PEEK(span->bias) == BIAS_SHARED || !PEEK(span->bytes)) return true;
    if (span->kind > SPAN_WIDE) return heap_large_share(heap, span);
    /* A barrier costs microseconds: not for each span of a class whose blocks others regularly free, nor for
     * each class of such a thread. */
    list = &owner->own->list[span->class];
    if (list->shared < SHARE_ALL) list->shared++;
    if (owner->shares < SHARE_EVERY) owner->shares++;
    if (owner->shares >= SHARE_EVERY)
    {
        list = owner->own->list;
        count = CACHED_COUNT;
    }
    __atomic_store_n(&span->bias, BIAS_CHANGING, __ATOMIC_RELEASE);
    for (i = 0; i < count; i++)
    {
        if (count > 1 || list->shared >= SHARE_ALL) change_bias(&list[i], owner, BIAS_CHANGING);
    }
    heap_caches_quiet(heap, owner, true);
    for (i = 0; i < count; i++)
        change_bias(&list[i], BIAS_CHANGING, owner->quiet ? BIAS_SHARED : (void *)owner);
    return owner->quiet;
}

bool heap_span_is_free(const struct span *span)
{
    uint32_t i;

    for (i = 0; i < span->block_count; i++)
    {
        if (__atomic_load_n(&span->state[i], __ATOMIC_ACQUIRE) != STATE_FREE) return false;
    }
    return true;
}

/* Pages may be used otherwise at once: a Free that found its block live reads only the descriptor after that.
 * The descriptor and its tables wait until nobody can be looking at them any more. */
static size_t retire_list(struct heap *heap, struct span_list *list, const struct span *except)
{
    struct span *span, *next;
    size_t pages = 0;

    for (span = list->first; span; span = next)
    {
        /* cppcheck-suppress nullPointerRedundantCheck ; except may be NULL, span not */
        next = span->next;
        if (span == except || (!span->owner && span->claimed) || !heap_span_is_free(span)) continue;
        unlink_span(list, span);
        heap_map_set(heap, span->base, span->page_count, NULL);
        __atomic_store_n(&span->bytes, 0, __ATOMIC_RELEASE);
        heap_record_drop(heap, span);
        heap_run_give(span->chunk, span_page(span), span->page_count);
        pages += span->page_count;
        POKE(heap->retired, true);
        span->next = heap->limbo;
        heap->limbo = span;
        heap->limbo_spans++;
    }
    if (!list->first) list->shared = 0;
    return pages;
}

/* Of the cache's own spans, by its own thread, or with that stopped. */
size_t heap_spans_retire_own(struct heap *heap, struct cache *cache)
{
    struct span_list *list;
    unsigned int class;
    size_t pages = 0;

    for (class = 0; class < CLASS_COUNT; class++)
    {
        if ((list = own_list(cache, class))) pages += retire_list(heap, list, home_of(cache, class)->span);
    }
    return pages;
}

/* Under the lock, without a barrier: spans without a live block, of those that all share, where nobody else
 * holds a window, and of the calling thread's. True: they were enough that to look again will pay. If not,
 * the next look is when the heap has grown by a thirty-second of what there is to look at. */
bool heap_spans_retire_some(struct heap *heap, struct cache *cache)
{
    size_t pages = 0, found = 0;
    struct span_list *list;
    unsigned int class;

    if (heap->chunk_bytes < heap->look_again) return false;
    heap_cache_drop_free(heap->common);
    if (cache) heap_cache_drop_free(cache);
    for (class = 0; class < CLASS_COUNT; class++)
    {
        pages += heap->shared[class].pages;
        if (cache && (list = own_list(cache, class))) pages += list->pages;
        found += retire_list(heap, &heap->shared[class], NULL);
    }
    if (cache) found += heap_spans_retire_own(heap, cache);
    if (heap->limbo_spans >= LIMBO_MOST)
    {
        heap->limbo_spans = 0;  /* else not again at once */
        if (heap_caches_quiet(heap, NULL, false)) heap_spans_recycle(heap);
    }
    if (found > pages / 64) return true;
    heap->look_again = heap->chunk_bytes + pages * PAGE_BYTES / 32;
    return false;
}

/* Under the lock, with the caches stopped. */
static void drop_wide(struct heap *heap)
{
    struct cache *cache;

    for (cache = heap->caches; cache; cache = cache->next)
    {
        if (cache->quiet) heap_cache_drop_wide(cache);
    }
}

/* Under the lock, with the caches stopped. Takes the spans without a live block out of use. A Free of a
 * pointer that was freed before may still be looking at them: heap_spans_recycle only when the caches are
 * quiet. */
void heap_spans_retire(struct heap *heap)
{
    struct cache *cache;
    unsigned int class;

    drop_wide(heap);
    heap->look_again = 0;   /* the heap may become much smaller now */
    for (class = 0; class < CLASS_COUNT; class++) retire_list(heap, &heap->shared[class], NULL);
    for (cache = heap->caches; cache; cache = cache->next)
    {
        if (cache->quiet) heap_spans_retire_own(heap, cache);
    }
}

void heap_spans_recycle(struct heap *heap)
{
    struct span *span;
    struct pool *pool;

    while ((span = heap->limbo))
    {
        pool = pool_of(heap, span->owner);
        heap->limbo = span->next;
        give_tables(heap, pool, span, span->block_count);
        span->next = pool->spare;
        pool->spare = span;
    }
    heap->limbo_spans = 0;
}

static void *take_first(struct span_list *list, const struct home *held, size_t size)
{
    struct span *span;
    uint32_t i, window;

    for (span = list->first; span; span = span->next)
    {
        for (i = 0; i < span->block_count; i++)
        {
            if (__atomic_load_n(&span->state[i], __ATOMIC_ACQUIRE) != STATE_FREE) continue;
            window = i / span->window_blocks;
            if (held && held->span == span && held->window == window) continue;
            if (!span->owner && span->claimed >> window & 1) continue;
            if (span->records) POKE(span->records[i].who, 0);
            block_set_live(span, i, size);
            return span->base + (size_t)i * span->block_size;
        }
    }
    return NULL;
}

/* Under the lock, with the caches stopped. The owner has refused: any free block that is large enough and
 * can say how much it is too large. */
void *heap_span_take_any(struct heap *heap, size_t size)
{
    struct span_list *list;
    struct cache *cache;
    unsigned int class;
    void *mem;

    drop_wide(heap);
    for (class = heap_class_of(size); class < CLASS_COUNT; class++)
    {
        size_t block = heap_class_sizes[class];

        if (block <= SLACK_TOP && block - size >= STATE_FREE) continue;
        if ((mem = take_first(&heap->shared[class], NULL, size))) return mem;
        for (cache = heap->caches; cache; cache = cache->next)
        {
            if (!cache->quiet || !(list = own_list(cache, class))) continue;
            if ((mem = take_first(list, home_of(cache, class), size))) return mem;
        }
    }
    return NULL;
}

/* Whether mem is the start of a live block. Whatever mem is, only the heap's own tables are read. */
bool heap_find_block(struct heap *heap, const void *mem, struct span **out, uint32_t *index)
{
    struct span *span = heap_map_find(heap, mem);
    uint32_t bytes;
    uint64_t product;
    size_t offset;

    if (!span) return false;
    bytes = __atomic_load_n(&span->bytes, __ATOMIC_ACQUIRE);
    if ((offset = (size_t)((const char *)mem - PEEK(span->base))) >= bytes) return false;
    /* High half the quotient, low half the remainder times recip: below recip for a start only. offset is
     * below 2^17 and recip at most 2^32 / block_size + 1, so neither half is off. */
    product = (uint64_t)(uint32_t)offset * PEEK(span->recip);
    if ((uint32_t)product >= PEEK(span->recip)) return false;
    *index = (uint32_t)(product >> 32);
    *out = span;
    return block_is_live(span, __atomic_load_n(&PEEK(span->state)[*index], __ATOMIC_ACQUIRE));
}

size_t heap_block_size(const struct span *span, uint32_t index)
{
    if (PEEK(span->kind) == SPAN_SMALL)
        return PEEK(span->block_size) - (size_t)PEEK(PEEK(span->state)[index]);
    if (PEEK(span->kind) == SPAN_WIDE)
        return PEEK(span->block_size) - (size_t)PEEK(PEEK(span->slacks)[index]);
    return PEEK(span->size);
}
