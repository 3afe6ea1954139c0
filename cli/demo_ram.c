/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_ram.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo_procs.h"

#define EVERY_US 5000

struct space {
	unsigned long long stack, code; /* where the kernel put them: random, so it tells */
};

static struct {
	pthread_t thread;
	pid_t self, not_this;
	atomic_bool run;
	_Atomic uint64_t now, peak;
	bool started;
} ram;

static uint64_t rss_anon(pid_t pid)
{
	unsigned long long kib = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

/*
 * Ferry tasks share the space of the process that started them. Two tasks that agree on
 * where the program and its stack lie are taken to be in one space: both places are random.
 */
static bool space_of(pid_t pid, struct space *ret)
{
	char path[64], text[2048], *p;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[n] = '\0';
	p = strrchr(text, ')'); /* the name may hold anything; after it: field 3 */
	if (!p)
		return false;
	for (int field = 2; field < 26 && p; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%llu %*u %llu", &ret->code, &ret->stack) == 2 && ret->stack;
}

static size_t add_space(struct space *seen, size_t n, pid_t pid, uint64_t *sum)
{
	struct space s;

	if (n == PROCS_MAX || !space_of(pid, &s))
		return n;
	for (size_t i = 0; i < n; i++)
		if (seen[i].stack == s.stack && seen[i].code == s.code)
			return n;
	*sum += rss_anon(pid);
	seen[n] = s;
	return n + 1;
}

static uint64_t sample(void)
{
	pid_t child[PROCS_MAX], grandchild[PROCS_MAX];
	size_t n = procs_children(ram.self, child, PROCS_MAX), n_seen = 0;
	struct space seen[PROCS_MAX];
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		size_t m;

		if (child[i] == ram.not_this)
			continue;
		n_seen = add_space(seen, n_seen, child[i], &sum);
		m = procs_children(child[i], grandchild, PROCS_MAX);
		for (size_t k = 0; k < m; k++)
			n_seen = add_space(seen, n_seen, grandchild[k], &sum);
	}
	return sum;
}

static void *ram_main(void *arg)
{
	while (ram.run) {
		uint64_t sum = sample();

		ram.now = sum;
		if (sum > ram.peak)
			ram.peak = sum;
		usleep(EVERY_US);
	}
	return NULL;
}

int demo_ram_start(pid_t not_this)
{
	int r;

	ram.self = getpid();
	ram.not_this = not_this;
	ram.run = true;
	r = pthread_create(&ram.thread, NULL, ram_main, NULL);
	ram.started = r == 0;
	return -r;
}

void demo_ram_stop(void)
{
	if (!ram.started)
		return;
	ram.run = false;
	pthread_join(ram.thread, NULL);
	ram.started = false;
}

uint64_t demo_ram_mark(void)
{
	uint64_t now = ram.now;

	ram.peak = now;
	return now;
}

uint64_t demo_ram_peak(void)
{
	return ram.peak;
}
