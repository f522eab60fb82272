/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What more than one file of the DLL needs, and nothing else.
 */

#ifndef MSCOREEHOST_PRIVATE_H
#define MSCOREEHOST_PRIVATE_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <stddef.h>
#include <windows.h>
#include "mscoreehost.h"
#include "heap.h"
#include "lock.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

