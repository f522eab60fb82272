/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The allocator under IHostMalloc: plain C over one private HeapCreate heap. It knows nothing of COM, limits
 * or accounts; what it takes from the system it asks its owner for, a chunk at a time.
 */

#ifndef MSCOREEHOST_HEAP_H
#define MSCOREEHOST_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap;

/* The owner of a heap. No lock of the heap is held in these calls, so that the owner may ask any heap,
 * this one included, to give memory back (heap_trim) before it answers. */
struct heap_owner
{
    /* May the heap take bytes more from the system, for a request of this critical level? If it cannot do
     * with less (urgent), the owner trims its heaps, this one included, before it says no. */
    bool (*charge)(struct heap_owner *owner, size_t bytes, unsigned int level, bool urgent);
    /* It has given bytes back. */
    void (*credit)(struct heap_owner *owner, size_t bytes);
    /* The heap may soon hold memory that it does not use. Somebody may call heap_tend; unless he does, the
     * heap does so itself in later calls, if there are any. */
    void (*spare)(struct heap_owner *owner);
};

#define HEAP_THREADSAFE 0x1     /* the values of MALLOC_TYPE */
#define HEAP_EXECUTABLE 0x2
#define HEAP_SYSTEM 0x4         /* each block is one of the HeapCreate heap: for tools that check that */

/* A live block, as heap_walk shows it. file is NULL and line, thread and level are 0 unless heap_note
 * was told of it. */
struct heap_block
{
    void *mem;
    size_t size;
    const char *file;
    int line;
    unsigned int thread;
    unsigned int level;
};

struct heap_usage
{
    size_t live_bytes;          /* as asked for */
    size_t live_blocks;
    size_t peak_live_bytes;
    size_t peak_live_blocks;
    size_t committed;           /* what charge granted and credit has not returned */
};

/* NULL: the system, or the owner, has no memory for it. The owner must outlive the heap. */
struct heap *heap_create(unsigned int flags, struct heap_owner *owner);

/* Gives everything back, live blocks included. No other call may be under way or follow. */
void heap_destroy(struct heap *heap);

/* NULL: no memory, over the owner's limit for this level, or an absurd size. Size 0 gives a block of its own.
 * Blocks are aligned to 2 * sizeof(void *), from 16 bytes on to 16. */
void *heap_alloc(struct heap *heap, size_t size, unsigned int level);
void *heap_alloc_zeroed(struct heap *heap, size_t size, unsigned int level);

/* Records where a live block came from; file is kept as the pointer it is. */
void heap_note(struct heap *heap, void *mem, unsigned int level, const char *file, int line);

/* False: mem is not the start of a live block of this heap; nothing has happened. Never reads what mem
 * points to. */
bool heap_free(struct heap *heap, void *mem);

/* As heap_free's answer; *size is then the size asked for. */
bool heap_size(struct heap *heap, void *mem, size_t *size);

/* mem must be a live block (heap_size says so). NULL: no memory; the block is as it was. */
void *heap_realloc(struct heap *heap, void *mem, size_t size, unsigned int level);

/* Gives back what is held and not used; returns the bytes credited. Safe from any thread, also for a heap
 * made without HEAP_THREADSAFE. */
size_t heap_trim(struct heap *heap);

/* Gives back what has not been used for a while, if it is time for that. True: to be called again after this
 * many milliseconds. */
#define HEAP_TEND_INTERVAL 50
bool heap_tend(struct heap *heap);

/* The calling thread is about to end: what it holds is for the next one. For DllMain; waits for nothing
 * that could wait for the loader's lock. */
void heap_thread_ended(void);

/* Counts and peaks are exact for every call that returned before this one began. */
void heap_get_usage(struct heap *heap, struct heap_usage *usage);

/* Shows each live block to the visitor, under the heap's lock: it must not call the heap. False from it
 * ends the walk. */
void heap_walk(struct heap *heap, bool (*visit)(void *context, const struct heap_block *block),
        void *context);

#endif
