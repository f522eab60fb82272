/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Trace output: Wine's channel "mscoreehost", or the debugger's window. Never from Alloc, Free or the page
 * calls.
 */

#include <stdarg.h>
#include <stdio.h>
#include "mscoreehost_private.h"

/* As Wine's debug interface has it. All flags set means: not looked up yet. */
struct debug_channel
{
    unsigned char flags;
    char name[15];
};

static struct debug_channel channel = { 0xff, "mscoreehost" };
static unsigned char (__cdecl *wine_channel_flags)(struct debug_channel *channel);
static int (__cdecl *wine_header)(enum trace_class class, struct debug_channel *channel,
        const char *function);
static int (__cdecl *wine_output)(const char *text);
static unsigned char debugger_flags;

void trace_init(void)
{
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    WCHAR value[8];

    wine_header = (void *)GetProcAddress(ntdll, "__wine_dbg_header");
    wine_output = (void *)GetProcAddress(ntdll, "__wine_dbg_output");
    wine_channel_flags = (void *)GetProcAddress(ntdll, "__wine_dbg_get_channel_flags");
    if (wine_header && wine_output && wine_channel_flags) return;

    wine_channel_flags = NULL;
    if (!GetEnvironmentVariableW(L"MSCOREEHOST_DEBUG", value, ARRAY_SIZE(value))) return;
    debugger_flags = 1 << TRACE_CLASS_FIXME | 1 << TRACE_CLASS_ERR | 1 << TRACE_CLASS_WARN;
    if (!lstrcmpiW(value, L"trace")) debugger_flags |= 1 << TRACE_CLASS_TRACE;
}

bool trace_is_on(enum trace_class class)
{
    unsigned char flags = wine_channel_flags ? wine_channel_flags(&channel) : debugger_flags;

    return flags & 1 << class;
}

void trace_print(enum trace_class class, const char *function, const char *format, ...)
{
    char text[512];
    va_list args;
    int length = 0;

    if (!wine_channel_flags)
    {
        length = _snprintf(text, sizeof(text), "mscoreehost:%s ", function);
        if (length < 0 || length >= (int)sizeof(text)) length = 0;
    }
    va_start(args, format);
    _vsnprintf(text + length, sizeof(text) - length, format, args);
    va_end(args);
    text[sizeof(text) - 1] = 0;

    if (!wine_channel_flags) OutputDebugStringA(text);
    else if (wine_header(class, &channel, function) != -1) wine_output(text);
}

/* Room for a few strings in one statement, in turn. A thread that loses its text to another one's loses a
 * line of trace, no more. */
static char *next_text(void)
{
    static char texts[8][128];
    static volatile LONG next;

    return texts[(InterlockedIncrement(&next) & 7)];
}

const char *debugstr_guid(const GUID *guid)
{
    char *text;

    if (!guid) return "(null)";
    text = next_text();
    _snprintf(text, 128, "{%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}", guid->Data1, guid->Data2,
            guid->Data3, guid->Data4[0], guid->Data4[1], guid->Data4[2], guid->Data4[3], guid->Data4[4],
            guid->Data4[5], guid->Data4[6], guid->Data4[7]);
    return text;
}

const char *debugstr_wn(const WCHAR *string, size_t length)
{
    char *text = next_text();
    size_t i;

    for (i = 0; i < length && i < 100; i++)
        text[i + 1] = string[i] >= 32 && string[i] < 127 ? (char)string[i] : '?';
    text[0] = text[i + 1] = '"';
    text[i + 2] = 0;
    return text;
}
