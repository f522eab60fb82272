/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The class in the registry, by regsvr32, and without it, by manifest. Runs in a Wine prefix of the tests'
 * own.
 */

#include "test.h"

#define CLASS L"CLSID\\{A65BE118-160C-4FD7-9A54-E7B3AE6277CD}"
#define LIBRARY L"TypeLib\\{154FD8B4-2A3C-4BA9-8D98-BFD4BFDC7C0C}"

static void dll_path(WCHAR *path)
{
    assert_in_range(GetModuleFileNameW(load_dll(), path, MAX_PATH), 1, MAX_PATH - 1);
}

/* The exit code of regsvr32 with these arguments and the DLL's path. */
static DWORD regsvr32(const WCHAR *arguments)
{
    WCHAR command[MAX_PATH + 64], path[MAX_PATH];
    PROCESS_INFORMATION process;
    DWORD code;

    dll_path(path);
    lstrcpyW(command, L"regsvr32.exe ");
    lstrcatW(command, arguments);
    lstrcatW(command, L" \"");
    lstrcatW(command, path);
    lstrcatW(command, L"\"");
    start_process(NULL, command, &process);
    assert_int_equal(WaitForSingleObject(process.hProcess, 60000), 0);
    GetExitCodeProcess(process.hProcess, &code);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
    return code;
}

static bool has_key(const WCHAR *key)
{
    HKEY handle;

    if (RegOpenKeyExW(HKEY_CLASSES_ROOT, key, 0, KEY_READ, &handle)) return false;
    RegCloseKey(handle);
    return true;
}

static void assert_value(const WCHAR *key, const WCHAR *name, const WCHAR *expected)
{
    WCHAR value[MAX_PATH] = {0};
    DWORD size = sizeof(value) - sizeof(*value);

    assert_int_equal(RegGetValueW(HKEY_CLASSES_ROOT, key, name, RRF_RT_REG_SZ, NULL, value, &size), 0);
    if (lstrcmpiW(value, expected)) fail_msg("unexpected registry value, %u characters",
            (unsigned int)lstrlenW(value));
}

/* Every key, value and its data below a key, as one number that any change changes. */
static unsigned int digest_key(HKEY root, const WCHAR *name, unsigned int digest)
{
    static BYTE data[0x10000];
    DWORD i, j, size, bytes;
    WCHAR text[256];
    HKEY key;

    if (RegOpenKeyExW(root, name, 0, KEY_READ, &key)) return digest;
    for (i = 0; size = ARRAY_SIZE(text), bytes = sizeof(data), !RegEnumValueW(key, i, text, &size, NULL, NULL,
            data, &bytes); i++)
    {
        for (j = 0; j < size; j++) digest = digest * 31 + text[j];
        for (j = 0; j < bytes; j++) digest = digest * 35 + data[j];
    }
    for (i = 0; size = ARRAY_SIZE(text), !RegEnumKeyExW(key, i, text, &size, NULL, NULL, NULL, NULL); i++)
    {
        for (j = 0; j < size; j++) digest = digest * 33 + text[j];
        digest = digest_key(key, text, digest);
    }
    RegCloseKey(key);
    return digest * 37;
}

static unsigned int digest_classes(void)
{
    return digest_key(HKEY_LOCAL_MACHINE, L"Software\\Classes", 1) ^ digest_key(HKEY_CURRENT_USER,
            L"Software\\Classes", 2);
}

static int unregister(void **state)
{
    (void)state;
    return (int)regsvr32(L"/s /u");
}

static void test_register(void **state)
{
    WCHAR path[MAX_PATH];

    (void)state;
    test_begin();
    assert_false(has_key(CLASS));
    assert_int_equal(regsvr32(L"/s"), 0);
    dll_path(path);
    assert_value(CLASS L"\\InprocServer32", NULL, path);
    assert_value(CLASS L"\\InprocServer32", L"ThreadingModel", L"Both");
    assert_value(CLASS L"\\ProgID", NULL, L"MscoreeHost.HostControl.1");
    assert_value(CLASS L"\\VersionIndependentProgID", NULL, L"MscoreeHost.HostControl");
    assert_value(CLASS L"\\TypeLib", NULL, L"{154FD8B4-2A3C-4BA9-8D98-BFD4BFDC7C0C}");
    assert_value(L"MscoreeHost.HostControl\\CLSID", NULL, L"{A65BE118-160C-4FD7-9A54-E7B3AE6277CD}");
    assert_value(L"MscoreeHost.HostControl\\CurVer", NULL, L"MscoreeHost.HostControl.1");
    assert_value(L"MscoreeHost.HostControl.1\\CLSID", NULL, L"{A65BE118-160C-4FD7-9A54-E7B3AE6277CD}");
    assert_true(has_key(LIBRARY L"\\1.0\\0"));
}

static void assert_creates(REFCLSID clsid)
{
    IHostControl *control = POISON;

    assert_hr(CoCreateInstance(clsid, NULL, CLSCTX_INPROC_SERVER, &IID_IHostControl, (void **)&control),
            S_OK);
    assert_refcount(control, 1);
    assert_int_equal(IHostControl_Release(control), 0);
}

static void test_create_registered(void **state)
{
    ITypeLib *library;
    CLSID clsid;

    (void)state;
    test_begin();
    assert_int_equal(regsvr32(L"/s"), 0);
    assert_hr(CoInitializeEx(NULL, COINIT_MULTITHREADED), S_OK);
    assert_creates(&CLSID_HostControl);
    assert_hr(CLSIDFromProgID(L"MscoreeHost.HostControl", &clsid), S_OK);
    assert_creates(&clsid);
    assert_hr(LoadRegTypeLib(&LIBID_MscoreeHost, 1, 0, LOCALE_NEUTRAL, &library), S_OK);
    ITypeLib_Release(library);
    CoUninitialize();
}

static void test_unregister_leaves_nothing(void **state)
{
    unsigned int before;

    (void)state;
    test_begin();
    before = digest_classes();
    assert_int_equal(regsvr32(L"/s"), 0);
    assert_int_not_equal(digest_classes(), before);
    assert_int_equal(regsvr32(L"/s /u"), 0);
    assert_int_equal(digest_classes(), before);
    assert_false(has_key(CLASS));
    assert_false(has_key(LIBRARY));
}

static void test_register_twice(void **state)
{
    (void)state;
    test_begin();
    assert_int_equal(regsvr32(L"/s"), 0);
    assert_int_equal(regsvr32(L"/s"), 0);
    assert_int_equal(regsvr32(L"/s /u"), 0);
    assert_int_equal(regsvr32(L"/s /u"), 0);
    assert_false(has_key(CLASS));
}

/* The manifest lies beside the DLL. */
static void test_create_by_manifest(void **state)
{
    WCHAR path[MAX_PATH];
    ACTCTXW context = {.cbSize = sizeof(context), .lpSource = path};
    IHostControl *control = POISON;
    ULONG_PTR cookie;
    HANDLE handle;
    CLSID clsid;

    (void)state;
    test_begin();
    assert_false(has_key(CLASS));
    dll_path(path);
    lstrcpyW(path + lstrlenW(path) - 4, L".manifest");
    assert_hr(CoInitializeEx(NULL, COINIT_MULTITHREADED), S_OK);
    assert_hr(CoCreateInstance(&CLSID_HostControl, NULL, CLSCTX_INPROC_SERVER, &IID_IHostControl,
            (void **)&control), REGDB_E_CLASSNOTREG);
    handle = CreateActCtxW(&context);
    assert_ptr_not_equal(handle, INVALID_HANDLE_VALUE);
    assert_true(ActivateActCtx(handle, &cookie));
    assert_creates(&CLSID_HostControl);
    assert_hr(CLSIDFromProgID(L"MscoreeHost.HostControl", &clsid), S_OK);
    assert_creates(&clsid);     /* an alias that only this context knows */
    DeactivateActCtx(0, cookie);
    ReleaseActCtx(handle);
    CoUninitialize();
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        cmocka_unit_test_teardown(test_register, unregister),
        cmocka_unit_test_teardown(test_create_registered, unregister),
        cmocka_unit_test(test_unregister_leaves_nothing),
        cmocka_unit_test(test_register_twice),
        cmocka_unit_test(test_create_by_manifest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
