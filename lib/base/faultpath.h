/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Included last by every source file that runs on the fault path or in a ferry task.
 *
 * House rules there: no libc, no allocation, no thread-local storage (it belongs to
 * the thread that cloned us), no lock an application thread can hold, no memory that
 * can itself be missing. The names below do not compile in such a file, the build has
 * no stack protector, no sanitizer and no calls invented by the compiler, and
 * tests/faultpath.sh checks that the objects refer to nothing outside themselves.
 */
#ifndef MF_BASE_FAULTPATH_H
#define MF_BASE_FAULTPATH_H

#pragma GCC poison malloc calloc realloc free strdup asprintf
#pragma GCC poison printf fprintf snprintf sprintf puts perror
#pragma GCC poison pthread_create pthread_mutex_lock pthread_mutex_unlock
#pragma GCC poison errno __errno_location exit abort signal sigaction
#pragma GCC poison memcpy memset memmove memcmp strlen strcpy strcmp

#endif /* MF_BASE_FAULTPATH_H */
