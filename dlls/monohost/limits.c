/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Keeps Mono's heap within the host's limit, so that a program that wants too much gets an
 * OutOfMemoryException and the collector what it needs.
 *
 * A collection that finds no page for what survives cannot go on, and an OutOfMemoryException that finds no
 * room for itself and its stack trace ends the process. So the end of the limit is for all that is not heap.
 * Large objects are refused, after a collection, where that share begins: limits_allow. Small ones are taken
 * out of blocks, whose number Mono checks against a maximum that is fixed when it starts. It keeps an account
 * for that, which is corrected here in each collection: what the host no longer has is taken out of it, and
 * Mono collects, and then throws, at the right time.
 */

#include <stdio.h>
#include "monohost_private.h"

#define MiB (1024 * 1024)

/* Large objects share sections of this size. Mono would collect for one that it has no room for, but not for
 * the section, so that large objects have to leave that much in the account. */
#define SECTION MiB

/* What large objects leave to small ones, so that a program that was refused a large one can go on. */
#define SMALL_ONLY (5 * MiB / 2)

/* Small ones share blocks of 16 KiB, with the same difficulty. */
#define BLOCKS (64 * 1024)

/* What an OutOfMemoryException may take to be made, thrown and caught, and how long. */
#define LOAN (SECTION + 4 * BLOCKS)
#define LOAN_TIME 250           /* milliseconds */

#define VARIABLE L"MONO_GC_PARAMS"

static IHostMemoryManager *host;
static IMscoreeHostMemory *accounts;    /* NULL: not that kind of host */
static SIZE_T first_available;          /* of such a host */
static bool governed;                   /* Mono's account can be got at */
static SIZE_T held;                     /* taken out of Mono's account */
static SIZE_T small_objects;            /* committed for them, for ever: Mono gives none of it back */
static SIZE_T loan;                     /* 0: none; what is to be left while it lasts */
static DWORD loan_time;

static DWORD (WINAPI *original_GetEnvironmentVariableW)(const WCHAR *name, WCHAR *value, DWORD size);
static WCHAR params[512];       /* empty: nothing to tell */

/* Mono's only ear for how it should collect is the environment. It is answered here for the module alone:
 * the environment of the process, and of programs it starts, stays as it is. */
static DWORD WINAPI limits_GetEnvironmentVariableW(const WCHAR *name, WCHAR *value, DWORD size)
{
    DWORD length = wcslen(params);

    /* Mono reads it as it starts; what a managed program reads later is the real one. */
    if (!length || !name || wcscmp(name, VARIABLE) || runtime_is_started())
        return original_GetEnvironmentVariableW(name, value, size);
    if (size <= length) return length + 1;
    memcpy(value, params, (length + 1) * sizeof(*params));
    return length;
}

/* False: there is no limit. */
static bool get_room(SIZE_T *limit, SIZE_T *available)
{
    HOST_MEMORY_STATISTICS stats = { .cbSize = sizeof(stats) };
    DWORD load;

    if (!accounts)
    {
        *limit = first_available;
        return *limit && IHostMemoryManager_GetMemoryLoad(host, &load, available) == S_OK;
    }
    if (IMscoreeHostMemory_GetStatistics(accounts, &stats) != S_OK || !stats.limit) return false;
    *limit = stats.limit;
    *available = stats.limit > stats.committed ? stats.limit - stats.committed : 0;
    return true;
}

/* Another host tells only what is available: that is its limit's if it is clearly less than what the machine
 * has. 0: it is the machine's. */
static SIZE_T get_first_available(void)
{
    MEMORYSTATUSEX status = { .dwLength = sizeof(status) };
    SIZE_T available;
    DWORD load;

    if (IHostMemoryManager_GetMemoryLoad(host, &load, &available) != S_OK) return 0;
    if (!GlobalMemoryStatusEx(&status) || available >= status.ullAvailPhys / 4 * 3) return 0;
    return available;
}

/* What may be needed beside the heap once that is full: the collector's own tables, code, metadata, blocks of
 * the runtime. Seen: 7 MiB, most of it when the first stack trace is made. */
static SIZE_T get_share(SIZE_T limit)
{
    return min(limit / 4, 8 * MiB + limit / 128);
}

/* Whether there is room for a large object, or a section for some, which is in the account already. */
bool limits_allow(SIZE_T size)
{
    SIZE_T limit, available, share;

    if (!governed || !runtime_is_allocating() || !get_room(&limit, &available)) return true;
    share = get_share(limit) + SMALL_ONLY;
    if (available < share || size > available - share) return false;
    if (!runtime_take_space(SECTION)) return false;
    runtime_give_space(SECTION);
    return true;
}

/* What can still be used for small objects and is not: what the host has, and what is committed for the heap
 * and free in it. The account's maximum is SIZE_MAX, so what cannot be taken out of it is in use. */
static SIZE_T get_unused(SIZE_T available)
{
    SIZE_T bit, committed = runtime_get_nursery_size() + runtime_get_large_objects() + small_objects, used;

    for (bit = ~(SIZE_MAX >> 1); bit; bit >>= 1)
        if (runtime_take_space(bit)) held += bit;
    used = SIZE_MAX - held;
    return available + committed > used ? available + committed - used : 0;
}

/* With the world stopped and the collector's lock held, so nobody else uses the account. */
static void correct(void)
{
    SIZE_T limit, available, unused, keep, room;
    bool limited;

    host_enter();
    limited = get_room(&limit, &available);
    host_leave();

    runtime_give_space(held);
    held = 0;
    if (!limited) return;

    unused = get_unused(available);
    keep = get_share(limit);
    if (unused >= keep + SECTION || GetTickCount() - loan_time > LOAN_TIME) loan = 0;
    if (loan) keep = min(keep, loan);
    room = unused > keep ? unused - keep : 0;
    room -= room % (loan ? BLOCKS : SECTION);
    if (!room && unused > LOAN && runtime_is_throwing())
    {
        room = LOAN;
        loan = unused - LOAN;
        loan_time = GetTickCount();
    }
    room = min(room, held);
    runtime_give_space(room);
    held -= room;
}

/* pages.c tells of each commit. */
void limits_small_objects(SIZE_T committed)
{
    small_objects += committed;
}

/* Without a way to the account: what a limit leaves to the heap, in MiB. Beside it a limit counts Mono's own
 * structures, metadata and code (4 to 20 MiB in the programs measured) and the card table (8 MiB). */
static unsigned int fixed_heap_size(unsigned int available)
{
    unsigned int reserve = min(available * 3 / 16, 24 + available / 32);

    return available > reserve + 8 + 16 ? available - reserve - 8 : 16;
}

void limits_init(IHostMemoryManager *memory)
{
    WCHAR given[256], size[64] = L"";
    SIZE_T limit, available;
    DWORD length;

    params[0] = 0;
    host = memory;
    if (IHostMemoryManager_QueryInterface(memory, &IID_IMscoreeHostMemory, (void **)&accounts) != S_OK)
        accounts = NULL;
    first_available = accounts ? 0 : get_first_available();
    if (!get_room(&limit, &available)) return;

    length = GetEnvironmentVariableW(VARIABLE, given, ARRAY_SIZE(given));
    if (length >= ARRAY_SIZE(given) || (length && wcsstr(given, L"max-heap-size"))) return;

    governed = runtime_govern(correct);
    if (!governed)
        _snwprintf(size, ARRAY_SIZE(size), L",max-heap-size=%um", fixed_heap_size(available >> 20));
    /* A concurrent collection, or one that leaves sweeping for later, has not yet freed anything when the
     * request that started it is tried again: seen as OutOfMemoryException at a quarter of the limit. */
    _snwprintf(params, ARRAY_SIZE(params) - 1, L"major=marksweep,no-concurrent-sweep,no-lazy-sweep%ls%ls%ls",
            size, length ? L"," : L"", length ? given : L"");
}

void limits_get_imports(struct import *imports)
{
    imports[0].name = "GetEnvironmentVariableW";
    imports[0].replacement = limits_GetEnvironmentVariableW;
    imports[0].original = (void **)&original_GetEnvironmentVariableW;
    imports[0].needed = false;
}
