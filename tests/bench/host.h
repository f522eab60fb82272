/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Other allocators behind the interfaces of a memory host: what host.c and the files with the allocators
 * share.
 */

#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <windows.h>
#include "mscoreehost.h"

#define ARRAY_SIZE(x) (sizeof(x) / sizeof(*(x)))

/* A malloc over the allocator of this name. */
HRESULT create_malloc(const char *name, IHostMalloc **out);

/* The methods that all of them have in common. */
HRESULT STDMETHODCALLTYPE malloc_QueryInterface(IHostMalloc *iface, REFIID iid, void **out);
ULONG STDMETHODCALLTYPE malloc_AddRef(IHostMalloc *iface);

#endif
