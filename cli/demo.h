/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of memferry-demo(1) share. */
#ifndef MF_DEMO_H
#define MF_DEMO_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../bench/hist.h"

#define DEMO_SCHEMA 1
#define DEMO_HANDOVERS_MAX 50
#define DEMO_WINDOW_S 2 /* of load before and after each hand-over, to compare with */
#define DEMO_INFO_BYTES 8192

struct demo_opts {
	uint64_t size;
	unsigned int handovers;
	bool thp, json, keep;
	const char *plot;
	const char *server; /* NULL: look for it */
};

enum demo_window {
	WINDOW_BEFORE,
	WINDOW_DURING, /* successor started .. last page arrived */
	WINDOW_AFTER,
	WINDOWS,
};

struct demo_handover {
	char info[DEMO_INFO_BYTES]; /* INFO of the successor after its drain */
	uint64_t start_ns, drained_ns, end_ns;
	int64_t extra_ram; /* bytes above the level before; < 0: not measured */
	uint64_t lost;	   /* values that were wrong afterwards */
};

struct demo_sample {
	uint64_t due_ns; /* when the request was due, not when it got its turn */
	uint64_t took_ns;
};

/* Set by SIGINT, SIGTERM, SIGHUP: everything winds up. */
extern volatile sig_atomic_t demo_signal;

void demo_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line that the next one overwrites, if stderr is a terminal. */
void demo_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Sleep, but not through a signal. */
void demo_sleep_ms(unsigned int ms);

#endif /* MF_DEMO_H */
