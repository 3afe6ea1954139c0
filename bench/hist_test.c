/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct hist h, other;

static void assert_near(uint64_t got, uint64_t want)
{
	uint64_t off = got > want ? got - want : want - got;

	if (off * 100 > want)
		fail_msg("%llu is more than 1 %% off %llu", (unsigned long long)got,
			 (unsigned long long)want);
}

static void empty_has_no_values(void **state)
{
	hist_init(&h);
	assert_int_equal(h.count, 0);
	assert_int_equal(hist_percentile(&h, 50), 0);
	assert_true(hist_mean(&h) == 0.0);
}

/* three values around every power of two and many in between, read back alone */
static void every_magnitude_within_one_percent(void **state)
{
	for (uint64_t base = 1; base <= HIST_MAX_NS; base += base / 3 + 1) {
		for (uint64_t v = base; v <= base + 2 && v <= HIST_MAX_NS; v++) {
			hist_init(&h);
			/* the largest and smallest are kept exactly: hide the value between */
			hist_record(&h, 0);
			hist_record(&h, v);
			hist_record(&h, HIST_MAX_NS);
			assert_near(hist_percentile(&h, 60), v);
		}
	}
}

static void slots_are_monotonic_in_the_value(void **state)
{
	uint64_t last = 0;

	for (uint64_t v = 1; v < 1000000; v += 1 + v / 200) {
		uint64_t got;

		hist_init(&h);
		hist_record(&h, 0);
		hist_record(&h, v);
		hist_record(&h, HIST_MAX_NS);
		got = hist_percentile(&h, 60);
		assert_true(got >= last);
		last = got;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void percentiles_agree_with_sorting(void **state)
{
	enum { N = 20000 };
	static uint64_t v[N];
	uint64_t seed = 12345;
	double sum = 0;

	hist_init(&h);
	for (int i = 0; i < N; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		v[i] = 500 + (seed >> 33) % ((seed >> 60) ? 50000 : 50000000);
		sum += (double)v[i];
		hist_record(&h, v[i]);
	}
	qsort(v, N, sizeof(v[0]), by_value);
	assert_near(hist_percentile(&h, 1), v[N / 100 - 1]);
	assert_near(hist_percentile(&h, 50), v[N / 2 - 1]);
	assert_near(hist_percentile(&h, 99), v[N * 99 / 100 - 1]);
	assert_near(hist_percentile(&h, 99.9), v[N / 1000 * 999 - 1]);
	assert_int_equal(hist_percentile(&h, 100), v[N - 1]);
	assert_int_equal(hist_percentile(&h, 0), v[0]);
	assert_near((uint64_t)hist_mean(&h), (uint64_t)(sum / N));
}

static void merging_is_recording_both(void **state)
{
	hist_init(&h);
	hist_init(&other);
	for (uint64_t i = 1; i <= 1000; i++)
		hist_record(i % 2 ? &h : &other, i * 1000);
	hist_merge(&h, &other);
	assert_int_equal(h.count, 1000);
	assert_int_equal(h.min_ns, 1000);
	assert_int_equal(h.max_ns, 1000000);
	assert_near(hist_percentile(&h, 50), 500000);
	assert_near(hist_percentile(&h, 99), 990000);
}

static void merging_an_empty_one_changes_nothing(void **state)
{
	hist_init(&h);
	hist_init(&other);
	hist_record(&h, 77);
	hist_merge(&h, &other);
	assert_int_equal(h.min_ns, 77);
	assert_int_equal(h.max_ns, 77);
	assert_int_equal(hist_percentile(&h, 50), 77);
}

static void above_the_range_is_counted_and_kept_as_maximum(void **state)
{
	hist_init(&h);
	hist_record(&h, 1000);
	hist_record(&h, UINT64_MAX / 4);
	assert_int_equal(h.count, 2);
	assert_int_equal(hist_percentile(&h, 100), UINT64_MAX / 4);
	assert_near(hist_percentile(&h, 50), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_has_no_values),
		cmocka_unit_test(every_magnitude_within_one_percent),
		cmocka_unit_test(slots_are_monotonic_in_the_value),
		cmocka_unit_test(percentiles_agree_with_sorting),
		cmocka_unit_test(merging_is_recording_both),
		cmocka_unit_test(merging_an_empty_one_changes_nothing),
		cmocka_unit_test(above_the_range_is_counted_and_kept_as_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
