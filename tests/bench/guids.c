/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The identifiers of the interfaces, once for both sets of workloads.
 */

#include <initguid.h>
#include "mscoreehost.h"
