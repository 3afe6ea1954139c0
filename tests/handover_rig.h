/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two processes with a hand-over between them, for tests that break it: a source with a
 * region whose every word can be checked, a successor that takes it over, and a place in
 * shared memory where both say how far they are and can be held.
 */
#ifndef MF_TESTS_HANDOVER_RIG_H
#define MF_TESTS_HANDOVER_RIG_H

#include <memferry.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/types.h"

enum rig_step {
	RIG_NONE,
	RIG_OFFER,     /* the source listens */
	RIG_ATTACHED,  /* the successor, after mf_successor_attach() */
	RIG_MAPPED,    /* after mf_successor_map() */
	RIG_QUIESCED,  /* the source, inside quiesce() */
	RIG_SAVED,     /* inside save() */
	RIG_STATE,     /* the successor, after mf_successor_state() */
	RIG_PREPARED,  /* it has touched some pages */
	RIG_PRECOMMIT, /* about to commit */
	RIG_COMMITTED, /* has just committed */
	RIG_EARLY,     /* a tenth has arrived */
	RIG_MIDDLE,    /* a half */
	RIG_LATE,      /* nine tenths */
	RIG_DRAINED,   /* mf_successor_wait() came back */
	RIG_DONE,      /* everything is checked and freed */
	RIG_STEPS,
};

#define RIG_THP (1u << 0)	/* the region asks for huge pages */
#define RIG_TOUCH (1u << 1)	/* threads of the successor touch pages during the drain */
#define RIG_SRC_STAYS (1u << 2) /* the source waits for the drain and checks for leaks */
#define RIG_SLOW (1u << 3)	/* the successor's own waits last 20 seconds */

struct rig;
struct rig_side;

/* What a test does differently; any may be NULL. Each runs in the process that it names. */
struct rig_hooks {
	int (*declare)(struct rig *rig, struct mf_source *src); /* instead of one region */
	void (*listening)(struct rig *rig, struct mf_source *src);
	void (*resumed)(struct rig *rig, struct mf_source *src);
	void (*before_attach)(struct rig *rig, struct mf_successor_opts *opts);
	/* in both, at their end */
	void (*ending)(struct rig *rig, struct rig_side *side);
	/* after the attach: what the successor does. 0 is good; else see rig_say() */
	int (*successor)(struct rig *rig, struct mf_successor *s);
};

struct rig_plan {
	size_t bytes;
	u32 timeout_ms;
	u32 flags;
	u64 seed;
	u64 base; /* 0: RIG_BASE */
	const struct rig_hooks *hooks;
	u32 source_flags;    /* MF_SOURCE_* */
	u32 successor_flags; /* MF_SUCCESSOR_* */
};

/* A bare successor for rig_take_over(): hooks of its side are left out. */
#define RIG_NO_HOOKS (1u << 4)
/* Over TCP, by the loopback; also for every plan if MF_RIG_TCP is in the environment. */
#define RIG_TCP (1u << 5)

#define RIG_BASE 0x200000000000ull

struct rig_count {
	u64 right;
	u64 zero; /* data that reads as zeros: what must never happen */
	u64 wrong;
	u64 poisoned;
};

/* What one process says of itself. */
struct rig_side {
	pid_t pid;
	int result; /* of the call that ended the attempt */
	char error[600];
	u32 resumed;	/* source: how often */
	u32 quiesced;	/* source: how often the callback ran */
	u32 unquiesced; /* source: how often resume() ran */
	u32 handed_over;
	u32 committed;
	u32 lost;
	u32 finished; /* it came to its end by itself */
	u32 fds_before, fds_after;
	u32 maps_before, maps_after; /* source: lines of /proc/self/maps */
	u32 fired;		     /* faults that were injected */
	u64 touch_bad;		     /* touching threads: neither right nor poisoned */
	u64 stats_poisoned;
	struct rig_count count;
};

struct rig {
	u32 hold;	   /* the step at which whoever gets there waits */
	u32 at[RIG_STEPS]; /* has been reached */
	u32 stop;	   /* source: go away */
	s32 ferry_pid;
	s32 guard_pid;
	struct rig_side src;
	struct rig_side suc;
	/* the driver's */
	struct rig_plan plan;
	char path[100];
	int notice[2];
};

struct rig *rig_new(const struct rig_plan *plan);
void rig_free(struct rig *rig);

/* For hooks: write down what went wrong; returns -1. */
int rig_say(struct rig *rig, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In a successor: fetch the state and commit. 0 or -errno, written down. */
int rig_take(struct rig *rig, struct mf_successor *s);
/* Wait for the drain, then every page of the range must be right. 0 or -1. */
int rig_all_right(struct rig *rig, struct mf_successor *s, u64 base, size_t len);
/* The range as it is now: 0 if every page is right, else -1. */
int rig_range_right(struct rig *rig, u64 base, size_t len);

void rig_fill(u64 base, size_t len, u64 seed);
bool rig_is_hole(u64 addr, u64 seed);
u64 rig_word(u64 addr, u64 seed);
/* Look at every page without a risk of SIGBUS; adds to @count. */
void rig_check(u64 base, size_t len, u64 seed, struct rig_count *count);
/* Does touching the page raise SIGBUS? */
bool rig_sigbus(u64 addr);
u32 rig_count_fds(void);
u32 rig_count_maps(void);

pid_t rig_start_source(struct rig *rig);
/* Also forgets what an earlier successor reached. */
pid_t rig_start_successor(struct rig *rig);
void rig_reach(struct rig *rig, enum rig_step step);
bool rig_await(struct rig *rig, enum rig_step step, int timeout_ms);
void rig_release(struct rig *rig);
/*
 * Wait for @pid's end; others that end meanwhile are reaped too. *ret_status as waitpid()
 * gives it. False: it still runs.
 */
bool rig_await_exit(pid_t pid, int timeout_ms, int *ret_status);
/* No descendant left? Waits a little for those that are going. */
bool rig_alone(int timeout_ms);
/* What the guard has written so far; "" if nothing. */
const char *rig_notice(struct rig *rig, char *buf, size_t size);
const char *rig_step_name(enum rig_step step);
/* A clean hand-over from the running source: true if it went well. */
bool rig_take_over(struct rig *rig, char *why, size_t size);

void rig_sleep_ms(int ms);
u64 rig_now_ms(void);

#endif /* MF_TESTS_HANDOVER_RIG_H */
