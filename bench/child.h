/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One measurement, one process: every row starts from a fresh space with no leftover
 * threads, a row that hangs or crashes ends alone, and all it started ends with it.
 */
#ifndef MF_BENCH_CHILD_H
#define MF_BENCH_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#define CHILD_WHY 256

/*
 * Run fn(arg) in a forked process group, at most @timeout_ms. Results go through memory
 * shared by shared_alloc(). Returns what @fn returned (0 or -errno), -ETIMEDOUT, or
 * -ECHILD if it crashed; then @why (CHILD_WHY bytes) has the reason in words.
 */
int child_run(int (*fn)(void *arg), void *arg, unsigned int timeout_ms, char *why);
/* In the child: put the reason into words; returns @err. */
int child_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In the child: a further process, which ends when the child's group does. -errno. */
pid_t child_fork(void);
/* Wait for @pid at most @timeout_ms: 0 if it exited with 0, else -errno. */
int child_wait(pid_t pid, unsigned int timeout_ms);

/*
 * A directory of our own below TMPDIR or /tmp, for one file in it, which child_scratch()
 * names; NULL if there is none to be had. It goes with child_scratch_end(), or when the
 * program is interrupted.
 */
const char *child_scratch(const char *name);
void child_scratch_end(void);

/* Zeroed memory that forked processes share; NULL: none left. */
void *shared_alloc(size_t bytes);
void shared_free(void *p, size_t bytes);

#endif /* MF_BENCH_CHILD_H */
