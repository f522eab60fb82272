/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Spans: runs of pages cut into blocks of one size, each with a state byte in a table outside.
 */

#include "heap_private.h"

#define SPAN_TOP 65536
#define SCAN_WINDOWS 64

/* Which of the count blocks at state are free. */
static mask_t free_mask(const uint8_t *state, unsigned int count)
{
    mask_t mask = 0;
    unsigned int i;

    for (i = 0; i < count; i++) mask |= (mask_t)(state[i] >> 7) << i;
    return mask;
}

struct span *heap_span_desc(struct heap *heap, struct heap_need *need)
{
    struct span *span = heap->spare_spans;

    if (span) heap->spare_spans = span->next;
    else if ((span = heap_meta_take(heap, sizeof(*span), need))) memset(span, 0, sizeof(*span));
    return span;
}

void heap_span_link(struct heap *heap, struct span *span)
{
    struct span_list *list = &heap->spans[span->class];

    span->prev = NULL;
    if ((span->next = list->first)) list->first->prev = span;
    list->first = span;
    list->count++;
    list->bytes += (size_t)span->page_count << PAGE_SHIFT;
}

void heap_span_unlink(struct heap *heap, struct span *span)
{
    struct span_list *list = &heap->spans[span->class];

    if (span->prev) span->prev->next = span->next;
    else list->first = span->next;
    if (span->next) span->next->prev = span->prev;
    list->count--;
    list->bytes -= (size_t)span->page_count << PAGE_SHIFT;
}

/* Takes a span that holds no live block out of use. */
void heap_span_retire(struct heap *heap, struct span *span)
{
    struct cursor *cursor;

    if (span->class < CLASS_COUNT && (cursor = &heap->cursors[span->class])->span == span)
        memset(cursor, 0, sizeof(*cursor));
    heap_map_set(heap, span->base, span->kind == SPAN_CHUNK ? 1 : span->page_count, NULL);
    heap_span_unlink(heap, span);
    heap_record_drop(heap, span);
    heap_run_give(heap, span->chunk, span->page, span->page_count);
    if (span->kind <= SPAN_WIDE) heap_meta_give(heap, span->state, ROUND_UP(span->block_count, META_GRAIN));
    if (span->kind == SPAN_WIDE) heap_meta_give(heap, span->sizes, span->block_count * sizeof(*span->sizes));
    span->bytes = 0;
    span->next = heap->spare_spans;
    heap->spare_spans = span;
}

/* A class that has little gets little: a quarter of what it has, between a page (or a block) and 64 KiB. */
static struct span *new_span(struct heap *heap, unsigned int class, bool small, struct heap_need *need)
{
    size_t block = heap_class_sizes[class], bytes = small ? 0 : heap->spans[class].bytes / 4;
    unsigned int pages, blocks, i;
    struct span *span;

    if (bytes > SPAN_TOP) bytes = SPAN_TOP;
    if (bytes < block) bytes = block;
    pages = (unsigned int)(ROUND_UP(bytes, PAGE_BYTES) >> PAGE_SHIFT);
    blocks = (unsigned int)((pages << PAGE_SHIFT) / block);
    if (!(span = heap_span_desc(heap, need))) return NULL;
    span->kind = block > SLACK_TOP ? SPAN_WIDE : SPAN_SMALL;
    span->sizes = NULL;
    if (!(span->state = heap_meta_take(heap, ROUND_UP(blocks, META_GRAIN), need))) goto no_state;
    if (span->kind == SPAN_WIDE && !(span->sizes = heap_meta_take(heap, blocks * sizeof(*span->sizes), need)))
        goto no_sizes;
    if (!(span->base = heap_run_take(heap, pages, &span->chunk, &span->page)))
    {
        need->pages = pages;
        goto no_pages;
    }
    memset(span->state, 0, ROUND_UP(blocks, META_GRAIN));
    for (i = 0; i < blocks; i++) span->state[i] = STATE_FREE;
    span->block_size = (uint32_t)block;
    span->block_count = blocks;
    span->recip = (uint32_t)((((uint64_t)1 << 32) + block - 1) / block);
    span->class = (uint8_t)class;
    span->page_count = pages;
    span->bytes = blocks * (uint32_t)block;
    heap_span_link(heap, span);
    heap_map_set(heap, span->base, pages, span);
    return span;

no_pages:
    if (span->sizes) heap_meta_give(heap, span->sizes, blocks * sizeof(*span->sizes));
no_sizes:
    heap_meta_give(heap, span->state, ROUND_UP(blocks, META_GRAIN));
no_state:
    span->next = heap->spare_spans;
    heap->spare_spans = span;
    return NULL;
}

static mask_t look(struct cursor *cursor, struct span *span, unsigned int window, unsigned int blocks)
{
    unsigned int first = window * blocks, count = span->block_count - first;

    cursor->span = span;
    cursor->window = window;
    cursor->base = span->base + (size_t)first * span->block_size;
    cursor->state = span->state + first;
    return cursor->bits = free_mask(cursor->state, count < blocks ? count : blocks);
}

/* Fills the cursor of a class. It goes round the spans from where it stopped last and takes the first window with an
 * eighth of its blocks free; after SCAN_WINDOWS without luck a new span is the better way. any: no new span, take even
 * a single block anywhere. */
bool heap_refill(struct heap *heap, unsigned int class, bool any, struct heap_need *need)
{
    struct cursor *cursor = &heap->cursors[class];
    unsigned int blocks = heap_window_blocks(class), least = any ? 1 : (blocks + 7) / 8, scanned = 0, round = 0, window;
    struct span *span = cursor->span, *start;

    if (span && (unsigned int)__builtin_popcountll(look(cursor, span, cursor->window, blocks)) >= least) return true;
    window = span ? cursor->window + 1 : 0;
    if (!span) span = heap->spans[class].first;
    for (start = span; span && (any || scanned < SCAN_WINDOWS); window++)
    {
        if (window * blocks >= span->block_count)
        {
            if (!(span = span->next)) span = heap->spans[class].first;
            window = 0;
            if (span == start && round++) break;
            if (heap->spans[class].count == 1 && round++) break;
        }
        scanned++;
        if ((unsigned int)__builtin_popcountll(look(cursor, span, window, blocks)) >= least) return true;
    }
    cursor->bits = 0;
    if (any) return false;
    if (!(span = new_span(heap, class, false, need)) && !need->meta) span = new_span(heap, class, true, need);
    if (!span) return false;
    need->pages = 0;
    look(cursor, span, 0, blocks);
    return true;
}

static bool all_free(const struct span *span)
{
    unsigned int i;

    for (i = 0; i < span->block_count; i++)
    {
        if (span->state[i] != STATE_FREE) return false;
    }
    return true;
}

/* Takes all spans without a live block out of use. */
void heap_sweep(struct heap *heap)
{
    struct span *span, *next;
    unsigned int class;

    for (class = 0; class < CLASS_COUNT; class++)
    {
        for (span = heap->spans[class].first; span; span = next)
        {
            next = span->next;
            if (all_free(span)) heap_span_retire(heap, span);
        }
    }
    heap->freed_since_sweep = 0;
    heap->last_sweep = GetTickCount();
}

/* Whether mem is the start of a live block. Whatever mem is, only the heap's own tables are read. */
bool heap_find_block(struct heap *heap, const void *mem, struct span **out, uint32_t *index)
{
    struct span *span = heap_map_find(heap, mem);
    uint64_t product;
    size_t offset;

    if (!span || (offset = (size_t)((const char *)mem - span->base)) >= span->bytes) return false;
    /* High half the quotient, low half the remainder times recip: below recip for a start only. offset is below 2^17
     * and recip at most 2^32 / block_size + 1, so neither half is off. */
    product = (uint64_t)(uint32_t)offset * span->recip;
    if ((uint32_t)product >= span->recip) return false;
    *index = (uint32_t)(product >> 32);
    *out = span;
    return span->state[*index] != STATE_FREE;
}

size_t heap_block_size(const struct span *span, uint32_t index)
{
    if (span->kind == SPAN_SMALL) return span->block_size - span->state[index];
    if (span->kind == SPAN_WIDE) return span->sizes[index];
    return span->size;
}
