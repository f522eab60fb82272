/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What the files of the allocator share. heap.c explains the design.
 */

#ifndef MSCOREEHOST_HEAP_PRIVATE_H
#define MSCOREEHOST_HEAP_PRIVATE_H

#include <stdint.h>
#include <string.h>
#include <windows.h>
#include "heap.h"
#include "lock.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PAGE_SHIFT 12
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)
#define ROUND_UP(n, to) (((n) + (to) - 1) & ~((size_t)(to) - 1))

/* A word of bits, one for each block of a window. */
typedef size_t mask_t;
#define MASK_BITS (8 * (unsigned int)sizeof(mask_t))

/* Size classes: 16 to 128 bytes in steps of 16, then eight to each octave, to 32 KiB. Larger blocks are runs of
 * pages. Up to SLACK_TOP what a block has more than was asked for fits into seven bits. */
#define CLASS_COUNT 72
#define CLASS_TOP 32768
#define SLACK_TOP 2048
#define RUN_TOP ((size_t)1 << 20)       /* larger blocks have a chunk of their own */

/* The state byte of a block: 0 to 127 when live, and then what it has more than was asked for (0 in classes above
 * SLACK_TOP, which keep the size in a table). */
#define STATE_FREE 0x80

struct span_record
{
    const char *file;
    int line;
    unsigned int thread;
    unsigned int level;
    bool set;
};

enum span_kind
{
    SPAN_SMALL,     /* blocks of one class, to SLACK_TOP */
    SPAN_WIDE,      /* blocks of one class, above */
    SPAN_RUN,       /* one large block, pages of a chunk */
    SPAN_CHUNK      /* one large block, a chunk of its own */
};

/* A run of pages cut into blocks of one class, or that is one block. Descriptors are never given back before the
 * heap dies: Free of a wild pointer may look at one while it changes hands, and must find a descriptor. */
struct span
{
    char *base;
    uint32_t bytes;             /* offsets below are in blocks; 0: the descriptor is not in use */
    uint32_t recip;             /* 2^32 / block_size, rounded up */
    uint8_t *state;
    uint32_t block_size;
    uint32_t block_count;
    uint8_t kind;
    uint8_t class;
    uint8_t own_state;          /* of SPAN_RUN and SPAN_CHUNK */
    uint32_t *sizes;            /* of SPAN_WIDE, as asked for */
    size_t size;                /* of SPAN_RUN and SPAN_CHUNK, as asked for */
    struct span_record *records;
    size_t records_charged;
    struct chunk *chunk;
    unsigned int page;
    unsigned int page_count;
    struct span *next, *prev;
};

/* One block of the private heap. Its pages are handed out as runs. The descriptor lies elsewhere. */
struct chunk
{
    struct chunk *next, *prev;
    void *raw;
    size_t charged;
    char *pages;
    unsigned int page_count;
    unsigned int free_count;
    unsigned int idle_since;    /* tick at which the last page became free */
    bool own;                   /* holds one block above RUN_TOP, is never cut up; no bits */
    mask_t free_pages[];
};

/* Where a thread takes blocks of a class from: a window of up to MASK_BITS neighbours in a span. */
struct cursor
{
    mask_t bits;                /* free blocks of the window */
    char *base;
    uint8_t *state;
    struct span *span;
    unsigned int window;
};

struct span_list
{
    struct span *first;
    unsigned int count;
    size_t bytes;
};

/* Page number to span, for 4 MiB of addresses. */
#define REGION_SHIFT 22
#define REGION_PAGES (1u << (REGION_SHIFT - PAGE_SHIFT))
struct region
{
    uintptr_t number;
    struct span *page[REGION_PAGES];
};

struct region_table
{
    unsigned int mask;
    unsigned int count;
    struct region *slot[];
};

/* Metadata: pieces of a multiple of 64 bytes out of blocks of the private heap that only the heap's end gives back. */
#define META_GRAIN 64
#define META_BUCKETS 96
struct meta
{
    char *next, *end;
    void *free[META_BUCKETS];
};

struct heap
{
    HANDLE system;
    struct heap_owner *owner;
    struct lock lock;
    unsigned int flags;

    struct region_table *regions;
    struct cursor cursors[CLASS_COUNT];
    struct span_list spans[CLASS_COUNT + 1];    /* the last: large blocks */
    struct span *spare_spans;
    struct chunk *chunks;
    struct meta meta;

    size_t chunk_bytes;
    size_t meta_bytes;
    size_t records_dropped;     /* to be credited */
    size_t freed_since_sweep;
    size_t freed_since_look;
    unsigned int last_sweep;

    size_t live_bytes;
    size_t live_blocks;
    size_t peak_live_bytes;
    size_t peak_live_blocks;
    size_t committed;
};

/* What an attempt under the lock lacked. */
struct heap_need
{
    size_t meta;
    size_t pages;       /* to succeed at all */
    bool own;           /* a chunk for one block */
};

/* heap_class.c */
extern const uint16_t heap_class_sizes[CLASS_COUNT];
unsigned int heap_class_of(size_t size);
unsigned int heap_window_blocks(unsigned int class);

/* heap_meta.c */
void *heap_meta_take(struct heap *heap, size_t bytes, struct heap_need *need);
void heap_meta_give(struct heap *heap, void *piece, size_t bytes);
bool heap_meta_grow(struct heap *heap, size_t bytes, unsigned int level);

/* heap_map.c */
struct span *heap_map_find(struct heap *heap, const void *mem);
bool heap_map_prepare(struct heap *heap, const char *start, size_t pages, struct heap_need *need);
void heap_map_set(struct heap *heap, const char *start, size_t pages, struct span *span);

/* heap_chunk.c */
char *heap_run_take(struct heap *heap, unsigned int pages, struct chunk **chunk, unsigned int *page);
bool heap_run_extend(struct chunk *chunk, unsigned int page, unsigned int pages, unsigned int more);
void heap_run_give(struct heap *heap, struct chunk *chunk, unsigned int page, unsigned int pages);
bool heap_chunk_grow(struct heap *heap, size_t pages, bool own, unsigned int level);
struct chunk *heap_chunk_collect(struct heap *heap, unsigned int age);
size_t heap_chunk_release(struct heap *heap, struct chunk *chunks);

/* heap_span.c */
struct span *heap_span_desc(struct heap *heap, struct heap_need *need);
void heap_span_link(struct heap *heap, struct span *span);
void heap_span_unlink(struct heap *heap, struct span *span);
void heap_span_retire(struct heap *heap, struct span *span);
bool heap_refill(struct heap *heap, unsigned int class, bool any, struct heap_need *need);
void heap_sweep(struct heap *heap);
bool heap_find_block(struct heap *heap, const void *mem, struct span **span, uint32_t *index);
size_t heap_block_size(const struct span *span, uint32_t index);

/* heap_large.c */
void *heap_large_take(struct heap *heap, size_t size, struct heap_need *need);
void heap_large_give(struct heap *heap, struct span *span);
bool heap_large_resize(struct heap *heap, struct span *span, size_t size);

/* heap_record.c */
void heap_record_set(struct heap *heap, void *mem, const char *file, int line, unsigned int level);
void heap_record_drop(struct heap *heap, struct span *span);

#endif
