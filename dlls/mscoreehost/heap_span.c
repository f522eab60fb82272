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
#define SHARED_TOP 4096
#define SEARCH_WINDOWS 64

/* Which of the blocks at state are free. Tables are 64-byte multiples and hold 0 past the last block. */
static mask_t free_mask(const uint8_t *state, unsigned int blocks)
{
    mask_t mask = 0;
    unsigned int i;

#if defined(__SSE2__) && !defined(HEAP_NATIVE)
    if (blocks >= 16)
    {
        for (i = 0; i < blocks; i += 16)
            mask |= (mask_t)_mm_movemask_epi8(_mm_load_si128((const __m128i *)(const void *)(state + i)))
                    << i;
        return mask;
    }
#endif
    for (i = 0; i < blocks; i++) mask |= (mask_t)(__atomic_load_n(&state[i], __ATOMIC_ACQUIRE) >> 7) << i;
    return mask;
}

static void link_span(struct span_list *list, struct span *span)
{
    span->prev = NULL;
    if ((span->next = list->first)) list->first->prev = span;
    list->first = span;
    list->pages += span->page_count;
}

static void unlink_span(struct span_list *list, struct span *span)
{
    if (span->prev) span->prev->next = span->next;
    else list->first = span->next;
    if (span->next) span->next->prev = span->prev;
    list->pages -= span->page_count;
    if (list->at != span) return;
    list->at = span->next;
    list->at_window = 0;
}

/* The free blocks of a window, if there are enough: one in so many. Their records are of blocks that are
 * gone. */
static mask_t enough_free(const struct span *span, unsigned int window, unsigned int one_in)
{
    unsigned int first = window * span->window_blocks, count = span->block_count - first;
    struct span_record *records = PEEK(span->records);
    mask_t bits = free_mask(span->state + first, span->window_blocks), left;

    if (count > span->window_blocks) count = span->window_blocks;
    if ((unsigned int)__builtin_popcountll(bits) < (count + one_in - 1) / one_in) return 0;
    for (left = records ? bits : 0; left; left &= left - 1)
        records[first + (unsigned int)__builtin_ctzll(left)].set = false;
    return bits;
}

/* Blocks of the window just used up that were freed meanwhile. Needs no lock: the window is the cursor's. */
bool heap_span_again(struct cursor *cursor, struct home *home)
{
    return (cursor->bits = enough_free(home->span, home->window, 4));
}

static bool look(struct cursor *cursor, struct home *home, struct span *span, unsigned int window)
{
    unsigned int first = window * span->window_blocks;

    if (!(cursor->bits = enough_free(span, window, 8))) return false;
    if (PEEK(span->bias) == BIAS_SHARED) span->claimed |= (uint64_t)1 << window;
    home->span = span;
    home->window = (uint16_t)window;
    cursor->base = span->base + (size_t)first * span->block_size;
    cursor->state = span->state + first;
    cursor->block_size = span->block_size;
    return true;
}

/* Goes round the spans from where it stopped last. After SEARCH_WINDOWS without luck a new span is the
 * better way: it adds a sixteenth at most to what was searched in vain. */
bool heap_span_search(struct span_list *list, struct cursor *cursor, struct home *home)
{
    unsigned int searched = 0, window = list->at_window;
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
        if (PEEK(span->bias) != BIAS_SHARED || !(span->claimed >> window & 1))
        {
            if (look(cursor, home, span, window))
            {
                list->at = span;
                list->at_window = window + 1;
                return true;
            }
            searched++;
        }
        window++;
    }
    list->at = span;
    list->at_window = window;
    return false;
}

/* Pages without a rest. */
static size_t fitting_pages(size_t block)
{
    size_t pages;

    for (pages = 1; pages * PAGE_BYTES % block; pages++) ;
    return pages;
}

/* A list that has little gets little: a quarter of what it has, between a page (or a block) and 64 KiB.
 * Spans that threads share are small and so are their windows, so that a thread which is idle holds few
 * blocks. */
struct span *heap_span_new(struct heap *heap, struct cache *owner, unsigned int class, struct heap_need *need)
{
    struct span_list *list = owner ? &owner->own->list[class] : &heap->shared[class];
    size_t block = heap_class_sizes[class], bytes = (size_t)list->pages * PAGE_BYTES / 4;
    bool small = block <= SLACK_TOP;
    unsigned int pages, blocks, i;
    struct span *span;
    uint8_t *state;
    char *base;

    if (bytes > (owner ? SPAN_TOP : SHARED_TOP)) bytes = owner ? SPAN_TOP : SHARED_TOP;
    if (!small) bytes = list->pages * PAGE_BYTES < 4 * block ? 0 : fitting_pages(block) * PAGE_BYTES;
again:
    if (bytes < block) bytes = block;
    pages = (unsigned int)(ROUND_UP(bytes, PAGE_BYTES) >> PAGE_SHIFT);
    blocks = (unsigned int)((pages << PAGE_SHIFT) / block);
    if ((span = heap->spare_spans)) heap->spare_spans = span->next;
    else if ((span = heap_meta_take(heap, sizeof(*span), need))) memset(span, 0, sizeof(*span));
    else return NULL;
    span->sizes = NULL;
    if (!(state = heap_meta_take(heap, ROUND_UP(blocks, META_GRAIN), need))) goto no_state;
    POKE(span->state, state);
    if (!small && !(span->sizes = heap_meta_take(heap, blocks * sizeof(*span->sizes), need))) goto no_sizes;
    if (!(base = heap_run_take(heap, pages, &span->chunk, &span->page)))
    {
        need->pages = pages;
        goto no_pages;
    }
    POKE(span->base, base);
    memset(span->state, 0, ROUND_UP(blocks, META_GRAIN));
    for (i = 0; i < blocks; i++) span->state[i] = STATE_FREE;
    POKE(span->kind, small ? SPAN_SMALL : SPAN_WIDE);
    span->class = (uint8_t)class;
    POKE(span->block_size, (uint32_t)block);
    span->block_count = blocks;
    POKE(span->recip, (uint32_t)((((uint64_t)1 << 32) + block - 1) / block));
    span->window_blocks = (uint8_t)heap_window_blocks(class);
    if (!owner)
    {
        span->window_blocks = block <= 128 ? 8 : block <= 512 ? 4 : block <= 1024 ? 2 : 1;
        while (span->window_blocks * 64u < blocks) span->window_blocks *= 2;
    }
    span->claimed = 0;
    span->page_count = pages;
    POKE(span->bias, owner ? (void *)owner : BIAS_SHARED);
    __atomic_store_n(&span->bytes, blocks * (uint32_t)block, __ATOMIC_RELEASE);
    link_span(list, span);
    heap_map_set(heap, span->base, pages, span);
    need->pages = 0;
    return span;

no_pages:
    if (span->sizes) heap_meta_give(heap, span->sizes, blocks * sizeof(*span->sizes));
no_sizes:
    heap_meta_give(heap, span->state, ROUND_UP(blocks, META_GRAIN));
no_state:
    span->next = heap->spare_spans;
    heap->spare_spans = span;
    if (need->meta || pages == ROUND_UP(block, PAGE_BYTES) >> PAGE_SHIFT) return NULL;
    bytes = 0;      /* perhaps there is room for the smallest */
    goto again;
}

/* Under the lock. Makes a span that only one cache could free in without a locked instruction everybody's. */
void heap_span_share(struct heap *heap, struct span *span)
{
    struct cache *owner = PEEK(span->bias);

    if (owner == BIAS_SHARED) return;
    if (owner != BIAS_CHANGING)
    {
        struct home *home = home_of(owner, span->class);

        if (!lock_acquire(&owner->lock)) return;
        unlink_span(&owner->own->list[span->class], span);
        span->claimed = home->span == span ? (uint64_t)1 << home->window : 0;
        link_span(&heap->shared[span->class], span);
        __atomic_store_n(&span->bias, BIAS_CHANGING, __ATOMIC_RELEASE);
        lock_release(&owner->lock);
        heap_caches_quiet(heap, owner);
    }
    __atomic_store_n(&span->bias, BIAS_SHARED, __ATOMIC_RELEASE);
}

static bool all_free(const struct span *span)
{
    uint32_t i;

    for (i = 0; i < span->block_count; i++)
    {
        if (__atomic_load_n(&span->state[i], __ATOMIC_ACQUIRE) != STATE_FREE) return false;
    }
    return true;
}

static void retire_list(struct heap *heap, struct span_list *list, const struct span *except)
{
    struct span *span, *next;

    for (span = list->first; span; span = next)
    {
        next = span->next;
        if (span == except || (PEEK(span->bias) == BIAS_SHARED && span->claimed) || !all_free(span)) continue;
        unlink_span(list, span);
        heap_map_set(heap, span->base, span->page_count, NULL);
        __atomic_store_n(&span->bytes, 0, __ATOMIC_RELEASE);
        span->next = heap->limbo;
        heap->limbo = span;
    }
}

/* Under the lock. Takes the spans without a live block out of use. A Free of a pointer that was freed
 * before may still be looking at them: heap_spans_recycle only when the caches are quiet. */
void heap_spans_retire(struct heap *heap)
{
    struct cache *cache;
    unsigned int class;

    for (class = 0; class < CLASS_COUNT; class++) retire_list(heap, &heap->shared[class], NULL);
    for (cache = heap->caches; cache; cache = cache->next)
    {
        if (!cache->own || !lock_acquire(&cache->lock)) continue;
        for (class = 0; class < CACHED_COUNT; class++)
            retire_list(heap, &cache->own->list[class], home_of(cache, class)->span);
        lock_release(&cache->lock);
    }
}

void heap_spans_recycle(struct heap *heap)
{
    struct span *span;

    while ((span = heap->limbo))
    {
        heap->limbo = span->next;
        heap_record_drop(heap, span);
        heap_run_give(span->chunk, span->page, span->page_count);
        heap_meta_give(heap, span->state, ROUND_UP(span->block_count, META_GRAIN));
        if (span->sizes) heap_meta_give(heap, span->sizes, span->block_count * sizeof(*span->sizes));
        span->next = heap->spare_spans;
        heap->spare_spans = span;
    }
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
            if (PEEK(span->bias) == BIAS_SHARED && span->claimed >> window & 1) continue;
            if (span->records) span->records[i].set = false;
            if (span->kind == SPAN_WIDE) span->sizes[i] = (uint32_t)size;
            __atomic_store_n(&span->state[i], span->kind == SPAN_WIDE ? 0
                    : (uint8_t)(span->block_size - size),
                    __ATOMIC_RELEASE);
            return span->base + (size_t)i * span->block_size;
        }
    }
    return NULL;
}

/* Under the lock. The owner has refused: any free block that is large enough and can say how much it is
 * too large. */
void *heap_span_take_any(struct heap *heap, size_t size)
{
    struct cache *cache;
    unsigned int class;
    void *mem;

    for (class = heap_class_of(size); class < CLASS_COUNT; class++)
    {
        size_t block = heap_class_sizes[class];

        if (block <= SLACK_TOP && block - size >= STATE_FREE) continue;
        if ((mem = take_first(&heap->shared[class], NULL, size))) return mem;
        for (cache = heap->caches; cache && class < CACHED_COUNT; cache = cache->next)
        {
            if (!cache->own || !lock_acquire(&cache->lock)) continue;
            mem = take_first(&cache->own->list[class], home_of(cache, class), size);
            lock_release(&cache->lock);
            if (mem) return mem;
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
    return !(__atomic_load_n(&PEEK(span->state)[*index], __ATOMIC_ACQUIRE) & STATE_FREE);
}

size_t heap_block_size(const struct span *span, uint32_t index)
{
    if (PEEK(span->kind) == SPAN_SMALL)
        return PEEK(span->block_size) - (size_t)PEEK(PEEK(span->state)[index]);
    if (PEEK(span->kind) == SPAN_WIDE) return PEEK(PEEK(span->sizes)[index]);
    return PEEK(span->size);
}
