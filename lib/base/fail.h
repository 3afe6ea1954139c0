/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a failure gets its words: mf_fail() stores the text that mf_error() returns, in
 * thread-local storage, and returns the error so that it can stand in a return statement:
 *
 *	return mf_fail(-EBUSY, "the source is still draining; try again when it is done");
 *
 * Say what failed, why, and what to do about it. Not for the fault path.
 */
#ifndef MF_BASE_FAIL_H
#define MF_BASE_FAIL_H

#include "types.h"

/* @err is negative; returns it. Also logs the text at MF_LOG_DEBUG. */
int mf_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* Put "text: " in front of what the current error says; returns @err. */
int mf_fail_in(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* "Address already in use (EADDRINUSE)" for a negative or positive errno; never NULL. */
const char *mf_errno_text(int err);

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: tell it that an error stays an error. */
#define mf_fail(err, ...) ((void)mf_fail(err, __VA_ARGS__), (err))
#define mf_fail_in(err, ...) ((void)mf_fail_in(err, __VA_ARGS__), (err))
#endif

void mf_logf(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif /* MF_BASE_FAIL_H */
