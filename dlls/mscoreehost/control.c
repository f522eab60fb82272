/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostControl: what a hosting program hands to the runtime.
 */

#include "mscoreehost_private.h"

struct host_control
{
    IHostControl IHostControl_iface;
    LONG refcount;
    IHostMemoryManager *memory;     /* one reference, for the object's life */
};

static struct host_control *impl_from_IHostControl(IHostControl *iface)
{
    return CONTAINING_RECORD(iface, struct host_control, IHostControl_iface);
}

static HRESULT STDMETHODCALLTYPE host_control_QueryInterface(IHostControl *iface, REFIID iid, void **out)
{
    TRACE("iface %p, iid %s, out %p.\n", iface, debugstr_guid(iid), out);

    if (!out) return E_POINTER;
    *out = NULL;
    if (!IsEqualIID(iid, &IID_IHostControl) && !IsEqualIID(iid, &IID_IUnknown)) return E_NOINTERFACE;
    IHostControl_AddRef(iface);
    *out = iface;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE host_control_AddRef(IHostControl *iface)
{
    return InterlockedIncrement(&impl_from_IHostControl(iface)->refcount);
}

/* A runtime gives the control back at the end of its last Stop, and goes on using manager and malloc. From
 * then on it must not be called any more. */
static ULONG STDMETHODCALLTYPE host_control_Release(IHostControl *iface)
{
    struct host_control *control = impl_from_IHostControl(iface);
    ULONG refcount = InterlockedDecrement(&control->refcount);

    if (!refcount)
    {
        host_memory_end_notifications(control->memory);
        IHostMemoryManager_Release(control->memory);
        system_free(GetProcessHeap(), control);
        module_release();
    }
    return refcount;
}

/* The runtime asks for every manager it knows as it starts, from more than one thread at times. E_NOINTERFACE
 * is the ordinary answer: it then uses its own. It never calls QueryInterface on what it gets, so this is not
 * one either. */
static HRESULT STDMETHODCALLTYPE host_control_GetHostManager(IHostControl *iface, REFIID iid, void **out)
{
    struct host_control *control = impl_from_IHostControl(iface);

    TRACE("iface %p, iid %s, out %p.\n", iface, debugstr_guid(iid), out);

    if (!out) return E_POINTER;
    *out = NULL;
    if (!IsEqualIID(iid, &IID_IHostMemoryManager)) return E_NOINTERFACE;
    module_pin();
    IHostMemoryManager_AddRef(control->memory);
    *out = control->memory;
    return S_OK;
}

/* A failure would keep the runtime from making the domain. The manager is borrowed and of no use here. */
static HRESULT STDMETHODCALLTYPE host_control_SetAppDomainManager(IHostControl *iface, DWORD domain,
        IUnknown *manager)
{
    TRACE("iface %p, domain %lu, manager %p.\n", iface, domain, manager);

    return S_OK;
}

static const struct IHostControlVtbl host_control_vtbl =
{
    host_control_QueryInterface,
    host_control_AddRef,
    host_control_Release,
    host_control_GetHostManager,
    host_control_SetAppDomainManager,
};

HRESULT host_control_create(const struct host_options *options, IHostControl **out)
{
    struct host_control *control;
    HRESULT hr;

    *out = NULL;
    if (!(control = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*control)))) return E_OUTOFMEMORY;
    if (FAILED(hr = host_memory_create(options, &control->memory)))
    {
        system_free(GetProcessHeap(), control);
        return hr;
    }
    control->IHostControl_iface.lpVtbl = &host_control_vtbl;
    control->refcount = 1;
    module_addref();
    *out = &control->IHostControl_iface;
    return S_OK;
}
