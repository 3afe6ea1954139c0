/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill_matrix [--all] [--only TEXT] [--random N] [--seed S] [--verbose]
 *
 * Each process of a hand-over is killed, or stopped for longer than anybody waits, at each
 * step of it. Whoever survives must have every byte, or the memory must be poisoned and the
 * message must say who was lost: never a zero page, never two owners, never a hang, nothing
 * left behind. --random: at any moment of the drain, while threads touch the memory.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover_rig.h"

#define TIMEOUT_MS 300
#define BOUND_MS 15000
#define NOBODY_MS 3000

enum party { SOURCE, SUCCESSOR, FERRY, GUARD, PARTIES };

static const char *const party_names[] = { "source", "successor", "ferry", "guard" };

/* How an attempt may end; sets of bits. */
enum {
	END_SOURCE = 1 << 0,	/* the source goes on and can be taken over */
	END_SUCCESSOR = 1 << 1, /* the successor has every byte */
	END_LOST = 1 << 2,	/* poisoned, and said so */
	END_GONE = 1 << 3,	/* its owner was killed, nobody else had it */
	END_FAILED = 1 << 4,	/* the source was killed, the successor got an error */
};

static const char *end_name(int end)
{
	static const char *const names[] = { "source", "successor", "lost", "gone", "failed" };

	return end ? names[__builtin_ctz((unsigned int)end)] : "nothing";
}

struct cell {
	enum party party;
	int sig;
	enum rig_step step;
};

static int verbose;
static bool over_tcp;

/* ------------------------------------------------------------ expectations */

static int expect_source(const struct cell *c)
{
	/* its ferry task lives on; but over TCP it is the source that says yes */
	if (c->step >= (over_tcp ? RIG_COMMITTED : RIG_STATE))
		return END_SUCCESSOR;
	/* stopped before it has said anything it can be taken over when it wakes up */
	return c->sig == SIGKILL ? END_FAILED : END_SOURCE;
}

static int expect_successor(const struct cell *c)
{
	if (c->step >= RIG_COMMITTED)
		return c->sig == SIGKILL ? END_GONE : END_SUCCESSOR;
	return END_SOURCE;
}

static int expect_ferry(const struct cell *c)
{
	if (c->step < RIG_COMMITTED)
		return END_SOURCE;
	if (c->step <= RIG_EARLY)
		return END_LOST;
	/* it may have been faster than we */
	return c->step >= RIG_DRAINED ? END_SUCCESSOR : END_LOST | END_SUCCESSOR;
}

static int expect(const struct cell *c)
{
	switch (c->party) {
	case SOURCE:
		return expect_source(c);
	case SUCCESSOR:
		return expect_successor(c);
	case FERRY:
		return expect_ferry(c);
	default:
		return END_SUCCESSOR;
	}
}

/* The ferry and the guard do not live at every step. */
static bool exists(const struct cell *c)
{
	switch (c->party) {
	case FERRY:
	case GUARD:
		return c->step >= (c->party == FERRY ? RIG_QUIESCED : RIG_STATE) &&
		       c->step <= RIG_LATE;
	case SUCCESSOR:
		return c->step >= RIG_ATTACHED && c->step <= RIG_DRAINED;
	default:
		return c->step <= RIG_DRAINED;
	}
}

/* ----------------------------------------------------------------- outcome */

static int fail(const char *what, const char *why)
{
	printf("# %s: %s\n", what, why);
	return -1;
}

static bool clean(const struct rig_count *c)
{
	return !c->zero && !c->wrong;
}

static int check_lost(struct rig *rig, const char *what)
{
	char text[600];
	const struct rig_side *d = &rig->suc;

	rig_notice(rig, text, sizeof(text));
	if (!strstr(text, "ferry task (pid "))
		return fail(what, "lost, and no message names the ferry task");
	if (!d->stats_poisoned || d->stats_poisoned < d->count.poisoned)
		return fail(what, "lost, and the statistics do not count it");
	if (!strstr(d->error, "ferry task (pid "))
		return fail(what, "lost, and mf_error() does not name the ferry task");
	return END_LOST;
}

static int outcome_of_successor(struct rig *rig, const char *what)
{
	const struct rig_side *d = &rig->suc;
	u64 pages = rig->plan.bytes / 4096;

	if (d->touch_bad)
		return fail(what, "a touching thread saw wrong data");
	if (!clean(&d->count) || d->count.right + d->count.poisoned != pages) {
		printf("# right %llu zero %llu wrong %llu poisoned %llu of %llu\n",
		       (unsigned long long)d->count.right, (unsigned long long)d->count.zero,
		       (unsigned long long)d->count.wrong,
		       (unsigned long long)d->count.poisoned, (unsigned long long)pages);
		return fail(what, "pages are neither right nor poisoned");
	}
	if (d->lost)
		return check_lost(rig, what);
	if (d->result)
		return fail(what, d->error);
	return d->count.poisoned ? fail(what, "poisoned without being lost") : END_SUCCESSOR;
}

static int outcome(struct rig *rig, const struct cell *c, const char *what)
{
	const struct rig_side *s = &rig->src, *d = &rig->suc;
	bool dead = c->sig == SIGKILL;

	if (d->committed && s->resumed)
		return fail(what, "two owners: committed and resumed");
	if (d->finished && d->fds_after != d->fds_before)
		return fail(what, "the successor leaks descriptors");
	if (!d->finished && !(dead && c->party == SUCCESSOR))
		return fail(what, "the successor did not come to its end");
	if (d->committed && d->finished)
		return outcome_of_successor(rig, what);
	if (d->committed)
		return END_GONE;
	if (d->finished && !*d->error)
		return fail(what, "the successor failed without a text");
	if (dead && c->party == SOURCE)
		return END_FAILED;
	return s->handed_over ? fail(what, "no owner: handed over, not committed") : END_SOURCE;
}

/* The source goes on: nothing of it has changed, and the next successor gets it. */
static int check_source(struct rig *rig, const char *what)
{
	char why[700];

	/* the source may not have noticed yet; the clean hand-over waits for that */
	if (rig->src.resumed && rig->src.count.right != rig->plan.bytes / 4096)
		return fail(what, "the source's memory has changed");
	if (rig->src.resumed && rig->src.fds_after != rig->src.fds_before)
		return fail(what, "the source leaks descriptors");
	if (rig->src.resumed && !*rig->src.error)
		return fail(what, "the source resumed without a text");
	return rig_take_over(rig, why, sizeof(why)) ? 0 : fail(what, why);
}

/* -------------------------------------------------------------------- cell */

static pid_t victim(struct rig *rig, enum party party)
{
	switch (party) {
	case SOURCE:
		return rig->src.pid;
	case SUCCESSOR:
		return rig->suc.pid;
	case FERRY:
		return rig->ferry_pid;
	default:
		return mf_load(&rig->guard_pid);
	}
}

static void strike(struct rig *rig, const struct cell *c, int pause_ms)
{
	pid_t pid = victim(rig, c->party);

	if (pid <= 0)
		return;
	kill(pid, c->sig);
	rig_release(rig);
	if (c->sig != SIGSTOP)
		return;
	rig_sleep_ms(pause_ms);
	kill(pid, SIGCONT);
}

/* Everybody goes, within a bound. */
static int wind_up(struct rig *rig, const char *what)
{
	int status;

	mf_store(&rig->stop, 1);
	rig_release(rig);
	if (!rig_await_exit(rig->src.pid, BOUND_MS, &status))
		return fail(what, "the source hangs");
	if (!rig_alone(NOBODY_MS))
		return fail(what, "somebody is left behind");
	return 0;
}

/* For the time after a cell that failed: nobody may disturb the next. */
static void sweep_away(struct rig *rig)
{
	pid_t pids[] = { rig->src.pid, rig->suc.pid, rig->ferry_pid, rig->guard_pid };
	size_t i;

	for (i = 0; i < sizeof(pids) / sizeof(pids[0]); i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	rig_alone(NOBODY_MS);
}

static int finish(struct rig *rig, const struct cell *c, int allowed, const char *what)
{
	int end, status;

	if (!rig_await_exit(rig->suc.pid, BOUND_MS, &status))
		return fail(what, "the successor hangs");
	if (WIFSIGNALED(status) && !(c->party == SUCCESSOR && WTERMSIG(status) == SIGKILL))
		return fail(what, "the successor died of a signal");
	end = outcome(rig, c, what);
	if (end < 0)
		return -1;
	if (!(end & allowed)) {
		printf("# ended as '%s'; source %d %s; successor %d %s\n", end_name(end),
		       rig->src.result, rig->src.error, rig->suc.result, rig->suc.error);
		return fail(what, "that is not how it should end");
	}
	if (end == END_SOURCE && check_source(rig, what))
		return -1;
	if (wind_up(rig, what))
		return -1;
	return end;
}

static void label(const struct cell *c, char *buf, size_t size)
{
	snprintf(buf, size, "%s %s at %s", party_names[c->party],
		 c->sig == SIGKILL ? "killed" : "stopped", rig_step_name(c->step));
}

static int run_cell(const struct cell *c)
{
	const struct rig_plan plan = { .bytes = 64 << 20, .timeout_ms = TIMEOUT_MS, .seed = 7 };
	struct rig *rig = rig_new(&plan);
	char what[80];
	int end = -1;
	u64 start = rig_now_ms();

	label(c, what, sizeof(what));
	rig->hold = c->step;
	rig_start_source(rig);
	if (!rig_await(rig, RIG_OFFER, BOUND_MS)) {
		fail(what, "the source does not start");
	} else if (c->step == RIG_OFFER) {
		kill(rig->src.pid, c->sig); /* it is not there when the successor comes */
		rig_start_successor(rig);
		rig_sleep_ms(c->sig == SIGSTOP ? TIMEOUT_MS * 2 : 0);
		strike(rig, c, 0);
		end = finish(rig, c, expect(c), what);
	} else {
		rig_start_successor(rig);
		if (!rig_await(rig, c->step, BOUND_MS))
			fail(what, "the step is not reached");
		else
			strike(rig, c, TIMEOUT_MS * 2);
		end = finish(rig, c, expect(c), what);
	}
	if (end < 0)
		sweep_away(rig);
	printf("%sok - %s: %s (%llu ms)\n", end < 0 ? "not " : "", what,
	       end < 0 ? "broken" : end_name(end), (unsigned long long)(rig_now_ms() - start));
	if (verbose && end >= 0)
		printf("# source: %s; successor: %s\n", rig->src.error, rig->suc.error);
	fflush(stdout);
	rig_free(rig);
	return end;
}

/* ----------------------------------------------------------------- choices */

/* In a short run: every party and signal, and the steps on both sides of the commit. */
static bool representative(const struct cell *c)
{
	if (c->sig == SIGSTOP)
		return c->step == RIG_QUIESCED || c->step == RIG_PREPARED ||
		       c->step == RIG_EARLY;
	return c->step == RIG_MAPPED || c->step == RIG_QUIESCED || c->step == RIG_PREPARED ||
	       c->step == RIG_PRECOMMIT || c->step == RIG_COMMITTED || c->step == RIG_EARLY;
}

static int run_matrix(bool all, const char *only)
{
	static const int sigs[] = { SIGKILL, SIGSTOP };
	char what[80];
	struct cell c;
	int failed = 0;
	size_t i;

	for (c.party = SOURCE; c.party < PARTIES; c.party++) {
		for (i = 0; i < 2; i++) {
			c.sig = sigs[i];
			for (c.step = RIG_OFFER; c.step <= RIG_DRAINED; c.step++) {
				label(&c, what, sizeof(what));
				if (!exists(&c) || (only && !strstr(what, only)))
					continue;
				if (all || only || representative(&c))
					failed += run_cell(&c) < 0;
			}
		}
	}
	return failed;
}

/* ------------------------------------------------------------------ random */

static u64 next_random(u64 *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static int random_allowed(const struct cell *c)
{
	if (c->party == SUCCESSOR && c->sig == SIGKILL)
		return END_GONE | END_SUCCESSOR;
	return c->party == FERRY ? END_LOST | END_SUCCESSOR : END_SUCCESSOR;
}

static int run_random(u64 *rnd, u64 serial)
{
	struct cell c = { .party = next_random(rnd) % PARTIES,
			  .sig = next_random(rnd) % 4 ? SIGKILL : SIGSTOP,
			  .step = RIG_COMMITTED };
	struct rig_plan plan = { .bytes = (16 + next_random(rnd) % 112) << 20,
				 .timeout_ms = 1000,
				 .seed = next_random(rnd),
				 .flags = next_random(rnd) % 4 ? RIG_TOUCH : 0 };
	u32 delay_us = (u32)(next_random(rnd) % (plan.bytes / 1500));
	struct rig *rig;
	char what[120];
	int end = -1;

	plan.flags |= next_random(rnd) % 3 == 0 ? RIG_THP : 0;
	snprintf(what, sizeof(what), "random %llu: %s %s %u us after the commit of %zu MiB",
		 (unsigned long long)serial, party_names[c.party],
		 c.sig == SIGKILL ? "killed" : "stopped", delay_us, plan.bytes >> 20);
	rig = rig_new(&plan);
	rig->hold = RIG_DRAINED;
	rig_start_source(rig);
	if (rig_await(rig, RIG_OFFER, BOUND_MS))
		rig_start_successor(rig);
	if (!rig_await(rig, RIG_COMMITTED, BOUND_MS)) {
		fail(what, rig->suc.error);
	} else {
		usleep(delay_us);
		strike(rig, &c, 1000 + (int)(next_random(rnd) % 500));
		rig_release(rig);
		end = finish(rig, &c, random_allowed(&c), what);
	}
	if (end < 0)
		sweep_away(rig);
	if (end < 0 || verbose)
		printf("# %s: %s\n", what, end < 0 ? "broken" : end_name(end));
	fflush(stdout);
	rig_free(rig);
	return end;
}

static int run_randoms(u64 n, u64 seed)
{
	u64 ends[5] = { 0 }, broken = 0, i, rnd = seed;
	int end;

	for (i = 0; i < n; i++) {
		end = run_random(&rnd, i);
		if (end < 0)
			broken++;
		else
			ends[__builtin_ctz((unsigned int)end)]++;
	}
	printf("# %llu random kills with seed %llu: %llu complete, %llu poisoned, %llu gone with "
	       "their owner, %llu broken\n",
	       (unsigned long long)n, (unsigned long long)seed, (unsigned long long)ends[1],
	       (unsigned long long)ends[2], (unsigned long long)ends[3],
	       (unsigned long long)broken);
	printf("%sok - random kills\n", broken ? "not " : "");
	return broken ? 1 : 0;
}

int main(int argc, char **argv)
{
	u64 n = 0, seed = 1;
	bool all = false;
	const char *only = NULL;
	int i, failed;

	over_tcp = getenv("MF_RIG_TCP");
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--all"))
			all = true;
		else if (!strcmp(argv[i], "--verbose"))
			verbose = 1;
		else if (!strcmp(argv[i], "--random") && i + 1 < argc)
			n = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else
			return 2;
	}
	if (n && !all && !only)
		return run_randoms(n, seed);
	failed = run_matrix(all, only);
	if (n)
		failed += run_randoms(n, seed);
	return failed ? 1 : 0;
}
