/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * heap=system: every block is a HeapAlloc of the private heap, for tools that look for errors in those. Which
 * ones are live is known here, so that no other pointer ever gets to HeapFree.
 */

#include "heap_private.h"

#define SLAB_BYTES ((size_t)1 << 16)
#define BUCKETS_FIRST (PAGE_BYTES / sizeof(struct entry *))
#define BUCKETS_TOP ((size_t)1 << (sizeof(void *) == 8 ? 20 : 17))
#define CHAIN_LENGTH 4          /* entries to a bucket, before there are more buckets */

/* Tables by address: chains of entries, which lie in slabs without a gap, so that what a table does not need
 * any more is whole slabs. */
struct entry
{
    struct entry *next;
    void *mem;
};

struct slab
{
    struct slab *next;
    size_t count;
    char entries[];
};

struct table
{
    size_t entry_bytes;
    size_t count;
    struct entry **buckets;     /* address space for BUCKETS_TOP of them */
    size_t mask;
    struct slab *slabs;         /* all full but the first */
    struct slab *spare;
};

struct live
{
    struct entry entry;
    size_t shifted : 1;         /* the system's block begins SHIFT bytes before */
    size_t size : 8 * sizeof(size_t) - 1;
};

struct note
{
    struct entry entry;
    const char *file;
    int line;
    unsigned int thread;
    unsigned int level;
};

/* Under the heap's lock. */
struct system_blocks
{
    struct table live;
    struct table notes;
    struct heap_usage usage;
};

/* ---- tables ---- */

static uint32_t hash(const void *mem)
{
    uint32_t value = (uint32_t)((uintptr_t)mem >> 3) * 0x9e3779b1u;

    return value ^ value >> 15;
}

static bool table_create(struct table *table, size_t entry_bytes)
{
    table->entry_bytes = entry_bytes;
    table->mask = BUCKETS_FIRST - 1;
    table->buckets = VirtualAlloc(NULL, BUCKETS_TOP * sizeof(*table->buckets), MEM_RESERVE, PAGE_READWRITE);
    return table->buckets && VirtualAlloc(table->buckets, PAGE_BYTES, MEM_COMMIT, PAGE_READWRITE);
}

static void free_slabs(struct slab *slab)
{
    struct slab *next;

    for (; slab; slab = next)
    {
        next = slab->next;
        VirtualFree(slab, 0, MEM_RELEASE);
    }
}

static void table_destroy(struct table *table)
{
    free_slabs(table->slabs);
    free_slabs(table->spare);
    if (table->buckets) VirtualFree(table->buckets, 0, MEM_RELEASE);
}

/* The link that leads to mem's entry, or to NULL. */
static struct entry **find(const struct table *table, const void *mem)
{
    struct entry **link = &table->buckets[hash(mem) & table->mask];

    while (*link && (*link)->mem != mem) link = &(*link)->next;
    return link;
}

/* NULL: no room. */
static void *add(struct table *table, void *mem)
{
    struct slab *slab = table->slabs;
    struct entry *entry, **bucket = &table->buckets[hash(mem) & table->mask];

    if (!slab || slab->count == (SLAB_BYTES - sizeof(*slab)) / table->entry_bytes)
    {
        if (!(slab = table->spare)) return NULL;
        table->spare = slab->next;
        slab->next = table->slabs;
        table->slabs = slab;
    }
    entry = (struct entry *)(slab->entries + slab->count++ * table->entry_bytes);
    entry->mem = mem;
    entry->next = *bucket;
    *bucket = entry;
    table->count++;
    return entry;
}

static void remove_at(struct table *table, struct entry **link)
{
    struct slab *slab = table->slabs;
    struct entry *gone = *link, *last;

    *link = gone->next;
    table->count--;
    last = (struct entry *)(slab->entries + --slab->count * table->entry_bytes);
    if (last != gone)
    {
        link = find(table, last->mem);
        memcpy(gone, last, table->entry_bytes);
        *link = gone;
    }
    if (slab->count) return;
    table->slabs = slab->next;
    slab->next = table->spare;
    table->spare = slab;
}

/* Into the buckets behind those there are, which are empty. */
static void spread(struct table *table)
{
    size_t half = table->mask + 1, i;
    struct entry **link, *entry;

    for (i = 0; i < half; i++)
    {
        for (link = &table->buckets[i]; (entry = *link); )
        {
            if (!(hash(entry->mem) & half))
            {
                link = &entry->next;
                continue;
            }
            *link = entry->next;
            entry->next = table->buckets[i + half];
            table->buckets[i + half] = entry;
        }
    }
    table->mask = 2 * half - 1;
}

static void fold(struct table *table)
{
    size_t half = (table->mask + 1) / 2, i;
    struct entry **link;

    for (i = 0; i < half; i++)
    {
        for (link = &table->buckets[i]; *link; link = &(*link)->next) ;
        *link = table->buckets[i + half];
    }
    table->mask = half - 1;
}

/* Without the lock. Fewer buckets make a table slower, no more: nothing of the reserves goes there. */
static void grow_buckets(struct heap *heap, struct table *table)
{
    size_t half, bytes;
    bool done = false;

    if (!lock_acquire(&heap->lock)) return;
    half = table->count > CHAIN_LENGTH * (table->mask + 1) ? table->mask + 1 : BUCKETS_TOP;
    lock_release(&heap->lock);
    bytes = half * sizeof(*table->buckets);
    if (half == BUCKETS_TOP || !heap->owner->charge(heap->owner, bytes, 0, false)) return;
    if (lock_acquire(&heap->lock))
    {
        if (table->mask + 1 == half
                && VirtualAlloc(table->buckets + half, bytes, MEM_COMMIT, PAGE_READWRITE))
        {
            spread(table);
            heap->committed += bytes;
            done = true;
        }
        lock_release(&heap->lock);
    }
    if (!done) heap->owner->credit(heap->owner, bytes);
}

/* Without the lock: a spare slab. That comes last, since each charge may have spare slabs given back. */
static bool grow(struct heap *heap, struct table *table, unsigned int level)
{
    struct slab *slab;

    grow_buckets(heap, table);
    if (!heap->owner->charge(heap->owner, SLAB_BYTES, level, true)) return false;
    if (!(slab = VirtualAlloc(NULL, SLAB_BYTES, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
            || !lock_acquire(&heap->lock))
    {
        heap->owner->credit(heap->owner, SLAB_BYTES);
        return false;
    }
    slab->next = table->spare;
    table->spare = slab;
    heap->committed += SLAB_BYTES;
    lock_release(&heap->lock);
    return true;
}

/* Under the lock. What the table can do without, for give_back to end; the bytes of buckets are in *bytes. */
static struct slab *shrink(struct heap *heap, struct table *table, size_t *bytes)
{
    struct slab *slabs = table->spare, *slab;
    size_t folded = 0;

    table->spare = NULL;
    for (slab = slabs; slab; slab = slab->next) heap->committed -= SLAB_BYTES;
    while (table->mask + 1 > BUCKETS_FIRST && table->count <= table->mask)
    {
        fold(table);
        folded += (table->mask + 1) * sizeof(*table->buckets);
    }
    if (folded) VirtualFree(table->buckets + table->mask + 1, folded, MEM_DECOMMIT);
    heap->committed -= folded;
    *bytes += folded;
    return slabs;
}

static size_t give_back(struct slab *slabs)
{
    struct slab *slab;
    size_t bytes = 0;

    for (slab = slabs; slab; slab = slab->next) bytes += SLAB_BYTES;
    free_slabs(slabs);
    return bytes;
}

/* ---- blocks ---- */

/* A heap of a 32-bit program aligns to 8 bytes. A block that has to be aligned to 16 is asked for with so
 * much more there, and begins behind it where it must. */
#ifdef _WIN64
#define SHIFT 0
#else
#define SHIFT 8
#endif

static size_t bytes_to_ask(size_t size)
{
    return size <= 8 ? size : size + SHIFT;
}

/* What the system's heap takes for a block, on Windows and in Wine: a header as long as the alignment, and
 * from half a megabyte on pages of the block's own. Tools that check it take more, which nobody tells. */
static size_t bytes_taken(size_t size)
{
    size_t align = 2 * sizeof(void *), bytes = bytes_to_ask(size);

    if (bytes >= 0x7f000) return ROUND_UP(bytes + 8 * sizeof(void *), PAGE_BYTES);
    return ROUND_UP(bytes ? bytes : 1, align) + align;
}

bool heap_system_create(struct heap *heap)
{
    struct system_blocks *blocks = system_alloc(heap->system, HEAP_ZERO_MEMORY, sizeof(*blocks));

    if (!(heap->blocks = blocks)) return false;
    heap->way = HEAP_WAY_NONE;
    if (table_create(&blocks->live, sizeof(struct live)) && table_create(&blocks->notes, sizeof(struct note)))
        return true;
    heap_system_destroy(heap);
    return false;
}

void heap_system_destroy(struct heap *heap)
{
    table_destroy(&heap->blocks->live);
    table_destroy(&heap->blocks->notes);
}

/* The system's block for one of size bytes; what is live of it is in *live. */
static bool take(struct heap *heap, size_t size, struct live *live)
{
    char *mem = system_alloc(heap->system, 0, bytes_to_ask(size));

    if (!mem) return false;
    live->size = size;
    live->shifted = size > 8 && (uintptr_t)mem % 16;
    live->entry.mem = mem + (live->shifted ? SHIFT : 0);
#ifndef _WIN64
    /* A tool that looks at what is behind a block is to find its end where it is. */
    if (size > 8 && !live->shifted) HeapReAlloc(heap->system, HEAP_REALLOC_IN_PLACE_ONLY, mem, size);
#endif
    return true;
}

static void give(struct heap *heap, const struct live *live)
{
    void *mem = (char *)live->entry.mem - (live->shifted ? SHIFT : 0);

    if (process_is_ending()) return;
    /* Wine 8.0 looks at what is behind a block here, and not in HeapFree. It tells what it finds itself. */
    HeapValidate(heap->system, 0, mem);
    HeapFree(heap->system, 0, mem);
}

/* Under the lock. */
static bool enter(struct heap *heap, const struct live *taken)
{
    struct system_blocks *blocks = heap->blocks;
    struct heap_usage *usage = &blocks->usage;
    struct live *live = add(&blocks->live, taken->entry.mem);

    if (!live) return false;
    live->size = taken->size;
    live->shifted = taken->shifted;
    heap->committed += bytes_taken(live->size);
    usage->live_bytes += live->size;
    usage->live_blocks++;
    if (usage->peak_live_bytes < usage->live_bytes) usage->peak_live_bytes = usage->live_bytes;
    if (usage->peak_live_blocks < usage->live_blocks) usage->peak_live_blocks = usage->live_blocks;
    return true;
}

/* NULL: none, or heap_alloc's end_of_process has to help. */
void *heap_system_alloc(struct heap *heap, size_t size, unsigned int level)
{
    DWORD error = GetLastError();
    struct live live;
    bool entered;

    if (!heap->owner->charge(heap->owner, bytes_taken(size), level, true)) return NULL;
    if (take(heap, size, &live))
    {
        do
        {
            if (!lock_acquire(&heap->lock)) break;
            entered = enter(heap, &live);
            lock_release(&heap->lock);
            if (entered)
            {
                SetLastError(error);
                return live.entry.mem;
            }
        }
        while (grow(heap, &heap->blocks->live, level));
        give(heap, &live);
    }
    heap->owner->credit(heap->owner, bytes_taken(size));
    SetLastError(error);
    return NULL;
}

bool heap_system_free(struct heap *heap, void *mem)
{
    struct system_blocks *blocks = heap->blocks;
    DWORD error = GetLastError();
    struct entry **link;
    struct live live;

    if (!lock_acquire(&heap->lock)) return true;
    if (!*(link = find(&blocks->live, mem)))
    {
        lock_release(&heap->lock);
        return process_is_ending();
    }
    live = *(struct live *)*link;
    remove_at(&blocks->live, link);
    if (*(link = find(&blocks->notes, mem))) remove_at(&blocks->notes, link);
    heap->committed -= bytes_taken(live.size);
    blocks->usage.live_bytes -= live.size;
    blocks->usage.live_blocks--;
    lock_release(&heap->lock);
    give(heap, &live);
    heap->owner->credit(heap->owner, bytes_taken(live.size));
    SetLastError(error);
    return true;
}

/* Under the lock. */
bool heap_system_size(struct heap *heap, void *mem, size_t *size)
{
    struct live *live = (struct live *)*find(&heap->blocks->live, mem);

    if (live) *size = live->size;
    return live != NULL;
}

void heap_system_note(struct heap *heap, void *mem, unsigned int level, const char *file, int line)
{
    struct table *notes = &heap->blocks->notes;
    DWORD error = GetLastError();
    struct note *note = NULL;
    bool live;

    do
    {
        if (!lock_acquire(&heap->lock)) break;
        /* end_of_process's are not. */
        live = *find(&heap->blocks->live, mem) != NULL;
        if (live && (note = add(notes, mem)))
        {
            note->file = file;
            note->line = line;
            note->thread = GetCurrentThreadId();
            note->level = level;
        }
        lock_release(&heap->lock);
    }
    while (live && !note && grow(heap, notes, level));
    SetLastError(error);
}

size_t heap_system_trim(struct heap *heap)
{
    struct slab *live, *notes;
    DWORD error = GetLastError();
    size_t bytes = 0;

    if (!lock_acquire(&heap->lock)) return 0;
    live = shrink(heap, &heap->blocks->live, &bytes);
    notes = shrink(heap, &heap->blocks->notes, &bytes);
    lock_release(&heap->lock);
    bytes += give_back(live) + give_back(notes);
    if (bytes) heap->owner->credit(heap->owner, bytes);
    SetLastError(error);
    return bytes;
}

void heap_system_get_usage(struct heap *heap, struct heap_usage *usage)
{
    bool locked = lock_acquire(&heap->lock);

    *usage = heap->blocks->usage;
    usage->committed = heap->committed;
    if (locked) lock_release(&heap->lock);
}

/* Under the lock. */
void heap_system_walk(struct heap *heap, bool (*visit)(void *context, const struct heap_block *block),
        void *context)
{
    const struct slab *slab;
    size_t i;

    for (slab = heap->blocks->live.slabs; slab; slab = slab->next)
    {
        for (i = 0; i < slab->count; i++)
        {
            const struct live *live = (const struct live *)slab->entries + i;
            const struct note *note = (struct note *)*find(&heap->blocks->notes, live->entry.mem);
            struct heap_block block = { .mem = live->entry.mem, .size = live->size };

            if (note)
            {
                block.file = note->file;
                block.line = note->line;
                block.thread = note->thread;
                block.level = note->level;
            }
            if (!visit(context, &block)) return;
        }
    }
}
