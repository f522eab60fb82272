/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Memory for the allocator's own tables. It is charged like any other, and kept until the heap's end: who
 * looks a wild pointer up without a lock may still read a table that has just gone out of use. It does not
 * come from the private heap: among chunks that come and go it would keep the system from giving theirs back.
 */

#include "heap_private.h"

#define META_RESERVE ((size_t)1 << 20)
#define SLAB_LEAST ((size_t)256)
#define SLAB_TOP ((size_t)4 << 10)

/* NULL: pieces of that size are not kept. */
static void **free_list(struct heap *heap, struct pool *pool, size_t bytes)
{
    size_t bucket = (bytes - 1) / META_GRAIN;

    if (bucket < POOL_BUCKETS) return &pool->free[bucket];
    return bucket < META_BUCKETS ? &heap->meta.free[bucket] : NULL;
}

static void *take(struct heap *heap, struct pool *pool, size_t bytes)
{
    size_t left = (size_t)(pool->end - pool->next);
    void **list = free_list(heap, pool, bytes), *piece = NULL;

    if (list && (piece = *list)) *list = *(void **)piece;
    else if (left >= bytes)
    {
        piece = pool->next;
        pool->next += bytes;
    }
    return piece;
}

/* More for a thread's pool, one slab. What is left of the one before is a piece like any other. */
static bool refill(struct heap *heap, struct pool *pool, size_t bytes)
{
    size_t slab = pool->slab ? 2 * pool->slab : SLAB_LEAST, left = (size_t)(pool->end - pool->next);
    char *start;

    if (slab > SLAB_TOP) slab = SLAB_TOP;
    if (slab < bytes || !(start = take(heap, &heap->meta.pool, slab))) return false;
    pool->slab = slab;
    if (left && start != pool->end) heap_meta_give(heap, pool, pool->next, left);
    if (start != pool->end) pool->next = start;
    pool->end = start + slab;
    return true;
}

void *heap_meta_take_from(struct heap *heap, struct pool *pool, size_t bytes, struct heap_need *need)
{
    void *piece;

    bytes = ROUND_UP(bytes, META_GRAIN);
    piece = take(heap, pool, bytes);
    if (!piece && pool != &heap->meta.pool)
        piece = take(heap, refill(heap, pool, bytes) ? pool : &heap->meta.pool, bytes);
    if (!piece) need->meta = bytes;
    return piece;
}

void *heap_meta_take(struct heap *heap, size_t bytes, struct heap_need *need)
{
    return heap_meta_take_from(heap, &heap->meta.pool, bytes, need);
}

void heap_meta_give(struct heap *heap, struct pool *pool, void *piece, size_t bytes)
{
    void **list = free_list(heap, pool, bytes);

    if (!list) return;      /* region tables that were outgrown: lost until the heap's end */
    *(void **)piece = *list;
    *list = piece;
}

/* Under the lock. Commits more where the last piece ended, in a reservation that begins with a link to the
 * one before. */
static bool extend(struct heap *heap, size_t bytes)
{
    struct meta *meta = &heap->meta;
    struct pool *pool = &meta->pool;
    size_t reserve = ROUND_UP(bytes, META_RESERVE);
    char *start;

    if ((size_t)(meta->limit - pool->end) < bytes)
    {
        if (!(start = VirtualAlloc(NULL, reserve, MEM_RESERVE, PAGE_READWRITE))) return false;
        if (!VirtualAlloc(start, bytes, MEM_COMMIT, PAGE_READWRITE))
        {
            VirtualFree(start, 0, MEM_RELEASE);
            return false;
        }
        *(void **)start = meta->reserved;
        meta->reserved = start;
        pool->next = start + META_GRAIN;
        pool->end = start + bytes;
        meta->limit = start + reserve;
        return true;
    }
    if (!VirtualAlloc(pool->end, bytes, MEM_COMMIT, PAGE_READWRITE)) return false;
    pool->end += bytes;
    return true;
}

/* Without the lock. */
bool heap_meta_grow(struct heap *heap, size_t bytes, unsigned int level)
{
    size_t ask = PEEK(heap->meta_bytes) / 8, least = ROUND_UP(bytes + META_GRAIN, PAGE_BYTES);
    DWORD error = GetLastError();
    bool done;

    if (ask > 64 << 10) ask = 64 << 10;
    if (ask < 16 << 10) ask = 16 << 10;
    ask = ROUND_UP(ask, PAGE_BYTES);
    if (ask < least) ask = least;
    if (!heap->owner->charge(heap->owner, ask, level, ask == least))
    {
        if (ask == least) return false;
        ask = least;
        if (!heap->owner->charge(heap->owner, ask, level, true)) return false;
    }
    if (!lock_acquire(&heap->lock)) return false;
    if ((done = !process_is_ending() && extend(heap, ask)))
    {
        POKE(heap->meta_bytes, heap->meta_bytes + ask);
        heap->committed += ask;
    }
    lock_release(&heap->lock);
    if (!done)
    {
        heap->owner->credit(heap->owner, ask);
        POKE(heap->starved, true);
    }
    SetLastError(error);
    return done;
}

void heap_meta_destroy(struct heap *heap)
{
    char *reserved, *next;

    for (reserved = heap->meta.reserved; reserved; reserved = next)
    {
        next = *(void **)reserved;
        VirtualFree(reserved, 0, MEM_RELEASE);
    }
}
