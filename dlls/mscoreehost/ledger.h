/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What a host holds, and what it may still take. Whoever takes memory from the system asks here first and
 * tells here when it has gone back; this is the only place that says no.
 *
 * Order of locks: the pages', then the ledger's list of holders, then a heap's. A heap therefore asks with
 * none of its own held.
 */

#ifndef MSCOREEHOST_LEDGER_H
#define MSCOREEHOST_LEDGER_H

#include "heap.h"
#include "lock.h"

enum ledger_account
{
    LEDGER_HEAP,
    LEDGER_PAGES,
    LEDGER_ACCOUNTS
};

#define LEDGER_LEVELS 3     /* EMemoryCriticalLevel */

/* Someone who may hold memory he does not use: a malloc. */
struct ledger_holder
{
    struct ledger_holder *next;
    struct heap *heap;
};

/* A value and the highest it has been. */
struct ledger_gauge
{
    size_t now;
    size_t peak;
};

struct ledger_limit
{
    size_t limit;               /* SIZE_MAX: none */
    size_t reserve_appdomain;
    size_t reserve_process;
};

struct ledger
{
    volatile LONG refcount;

    size_t ceiling[LEDGER_LEVELS];      /* how far a request of each level may take committed */
    struct ledger_gauge committed;      /* what the limit counts */
    struct ledger_gauge accounts[LEDGER_ACCOUNTS];
    struct ledger_gauge reserved;       /* address space in page regions */
    struct ledger_gauge regions;
    size_t views;
    size_t view_bytes;
    size_t refused[LEDGER_LEVELS];
    size_t invalid_frees;

    /* For the pressure thread: the event is set when committed reaches the mark, or a request is refused. */
    HANDLE alarm;
    size_t alarm_mark;
    volatile LONG alarm_armed;
    volatile LONG refused_lately;       /* below process level, since the thread last looked */
    volatile LONG spare;                /* a heap wants to be looked after */
    volatile LONG started;              /* a request below process level was seen: the runtime has started */

    struct lock holders_lock;
    struct ledger_holder *holders;
    size_t peak_live_bytes;             /* sums of the mallocs' peaks when one of them ended */
    size_t peak_live_blocks;

    struct lock limit_lock;
    struct ledger_limit limit;
};

HRESULT ledger_create(const struct ledger_limit *limit, struct ledger **out);
void ledger_addref(struct ledger *ledger);
void ledger_release(struct ledger *ledger);

void ledger_set_limit(struct ledger *ledger, const struct ledger_limit *limit);
void ledger_get_limit(struct ledger *ledger, struct ledger_limit *limit);

/* May bytes more be committed? Whoever cannot do with less is urgent: before it says no to him it has every
 * heap give back what it does not use. He then answers a request with E_OUTOFMEMORY, and tells of that
 * below. */
bool ledger_charge(struct ledger *ledger, enum ledger_account account, size_t bytes, unsigned int level,
        bool urgent);
void ledger_credit(struct ledger *ledger, enum ledger_account account, size_t bytes);

/* A request for bytes was answered with E_OUTOFMEMORY. */
void ledger_note_refused(struct ledger *ledger, size_t bytes, unsigned int level);

void ledger_add_region(struct ledger *ledger, size_t bytes);
void ledger_remove_region(struct ledger *ledger, size_t bytes);

void ledger_add_view(struct ledger *ledger, size_t bytes);
void ledger_remove_view(struct ledger *ledger, size_t bytes);

/* To be called for each request, granted from what is there already or not: published runtimes pass
 * eProcessCritical for everything until they have started. */
static inline void ledger_note_level(struct ledger *ledger, unsigned int level)
{
    if (level < eProcessCritical && !ledger->started) InterlockedExchange(&ledger->started, TRUE);
}

void ledger_note_invalid_free(struct ledger *ledger);

void ledger_add_holder(struct ledger *ledger, struct ledger_holder *holder);
void ledger_remove_holder(struct ledger *ledger, struct ledger_holder *holder);

/* Has every heap give back what it does not use; returns the bytes. */
size_t ledger_reclaim(struct ledger *ledger);

/* A heap may soon hold memory that it does not use: the pressure thread, where there is one, calls
 * ledger_tend. Without one the heap sees to it in the course of its next calls. Waits for no lock. */
void ledger_note_spare(struct ledger *ledger);

/* Has every heap give back what it has not used for a while. True: again in HEAP_TEND_INTERVAL. */
bool ledger_tend(struct ledger *ledger);

/* Live blocks of all mallocs. The peaks are exact with one malloc, as every published runtime makes; with
 * several they are the sum of each one's peak, which may be more than was ever live at once. */
void ledger_get_usage(struct ledger *ledger, struct heap_usage *usage);

/* False: no limit. */
bool ledger_get_load(struct ledger *ledger, unsigned int *load, size_t *available);

/* The alarm goes off once when percent of what a task may take is reached. */
void ledger_arm(struct ledger *ledger, unsigned int percent);
bool ledger_above(struct ledger *ledger, unsigned int percent);

#endif
