/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The module: loading the library once, the objects of the core, and the registers of a hypercall. */
#include "native.h"

#include <structmember.h>

CoreObjects core;

const Replacement avmm_replacements[] = {
    {"translator_loop_aarch64", (void *)avmm_translator_loop},
    {"tcg_gen_exit_tb_aarch64", (void *)avmm_exit_block},
    {"tcg_gen_code_aarch64", (void *)avmm_gen_code},
    {"check_exit_request_aarch64", (void *)avmm_check_exit_request},
    {"helper_pre_hvc_aarch64", (void *)avmm_helper_pre_hvc},
    {"helper_pre_smc_aarch64", (void *)avmm_helper_pre_smc},
    {"helper_msr_i_daifset_aarch64", (void *)avmm_helper_daifset},
    {"helper_msr_i_daifclear_aarch64", (void *)avmm_helper_daifclear},
    {"helper_exception_return_aarch64", (void *)avmm_helper_exception_return},
    {"fp_exception_el_aarch64", (void *)avmm_fp_exception_el},
    {"iotlb_to_section_aarch64", (void *)avmm_iotlb_to_section},
    {"memory_region_dispatch_read_aarch64", (void *)avmm_dispatch_read},
    {"memory_region_dispatch_write_aarch64", (void *)avmm_dispatch_write},
    {"helper_lookup_tb_ptr_aarch64", (void *)avmm_lookup_block},
    {"tb_htable_lookup_aarch64", (void *)avmm_find_block},
    {"tcg_tb_insert_aarch64", (void *)avmm_tb_insert},
    {"tcg_tb_remove_aarch64", (void *)avmm_tb_remove},
    {"tcg_tb_lookup_aarch64", (void *)avmm_tb_of_code},
    {"tb_flush_aarch64", (void *)avmm_tb_flush},
    {"tlb_protect_code_aarch64", (void *)avmm_tlb_protect_code},
    {"tlb_unprotect_code_aarch64", (void *)avmm_tlb_unprotect_code},
    {"tlb_reset_dirty_by_vaddr_aarch64", (void *)avmm_tlb_reset_dirty},
    {"tlb_set_dirty_aarch64", (void *)avmm_tlb_set_dirty},
    {"tb_invalidate_phys_page_fast_aarch64", (void *)avmm_tb_invalidate_fast},
    {"tlb_flush_by_mmuidx_all_cpus_synced_aarch64", (void *)avmm_tlb_flush_modes_is},
    {"tlb_flush_page_by_mmuidx_all_cpus_synced_aarch64", (void *)avmm_tlb_flush_page_is},
    {"cpu_watchpoint_insert_aarch64", (void *)avmm_watchpoint_insert},
    {"cpu_watchpoint_remove_by_ref_aarch64", (void *)avmm_watchpoint_remove},
    {"cpu_watchpoint_remove_all_aarch64", (void *)avmm_watchpoint_remove_all},
    {"cpu_watchpoint_address_matches_aarch64", (void *)avmm_watchpoint_flags},
    {"cpu_check_watchpoint_aarch64", (void *)avmm_watchpoint_check},
    {"abort", (void *)avmm_library_gave_up},
    {"exit", (void *)avmm_library_gave_up},
    {"fprintf", (void *)avmm_library_said},
    {"printf", (void *)avmm_library_printed},
    {"puts", (void *)avmm_library_printed},
    {"putchar", (void *)avmm_library_printed},
    {"fputs", (void *)avmm_library_printed},
    {"fputc", (void *)avmm_library_printed},
    {"fwrite", (void *)avmm_library_printed},
    {"perror", (void *)avmm_library_printed},
    {NULL, NULL},
};

static PyObject *argument(Hypercall *call, PyObject *index)
{
    long number = PyLong_AsLong(index);
    if (number < 0 || number > 17 || call->vcpu == NULL) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_IndexError, "x%ld is no argument of a hypercall", number);
    }
    return PyLong_FromUnsignedLongLong(FIELD(uint64_t, call->vcpu->env, ENV_XREGS + 8 * number));
}

static PyObject *result(Hypercall *call, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "result(index, value)");
    }
    long number = PyLong_AsLong(arguments[0]);
    uint64_t value = PyLong_AsUnsignedLongLongMask(arguments[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (number < 0 || number > 17 || call->vcpu == NULL) {
        return PyErr_Format(PyExc_IndexError, "x%ld is no result of a hypercall", number);
    }
    FIELD(uint64_t, call->vcpu->env, ENV_XREGS + 8 * number) = value;
    Py_RETURN_NONE;
}

static PyMethodDef hypercall_methods[] = {
    {"argument", (PyCFunction)argument, METH_O, NULL},
    {"result", (PyCFunction)(void (*)(void))result, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef hypercall_members[] = {
    {"immediate", T_UINT, offsetof(Hypercall, immediate), READONLY, NULL},
    {"secure", T_BOOL, offsetof(Hypercall, secure), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject HypercallType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "avmm_unicorn._native.Hypercall",
    .tp_basicsize = sizeof(Hypercall),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = hypercall_methods,
    .tp_members = hypercall_members,
};

/* load(path, version): the library's version as an integer, 0xMMmmppxx; RuntimeError when it cannot be used. */
static PyObject *load(PyObject *module, PyObject *arguments)
{
    const char *path, *error;
    unsigned expected;
    void *uc = NULL;
    uint64_t probe;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "sI", &path, &expected)) {
        return NULL;
    }
    if (lib.uc_version == NULL && (error = avmm_load_library(path)) != NULL) {
        memset(&lib, 0, sizeof lib);
        return PyErr_Format(PyExc_RuntimeError, "%s", error);
    }
    unsigned version = lib.uc_version(NULL, NULL);
    if (version != expected) {
        return PyErr_Format(PyExc_RuntimeError, "the library says it is version %u.%u.%u", version >> 24,
                            version >> 16 & 0xff, version >> 8 & 0xff);
    }
    if (lib.uc_open(UC_ARCH_ARM64, UC_MODE_ARM, &uc) != 0) {
        return PyErr_Format(PyExc_RuntimeError, "the library has no AArch64");
    }
    lib.uc_ctl(uc, UC_CTL_WRITE1(UC_CTL_UC_PAGE_SIZE), PAGE_SIZE);
    lib.uc_ctl(uc, UC_CTL_WRITE1(UC_CTL_TCG_BUFFER_SIZE), 1 << 20);
    lib.uc_reg_read(uc, UC_ARM64_REG_X0, &probe);
    error = avmm_calibrate(uc);
    lib.uc_close(uc);
    if (error != NULL) {
        return PyErr_Format(PyExc_RuntimeError, "%s", error);
    }
    return PyLong_FromUnsignedLong(version);
}

/* configure(ExternalAbort, Undefined, EngineError, KICKED, HALTED, YIELDED, BUDGET_EXHAUSTED, Debug, Fault) */
static PyObject *configure(PyObject *module, PyObject *arguments)
{
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOO", &core.external_abort, &core.undefined, &core.engine_error, &core.kicked,
                          &core.halted, &core.yielded, &core.budget_exhausted, &core.debug, &core.fault)) {
        return NULL;
    }
    PyObject **objects = (PyObject **)&core;
    for (size_t i = 0; i < sizeof core / sizeof *objects; i++) {
        Py_INCREF(objects[i]); /* kept for the life of the process */
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"load", load, METH_VARARGS, NULL},
    {"configure", configure, METH_VARARGS, NULL},
    {"host_features", avmm_host_features, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "avmm_unicorn._native",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddType(module, &MachineType) < 0 || PyModule_AddType(module, &VcpuType) < 0
        || PyType_Ready(&HypercallType) < 0) {
        return NULL;
    }
    return module;
}
