/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Where the blocks of DebugAlloc came from: a table beside each span that holds any.
 */

#include "heap_private.h"

static size_t table_bytes(const struct span *span)
{
    return ROUND_UP(span->block_count * sizeof(struct span_record), PAGE_BYTES);
}

static struct span_record *make_table(struct heap *heap, struct span *span, unsigned int level)
{
    size_t bytes = table_bytes(span);
    struct span_record *records;
    DWORD error = GetLastError();
    bool used = false;

    if (!heap->owner->charge(heap->owner, bytes, level, true)) return NULL;
    records = system_alloc(heap->system, HEAP_ZERO_MEMORY, bytes);
    SetLastError(error);
    if (records && lock_acquire(&heap->lock))
    {
        /* Or it has gone meanwhile, since somebody freed the block that is being noted. */
        if (!span->records && PEEK(span->bytes))
        {
            heap->committed += bytes;
            __atomic_store_n(&span->records, records, __ATOMIC_RELEASE);
            used = true;
        }
        lock_release(&heap->lock);
    }
    if (!used)
    {
        if (records) system_free(heap->system, records);
        heap->owner->credit(heap->owner, bytes);
    }
    return __atomic_load_n(&span->records, __ATOMIC_ACQUIRE);
}

/* Without the lock: mem is the caller's, so its span stays. A block whose record finds no memory stays
 * without one: that is better than no block. */
void heap_note(struct heap *heap, void *mem, unsigned int level, const char *file, int line)
{
    struct cache *cache = heap_cache_of(&heap->front, heap->way);
    struct span_record *records;
    struct home *home;
    struct span *span;
    uint32_t index, bytes;
    bool found = true;
    uintptr_t mask;
    size_t offset;

    if (heap->flags & HEAP_SYSTEM)
    {
        heap_system_note(heap, mem, level, file, line);
        return;
    }
    /* The entry may be another's, whose descriptor must not become a third one's meanwhile. */
    if (cache) POKE(cache->busy, 1);
    __asm__ volatile("" ::: "memory");
    mask = __atomic_load_n(&heap->front.map_mask, __ATOMIC_ACQUIRE);
    span = PEEK(heap->front.map[(uintptr_t)mem >> PAGE_SHIFT & mask]);
    bytes = __atomic_load_n(&span->bytes, __ATOMIC_ACQUIRE);
    if ((offset = (size_t)((char *)mem - PEEK(span->base))) < bytes)
        index = (uint32_t)((uint64_t)(uint32_t)offset * PEEK(span->recip) >> 32);
    else found = heap_find_block(heap, mem, &span, &index);
    if (cache) __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    if (!found) return;
    if (!(records = __atomic_load_n(&span->records, __ATOMIC_ACQUIRE))
            && !(records = make_table(heap, span, level))) return;
    write_record(&records[index], file, line, level);
    /* Who takes blocks from the window has to see to its records. */
    if (cache && span->kind == SPAN_SMALL && (span->class < FIRST_COUNT || cache->more)
            && (home = home_of(cache, span->class))->span == span)
        home->records = records + (size_t)home->window * span->window_blocks;
}

void heap_record_drop(struct heap *heap, struct span *span)
{
    if (!span->records) return;
    system_free(heap->system, span->records);
    span->records = NULL;
    heap->committed -= table_bytes(span);
    heap->uncredited += table_bytes(span);
}
