/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * ICLRMemoryNotificationCallback: makes Mono collect when the host tells of low memory.
 */

#include "monohost_private.h"

/* As the CLR's finalizer thread: no collection for a notification sooner than this after the last one. */
#define COLLECT_INTERVAL 8192

static HANDLE wake;
static volatile LONG low;       /* the last notification was of low memory */

static HRESULT STDMETHODCALLTYPE collector_QueryInterface(ICLRMemoryNotificationCallback *iface, REFIID iid,
        void **out)
{
    if (!out) return E_POINTER;
    *out = NULL;
    if (!IsEqualIID(iid, &IID_ICLRMemoryNotificationCallback) && !IsEqualIID(iid, &IID_IUnknown))
        return E_NOINTERFACE;
    *out = iface;
    return S_OK;
}

/* There is one and it is static, as the CLR's. */
static ULONG STDMETHODCALLTYPE collector_AddRef(ICLRMemoryNotificationCallback *iface)
{
    (void)iface;
    return 1;
}

static ULONG STDMETHODCALLTYPE collector_Release(ICLRMemoryNotificationCallback *iface)
{
    (void)iface;
    return 1;
}

/* Before the start nothing is collected and nothing is remembered: the CLR ignores it too. */
static HRESULT STDMETHODCALLTYPE collector_OnMemoryNotification(ICLRMemoryNotificationCallback *iface,
        EMemoryAvailable available)
{
    (void)iface;
    if (!runtime_is_ready()) return S_OK;
    InterlockedExchange(&low, available == eMemoryAvailableLow);
    if (available == eMemoryAvailableLow) SetEvent(wake);
    return S_OK;
}

static const ICLRMemoryNotificationCallbackVtbl collector_vtbl =
{
    collector_QueryInterface,
    collector_AddRef,
    collector_Release,
    collector_OnMemoryNotification,
};

static ICLRMemoryNotificationCallback collector = { &collector_vtbl };

/* One that comes too soon waits for its time, and for nothing if memory is no longer low then. */
static DWORD WINAPI collector_thread(void *arg)
{
    DWORD last = GetTickCount() - COLLECT_INTERVAL;

    (void)arg;
    for (;;)
    {
        DWORD passed;

        WaitForSingleObject(wake, INFINITE);
        passed = GetTickCount() - last;
        if (passed < COLLECT_INTERVAL) Sleep(COLLECT_INTERVAL - passed);
        if (!low) continue;
        last = GetTickCount();
        runtime_collect();
    }
    return 0;
}

/* NULL: no thread to be had, and so no collections. */
ICLRMemoryNotificationCallback *collector_create(void)
{
    HANDLE thread;

    if (!wake && !(wake = CreateEventW(NULL, FALSE, FALSE, NULL))) return NULL;
    if (!(thread = CreateThread(NULL, 0, collector_thread, NULL, 0, NULL)))
    {
        WARN("No thread for collections, error %lu.\n", GetLastError());
        return NULL;
    }
    CloseHandle(thread);
    return &collector;
}
