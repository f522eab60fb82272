/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Keeps Mono from stopping a thread inside a call of the host; see host_enter.
 */

#include <winternl.h>
#include "monohost_private.h"

DWORD suspend_slot;

static DWORD (WINAPI *original_SuspendThread)(HANDLE thread);
static NTSTATUS (WINAPI *query_information_thread)(HANDLE thread, THREADINFOCLASS class, void *info,
        ULONG length, ULONG *returned);

/* ThreadBasicInformation, for the address of another thread's TEB. */
struct basic_information
{
    NTSTATUS status;
    char *teb;
    void *process, *id;
    ULONG_PTR affinity;
    LONG priority, base_priority;
};

static bool is_in_host(HANDLE thread)
{
    struct basic_information info;

    if (query_information_thread(thread, (THREADINFOCLASS)0, &info, sizeof(info), NULL)) return false;
    return *(volatile ULONG_PTR *)(info.teb + TEB_TLS_SLOTS + suspend_slot * sizeof(void *)) != 0;
}

/* SuspendThread only asks for it; the thread stands still once its context has been read. */
static bool wait_until_still(HANDLE thread)
{
    CONTEXT context;

    context.ContextFlags = CONTEXT_CONTROL;
    return GetThreadContext(thread, &context);
}

static DWORD WINAPI suspend_SuspendThread(HANDLE thread)
{
    unsigned int turn;
    DWORD count;

    for (turn = 0;; turn++)
    {
        count = original_SuspendThread(thread);
        /* Stopped by somebody else before: letting it go on is not for us. */
        if (count || !wait_until_still(thread) || !is_in_host(thread)) return count;
        ResumeThread(thread);
        if (turn & 15) SwitchToThread();
        else Sleep(0);
    }
}

bool suspend_init(void)
{
    if (query_information_thread) return true;
    suspend_slot = TlsAlloc();
    if (suspend_slot >= 64)
    {
        WARN("No TLS slot among the first 64.\n");
        if (suspend_slot != TLS_OUT_OF_INDEXES) TlsFree(suspend_slot);
        return false;
    }
    query_information_thread = (void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"),
            "NtQueryInformationThread");
    return query_information_thread != NULL;
}

void suspend_get_imports(struct import *imports)
{
    /* A runtime that asks its threads to stop themselves does not need it. */
    imports[0].name = "SuspendThread";
    imports[0].replacement = suspend_SuspendThread;
    imports[0].original = (void **)&original_SuspendThread;
    imports[0].needed = false;
}
