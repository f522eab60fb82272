/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The DLL from outside: its exports, its class factory, when it may be unloaded, its type library and
 * version.
 */

#include "test.h"

typedef HRESULT (WINAPI *get_class_object_fn)(REFCLSID clsid, REFIID iid, void **out);
typedef HRESULT (WINAPI *can_unload_fn)(void);

static HRESULT get_class_object(REFCLSID clsid, REFIID iid, void **out)
{
    return ((get_class_object_fn)get_export(load_dll(), "DllGetClassObject"))(clsid, iid, out);
}

/* Not the helper of test.h: it keeps the address, and one of these tests has the DLL unloaded. */
static HRESULT create_control(IHostControl **out)
{
    return ((create_host_control_fn)get_export(load_dll(), "CreateHostControl"))(NULL, &IID_IHostControl,
            (void **)out);
}

static HRESULT can_unload(void)
{
    return ((can_unload_fn)get_export(load_dll(), "DllCanUnloadNow"))();
}

/* Runs first: nothing has been made yet. A manager that is handed out pins the DLL, so all that may not
 * happen comes before the test that does. */
static void test_unload_before_use(void **state)
{
    (void)state;
    test_begin();
    assert_hr(can_unload(), S_OK);
}

static void test_unload_with_objects(void **state)
{
    IHostControl *first, *second;
    IClassFactory *factory;

    (void)state;
    test_begin();
    assert_hr(create_control(&first), S_OK);
    assert_hr(can_unload(), S_FALSE);
    assert_hr(create_control(&second), S_OK);
    assert_int_equal(IHostControl_Release(first), 0);
    assert_hr(can_unload(), S_FALSE);
    assert_int_equal(IHostControl_Release(second), 0);
    assert_hr(can_unload(), S_OK);

    assert_hr(get_class_object(&CLSID_HostControl, &IID_IClassFactory, (void **)&factory), S_OK);
    assert_hr(can_unload(), S_FALSE);
    IClassFactory_Release(factory);
    assert_hr(can_unload(), S_OK);
}

static void test_unload_when_locked(void **state)
{
    IClassFactory *factory;

    (void)state;
    test_begin();
    assert_hr(get_class_object(&CLSID_HostControl, &IID_IClassFactory, (void **)&factory), S_OK);
    assert_hr(IClassFactory_LockServer(factory, TRUE), S_OK);
    assert_hr(IClassFactory_LockServer(factory, TRUE), S_OK);
    IClassFactory_Release(factory);
    assert_hr(can_unload(), S_FALSE);
    assert_hr(IClassFactory_LockServer(factory, FALSE), S_OK);
    assert_hr(can_unload(), S_FALSE);
    assert_hr(IClassFactory_LockServer(factory, FALSE), S_OK);
    assert_hr(can_unload(), S_OK);
}

static void test_unload_for_real(void **state)
{
    IHostControl *control;
    HMODULE dll = load_dll();
    unsigned int i;

    (void)state;
    test_begin();
    assert_hr(create_control(&control), S_OK);
    assert_int_equal(IHostControl_Release(control), 0);
    assert_hr(can_unload(), S_OK);
    for (i = 0; i < 100 && GetModuleHandleW(L"mscoreehost.dll"); i++) FreeLibrary(dll);
    assert_null(GetModuleHandleW(L"mscoreehost.dll"));
}

static void test_class_object(void **state)
{
    IClassFactory *factory = POISON, *other;

    (void)state;
    test_begin();
    assert_hr(get_class_object(&CLSID_HostControl, &IID_IClassFactory, NULL), E_POINTER);
    assert_hr(get_class_object(&IID_IHostControl, &IID_IClassFactory, (void **)&factory),
            CLASS_E_CLASSNOTAVAILABLE);
    assert_null(factory);
    factory = POISON;
    assert_hr(get_class_object(&CLSID_HostControl, &IID_IHostControl, (void **)&factory), E_NOINTERFACE);
    assert_null(factory);
    assert_hr(get_class_object(&CLSID_HostControl, &IID_IUnknown, (void **)&factory), S_OK);
    other = POISON;
    assert_hr(IClassFactory_QueryInterface(factory, &IID_IHostControl, (void **)&other), E_NOINTERFACE);
    assert_null(other);
    assert_hr(IClassFactory_QueryInterface(factory, &IID_IClassFactory, NULL), E_POINTER);
    assert_hr(IClassFactory_QueryInterface(factory, &IID_IClassFactory, (void **)&other), S_OK);
    assert_ptr_equal(other, factory);
    IClassFactory_Release(other);
    IClassFactory_Release(factory);
}

static void test_create_instance(void **state)
{
    IClassFactory *factory;
    IHostControl *control;
    IUnknown *out;

    (void)state;
    test_begin();
    assert_hr(get_class_object(&CLSID_HostControl, &IID_IClassFactory, (void **)&factory), S_OK);
    assert_hr(IClassFactory_CreateInstance(factory, NULL, &IID_IHostControl, (void **)&control), S_OK);
    assert_refcount(control, 1);

    out = POISON;
    assert_hr(IClassFactory_CreateInstance(factory, (IUnknown *)control, &IID_IUnknown, (void **)&out),
            CLASS_E_NOAGGREGATION);
    assert_null(out);
    out = POISON;
    assert_hr(IClassFactory_CreateInstance(factory, NULL, &IID_IHostMalloc, (void **)&out), E_NOINTERFACE);
    assert_null(out);
    assert_hr(IClassFactory_CreateInstance(factory, NULL, &IID_IUnknown, NULL), E_POINTER);
    assert_int_equal(IHostControl_Release(control), 0);
    IClassFactory_Release(factory);
}

static const void *directory(const char *image, unsigned int index)
{
    const IMAGE_DOS_HEADER *dos = (const IMAGE_DOS_HEADER *)image;
    const IMAGE_NT_HEADERS *nt = (const IMAGE_NT_HEADERS *)(image + dos->e_lfanew);

    return image + nt->OptionalHeader.DataDirectory[index].VirtualAddress;
}

/* Five names, as they are written in C, on i686 too. */
static void test_exports(void **state)
{
    static const char *const names[] =
    {
        "CreateHostControl", "DllCanUnloadNow", "DllGetClassObject", "DllRegisterServer",
                "DllUnregisterServer",
    };
    const char *image = (const char *)load_dll();
    const IMAGE_EXPORT_DIRECTORY *exports = directory(image, IMAGE_DIRECTORY_ENTRY_EXPORT);
    const DWORD *offsets = (const DWORD *)(image + exports->AddressOfNames);
    unsigned int i;

    (void)state;
    test_begin();
    assert_int_equal(exports->NumberOfNames, ARRAY_SIZE(names));
    for (i = 0; i < ARRAY_SIZE(names); i++) assert_string_equal(image + offsets[i], names[i]);
}

/* System DLLs, and none of the compiler's. */
static void test_imports(void **state)
{
    static const char *const allowed[] = {"kernel32.dll", "advapi32.dll", "ole32.dll", "oleaut32.dll",
            "msvcrt.dll"};
    const char *image = (const char *)load_dll();
    const IMAGE_IMPORT_DESCRIPTOR *import = directory(image, IMAGE_DIRECTORY_ENTRY_IMPORT);
    unsigned int i, count;

    (void)state;
    test_begin();
    for (count = 0; import->Name; import++, count++)
    {
        for (i = 0; i < ARRAY_SIZE(allowed); i++)
            if (!lstrcmpiA(image + import->Name, allowed[i])) break;
        if (i == ARRAY_SIZE(allowed)) fail_msg("import of %s", image + import->Name);
    }
    assert_in_range(count, 1, ARRAY_SIZE(allowed));
}

static void test_type_library(void **state)
{
    static const IID *const interfaces[] =
    {
        &IID_IHostControl, &IID_IHostMemoryManager, &IID_IHostMalloc, &IID_ICLRMemoryNotificationCallback,
        &IID_IMscoreeHostMemory, &IID_IMscoreeHostMalloc,
    };
    static const UINT methods[] = {2, 10, 3, 1, 5, 4};
    WCHAR path[MAX_PATH];
    ITypeLib *library;
    ITypeInfo *info;
    TYPEATTR *attr;
    TLIBATTR *lib;
    unsigned int i;

    (void)state;
    test_begin();
    assert_in_range(GetModuleFileNameW(load_dll(), path, ARRAY_SIZE(path)), 1, ARRAY_SIZE(path) - 1);
    assert_hr(LoadTypeLibEx(path, REGKIND_NONE, &library), S_OK);
    assert_hr(ITypeLib_GetLibAttr(library, &lib), S_OK);
    assert_true(IsEqualGUID(&lib->guid, &LIBID_MscoreeHost));
    assert_int_equal(lib->wMajorVerNum, 1);
    ITypeLib_ReleaseTLibAttr(library, lib);
    for (i = 0; i < ARRAY_SIZE(interfaces); i++)
    {
        assert_hr(ITypeLib_GetTypeInfoOfGuid(library, interfaces[i], &info), S_OK);
        assert_hr(ITypeInfo_GetTypeAttr(info, &attr), S_OK);
        assert_int_equal(attr->typekind, TKIND_INTERFACE);
        assert_int_equal(attr->cFuncs, methods[i]);
        ITypeInfo_ReleaseTypeAttr(info, attr);
        ITypeInfo_Release(info);
    }
    assert_hr(ITypeLib_GetTypeInfoOfGuid(library, &CLSID_HostControl, &info), S_OK);
    ITypeInfo_Release(info);
    ITypeLib_Release(library);
}

static void test_version(void **state)
{
    static char data[4096];
    VS_FIXEDFILEINFO *fixed;
    WCHAR path[MAX_PATH];
    UINT size;
    char *text;

    (void)state;
    test_begin();
    GetModuleFileNameW(load_dll(), path, ARRAY_SIZE(path));
    assert_true(GetFileVersionInfoW(path, 0, sizeof(data), data));
    assert_true(VerQueryValueA(data, "\\", (void **)&fixed, &size));
    assert_int_equal(fixed->dwSignature, VS_FFI_SIGNATURE);
    assert_int_equal(fixed->dwFileType, VFT_DLL);
    assert_int_not_equal(fixed->dwFileVersionMS | fixed->dwFileVersionLS, 0);
    assert_true(VerQueryValueA(data, "\\StringFileInfo\\040904b0\\ProductName", (void **)&text, &size));
    assert_string_equal(text, "mscoreehost");
}

/* A runtime never gives its manager back, and goes on using it whatever the host does with the DLL. */
static void test_pinned_by_manager(void **state)
{
    IHostMemoryManager *memory;
    IHostControl *control;
    HMODULE dll = load_dll();
    unsigned int i;

    (void)state;
    test_begin();
    assert_hr(create_control(&control), S_OK);
    assert_hr(IHostControl_GetHostManager(control, &IID_IHostMemoryManager, (void **)&memory), S_OK);
    assert_int_equal(IHostControl_Release(control), 0);
    assert_int_equal(IHostMemoryManager_Release(memory), 0);
    assert_hr(can_unload(), S_FALSE);
    for (i = 0; i < 100; i++) FreeLibrary(dll);
    assert_ptr_equal(GetModuleHandleW(L"mscoreehost.dll"), dll);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        cmocka_unit_test(test_unload_before_use),
        cmocka_unit_test(test_unload_with_objects),
        cmocka_unit_test(test_unload_when_locked),
        cmocka_unit_test(test_unload_for_real),
        cmocka_unit_test(test_class_object),
        cmocka_unit_test(test_create_instance),
        cmocka_unit_test(test_exports),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_type_library),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_pinned_by_manager),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
