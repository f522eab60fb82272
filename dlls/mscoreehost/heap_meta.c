/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Memory for the allocator's own tables. It is charged like any other, and kept until the heap's end: who
 * looks a wild pointer up without a lock may still read a table that has just gone out of use.
 */

#include "heap_private.h"

static unsigned int bucket_of(size_t bytes)
{
    return (unsigned int)((bytes - 1) / META_GRAIN);
}

void *heap_meta_take(struct heap *heap, size_t bytes, struct heap_need *need)
{
    struct meta *meta = &heap->meta;
    unsigned int bucket = bucket_of(bytes);
    void *piece;

    bytes = ROUND_UP(bytes, META_GRAIN);
    if (bucket < META_BUCKETS && (piece = meta->free[bucket]))
    {
        meta->free[bucket] = *(void **)piece;
        return piece;
    }
    if ((size_t)(meta->end - meta->next) < bytes)
    {
        need->meta = bytes;
        return NULL;
    }
    piece = meta->next;
    meta->next += bytes;
    return piece;
}

void heap_meta_give(struct heap *heap, void *piece, size_t bytes)
{
    struct meta *meta = &heap->meta;
    unsigned int bucket = bucket_of(bytes);

    if (bucket >= META_BUCKETS) return;     /* region tables that were outgrown: lost until the heap's end */
    *(void **)piece = meta->free[bucket];
    meta->free[bucket] = piece;
}

/* Without the lock. */
bool heap_meta_grow(struct heap *heap, size_t bytes, unsigned int level)
{
    size_t ask = PEEK(heap->meta_bytes) / 8, least = ROUND_UP(bytes + 2 * META_GRAIN, PAGE_BYTES);
    DWORD error = GetLastError();
    char *raw, *start;

    if (ask > 256 << 10) ask = 256 << 10;
    if (ask < 16 << 10) ask = 16 << 10;
    ask = ROUND_UP(ask, PAGE_BYTES);
    if (ask < least) ask = least;
    if (!heap->owner->charge(heap->owner, ask, level))
    {
        if (ask == least) return false;
        ask = least;
        if (!heap->owner->charge(heap->owner, ask, level)) return false;
    }
    if (!(raw = system_alloc(heap->system, 0, ask - META_GRAIN)))
    {
        heap->owner->credit(heap->owner, ask);
        return false;
    }
    SetLastError(error);
    start = (char *)ROUND_UP((uintptr_t)raw, META_GRAIN);
    if (!lock_acquire(&heap->lock)) return false;
    POKE(heap->meta_bytes, heap->meta_bytes + ask);
    heap->committed += ask;
    if (raw + ask - META_GRAIN - start > heap->meta.end - heap->meta.next)
    {
        heap->meta.next = start;
        heap->meta.end = raw + (ask - META_GRAIN);
    }
    lock_release(&heap->lock);
    return true;
}
