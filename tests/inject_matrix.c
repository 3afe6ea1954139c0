/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inject_matrix [--all] [--only "side kind"] [--verbose]
 *
 * The Nth system call of a kind fails, in the source or in the successor, their ferry and
 * guard included, once or from then on. However that ends, it must be one of: every byte has
 * arrived; or the source goes on with every byte; or memory is poisoned, or its process
 * ended, with a message. Never zeros, never a hang, nothing left behind.
 */
#include "base/inject.h"

#include <stdio.h>

#ifndef MF_ENABLE_INJECT

int main(void)
{
	printf("needs a build with -Dinject=true\n");
	return 77;
}

#else

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover_rig.h"

#define BYTES (4 << 20)
#define PAGES (BYTES / 4096)
#if defined(__SANITIZE_ADDRESS__)
#define COUNT_MAPS 0 /* the sanitizer maps what it needs, when it likes */
#else
#define COUNT_MAPS 1
#endif
#define NTH_EACH 40 /* of a once-failing call: each up to here, */
#define NTH_MAX 160 /* then every seventh */
#define NTH_MANY 6  /* from-then-on */

enum side { SOURCE, SUCCESSOR };

struct fault {
	enum side side;
	u32 kind, nth, forever;
	int error;
};

static const char *const kind_names[MF_INJECT_KINDS] = {
	"none",	 "ioctl",   "mmap", "read", "send",  "recv",
	"clone", "madvise", "poll", "fd",   "alloc",
};

static const int errors[MF_INJECT_KINDS][5] = {
	[MF_INJECT_IOCTL] = { EIO, ENOMEM, EAGAIN, EINTR },
	[MF_INJECT_MMAP] = { ENOMEM, EPERM },
	[MF_INJECT_READ] = { EIO, EAGAIN, EINTR },
	[MF_INJECT_SEND] = { EPIPE, EAGAIN, EINTR, ENOMEM },
	[MF_INJECT_RECV] = { ECONNRESET, EAGAIN, EINTR, ENOMEM },
	[MF_INJECT_CLONE] = { EAGAIN, ENOMEM, EPERM },
	[MF_INJECT_MADVISE] = { ENOMEM, EINVAL, EAGAIN },
	[MF_INJECT_POLL] = { EINTR, ENOMEM },
	[MF_INJECT_FD] = { EMFILE, ENOMEM, EPERM },
	[MF_INJECT_ALLOC] = { ENOMEM },
};

static struct fault fault; /* inherited by the processes that are to have it */
static u32 in_successor;   /* how often it fired there; a clean hand-over may follow */
static int verbose;

static void arm(void)
{
	mf_inject_plan = (struct mf_inject_plan){ .nth = fault.nth,
						  .forever = fault.forever,
						  .error = fault.error,
						  .kind = fault.kind };
}

static void disarm(struct rig_side *side)
{
	side->fired += mf_inject_plan.fired;
	mf_inject_plan = (struct mf_inject_plan){ .kind = MF_INJECT_NONE };
}

static void on_listening(struct rig *rig, struct mf_source *src)
{
	if (fault.side == SOURCE)
		arm();
}

static void on_resumed(struct rig *rig, struct mf_source *src)
{
	disarm(&rig->src);
}

static void before_attach(struct rig *rig, struct mf_successor_opts *o)
{
	if (fault.side == SUCCESSOR)
		arm();
}

static void on_ending(struct rig *rig, struct rig_side *side)
{
	disarm(side);
}

static const struct rig_hooks hooks = {
	.listening = on_listening,
	.resumed = on_resumed,
	.before_attach = before_attach,
	.ending = on_ending,
};

/*
 * The linker leads the allocations of everything but libc here (--wrap). A sanitizer's own
 * are not among them.
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static bool no_memory(void)
{
	return mf_inject(MF_INJECT_ALLOC) != 0;
}

void *__wrap_malloc(size_t size)
{
	return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return no_memory() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return no_memory() ? NULL : __real_strdup(s);
}

/* ----------------------------------------------------------------- verdict */

static int fail(const char *why, const struct rig *rig)
{
	const struct rig_count *c = &rig->suc.count;

	printf("# %s: %s %u%s %s: %s; source %d '%s'; successor %d '%s', %llu right %llu zero "
	       "%llu wrong %llu poisoned\n",
	       fault.side == SOURCE ? "source" : "successor", kind_names[fault.kind], fault.nth,
	       fault.forever ? "+" : "", strerrorname_np(fault.error), why, rig->src.result,
	       rig->src.error, rig->suc.result, rig->suc.error, (unsigned long long)c->right,
	       (unsigned long long)c->zero, (unsigned long long)c->wrong,
	       (unsigned long long)c->poisoned);
	return -1;
}

static int check_taken(struct rig *rig)
{
	const struct rig_side *d = &rig->suc;
	char text[600];

	if (rig->src.resumed)
		return fail("two owners", rig);
	if (d->count.zero || d->count.wrong || d->touch_bad ||
	    d->count.right + d->count.poisoned != PAGES)
		return fail("pages are neither right nor poisoned", rig);
	if (!d->count.poisoned && d->result == 0)
		return 0;
	if (!*rig_notice(rig, text, sizeof(text)))
		return fail("poisoned without a message", rig);
	return d->result ? 0 : fail("poisoned, and mf_successor_wait() does not say it", rig);
}

static int check_refused(struct rig *rig)
{
	const struct rig_side *s = &rig->src;
	char why[900];

	if (!*rig->suc.error)
		return fail("the successor failed without a text", rig);
	if (s->handed_over)
		return fail("no owner", rig);
	if (s->resumed && s->count.right != PAGES)
		return fail("the source's memory has changed", rig);
	if (s->resumed && s->fds_after != s->fds_before)
		return fail("the source leaks descriptors", rig);
	if (COUNT_MAPS && s->resumed && s->maps_after != s->maps_before)
		return fail("the source leaks mappings", rig);
	fault.side = SOURCE; /* so that the next successor is a healthy one */
	if (!rig_take_over(rig, why, sizeof(why)))
		return fail(why, rig);
	return 0;
}

static int judge(struct rig *rig, int status)
{
	char text[600];

	if (WIFSIGNALED(status)) {
		if (WTERMSIG(status) == SIGKILL && *rig_notice(rig, text, sizeof(text)))
			return 0;
		return fail("the successor died of a signal", rig);
	}
	if (rig->suc.fds_after != rig->suc.fds_before)
		return fail("the successor leaks descriptors", rig);
	return rig->suc.committed ? check_taken(rig) : check_refused(rig);
}

static void sweep_away(struct rig *rig)
{
	pid_t pids[] = { rig->src.pid, rig->suc.pid, rig->ferry_pid, rig->guard_pid };
	size_t i;

	for (i = 0; i < sizeof(pids) / sizeof(pids[0]); i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	rig_alone(2000);
}

static int attempt(struct rig *rig)
{
	int status = 0, r;

	rig_start_source(rig);
	if (!rig_await(rig, RIG_OFFER, 5000))
		return fail("the source does not start", rig);
	rig_start_successor(rig);
	if (!rig_await_exit(rig->suc.pid, 12000, &status))
		return fail("the successor hangs", rig);
	/* who died cannot tell */
	in_successor = rig->suc.finished ? rig->suc.fired : 1;
	r = judge(rig, status);
	mf_store(&rig->stop, 1);
	if (!r && !rig_alone(6000))
		return fail("somebody is left behind", rig);
	return r;
}

/* Has the fault been reached? -1: it ended badly. */
static int run(const struct fault *f)
{
	const struct rig_plan plan = { .bytes = BYTES,
				       .timeout_ms = 400,
				       .seed = 3,
				       .flags = RIG_SRC_STAYS,
				       .hooks = &hooks };
	struct rig *rig = rig_new(&plan);
	u32 fired;
	int r;

	fault = *f;
	in_successor = 1;
	r = attempt(rig);
	fault = *f;
	if (r)
		sweep_away(rig);
	fired = f->side == SOURCE ? rig->src.fired : in_successor;
	if (verbose && !r)
		fail("fine", rig);
	rig_free(rig);
	return r ? -1 : fired > 0;
}

/* ----------------------------------------------------------------- choices */

static u32 n_errors(u32 kind)
{
	u32 n = 0;

	while (errors[kind][n])
		n++;
	return n;
}

/*
 * "Come back later" for ever is not an error that a kernel has: it ends when events are
 * read, when there is room, when memory is there. We wait for that, as long as it takes.
 */
static bool endless(u32 kind, int error)
{
	if (error == EAGAIN)
		return kind == MF_INJECT_IOCTL || kind == MF_INJECT_SEND ||
		       kind == MF_INJECT_RECV || kind == MF_INJECT_READ;
	if (error == EINTR)
		return kind == MF_INJECT_SEND || kind == MF_INJECT_RECV ||
		       kind == MF_INJECT_READ;
	/* nobody can be watched, then */
	return kind == MF_INJECT_POLL || (kind == MF_INJECT_IOCTL && error == ENOMEM);
}

static u32 next_nth(const struct fault *f)
{
	return f->nth + (f->nth < NTH_EACH ? 1 : 7);
}

static int series(struct fault *f, bool all, u32 *ret_runs)
{
	u32 n = n_errors(f->kind), e, max = f->forever ? NTH_MANY : NTH_MAX;
	int failed = 0, r = 1;

	for (f->nth = 1; f->nth <= max && r; f->nth = next_nth(f)) {
		for (e = 0; e < n; e++) {
			f->error = errors[f->kind][e];
			if ((!all && e != f->nth % n) ||
			    (f->forever && endless(f->kind, f->error)))
				continue;
			r = run(f);
			(*ret_runs)++;
			failed += r < 0;
		}
	}
	return failed;
}

/* ---------------------------------------------------- unreadable in the source */

static int declare_none(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	rig_fill(RIG_BASE, BYTES, rig->plan.seed);
	mprotect(p, BYTES, PROT_NONE);
	return mf_source_region(src, "arena", p, BYTES, 0);
}

static int expect_poison(struct rig *rig, struct mf_successor *s)
{
	struct rig_count c = { .right = 0 };
	int r;

	if (rig_take(rig, s))
		return -1;
	r = mf_successor_wait(s, 20000);
	if (r != -EIO)
		return rig_say(rig, "wait: %d %s", r, mf_error());
	mprotect((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE);
	rig_check(RIG_BASE, BYTES, rig->plan.seed, &c);
	if (!c.poisoned || c.right + c.poisoned != PAGES)
		return rig_say(rig, "%llu right, %llu poisoned, %llu zero",
			       (unsigned long long)c.right, (unsigned long long)c.poisoned,
			       (unsigned long long)c.zero);
	return 0;
}

/* Reads fail from some point on: nothing can be rescued from memory without any right. */
static int run_unreadable(void)
{
	static const struct rig_hooks h = { .declare = declare_none,
					    .listening = on_listening,
					    .successor = expect_poison };
	const struct rig_plan plan = {
		.bytes = BYTES, .timeout_ms = 5000, .seed = 3, .hooks = &h
	};
	struct rig *rig = rig_new(&plan);
	char text[600];
	int status = -1, r = 0;

	fault = (struct fault){
		.side = SOURCE, .kind = MF_INJECT_READ, .nth = 12, .forever = 1, .error = EIO
	};
	rig_start_source(rig);
	rig_await(rig, RIG_OFFER, 5000);
	rig_start_successor(rig);
	if (!rig_await_exit(rig->suc.pid, 20000, &status) || status || rig->suc.result)
		r = fail("unreadable memory", rig);
	else if (!strstr(rig_notice(rig, text, sizeof(text)), "could not be read"))
		r = fail("no message", rig);
	mf_store(&rig->stop, 1);
	if (r || !rig_alone(5000))
		sweep_away(rig);
	printf("%sok - unreadable in the source\n", r ? "not " : "");
	rig_free(rig);
	return r != 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	bool all = false;
	struct fault f;
	int i, failed = 0, bad;
	u32 runs;
	char name[60];

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--all"))
			all = true;
		else if (!strcmp(argv[i], "--verbose"))
			verbose = 1;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else
			return 2;
	}
	for (f.side = SOURCE; f.side <= SUCCESSOR; f.side++) {
		for (f.kind = MF_INJECT_IOCTL; f.kind < MF_INJECT_KINDS; f.kind++) {
			snprintf(name, sizeof(name), "%s %s",
				 f.side == SOURCE ? "source" : "successor", kind_names[f.kind]);
			if (only && strcmp(only, name))
				continue;
			runs = 0;
			bad = 0;
			for (f.forever = 0; f.forever < 2; f.forever++)
				bad += series(&f, all, &runs);
			printf("%sok - %s: %u runs\n", bad ? "not " : "", name, runs);
			fflush(stdout);
			failed += bad;
		}
	}
	if (!only || !strcmp(only, "unreadable"))
		failed += run_unreadable();
	return failed ? 1 : 0;
}

#endif
