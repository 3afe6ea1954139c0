/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "memferry.h"

#define STR_(x) #x
#define STR(x) STR_(x)

#define TEXT_BYTES 1024
#define ERRNO_TEXT_BYTES 96
/* how many results of mf_errno_text() one format string may hold */
#define ERRNO_TEXTS 4

static _Thread_local char text[TEXT_BYTES];

static mf_log_fn log_fn;
static void *log_arg;

MF_API const char *mf_version(void)
{
	return STR(MEMFERRY_VERSION_MAJOR) "." STR(MEMFERRY_VERSION_MINOR) "." STR(
		MEMFERRY_VERSION_PATCH);
}

MF_API const char *mf_error(void)
{
	return text;
}

MF_API void mf_log_set(mf_log_fn fn, void *arg)
{
	/* the argument first: a line logged meanwhile finds it beside the old function */
	__atomic_store_n(&log_fn, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&log_arg, arg, __ATOMIC_RELAXED);
	__atomic_store_n(&log_fn, fn, __ATOMIC_RELEASE);
}

static void log_text(int level, const char *line)
{
	mf_log_fn fn = __atomic_load_n(&log_fn, __ATOMIC_ACQUIRE);

	if (fn)
		fn(__atomic_load_n(&log_arg, __ATOMIC_RELAXED), level, line);
}

/*
 * The arguments may point into the current text (mf_error() as a %s), so it is built
 * beside it. A text that was cut ends in "...".
 */
static void store(const char *fmt, va_list ap, const char *tail)
{
	char next[TEXT_BYTES];
	int n = vsnprintf(next, sizeof(next), fmt, ap);

	if (n < 0) /* a format that cannot be converted: its own words are the best left */
		n = snprintf(next, sizeof(next), "%s", fmt);
	if (tail && (size_t)n < sizeof(next))
		n += snprintf(next + n, sizeof(next) - (size_t)n, ": %s", tail);
	if ((size_t)n >= sizeof(next)) {
		strcpy(next + sizeof(next) - 4, "...");
		n = sizeof(next) - 1;
	}
	memcpy(text, next, (size_t)n + 1);
}

int(mf_fail)(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	store(fmt, ap, NULL);
	va_end(ap);
	log_text(MF_LOG_DEBUG, text);
	return err;
}

int(mf_fail_in)(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	/* nothing was said before: at least the errno's own words */
	store(fmt, ap, text[0] ? text : mf_errno_text(err));
	va_end(ap);
	log_text(MF_LOG_DEBUG, text);
	return err;
}

const char *mf_errno_text(int err)
{
	static _Thread_local char ring[ERRNO_TEXTS][ERRNO_TEXT_BYTES];
	static _Thread_local unsigned int next;
	char *buf = ring[next++ % ERRNO_TEXTS];
	unsigned int num = err < 0 ? 0u - (unsigned int)err : (unsigned int)err;
	const char *name = num <= 4095 ? strerrorname_np((int)num) : NULL;
	const char *desc = num <= 4095 ? strerrordesc_np((int)num) : NULL;

	if (name && desc)
		snprintf(buf, ERRNO_TEXT_BYTES, "%s (%s)", desc, name);
	else
		snprintf(buf, ERRNO_TEXT_BYTES, "unknown error %u", num);
	return buf;
}

void mf_logf(int level, const char *fmt, ...)
{
	char line[TEXT_BYTES];
	va_list ap;

	if (!__atomic_load_n(&log_fn, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_text(level, line);
}
