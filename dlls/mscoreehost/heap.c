/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The allocator: creation, the calls of heap.h, counters.
 */

#include "heap_private.h"

#define GIVE_BACK_AGE 100       /* milliseconds */

struct heap *heap_create(unsigned int flags, struct heap_owner *owner)
{
    size_t bytes = ROUND_UP(sizeof(struct heap) + META_GRAIN, PAGE_BYTES);
    DWORD error = GetLastError();
    struct heap *heap = NULL;
    HANDLE system;

    /* Process critical: without its heap there is no runtime. */
    if (!owner->charge(owner, bytes, 2)) return NULL;
    system = HeapCreate(flags & HEAP_EXECUTABLE ? HEAP_CREATE_ENABLE_EXECUTE : 0, 0, 0);
    if (system && !(heap = HeapAlloc(system, HEAP_ZERO_MEMORY, sizeof(*heap)))) HeapDestroy(system);
    if (!heap)
    {
        owner->credit(owner, bytes);
        return NULL;
    }
    SetLastError(error);
    heap->system = system;
    heap->owner = owner;
    heap->flags = flags;
    heap->committed = bytes;
    heap->last_sweep = GetTickCount();
    return heap;
}

void heap_destroy(struct heap *heap)
{
    struct heap_owner *owner = heap->owner;
    size_t committed = heap->committed + heap->records_dropped;
    DWORD error = GetLastError();

    HeapDestroy(heap->system);
    owner->credit(owner, committed);
    SetLastError(error);
}

static size_t give_back(struct heap *heap, unsigned int age)
{
    struct chunk *chunks;
    size_t records;

    if (!lock_acquire(&heap->lock)) return 0;
    heap_sweep(heap);
    chunks = heap_chunk_collect(heap, age);
    records = heap->records_dropped;
    heap->records_dropped = 0;
    lock_release(&heap->lock);
    if (records) heap->owner->credit(heap->owner, records);
    return heap_chunk_release(heap, chunks) + records;
}

size_t heap_trim(struct heap *heap)
{
    return give_back(heap, 0);
}

static void *take_block(struct heap *heap, unsigned int class, size_t size, bool any, struct heap_need *need)
{
    struct cursor *cursor = &heap->cursors[class];
    size_t block = heap_class_sizes[class];
    unsigned int i;

    if (!cursor->bits && !heap_refill(heap, class, any, need)) return NULL;
    i = (unsigned int)__builtin_ctzll(cursor->bits);
    cursor->bits &= cursor->bits - 1;
    if (block > SLACK_TOP)
    {
        cursor->span->sizes[cursor->state + i - cursor->span->state] = (uint32_t)size;
        cursor->state[i] = 0;
    }
    else cursor->state[i] = (uint8_t)(block - size);
    return cursor->base + i * block;
}

/* The owner has refused: any free block that is large enough and can say so. */
static void *take_any(struct heap *heap, size_t size)
{
    struct heap_need need = {0};
    unsigned int class;
    void *mem;

    for (class = heap_class_of(size); class < CLASS_COUNT; class++)
    {
        size_t block = heap_class_sizes[class];

        if (block <= SLACK_TOP && block - size >= STATE_FREE) continue;
        if ((mem = take_block(heap, class, size, true, &need))) return mem;
    }
    return NULL;
}

static void count_in(struct heap *heap, size_t size)
{
    heap->live_bytes += size;
    heap->live_blocks++;
    if (heap->live_bytes > heap->peak_live_bytes) heap->peak_live_bytes = heap->live_bytes;
    if (heap->live_blocks > heap->peak_live_blocks) heap->peak_live_blocks = heap->live_blocks;
}

static void *try_alloc(struct heap *heap, size_t size, bool any, struct heap_need *need)
{
    void *mem;

    memset(need, 0, sizeof(*need));
    if (size > CLASS_TOP) mem = heap_large_take(heap, size, need);
    else if (any) mem = take_any(heap, size);
    else mem = take_block(heap, heap_class_of(size), size, false, need);
    if (mem) count_in(heap, size);
    return mem;
}

void *heap_alloc(struct heap *heap, size_t size, unsigned int level)
{
    struct heap_need need;
    bool last = false;
    void *mem;

    if (size > (SIZE_MAX >> 1) - (1 << 20)) return NULL;
    for (;;)
    {
        /* The process is ending and a thread died in here: what is behind the lock cannot be used any more. */
        if (!lock_acquire(&heap->lock)) return VirtualAlloc(NULL, size ? size : 1, MEM_RESERVE | MEM_COMMIT,
                heap->flags & HEAP_EXECUTABLE ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE);
        mem = try_alloc(heap, size, false, &need);
        if (!mem && last && size <= CLASS_TOP)
        {
            mem = try_alloc(heap, size, true, &need);
            lock_release(&heap->lock);
            return mem;
        }
        lock_release(&heap->lock);
        if (mem) return mem;
        if (need.meta ? heap_meta_grow(heap, need.meta, level) : heap_chunk_grow(heap, need.pages, need.own, level))
            continue;
        if (last) return NULL;
        /* What is spare here may be just enough. */
        heap_trim(heap);
        last = !(need.meta ? heap_meta_grow(heap, need.meta, level)
                : heap_chunk_grow(heap, need.pages, need.own, level));
        if (last && size > CLASS_TOP) return NULL;
    }
}

void *heap_alloc_zeroed(struct heap *heap, size_t size, unsigned int level)
{
    void *mem = heap_alloc(heap, size, level);

    return mem ? memset(mem, 0, size) : NULL;
}

void *heap_alloc_debug(struct heap *heap, size_t size, unsigned int level, const char *file, int line)
{
    void *mem = heap_alloc(heap, size, level);

    if (mem) heap_record_set(heap, mem, file, line, level);
    return mem;
}

bool heap_free(struct heap *heap, void *mem)
{
    struct span *span;
    uint32_t index;
    bool look;
    size_t size;

    if (!lock_acquire(&heap->lock)) return true;
    if (!heap_find_block(heap, mem, &span, &index))
    {
        lock_release(&heap->lock);
        return false;
    }
    size = heap_block_size(span, index);
    heap->live_bytes -= size;
    heap->live_blocks--;
    if (span->records) span->records[index].set = false;
    if (span->kind > SPAN_WIDE) heap_large_give(heap, span);
    else span->state[index] = STATE_FREE;
    heap->freed_since_sweep += size;
    look = (heap->freed_since_look += size) >= 64 << 10;
    if (look) heap->freed_since_look = 0;
    lock_release(&heap->lock);
    if (look && GetTickCount() - heap->last_sweep >= GIVE_BACK_AGE) give_back(heap, GIVE_BACK_AGE);
    return true;
}

bool heap_size(struct heap *heap, void *mem, size_t *size)
{
    struct span *span;
    uint32_t index;
    bool found;

    if (!lock_acquire(&heap->lock)) return false;
    if ((found = heap_find_block(heap, mem, &span, &index))) *size = heap_block_size(span, index);
    lock_release(&heap->lock);
    return found;
}

static bool resize_in_place(struct heap *heap, struct span *span, uint32_t index, size_t size)
{
    size_t old = heap_block_size(span, index);

    if (span->kind > SPAN_WIDE)
    {
        if (!heap_large_resize(heap, span, size)) return false;
    }
    else
    {
        if (size > CLASS_TOP || heap_class_of(size) != span->class) return false;
        if (span->kind == SPAN_WIDE) span->sizes[index] = (uint32_t)size;
        else span->state[index] = (uint8_t)(span->block_size - size);
    }
    heap->live_blocks--;
    heap->live_bytes -= old;
    count_in(heap, size);
    return true;
}

void *heap_realloc(struct heap *heap, void *mem, size_t size, unsigned int level)
{
    struct span *span;
    uint32_t index;
    size_t old = 0;
    bool done = false;
    void *new;

    if (!lock_acquire(&heap->lock)) return NULL;
    if (heap_find_block(heap, mem, &span, &index))
    {
        old = heap_block_size(span, index);
        done = resize_in_place(heap, span, index, size);
    }
    lock_release(&heap->lock);
    if (done) return mem;
    if (!(new = heap_alloc(heap, size, level))) return NULL;
    memcpy(new, mem, old < size ? old : size);
    heap_free(heap, mem);
    return new;
}

void heap_get_usage(struct heap *heap, struct heap_usage *usage)
{
    bool locked = lock_acquire(&heap->lock);

    usage->live_bytes = heap->live_bytes;
    usage->live_blocks = heap->live_blocks;
    usage->peak_live_bytes = heap->peak_live_bytes;
    usage->peak_live_blocks = heap->peak_live_blocks;
    usage->committed = heap->committed + heap->records_dropped;
    if (locked) lock_release(&heap->lock);
}

void heap_walk(struct heap *heap, bool (*visit)(void *context, const struct heap_block *block), void *context)
{
    struct span *span;
    unsigned int class;
    bool more = true;
    uint32_t i;

    if (!lock_acquire(&heap->lock)) return;
    for (class = 0; class <= CLASS_COUNT && more; class++)
    {
        for (span = heap->spans[class].first; span && more; span = span->next)
        {
            for (i = 0; i < span->block_count && more; i++)
            {
                struct heap_block block = {0};

                if (span->state[i] == STATE_FREE) continue;
                block.mem = span->base + (size_t)i * span->block_size;
                block.size = heap_block_size(span, i);
                if (span->records && span->records[i].set)
                {
                    block.file = span->records[i].file;
                    block.line = span->records[i].line;
                    block.thread = span->records[i].thread;
                    block.level = span->records[i].level;
                }
                more = visit(context, &block);
            }
        }
    }
    lock_release(&heap->lock);
}
