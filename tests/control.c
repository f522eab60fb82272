/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostControl: creation, the manager it hands out, and how long what lives.
 */

#include "fakeclr.h"

static void test_create(void **state)
{
    IHostControl *control = POISON;
    IUnknown *unk = POISON;

    (void)state;
    test_begin();
    assert_hr(create_host_control(NULL, &IID_IHostControl, (void **)&control), S_OK);
    assert_refcount(control, 1);
    assert_int_equal(IHostControl_Release(control), 0);

    assert_hr(create_host_control(NULL, &IID_IUnknown, (void **)&unk), S_OK);
    assert_refcount(unk, 1);
    assert_interface(unk, &IID_IHostControl, true);
    assert_int_equal(IUnknown_Release(unk), 0);
}

static void test_create_without_out(void **state)
{
    (void)state;
    test_begin();
    assert_hr(create_host_control(NULL, &IID_IHostControl, NULL), E_POINTER);
}

static void test_create_other_interface(void **state)
{
    static const IID *const iids[] =
    {
        &IID_IHostMemoryManager, &IID_IHostMalloc, &IID_IMscoreeHostMemory, &IID_IClassFactory,
    };
    void *out;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(iids); i++)
    {
        out = POISON;
        assert_hr(create_host_control(NULL, iids[i], &out), E_NOINTERFACE);
        assert_null(out);
    }
}

static void test_query_interface(void **state)
{
    struct host *host = *state;
    IUnknown *first, *second;

    test_begin();
    assert_interface(host->control, &IID_IUnknown, true);
    assert_interface(host->control, &IID_IHostControl, true);
    assert_interface(host->control, &IID_IHostMemoryManager, false);
    assert_interface(host->control, &IID_IHostMalloc, false);
    assert_interface(host->control, &IID_IMscoreeHostMemory, false);
    assert_interface(host->control, &IID_IDispatch, false);
    assert_hr(IHostControl_QueryInterface(host->control, &IID_IHostControl, NULL), E_POINTER);
    assert_refcount(host->control, 1);

    IHostControl_QueryInterface(host->control, &IID_IUnknown, (void **)&first);
    IHostControl_QueryInterface(host->control, &IID_IUnknown, (void **)&second);
    assert_ptr_equal(first, second);
    IUnknown_Release(first);
    IUnknown_Release(second);
}

static void test_get_host_manager(void **state)
{
    struct host *host = *state;
    IHostMemoryManager *manager = POISON;
    ULONG before;

    test_begin();
    before = get_refcount((IUnknown *)host->memory);
    assert_hr(IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, (void **)&manager), S_OK);
    assert_ptr_equal(manager, host->memory);
    assert_refcount(manager, before + 1);
    IHostMemoryManager_Release(manager);
    assert_refcount(host->memory, before);
    assert_refcount(host->control, 1);
}

static void test_get_host_manager_of_two_controls(void **state)
{
    struct host *host = *state, other;

    test_begin();
    host_open(&other, NULL);
    assert_ptr_not_equal(host->memory, other.memory);
    host_close(&other);
}

/* IIDs of our own manager are among them: the runtime does not query, it uses what it gets as what it asked
 * for. */
static void test_get_host_manager_other_iids(void **state)
{
    static const IID *const ours[] =
    {
        &IID_IHostMalloc, &IID_IHostControl, &IID_IMscoreeHostMemory, &IID_IUnknown,
    };
    struct host *host = *state;
    ULONG before;
    void *out;
    unsigned int i;

    test_begin();
    before = get_refcount((IUnknown *)host->memory);
    for (i = 0; i < ARRAY_SIZE(other_managers); i++)
    {
        out = POISON;
        assert_hr(IHostControl_GetHostManager(host->control, other_managers[i], &out), E_NOINTERFACE);
        assert_null(out);
    }
    for (i = 0; i < ARRAY_SIZE(ours); i++)
    {
        out = POISON;
        assert_hr(IHostControl_GetHostManager(host->control, ours[i], &out), E_NOINTERFACE);
        assert_null(out);
    }
    assert_refcount(host->memory, before);
    assert_refcount(host->control, 1);
}

static void test_get_host_manager_without_out(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, NULL), E_POINTER);
    assert_hr(IHostControl_GetHostManager(host->control, &IID_IHostGCManager, NULL), E_POINTER);
}

/* The control itself stands in for a managed object: any IUnknown whose count can be read will do. */
static void test_set_app_domain_manager(void **state)
{
    struct host *host = *state, domain;

    test_begin();
    host_open(&domain, NULL);
    assert_hr(IHostControl_SetAppDomainManager(host->control, 1, (IUnknown *)domain.control), S_OK);
    assert_hr(IHostControl_SetAppDomainManager(host->control, 2, (IUnknown *)domain.control), S_OK);
    assert_hr(IHostControl_SetAppDomainManager(host->control, 2, (IUnknown *)domain.control), S_OK);
    assert_hr(IHostControl_SetAppDomainManager(host->control, 3, NULL), S_OK);

    IHostControl_AddRef(host->control);
    assert_int_equal(IHostControl_Release(host->control), 1);
    assert_int_equal(IHostControl_Release(host->control), 0);
    host->control = NULL;
    assert_refcount(domain.control, 1);
    host_close(&domain);
}

static void test_last_error_survives(void **state)
{
    struct host *host = *state;
    IHostMemoryManager *manager;

    test_begin();
    SetLastError(0xabcd);
    IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, (void **)&manager);
    assert_last_error(0xabcd);
    IHostControl_SetAppDomainManager(host->control, 1, NULL);
    assert_last_error(0xabcd);
    IHostMemoryManager_Release(manager);
}

/* Published runtimes release the control when they stop and go on using the rest. */
static void test_manager_outlives_control(void **state)
{
    struct host *host = *state;
    DWORD load = 0xdead;
    SIZE_T available = 0;
    void *mem;

    test_begin();
    assert_int_equal(IHostControl_Release(host->control), 0);
    host->control = NULL;

    mem = alloc(host, 1000);
    memset(mem, 0x11, 1000);
    assert_hr(IHostMalloc_Free(host->malloc, mem), S_OK);
    mem = alloc_pages(host, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_bytes(mem, 0, PAGE);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_in_range(load, 0, 100);
}

static void test_malloc_outlives_control_and_manager(void **state)
{
    struct host *host = *state;
    void *before, *after;

    test_begin();
    before = alloc(host, 100);
    IMscoreeHostMemory_Release(host->accounts);
    host->accounts = NULL;
    assert_int_equal(IHostControl_Release(host->control), 0);
    host->control = NULL;
    IHostMemoryManager_Release(host->memory);
    host->memory = NULL;

    after = alloc(host, 0x20000);
    memset(before, 1, 100);
    memset(after, 2, 0x20000);
    assert_bytes(before, 1, 100);
    assert_hr(IHostMalloc_Free(host->malloc, before), S_OK);
    assert_hr(IHostMalloc_Free(host->malloc, after), S_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_create_without_out),
        cmocka_unit_test(test_create_other_interface),
        host_test(test_query_interface),
        host_test(test_get_host_manager),
        host_test(test_get_host_manager_of_two_controls),
        host_test(test_get_host_manager_other_iids),
        host_test(test_get_host_manager_without_out),
        host_test(test_set_app_domain_manager),
        host_test(test_last_error_survives),
        host_test(test_manager_outlives_control),
        host_test(test_malloc_outlives_control_and_manager),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
