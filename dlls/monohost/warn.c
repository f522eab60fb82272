/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Says why something cannot be done: on Wine's debug channel "monohost", elsewhere in the debugger's window.
 */

#include <stdarg.h>
#include <stdio.h>
#include "monohost_private.h"

/* As Wine's debug interface has it. All flags set means: not looked up yet. */
struct channel
{
    unsigned char flags;
    char name[15];
};

#define CLASS_WARN 2

void warn(const char *function, const char *format, ...)
{
    static struct channel channel = { 0xff, "monohost" };
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    unsigned char (__cdecl *flags)(struct channel *channel);
    int (__cdecl *header)(int class, struct channel *channel, const char *function);
    int (__cdecl *output)(const char *text);
    int length = 0;
    char text[512];
    va_list args;
    bool wine;

    flags = (void *)GetProcAddress(ntdll, "__wine_dbg_get_channel_flags");
    header = (void *)GetProcAddress(ntdll, "__wine_dbg_header");
    output = (void *)GetProcAddress(ntdll, "__wine_dbg_output");
    wine = flags && header && output;
    if (wine && !(flags(&channel) & 1 << CLASS_WARN)) return;
    if (!wine) length = snprintf(text, 64, "monohost:%s ", function);
    va_start(args, format);
    vsnprintf(text + length, sizeof(text) - length, format, args);
    va_end(args);

    if (!wine) OutputDebugStringA(text);
    else if (header(CLASS_WARN, &channel, function) != -1) output(text);
}
