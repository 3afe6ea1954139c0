/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drain_tests.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static int verdict(struct rig *rig, const struct drain_test *t, char *why, size_t size)
{
	char notice[600];
	int status = -1;

	if (!rig_await_exit(rig->suc.pid, 40000, &status)) {
		snprintf(why, size, "the successor hangs");
		return -1;
	}
	if (!t->dies && (status || rig->suc.result || !rig->suc.finished)) {
		snprintf(why, size, "status %#x: %s", status, rig->suc.error);
		return -1;
	}
	if (t->dies && WIFSIGNALED(status))
		rig_sleep_ms(500); /* the guard tells when it has seen the end */
	rig_notice(rig, notice, sizeof(notice));
	if (t->dies && WIFSIGNALED(status) && !strstr(notice, t->told ? t->told : "mremap")) {
		snprintf(why, size, "killed without a message: '%s'", notice);
		return -1;
	}
	if (t->dies && !status && *rig->suc.error) {
		snprintf(why, size, "%s", rig->suc.error);
		return -1;
	}
	if (!rig_alone(10000)) {
		snprintf(why, size, "somebody is left behind");
		return -1;
	}
	return 0;
}

static int run(const struct drain_test *t, u32 round)
{
	const struct rig_hooks hooks = { .successor = t->successor };
	const struct rig_plan plan = { .bytes = BYTES,
				       .timeout_ms = 5000,
				       .flags = RIG_SLOW,
				       .seed = 11 + round,
				       .successor_flags = t->flags,
				       .hooks = &hooks };
	struct rig *rig = rig_new(&plan);
	char why[900] = "the source does not start";
	int r = -1;

	rig_start_source(rig);
	if (rig_await(rig, RIG_OFFER, 10000)) {
		rig_start_successor(rig);
		r = verdict(rig, t, why, sizeof(why));
	}
	if (r) {
		printf("# %s, round %u: %s\n", t->name, round, why);
		if (rig->ferry_pid > 0)
			kill(rig->ferry_pid, SIGKILL);
		kill(rig->suc.pid, SIGKILL);
		kill(rig->src.pid, SIGKILL);
		rig_alone(3000);
	} else if (rig->suc.touch_bad) {
		printf("# %s: %llu discards\n", t->name,
		       (unsigned long long)rig->suc.touch_bad);
	}
	rig_free(rig);
	return r;
}

int drain_tests_main(const struct drain_test *tests, size_t n, int argc, char **argv)
{
	u32 scale = 1, k;
	const char *only = NULL;
	int failed = 0, bad;
	size_t i;

	if (argc > 1)
		only = argv[1];
	if (argc > 2)
		scale = (u32)atoi(argv[2]);
	for (i = 0; i < n; i++) {
		if (only && *only && !strstr(tests[i].name, only))
			continue;
		bad = 0;
		for (k = 0; k < (tests[i].rounds ? tests[i].rounds : 1) * scale; k++)
			bad += run(&tests[i], k) != 0;
		printf("%sok - %s\n", bad ? "not " : "", tests[i].name);
		fflush(stdout);
		failed += bad;
	}
	return failed ? 1 : 0;
}
