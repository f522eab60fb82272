/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Included before all else (-include) where an allocator of Linux is at the other end: the methods of the
 * memory host's interfaces then have the calling convention of Linux. With that of Windows each call of a
 * peer would have to save ten vector registers, about 3 ns that are no fault of the peer's.
 */

#ifndef BENCH_SYSV_H
#define BENCH_SYSV_H

#define COBJMACROS
#define CONST_VTABLE
/* What these declare keeps Windows' convention; what comes after them gets the other one. */
#include <windows.h>
#include <ole2.h>

#undef STDMETHODCALLTYPE
#define STDMETHODCALLTYPE __attribute__((sysv_abi))

#define SYSV_CALLS

#endif
