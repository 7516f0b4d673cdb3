/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A shared library of one's own, whoever else in the process has loaded the same file. */
#ifndef AVMM_PRIVATE_COPY_H
#define AVMM_PRIVATE_COPY_H

/*
 * dlopen() of a private copy of the file at `path`, for as long as the process lives; NULL, and in `why` one line that says why
 * not.
 */
void *avmm_open_private_copy(const char *path, const char **why);

#endif
