/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Waiting for a lock; what to keep off when its owner may be dead.
 */

#include "lock.h"

static BOOLEAN (WINAPI *dll_shutdown_in_progress)(void);

/* An export of ntdll, on Windows since XP and in Wine; looked up because the import would tie the DLL to
 * ntdll. */
void lock_init(void)
{
    FARPROC proc = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "RtlDllShutdownInProgress");

    __atomic_store_n(&dll_shutdown_in_progress, (BOOLEAN (WINAPI *)(void))(void *)proc, __ATOMIC_RELEASE);
}

bool process_is_ending(void)
{
    BOOLEAN (WINAPI *in_progress)(void) = __atomic_load_n(&dll_shutdown_in_progress, __ATOMIC_ACQUIRE);

    return in_progress && in_progress();
}

void *system_alloc(HANDLE system, DWORD flags, size_t bytes)
{
    return process_is_ending() ? NULL : HeapAlloc(system, flags, bytes);
}

void system_free(HANDLE system, void *mem)
{
    if (!process_is_ending()) HeapFree(system, 0, mem);
}

bool system_extend(HANDLE system, void *mem, size_t bytes)
{
    return !process_is_ending() && HeapReAlloc(system, HEAP_REALLOC_IN_PLACE_ONLY, mem, bytes);
}

#define SPINS 100   /* the time of a short stay inside */
#define YIELDS 1024 /* of 0.3 us each, for every sleep, which lasts 1100 and more */

bool lock_wait(struct lock *lock)
{
    unsigned int turn;

    for (turn = 1;; turn++)
    {
        if (!lock->held && !InterlockedExchange(&lock->held, 1)) return true;
        if (turn < SPINS)
        {
            YieldProcessor();
            continue;
        }
        if (process_is_ending()) return false;
        /* SwitchToThread alone would starve an owner of lower priority. */
        if (turn % YIELDS) SwitchToThread();
        else Sleep(1);
    }
}
