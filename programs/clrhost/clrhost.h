/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What more than one file of clrhost needs.
 */

#ifndef CLRHOST_H
#define CLRHOST_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include "mscoreehost.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

/* Exit codes of clrhost's own. A shell's for "cannot run this", which programs rarely use. */
#define EXIT_USAGE 125
#define EXIT_CANNOT_RUN 126
#define EXIT_NO_PROGRAM 127

/* main.c */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *utf8(const WCHAR *text);
WCHAR *full_path(const WCHAR *path);
HMODULE load_own_dll(const WCHAR *name);

/* image.c: looks at program files before they are run. */
enum image_kind
{
    IMAGE_MISSING,              /* GetLastError says why */
    IMAGE_UNKNOWN,              /* not a program file */
    IMAGE_NATIVE,
    IMAGE_MANAGED,
};

enum image_kind image_look(const WCHAR *path, WORD *machine);
bool image_is_for_us(WORD machine);
const char *image_machine_name(WORD machine);

/* mono.c, framework.c: both return the program's exit code, or one of clrhost's own with what is wrong told.
 * */
bool mono_find(const WCHAR *given, WCHAR **root);
int mono_run(const WCHAR *root, IHostControl *control, int argc, WCHAR **argv);
bool framework_is_here(void);
int framework_run(IHostControl *control, int argc, WCHAR **argv);

/* count.c: stands between a runtime and its host and counts. */
#define COUNT_SIZES 28          /* powers of two, the last one for all that is larger */

struct call_counts
{
    volatile LONG64 alloc, alloc_zeroed, realloc, free, foreign, failed;
    volatile LONG64 page_alloc, page_free, page_foreign, page_protect, page_query;
    volatile LONG64 sizes[COUNT_SIZES];     /* of alloc, alloc_zeroed and realloc */
};

IHostControl *count_create(IHostControl *control);
const struct call_counts *count_get(void);

/* summary.c */
void summary_begin(IHostControl *control, const WCHAR *program, bool print, const WCHAR *csv);
void summary_end(void);

#endif
