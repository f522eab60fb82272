/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Blocks above CLASS_TOP: a run of pages each, or, above RUN_TOP, a chunk each.
 */

#include "heap_private.h"

static struct chunk *find_own_chunk(struct heap *heap, size_t pages)
{
    struct chunk *chunk, *best = NULL;

    for (chunk = heap->chunks; chunk; chunk = chunk->next)
    {
        if (!chunk->own || !chunk->free_count || chunk->page_count < pages) continue;
        if (chunk->page_count - pages > pages / 4) continue;
        if (!best || chunk->page_count < best->page_count) best = chunk;
    }
    return best;
}

/* Under the lock. */
void *heap_large_take(struct heap *heap, size_t size, struct heap_need *need)
{
    size_t pages = ROUND_UP(size, PAGE_BYTES) >> PAGE_SHIFT;
    struct span *span;
    char *base;

    /* Descriptors of their own: one that was a large block's never becomes a span of small ones while Free
     * looks. */
    if ((span = heap->spare_large)) heap->spare_large = span->next;
    else if ((span = heap_meta_take(heap, sizeof(*span), need))) memset(span, 0, sizeof(*span));
    else return NULL;
    need->pages = pages;
    need->own = size > RUN_TOP;
    if (need->own)
    {
        if (!(span->chunk = find_own_chunk(heap, pages))) goto none;
        base = span->chunk->pages;
        span->page = 0;
        pages = span->chunk->page_count;
        span->chunk->free_count = 0;
    }
    else if (!(base = heap_run_take(heap, (unsigned int)pages, &span->chunk, &span->page))) goto none;
    need->pages = 0;
    POKE(span->base, base);
    POKE(span->kind, need->own ? SPAN_CHUNK : SPAN_RUN);
    span->class = CLASS_COUNT;
    POKE(span->bias, BIAS_SHARED);
    POKE(span->state, &span->own_state);
    POKE(span->own_state, 0);
    POKE(span->size, size);
    POKE(span->block_size, 0);
    span->block_count = 1;
    span->window_blocks = 1;
    span->page_count = (unsigned int)pages;
    POKE(span->recip, 1);
    __atomic_store_n(&span->bytes, 1, __ATOMIC_RELEASE);
    span->prev = NULL;
    if ((span->next = heap->large)) heap->large->prev = span;
    heap->large = span;
    heap_map_set(heap, span->base, need->own ? 1 : pages, span);
    return base;

none:
    span->next = heap->spare_large;
    heap->spare_large = span;
    return NULL;
}

/* Under the lock. In place, where the pages are there: true. */
bool heap_large_resize(struct heap *heap, struct span *span, size_t size)
{
    size_t pages = ROUND_UP(size, PAGE_BYTES) >> PAGE_SHIFT;

    if (size <= CLASS_TOP) return false;
    if (span->kind == SPAN_CHUNK)
    {
        if (pages > span->page_count || pages < span->page_count / 4 * 3) return false;
        POKE(span->size, size);
        return true;
    }
    if (pages < span->page_count)
    {
        heap_map_set(heap, span->base + pages * PAGE_BYTES, span->page_count - pages, NULL);
        heap_run_give(span->chunk, span->page + (unsigned int)pages, span->page_count - (unsigned int)pages);
    }
    else if (pages > span->page_count)
    {
        if (size > RUN_TOP || !heap_run_extend(span->chunk, span->page, span->page_count,
                (unsigned int)pages - span->page_count)) return false;
        heap_map_set(heap, span->base, pages, span);
    }
    span->page_count = (unsigned int)pages;
    POKE(span->size, size);
    return true;
}

/* Under the lock, its state byte free already. */
void heap_large_give(struct heap *heap, struct span *span)
{
    heap_map_set(heap, span->base, span->kind == SPAN_CHUNK ? 1 : span->page_count, NULL);
    __atomic_store_n(&span->bytes, 0, __ATOMIC_RELEASE);
    if (span->prev) span->prev->next = span->next;
    else heap->large = span->next;
    if (span->next) span->next->prev = span->prev;
    heap_record_drop(heap, span);
    heap_run_give(span->chunk, span->page, span->page_count);
    span->next = heap->spare_large;
    heap->spare_large = span;
}
