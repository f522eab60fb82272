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

void *heap_large_take(struct heap *heap, size_t size, struct heap_need *need)
{
    size_t pages = ROUND_UP(size, PAGE_BYTES) >> PAGE_SHIFT;
    struct span *span = heap_span_desc(heap, need);

    if (!span) return NULL;
    need->pages = pages;
    need->own = size > RUN_TOP;
    if (need->own)
    {
        if (!(span->chunk = find_own_chunk(heap, pages))) goto none;
        span->base = span->chunk->pages;
        span->page = 0;
        pages = span->chunk->page_count;
        span->chunk->free_count = 0;
    }
    else if (!(span->base = heap_run_take(heap, (unsigned int)pages, &span->chunk, &span->page))) goto none;
    need->pages = 0;
    span->kind = need->own ? SPAN_CHUNK : SPAN_RUN;
    span->class = CLASS_COUNT;
    span->state = &span->own_state;
    span->own_state = 0;
    span->size = size;
    span->block_size = 0;
    span->block_count = 1;
    span->page_count = (unsigned int)pages;
    span->recip = 1;
    span->bytes = 1;
    heap_span_link(heap, span);
    heap_map_set(heap, span->base, need->own ? 1 : pages, span);
    return span->base;

none:
    span->next = heap->spare_spans;
    heap->spare_spans = span;
    return NULL;
}

/* In place, where the pages are there: true. */
bool heap_large_resize(struct heap *heap, struct span *span, size_t size)
{
    size_t pages = ROUND_UP(size, PAGE_BYTES) >> PAGE_SHIFT;

    if (size <= CLASS_TOP) return false;
    if (span->kind == SPAN_CHUNK)
    {
        if (pages > span->page_count || pages < span->page_count / 4 * 3) return false;
        span->size = size;
        return true;
    }
    if (pages < span->page_count)
    {
        heap_map_set(heap, span->base + pages * PAGE_BYTES, span->page_count - pages, NULL);
        heap_run_give(heap, span->chunk, span->page + (unsigned int)pages, span->page_count - (unsigned int)pages);
    }
    else if (pages > span->page_count)
    {
        if (size > RUN_TOP || !heap_run_extend(span->chunk, span->page, span->page_count,
                (unsigned int)pages - span->page_count)) return false;
        heap_map_set(heap, span->base, pages, span);
    }
    heap->spans[CLASS_COUNT].bytes += (pages - span->page_count) << PAGE_SHIFT;
    span->page_count = (unsigned int)pages;
    span->size = size;
    return true;
}

void heap_large_give(struct heap *heap, struct span *span)
{
    span->own_state = STATE_FREE;
    heap_span_retire(heap, span);
}
