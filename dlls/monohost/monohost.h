/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * monohost.dll: gives a Mono runtime an IHostControl, where ICLRRuntimeHost::SetHostControl does not (Wine).
 */

#ifndef MONOHOST_H
#define MONOHOST_H

#include <windows.h>
#include <mscoree.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Does for the Mono runtime in the module mono what ICLRRuntimeHost::SetHostControl does for the CLR: from
 * now on the module takes its heap blocks from the host's IHostMalloc and its pages from the host's
 * IHostMemoryManager, and collects when the host tells of low memory. To be called after the module is loaded
 * and before the runtime is initialised (mono_jit_init_version, or
 * ICLRRuntimeHost::ExecuteInDefaultAppDomain). Keeps a reference to control.
 *
 * S_OK: done; also for a second call, which changes nothing. A host without a memory manager is S_OK too, and
 * nothing is hosted then, as with the CLR. E_INVALIDARG: mono or control is NULL. E_ACCESSDENIED: the runtime
 * is initialised already, or another module has been given a host. CLR_E_SHIM_RUNTIMEEXPORT: the module is
 * not a Mono runtime. ERROR_PROC_NOT_FOUND as an HRESULT: it does not import the functions that would have to
 * be redirected. E_UNEXPECTED: the host made no malloc. Each has its reason on the debug channel "monohost"
 * (WINEDEBUG=warn+monohost). */
HRESULT WINAPI MonoSetHostControl(HMODULE mono, IHostControl *control);

/* The one line for a hosting program that runs on Windows and under Wine alike:
 * runtime->SetHostControl(control); where that is E_NOTIMPL and a Mono module is loaded
 * (ICLRRuntimeInfo::GetInterface loads it), MonoSetHostControl for that module. E_NOTIMPL: no Mono module is
 * loaded. */
HRESULT WINAPI AttachHostControl(ICLRRuntimeHost *runtime, IHostControl *control);

#ifdef __cplusplus
}
#endif

#endif
