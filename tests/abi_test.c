/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public structs as programs compiled against this version see them. A size that
 * changes without a new version of the library is a break; new fields go to the end and
 * into this table.
 */
#include <memferry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct fact {
	const char *name;
	size_t is, must;
};

#define SIZE(type, must)                                                                       \
	{                                                                                      \
		"sizeof " #type, sizeof(type), must                                            \
	}
#define AT(type, field, must)                                                                  \
	{                                                                                      \
#type "." #field, offsetof(type, field), must                                  \
	}

static const struct fact layout[] = {
	SIZE(struct mf_probe_item, 56),
	AT(struct mf_probe_item, name, 8),
	AT(struct mf_probe_item, group, 16),
	AT(struct mf_probe_item, about, 24),
	AT(struct mf_probe_item, state, 32),
	AT(struct mf_probe_item, why, 40),
	AT(struct mf_probe_item, remedy, 48),
	SIZE(struct mf_event, 40),
	AT(struct mf_event, flags, 4),
	AT(struct mf_event, addr, 8),
	AT(struct mf_event, len, 16),
	AT(struct mf_event, to, 24),
	AT(struct mf_event, tid, 32),
	AT(struct mf_event, fd, 36),
	SIZE(struct mf_task_opts, 40),
	AT(struct mf_task_opts, name, 8),
	AT(struct mf_task_opts, stack_bytes, 16),
	AT(struct mf_task_opts, keep_fds, 24),
	AT(struct mf_task_opts, n_keep_fds, 32),
	SIZE(struct mf_latency, 40),
	AT(struct mf_latency, p50_ns, 8),
	AT(struct mf_latency, p99_ns, 16),
	AT(struct mf_latency, p999_ns, 24),
	AT(struct mf_latency, max_ns, 32),
	SIZE(struct mf_stats, 216),
	AT(struct mf_stats, bytes_total, 8),
	AT(struct mf_stats, bytes_done, 16),
	AT(struct mf_stats, pages_move, 24),
	AT(struct mf_stats, pages_give, 32),
	AT(struct mf_stats, pages_copy, 40),
	AT(struct mf_stats, pages_fd, 48),
	AT(struct mf_stats, pages_zero, 56),
	AT(struct mf_stats, pages_poisoned, 64),
	AT(struct mf_stats, pages_released, 72),
	AT(struct mf_stats, pages_huge, 80),
	AT(struct mf_stats, faults, 88),
	AT(struct mf_stats, blackout_ns, 96),
	AT(struct mf_stats, drain_ns, 104),
	AT(struct mf_stats, total_ns, 112),
	AT(struct mf_stats, serve, 120),
	AT(struct mf_stats, fault, 160),
	AT(struct mf_stats, placement, 200),
	AT(struct mf_stats, place_same_ns, 204),
	AT(struct mf_stats, place_spin_ns, 208),
	AT(struct mf_stats, place_sleep_ns, 212),
	SIZE(struct mf_source_opts, 72),
	AT(struct mf_source_opts, app, 8),
	AT(struct mf_source_opts, app_version, 16),
	AT(struct mf_source_opts, timeout_ms, 20),
	AT(struct mf_source_opts, quiesce, 24),
	AT(struct mf_source_opts, save, 32),
	AT(struct mf_source_opts, resume, 40),
	AT(struct mf_source_opts, released, 48),
	AT(struct mf_source_opts, arg, 56),
	AT(struct mf_source_opts, flags, 64),
	AT(struct mf_source_opts, placement, 68),
	SIZE(struct mf_successor_opts, 48),
	AT(struct mf_successor_opts, app, 8),
	AT(struct mf_successor_opts, timeout_ms, 16),
	AT(struct mf_successor_opts, flags, 20),
	AT(struct mf_successor_opts, token, 24),
	AT(struct mf_successor_opts, placement, 32),
	AT(struct mf_successor_opts, sample_hz, 36),
	AT(struct mf_successor_opts, notice_fd, 40),
};

/* values that travel between program and library, or are stored by programs */
static const struct fact values[] = {
	{ "MF_UNKNOWN", MF_UNKNOWN, 0 },
	{ "MF_SUPPORTED", MF_SUPPORTED, 1 },
	{ "MF_MISSING", MF_MISSING, 2 },
	{ "MF_DENIED", MF_DENIED, 3 },
	{ "MF_IDLE", MF_IDLE, 0 },
	{ "MF_HANDED_OVER", MF_HANDED_OVER, 1 },
	{ "MF_RESUMED", MF_RESUMED, 2 },
	{ "MF_EVENT_FAULT", MF_EVENT_FAULT, 1 },
	{ "MF_EVENT_FORK", MF_EVENT_FORK, 2 },
	{ "MF_EVENT_REMAP", MF_EVENT_REMAP, 3 },
	{ "MF_EVENT_REMOVE", MF_EVENT_REMOVE, 4 },
	{ "MF_EVENT_UNMAP", MF_EVENT_UNMAP, 5 },
	{ "MF_PLACE_AUTO", MF_PLACE_AUTO, 0 },
	{ "MF_PLACE_SAME", MF_PLACE_SAME, 1 },
	{ "MF_PLACE_SPIN", MF_PLACE_SPIN, 2 },
	{ "MF_PLACE_SLEEP", MF_PLACE_SLEEP, 3 },
	{ "MF_REGION_RELOCATABLE", MF_REGION_RELOCATABLE, 1 },
	{ "MF_MAP_RELOCATE", MF_MAP_RELOCATE, 1 },
	{ "MF_SOURCE_TOKEN", MF_SOURCE_TOKEN, 1 },
	{ "MF_TOKEN_BYTES", MF_TOKEN_BYTES, 16 },
	{ "MF_LOG_ERROR", MF_LOG_ERROR, 0 },
	{ "MF_LOG_DEBUG", MF_LOG_DEBUG, 3 },
};

static void compare(const struct fact *facts, size_t n)
{
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++) {
		if (facts[i].is == facts[i].must)
			continue;
		print_error("%s is %zu, was %zu\n", facts[i].name, facts[i].is, facts[i].must);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void structs_keep_their_layout(void **state)
{
	(void)state;
	if (sizeof(void *) != 8)
		skip();
	compare(layout, sizeof(layout) / sizeof(layout[0]));
}

static void constants_keep_their_values(void **state)
{
	(void)state;
	compare(values, sizeof(values) / sizeof(values[0]));
}

static void version_is_the_headers(void **state)
{
	char text[32];

	(void)state;
	snprintf(text, sizeof(text), "%d.%d.%d", MEMFERRY_VERSION_MAJOR, MEMFERRY_VERSION_MINOR,
		 MEMFERRY_VERSION_PATCH);
	assert_string_equal(mf_version(), text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structs_keep_their_layout),
		cmocka_unit_test(constants_keep_their_values),
		cmocka_unit_test(version_is_the_headers),
	};

	return cmocka_run_group_tests_name("abi", tests, NULL, NULL);
}
