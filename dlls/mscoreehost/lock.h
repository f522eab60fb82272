/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The one lock of the house. Under Wine 8.0 a pair of exchange and store costs 8 ns where an SRW lock costs
 * 55; and unlike the system's locks it can be told apart from one whose owner was killed by ExitProcess. A
 * thread holds one lock at a time, but for the order that ledger.h names.
 */

#ifndef MSCOREEHOST_LOCK_H
#define MSCOREEHOST_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <windows.h>

struct lock
{
    volatile LONG held;
};

bool lock_wait(struct lock *lock);

/* True: taken. False: never, but for a process that is ending and whose lock's owner is dead. What the lock
 * protects is then half changed and must be left alone; only one thread runs by then. */
static inline bool lock_acquire(struct lock *lock)
{
    return !InterlockedExchange(&lock->held, 1) || lock_wait(lock);
}

static inline void lock_release(struct lock *lock)
{
    __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

/* Finds what lock_wait needs of the system. To be called once, before the first contention, and not in
 * DllMain. */
void lock_init(void);

/* ExitProcess has killed the other threads. */
bool process_is_ending(void);

/* HeapAlloc and HeapFree, but for a process that is ending: a thread that died inside them may have left the
 * system's heap half changed. There is no memory then, and nothing is given back. */
void *system_alloc(HANDLE system, DWORD flags, size_t bytes);
void system_free(HANDLE system, void *mem);
bool system_extend(HANDLE system, void *mem, size_t bytes);

#endif
