/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Where the blocks of DebugAlloc came from: a table beside each span that holds any.
 */

#include "heap_private.h"

/* Without the lock. A block whose record finds no memory stays without one: that is better than no block. */
void heap_record_set(struct heap *heap, void *mem, const char *file, int line, unsigned int level)
{
    struct span_record *records = NULL;
    size_t bytes = 0;
    struct span *span;
    uint32_t index;
    DWORD error;

    if (!lock_acquire(&heap->lock)) return;
    if (!heap_find_block(heap, mem, &span, &index)) goto done;
    if (!span->records)
    {
        bytes = ROUND_UP(span->block_count * sizeof(*records), PAGE_BYTES);
        lock_release(&heap->lock);
        error = GetLastError();
        if (!heap->owner->charge(heap->owner, bytes, level)) return;
        records = HeapAlloc(heap->system, HEAP_ZERO_MEMORY, bytes - META_GRAIN);
        SetLastError(error);
        if (!lock_acquire(&heap->lock)) return;
        if (records && !span->records)
        {
            span->records = records;
            span->records_charged = bytes;
            heap->committed += bytes;
            records = NULL;
            bytes = 0;
        }
    }
    if (span->records)
    {
        span->records[index].file = file;
        span->records[index].line = line;
        span->records[index].level = level;
        span->records[index].thread = GetCurrentThreadId();
        span->records[index].set = true;
    }
done:
    lock_release(&heap->lock);
    if (records) HeapFree(heap->system, 0, records);
    if (bytes) heap->owner->credit(heap->owner, bytes);
}

void heap_record_drop(struct heap *heap, struct span *span)
{
    if (!span->records) return;
    HeapFree(heap->system, 0, span->records);
    span->records = NULL;
    heap->committed -= span->records_charged;
    heap->uncredited += span->records_charged;
    span->records_charged = 0;
}
