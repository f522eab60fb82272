/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The runtime's side: the managers it asks for, and its ear for memory pressure, an object that notes each
 * call and does what it is told to do inside.
 */

#ifndef MSCOREEHOST_FAKECLR_H
#define MSCOREEHOST_FAKECLR_H

#include "test.h"

DEFINE_GUID(IID_IHostTaskManager, 0x997ff24c, 0x43b7, 0x4352, 0x86, 0x67, 0x0d, 0xc0, 0x4f, 0xaf, 0xd3, 0x54);
DEFINE_GUID(IID_IHostThreadpoolManager, 0x983d50e2, 0xcb15, 0x466b, 0x80, 0xfc, 0x84, 0x5d, 0xc6, 0xe8, 0xc5,
        0xfd);
DEFINE_GUID(IID_IHostIoCompletionManager, 0x8bde9d80, 0xec06, 0x41d6, 0x83, 0xe6, 0x22, 0x58, 0x0e, 0xff,
        0xcc, 0x20);
DEFINE_GUID(IID_IHostSyncManager, 0x234330c7, 0x5f10, 0x4f20, 0x96, 0x15, 0x51, 0x22, 0xda, 0xb7, 0xa0, 0xac);
DEFINE_GUID(IID_IHostAssemblyManager, 0x613dabd7, 0x62b2, 0x493e, 0x9e, 0x65, 0xc1, 0xe3, 0x2a, 0x1e, 0x0c,
        0x5e);
DEFINE_GUID(IID_IHostGCManager, 0x5d4ec34e, 0xf248, 0x457b, 0xb6, 0x03, 0x25, 0x5f, 0xaa, 0xba, 0x0d, 0x21);
DEFINE_GUID(IID_IHostSecurityManager, 0x75ad2468, 0xa349, 0x4d02, 0xa7, 0x64, 0x76, 0xa6, 0x8a, 0xee, 0x0c,
        0x4f);
DEFINE_GUID(IID_IHostPolicyManager, 0x7ae49844, 0xb1e3, 0x4683, 0xba, 0x7c, 0x1e, 0x82, 0x12, 0xea, 0x3b,
        0x79);

/* What a runtime asks an IHostControl for after the memory manager, in its order. */
static const IID *const other_managers[] =
{
    &IID_IHostTaskManager, &IID_IHostThreadpoolManager, &IID_IHostIoCompletionManager, &IID_IHostSyncManager,
    &IID_IHostAssemblyManager, &IID_IHostGCManager, &IID_IHostSecurityManager, &IID_IHostPolicyManager,
};

struct callback
{
    ICLRMemoryNotificationCallback ICLRMemoryNotificationCallback_iface;
    LONG refcount;
    bool immortal;                   /* as published runtimes have it: AddRef and Release do nothing, say 1 */
    volatile LONG calls;
    volatile LONG count[4];             /* by EMemoryAvailable; 0: any other value */
    volatile LONG inside;               /* calls under way */
    volatile DWORD thread;              /* of the last call */
    void (*on_call)(struct callback *callback);
    void *context;
    struct verdict verdict;             /* of on_call */
};

static inline struct callback *impl_from_ICLRMemoryNotificationCallback(ICLRMemoryNotificationCallback *iface)
{
    return CONTAINING_RECORD(iface, struct callback, ICLRMemoryNotificationCallback_iface);
}

static HRESULT STDMETHODCALLTYPE callback_QueryInterface(ICLRMemoryNotificationCallback *iface, REFIID iid,
        void **out)
{
    *out = NULL;
    if (!IsEqualIID(iid, &IID_ICLRMemoryNotificationCallback) && !IsEqualIID(iid,
            &IID_IUnknown)) return E_NOINTERFACE;
    ICLRMemoryNotificationCallback_AddRef(iface);
    *out = iface;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE callback_AddRef(ICLRMemoryNotificationCallback *iface)
{
    struct callback *callback = impl_from_ICLRMemoryNotificationCallback(iface);

    return callback->immortal ? 1 : InterlockedIncrement(&callback->refcount);
}

static ULONG STDMETHODCALLTYPE callback_Release(ICLRMemoryNotificationCallback *iface)
{
    struct callback *callback = impl_from_ICLRMemoryNotificationCallback(iface);

    return callback->immortal ? 1 : InterlockedDecrement(&callback->refcount);
}

static HRESULT STDMETHODCALLTYPE callback_OnMemoryNotification(ICLRMemoryNotificationCallback *iface,
        EMemoryAvailable what)
{
    struct callback *callback = impl_from_ICLRMemoryNotificationCallback(iface);

    InterlockedIncrement(&callback->inside);
    callback->thread = GetCurrentThreadId();
    if (callback->on_call) callback->on_call(callback);
    InterlockedIncrement(&callback->count[what >= eMemoryAvailableLow && what <= eMemoryAvailableHigh
            ? what : 0]);
    InterlockedIncrement(&callback->calls);
    InterlockedDecrement(&callback->inside);
    return S_OK;
}

static const ICLRMemoryNotificationCallbackVtbl callback_vtbl =
{
    callback_QueryInterface,
    callback_AddRef,
    callback_Release,
    callback_OnMemoryNotification,
};

static inline ICLRMemoryNotificationCallback *callback_init(struct callback *callback)
{
    memset(callback, 0, sizeof(*callback));
    callback->ICLRMemoryNotificationCallback_iface.lpVtbl = &callback_vtbl;
    callback->refcount = 1;
    return &callback->ICLRMemoryNotificationCallback_iface;
}

#endif
