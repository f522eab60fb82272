/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Blocks above CLASS_TOP: a span each, which is a run of pages or, above RUN_TOP, a chunk. A freed one stays
 * a span, pages, place in the map and all, and serves the next request from half its size on (a chunk, which
 * cannot be cut, from four fifths): a page that was written to before costs nothing, a fresh one 1.5
 * microseconds. What two sweeps in a row find free becomes pages again, and what a live block does not need
 * at the first; at once so does what a block that fits nowhere can be made of.
 *
 * Like the spans of small blocks, most are one cache's alone: its thread takes and frees them without a
 * locked instruction. Once another thread has freed one, it takes a locked instruction to free it. Blocks
 * above COUNT_TOP are everybody's.
 */

#include "heap_private.h"

#define SEARCH_SPANS 24                 /* each 1 ns */
#define SEARCH_MANY 256                 /* before more is done than to search */
#define SEARCH_BINS 9                   /* the request's own and an octave above */
#define LIMBO_MOST 64
#define MERGE_MANY 256                  /* spans to walk through: not at each request; */
#define MERGE_WALK 64                   /* so many for each */
#define KEEP_TOP ((size_t)32 << 20)     /* free, when more is asked from the system */

/* One bin for each page count to 15, then eight to each octave. */
static unsigned int bin_of(size_t pages)
{
    unsigned int octave;

    if (pages >= (size_t)8 << (LARGE_BINS / 8)) return LARGE_BINS - 1;
    octave = 31 - (unsigned int)__builtin_clz((unsigned int)pages);
    return (octave - 3) * 8 + ((unsigned int)pages >> (octave - 3) & 7);
}

static inline __attribute__((always_inline)) bool fits(const struct span *span, size_t pages)
{
    return __atomic_load_n(&span->own_state[0], __ATOMIC_ACQUIRE) & STATE_FREE && span->page_count >= pages
            && span->page_count - pages <= (PEEK(span->kind) == SPAN_RUN ? pages : pages / 4);
}

static struct span *__attribute__((noinline)) search(struct large_bins *bins, size_t pages, unsigned int left)
{
    unsigned int bin = bin_of(pages), end = bin + SEARCH_BINS;
    struct span *span, *first;

    if (end > LARGE_BINS) end = LARGE_BINS;
    for (; bin < end; bin++)
    {
        if (!(span = first = bins->bin[bin])) continue;
        do
        {
            if (!fits(span, pages))
            {
                if (--left) continue;
                POKE(bins->bin[bin], span);
                return NULL;
            }
            POKE(bins->bin[bin], span);
            return span;
        }
        while ((span = span->next) != first);
    }
    return NULL;
}

/* The bins are rings that hold live blocks too, so that Free need not touch them. The search begins with
 * the block that was taken last: freed again it is warm, and where blocks die in turn the next is next. */
static inline __attribute__((always_inline)) struct span *find(struct large_bins *bins, size_t pages)
{
    struct span **bin = &bins->bin[bin_of(pages)], *span = *bin;

    if (likely(span))
    {
        if (fits(span, pages)) return span;
        if (fits(span = span->next, pages))
        {
            POKE(*bin, span);
            return span;
        }
    }
    return search(bins, pages, SEARCH_SPANS);
}

static void link_large(struct large_bins *bins, struct span *span)
{
    struct span **bin = &bins->bin[span->class = (uint8_t)bin_of(span->page_count)];

    if (*bin)
    {
        span->prev = *bin;
        span->next = (*bin)->next;
        span->prev->next = span->next->prev = span;
    }
    else span->next = span->prev = span;
    *bin = span;
}

static void unlink_large(struct large_bins *bins, struct span *span)
{
    struct span **bin = &bins->bin[span->class];

    span->prev->next = span->next;
    span->next->prev = span->prev;
    if (*bin == span) *bin = span->next == span ? NULL : span->next;
}

static void set_size(struct span *span, size_t size)
{
    POKE(span->size, size);
    POKE(span->block_size, (uint32_t)size);     /* what Free counts, of a cache's own */
}

static void *use(struct span *span, size_t size)
{
    if (span->records) POKE(span->records->who, 0);
    set_size(span, size);
    __atomic_store_n(&span->own_state[0], 0, __ATOMIC_RELEASE);
    return span->base;
}

static size_t pages_of(size_t size)
{
    return ROUND_UP(size, PAGE_BYTES) >> PAGE_SHIFT;
}

/* Without the lock: a block of the cache's own that has been freed. NULL: ask heap_alloc. */
void *heap_large_again(struct cache *cache, size_t size)
{
    struct span *span = NULL;
    void *mem = NULL;

    if (!cache->large || size > COUNT_TOP) return NULL;
    POKE(cache->busy, 1);
    __asm__ volatile("" ::: "memory");
    if (!__atomic_load_n(&cache->stopped, __ATOMIC_ACQUIRE) && (span = find(cache->large, pages_of(size))))
        mem = use(span, size);
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    if (mem && !room_take(&cache->room, size)) heap_settle(cache);
    return mem;
}

static struct chunk *find_own_chunk(struct heap *heap, size_t pages)
{
    struct chunk *chunk;

    for (chunk = heap->chunks; chunk; chunk = chunk->next)
    {
        if (chunk->own && chunk->free_count && chunk->page_count >= pages
                && chunk->page_count - pages <= pages / 4) return chunk;
    }
    return NULL;
}

static bool is_free(const struct span *span)
{
    return __atomic_load_n(&span->own_state[0], __ATOMIC_ACQUIRE) & STATE_FREE;
}

/* Under the lock. Its pages may be used again at once; the descriptor only when no Free, of a pointer that
 * was freed before, can be looking at it any more. */
static void retire_descriptor(struct heap *heap, struct large_bins *bins, struct span *span)
{
    unlink_large(bins, span);
    heap_map_set(heap, span->base, 1, NULL);
    __atomic_store_n(&span->bytes, 0, __ATOMIC_RELEASE);
    heap_record_drop(heap, span);
    span->next = heap->limbo_large;
    heap->limbo_large = span;
    heap->limbo_count++;
}

static void retire(struct heap *heap, struct large_bins *bins, struct span *span)
{
    retire_descriptor(heap, bins, span);
    heap_run_give(span->chunk, span_page(span), span->page_count);
}

static void set_page_count(struct large_bins *bins, struct span *span, unsigned int pages)
{
    unlink_large(bins, span);
    POKE(span->page_count, pages);
    link_large(bins, span);
}

static void trim_span(struct large_bins *bins, struct span *span, size_t pages)
{
    unsigned int rest = span->page_count - (unsigned int)pages;

    heap_run_give(span->chunk, span_page(span) + (unsigned int)pages, rest);
    set_page_count(bins, span, (unsigned int)pages);
}

/* How many of its last pages a block does not need. */
static unsigned int spare_pages(const struct span *span)
{
    if (span->kind != SPAN_RUN) return 0;
    return span->page_count - (is_free(span) ? 0 : (unsigned int)pages_of(span->size));
}

/* The pages that blocks in these bins do not need, for a while as if they were free. */
static struct span *offer(struct large_bins *bins, struct span *offered, unsigned int *walked)
{
    unsigned int bin, page;
    struct span *span;

    for (bin = 0; bin < LARGE_BINS; bin++)
    {
        if (!(span = bins->bin[bin])) continue;
        do
        {
            ++*walked;
            if (!(span->offered = spare_pages(span))) continue;
            page = span_page(span) + span->page_count - span->offered;
            heap_run_turn(span->chunk, page, span->offered, true);
            span->next_offered = offered;
            offered = span;
        }
        while ((span = span->next) != bins->bin[bin]);
    }
    return offered;
}

/* Pages in a row that are free, or that everybody's blocks do not need, nor those of the cache, which may be
 * NULL. Only those blocks make room: each that is gone has to be made anew. NULL: no such row; or it is too
 * soon to walk through many blocks again, and the heap had better grow. */
static char *merge(struct heap *heap, struct cache *cache, unsigned int pages, struct chunk **chunk,
        unsigned int *page)
{
    unsigned int from, end, walked = 0;
    struct span *span, *offered;
    struct large_bins *bins;
    char *base;

    if (heap->merge_wait)
    {
        heap->merge_wait--;
        return NULL;
    }
    offered = offer(&heap->large, NULL, &walked);
    if (cache && cache->large) offered = offer(cache->large, offered, &walked);
    heap->merge_wait = walked < MERGE_MANY ? 0 : walked / MERGE_WALK;
    base = heap_run_take_tight(heap, pages, chunk, page);
    for (span = offered; span; span = offered)
    {
        offered = span->next_offered;
        bins = span->owner ? span->owner->large : &heap->large;
        end = span_page(span) + span->page_count;
        from = end - span->offered;
        if (!base || span->chunk != *chunk || from >= *page + pages || *page >= end)
            heap_run_turn(span->chunk, from, span->offered, false);
        else if (from == span_page(span)) retire_descriptor(heap, bins, span);
        else set_page_count(bins, span, from - span_page(span));
    }
    return base;
}

/* One that is much too large, cut to size. */
static struct span *cut(struct large_bins *bins, size_t pages)
{
    unsigned int bin = bin_of(pages) + SEARCH_BINS, left = SEARCH_SPANS;
    struct span *span;

    for (; bin < LARGE_BINS; bin++)
    {
        if (!(span = bins->bin[bin])) continue;
        do
        {
            if (!left--) return NULL;
            /* One that has become smaller in place is in the bin of what it was. */
            if (!is_free(span) || span->kind != SPAN_RUN || span->page_count < pages) continue;
            trim_span(bins, span, pages);
            return span;
        }
        while ((span = span->next) != bins->bin[bin]);
    }
    return NULL;
}

/* A live block's pages that it does not need. It goes to the bins before the one that is being walked. */
static void trim_live(struct large_bins *bins, struct span *span)
{
    unsigned int spare = spare_pages(span);

    if (spare && spare < span->page_count) trim_span(bins, span, span->page_count - spare);
}

/* Spans whose state has this were free at the sweep before. */
#define STATE_LONG_FREE (STATE_FREE | 1)

/* The pages of those that stay. */
static size_t retire_bins(struct heap *heap, struct large_bins *bins, enum large_age age)
{
    struct span *span, *next, *last;
    struct chunk *chunk;
    unsigned int bin;
    size_t kept = 0;
    bool end;

    for (bin = 0; bin < LARGE_BINS; bin++)
    {
        if (!(span = bins->bin[bin])) continue;
        for (last = span->prev, end = false; !end; span = next)
        {
            next = span->next;
            end = span == last;
            if (!is_free(span))
            {
                if (age != LARGE_NONE) trim_live(bins, span);
                continue;
            }
            if (age == LARGE_ALL || (age == LARGE_OLD && span->own_state[0] == STATE_LONG_FREE))
            {
                chunk = span->chunk;
                retire(heap, bins, span);
                /* If it is empty now, it has been for long enough. */
                if (age == LARGE_OLD) chunk->idle_since -= GIVE_BACK_AGE;
            }
            else
            {
                if (age == LARGE_OLD) POKE(span->own_state[0], STATE_LONG_FREE);
                kept += span->page_count;
            }
        }
    }
    return kept;
}

/* Descriptors of their own: one that was a large block's never becomes a span of small ones while Free
 * looks. */
static bool have_spare(struct heap *heap, struct heap_need *need)
{
    struct span *span;

    if (!heap->spare_large && heap->limbo_count >= LIMBO_MOST && heap_caches_quiet(heap, NULL, false))
        heap_large_recycle(heap);
    if (heap->spare_large) return true;
    if (!(span = heap_meta_take(heap, sizeof(*span), need))) return false;
    memset(span, 0, sizeof(*span));
    heap->spare_large = span;
    return true;
}

static bool have_bins(struct heap *heap, struct cache *cache, struct heap_need *need)
{
    if (!cache->large && (cache->large = heap_meta_take(heap, sizeof(*cache->large), need)))
        memset(cache->large, 0, sizeof(*cache->large));
    return cache->large;
}

/* Under the lock. The cache may be NULL. */
void *heap_large_take(struct heap *heap, struct cache *cache, size_t size, struct heap_need *need)
{
    struct large_bins *bins = &heap->large;
    bool own = cache && size <= COUNT_TOP;
    size_t pages = pages_of(size);
    unsigned int page = 0;
    struct chunk *chunk;
    struct span *span;
    char *base;

    if (own)
    {
        if (!have_bins(heap, cache, need)) return NULL;
        if ((span = find(cache->large, pages))) return use(span, size);
    }
    if ((span = find(bins, pages))) return use(span, size);
    if (!have_spare(heap, need)) return NULL;
    if (own) bins = cache->large;
    need->pages = pages;
    if ((need->own = size > RUN_TOP))
    {
        if (!(chunk = find_own_chunk(heap, pages))) return NULL;
        base = chunk->pages;
        pages = chunk->page_count;
        chunk->free_count = 0;
    }
    /* In this order, so that other free blocks stay what they are for as long as can be. */
    else if (!(base = heap_run_take_tight(heap, (unsigned int)pages, &chunk, &page)))
    {
        if ((span = cut(bins, pages)) || (span = search(bins, pages, SEARCH_MANY)))
        {
            need->pages = 0;
            return use(span, size);
        }
        if (!(base = merge(heap, cache, (unsigned int)pages, &chunk, &page))) return NULL;
    }
    need->pages = 0;
    span = heap->spare_large;
    heap->spare_large = span->next;
    POKE(span->base, base);
    POKE(span->kind, need->own ? SPAN_CHUNK : SPAN_RUN);
    span->chunk = chunk;
    span->page_count = (unsigned int)pages;
    span->owner = own ? cache : NULL;
    POKE(span->bias, own && !cache->large_shared ? (void *)cache : BIAS_SHARED);
    POKE(span->state, span->own_state);
    span->block_count = 1;
    span->window_blocks = 1;
    POKE(span->recip, 1);
    use(span, size);
    __atomic_store_n(&span->bytes, 1, __ATOMIC_RELEASE);
    link_large(bins, span);
    /* The page of its start is all that a valid pointer can lead to. */
    heap_map_set(heap, base, 1, span);
    return base;
}

/* Under the lock. In place, where the pages are there: true. */
bool heap_large_resize(struct span *span, size_t size)
{
    size_t pages = pages_of(size);

    /* The bin stays what it was: the owner may be looking. */
    if (size <= CLASS_TOP || pages < span->page_count / 4 * 3)
    {
        if (size <= CLASS_TOP || span->kind == SPAN_CHUNK) return false;
        heap_run_give(span->chunk, span_page(span) + (unsigned int)pages,
                span->page_count - (unsigned int)pages);
        POKE(span->page_count, (unsigned int)pages);
    }
    else if (pages > span->page_count)
    {
        if (span->kind == SPAN_CHUNK || size > RUN_TOP || (span->owner && size > COUNT_TOP)
                || !heap_run_extend(span->chunk, span_page(span),
                span->page_count, (unsigned int)pages - span->page_count)) return false;
        POKE(span->page_count, (unsigned int)pages);
    }
    set_size(span, size);
    return true;
}

/* The owner may be turning the rings. */
static void change_bias(struct large_bins *bins, const void *from, void *to)
{
    struct span *span, *first;
    unsigned int bin;

    for (bin = 0; bin < LARGE_BINS; bin++)
    {
        if (!(span = first = PEEK(bins->bin[bin]))) continue;
        do
        {
            if (PEEK(span->bias) == from) __atomic_store_n(&span->bias, to, __ATOMIC_RELEASE);
        }
        while ((span = span->next) != first);
    }
}

/* Under the lock. Another thread is about to free a block that only its owner could free until now. False:
 * the owner does not come to rest. A barrier costs more than a look at all that the owner has, and where
 * one is freed elsewhere others will be. */
bool heap_large_share(struct heap *heap, struct span *span)
{
    struct cache *owner = span->owner;

    change_bias(owner->large, owner, BIAS_CHANGING);
    heap_caches_quiet(heap, owner, true);
    change_bias(owner->large, BIAS_CHANGING, owner->quiet ? BIAS_SHARED : (void *)owner);
    owner->large_shared = true;
    return owner->quiet;
}

static size_t retire_all(struct heap *heap, enum large_age age)
{
    size_t kept = retire_bins(heap, &heap->large, age);
    struct cache *cache;

    for (cache = heap->caches; cache; cache = cache->next)
    {
        if (!cache->large || !cache->quiet) continue;
        kept += retire_bins(heap, cache->large, age);
    }
    return kept;
}

/* Under the lock, with the caches stopped. Takes spans of freed blocks out of use; their descriptors are for
 * heap_large_recycle, when nobody can be looking at them any more. */
void heap_large_retire(struct heap *heap, enum large_age age)
{
    if (age != LARGE_NONE) heap->merge_wait = 0;
    if (retire_all(heap, age) > KEEP_TOP >> PAGE_SHIFT) retire_all(heap, LARGE_ALL);
}

void heap_large_recycle(struct heap *heap)
{
    struct span *span;

    while ((span = heap->limbo_large))
    {
        heap->limbo_large = span->next;
        span->next = heap->spare_large;
        heap->spare_large = span;
    }
    heap->limbo_count = 0;
}

/* Under the lock, with the cache whose bins these are stopped. */
bool heap_large_walk(const struct large_bins *bins, bool (*visit)(void *context, struct span *span),
        void *context)
{
    struct span *span;
    unsigned int bin;

    for (bin = 0; bin < LARGE_BINS; bin++)
    {
        if (!(span = bins->bin[bin])) continue;
        do
        {
            if (!visit(context, span)) return false;
        }
        while ((span = span->next) != bins->bin[bin]);
    }
    return true;
}
