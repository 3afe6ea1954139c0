/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "memferry.h"

static void *empty_in_new_thread(void *arg)
{
	return (void *)(uintptr_t)(mf_error()[0] == '\0');
}

static void text_is_per_thread(void **state)
{
	pthread_t t;
	void *was_empty;

	assert_int_equal(mf_fail(-EBUSY, "the %s is busy", "pier"), -EBUSY);
	assert_string_equal(mf_error(), "the pier is busy");
	assert_int_equal(pthread_create(&t, NULL, empty_in_new_thread, NULL), 0);
	assert_int_equal(pthread_join(t, &was_empty), 0);
	assert_non_null(was_empty);
	assert_string_equal(mf_error(), "the pier is busy");
}

static void where_goes_in_front(void **state)
{
	mf_fail(-EPERM, "no userfaultfd");
	assert_int_equal(mf_fail_in(-EPERM, "region \"%s\"", "arena"), -EPERM);
	assert_int_equal(mf_fail_in(-EPERM, "attach"), -EPERM);
	assert_string_equal(mf_error(), "attach: region \"arena\": no userfaultfd");
}

static void arguments_may_be_the_text_itself(void **state)
{
	mf_fail(-EIO, "inner");
	mf_fail(-EIO, "outer (%s)", mf_error());
	assert_string_equal(mf_error(), "outer (inner)");
}

static void long_texts_are_cut(void **state)
{
	char big[4000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	mf_fail(-EIO, "%s", big);
	assert_int_equal(strlen(mf_error()), 1023);
	assert_string_equal(mf_error() + 1020, "...");
	mf_fail_in(-EIO, "before");
	assert_int_equal(strlen(mf_error()), 1023);
	assert_memory_equal(mf_error(), "before: xxx", 11);
	mf_fail(-EIO, "%.1023s", big); /* fits exactly: not marked as cut */
	assert_string_equal(mf_error() + 1020, "xxx");
}

static void *prefix_alone(void *arg)
{
	mf_fail_in(-ENOMEM, "attach");
	return strcmp(mf_error(), "attach: Cannot allocate memory (ENOMEM)") ? NULL : arg;
}

static void nothing_said_before(void **state)
{
	pthread_t t;
	void *same;

	assert_int_equal(pthread_create(&t, NULL, prefix_alone, state), 0);
	assert_int_equal(pthread_join(t, &same), 0);
	assert_ptr_equal(same, state);
}

static void errno_texts(void **state)
{
	char both[256];

	assert_string_equal(mf_errno_text(-EADDRINUSE), "Address already in use (EADDRINUSE)");
	assert_string_equal(mf_errno_text(EADDRINUSE), "Address already in use (EADDRINUSE)");
	assert_string_equal(mf_errno_text(4000), "unknown error 4000");
	assert_string_equal(mf_errno_text(INT32_MIN), "unknown error 2147483648");
	snprintf(both, sizeof(both), "%s, %s", mf_errno_text(EPERM), mf_errno_text(EIO));
	assert_string_equal(both, "Operation not permitted (EPERM), Input/output error (EIO)");
	for (int e = -5000; e <= 5000; e++)
		assert_non_null(mf_errno_text(e));
}

struct seen {
	int level;
	unsigned int lines;
	char text[64];
};

static void see(void *arg, int level, const char *text)
{
	struct seen *seen = arg;

	seen->level = level;
	seen->lines++;
	snprintf(seen->text, sizeof(seen->text), "%s", text);
}

static void log_hook(void **state)
{
	struct seen seen = { 0 };

	mf_logf(MF_LOG_ERROR, "into the void");
	mf_log_set(see, &seen);
	mf_logf(MF_LOG_WARN, "slow: %d ms", 7);
	assert_int_equal(seen.lines, 1);
	assert_int_equal(seen.level, MF_LOG_WARN);
	assert_string_equal(seen.text, "slow: 7 ms");
	mf_fail(-EIO, "failed");
	assert_int_equal(seen.lines, 2);
	assert_int_equal(seen.level, MF_LOG_DEBUG);
	assert_string_equal(seen.text, "failed");
	mf_log_set(NULL, NULL);
	mf_logf(MF_LOG_ERROR, "into the void");
	assert_int_equal(seen.lines, 2);
}

static void version(void **state)
{
	char want[32];

	snprintf(want, sizeof(want), "%d.%d.%d", MEMFERRY_VERSION_MAJOR, MEMFERRY_VERSION_MINOR,
		 MEMFERRY_VERSION_PATCH);
	assert_string_equal(mf_version(), want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_per_thread),
		cmocka_unit_test(where_goes_in_front),
		cmocka_unit_test(arguments_may_be_the_text_itself),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(nothing_said_before),
		cmocka_unit_test(errno_texts),
		cmocka_unit_test(log_hook),
		cmocka_unit_test(version),
	};

	return cmocka_run_group_tests_name("fail", tests, NULL, NULL);
}
