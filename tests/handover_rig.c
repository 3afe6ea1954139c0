/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover/address.h"
#include "handover/retired.h"
#include "handover/successor.h"

#define PAGE 4096
#define WORDS (PAGE / 8)

/* -------------------------------------------------------------------- time */

void rig_sleep_ms(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

u64 rig_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* -------------------------------------------------------------------- data */

u64 rig_word(u64 addr, u64 seed)
{
	u64 x = addr * 0x9e3779b97f4a7c15ull + seed;

	x ^= x >> 29;
	return x | 1; /* never zero */
}

bool rig_is_hole(u64 addr, u64 seed)
{
	u64 page = addr / PAGE;

	return (page ^ seed) % 16 == 3 || (page / 512) % 8 == 5;
}

void rig_fill(u64 base, size_t len, u64 seed)
{
	u64 addr, k;

	for (addr = base; addr < base + len; addr += PAGE) {
		if (rig_is_hole(addr, seed))
			continue;
		for (k = 0; k < PAGE; k += 8)
			*(u64 *)(addr + k) = rig_word(addr + k, seed);
	}
}

static void judge(const u64 *page, u64 addr, u64 seed, struct rig_count *c)
{
	bool hole = rig_is_hole(addr, seed), right = true, zero = true;
	u64 k;

	for (k = 0; k < WORDS; k++) {
		right = right && page[k] == (hole ? 0 : rig_word(addr + k * 8, seed));
		zero = zero && page[k] == 0;
	}
	if (right)
		c->right++;
	else if (zero)
		c->zero++;
	else
		c->wrong++;
}

/* Through the kernel: a poisoned page is an error then, not a signal. */
static bool fetch(u64 addr, void *buf, size_t len)
{
	struct iovec to = { buf, len }, from = { (void *)addr, len };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)len;
}

void rig_check(u64 base, size_t len, u64 seed, struct rig_count *c)
{
	static u64 buf[64 * WORDS];
	u64 addr = base, n, i;

	for (; addr < base + len; addr += n * PAGE) {
		n = mf_min(64, (base + len - addr) / PAGE);
		if (fetch(addr, buf, n * PAGE)) {
			for (i = 0; i < n; i++)
				judge(buf + i * WORDS, addr + i * PAGE, seed, c);
			continue;
		}
		for (i = 0; i < n; i++) {
			if (fetch(addr + i * PAGE, buf, PAGE))
				judge(buf, addr + i * PAGE, seed, c);
			else
				c->poisoned++;
		}
	}
}

static __thread sigjmp_buf bus_jump;
static __thread volatile int bus_armed;

static void on_bus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_jump, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* 0 and *ret, or -1 after a SIGBUS. */
static int load(u64 addr, u64 *ret)
{
	bus_armed = 1;
	if (sigsetjmp(bus_jump, 1)) {
		bus_armed = 0;
		return -1;
	}
	*ret = *(volatile u64 *)addr;
	bus_armed = 0;
	return 0;
}

static void catch_bus(void)
{
	struct sigaction sa = { .sa_handler = on_bus };

	sigaction(SIGBUS, &sa, NULL);
}

bool rig_sigbus(u64 addr)
{
	u64 v;

	catch_bus();
	return load(addr, &v) != 0;
}

u32 rig_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	u32 n = 0;

	if (!d)
		return 0; /* a test that hides /proc */
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", "..", and the directory itself */
}

u32 rig_count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	u32 n = 0;
	int c;

	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* ------------------------------------------------------------------- steps */

static const char *const step_names[RIG_STEPS] = {
	"none",	 "offer",  "attached", "mapped",    "quiesced",
	"saved", "state",  "prepared", "precommit", "committed",
	"early", "middle", "late",     "drained",   "done",
};

const char *rig_step_name(enum rig_step step)
{
	return step_names[step];
}

void rig_reach(struct rig *rig, enum rig_step step)
{
	mf_store(&rig->at[step], 1);
	while (mf_load(&rig->hold) == step)
		usleep(200);
}

bool rig_await(struct rig *rig, enum rig_step step, int timeout_ms)
{
	u64 end = rig_now_ms() + (u64)timeout_ms;

	while (!mf_load(&rig->at[step])) {
		if (rig_now_ms() > end)
			return false;
		usleep(100);
	}
	return true;
}

void rig_release(struct rig *rig)
{
	mf_store(&rig->hold, RIG_NONE);
}

struct rig *rig_new(const struct rig_plan *plan)
{
	static u32 serial;
	struct rig *rig = mmap(NULL, sizeof(*rig), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (rig == MAP_FAILED || pipe2(rig->notice, O_NONBLOCK)) {
		perror("rig");
		exit(1);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* ferry tasks that lose their process become ours */
	rig->plan = *plan;
	if (!rig->plan.base)
		rig->plan.base = RIG_BASE;
	snprintf(rig->path, sizeof(rig->path), "/tmp/memferry-rig.%d.%u", getpid(), serial++);
	if (getenv("MF_RIG_TCP"))
		rig->plan.flags |= RIG_TCP;
	if (rig->plan.flags & RIG_TCP)
		snprintf(rig->path, sizeof(rig->path), "tcp:127.0.0.1:0");
	return rig;
}

void rig_free(struct rig *rig)
{
	unlink(rig->path);
	close(rig->notice[0]);
	close(rig->notice[1]);
	munmap(rig, sizeof(*rig));
}

/* ------------------------------------------------------------------ source */

static void note(struct rig_side *side, int result)
{
	side->result = result;
	snprintf(side->error, sizeof(side->error), "%s", mf_error());
}

struct source_ctx {
	struct rig *rig;
	struct mf_source *src;
};

static int on_quiesce(void *arg)
{
	struct source_ctx *c = arg;

	c->rig->src.quiesced++;
	c->rig->ferry_pid = mf_source_ferry_pid(c->src);
	rig_reach(c->rig, RIG_QUIESCED);
	return 0;
}

static int on_save(void *arg, struct mf_state *state)
{
	struct source_ctx *c = arg;

	rig_reach(c->rig, RIG_SAVED);
	return mf_state_put(state, &c->rig->plan.seed, sizeof(c->rig->plan.seed));
}

static int on_resume(void *arg)
{
	struct source_ctx *c = arg;

	c->rig->src.unquiesced++;
	return 0;
}

static void *map_region(const struct rig_plan *plan)
{
	void *p = mmap((void *)plan->base, plan->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		       0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, plan->bytes, plan->flags & RIG_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static int declare(struct rig *rig, struct mf_source *src)
{
	const struct rig_plan *plan = &rig->plan;
	void *p = map_region(plan);

	if (!p)
		return -ENOMEM;
	rig_fill(plan->base, plan->bytes, plan->seed);
	return mf_source_region(src, "arena", p, plan->bytes, 0);
}

static int open_source(struct source_ctx *c)
{
	const struct rig_plan *plan = &c->rig->plan;
	const struct rig_hooks *h = plan->hooks;
	struct mf_source_opts o = {
		.size = sizeof(o),
		.app = "rig",
		.timeout_ms = plan->timeout_ms,
		.flags = plan->source_flags,
		.quiesce = on_quiesce,
		.save = on_save,
		.resume = on_resume,
		.arg = c,
	};
	int r = mf_source_new(&o, &c->src);

	if (!r)
		r = (h && h->declare ? h->declare : declare)(c->rig, c->src);
	if (!r)
		r = mf_source_listen(c->src, c->rig->path);
	if (!r && plan->flags & RIG_TCP)
		snprintf(c->rig->path, sizeof(c->rig->path), "tcp:127.0.0.1:%d",
			 mf_source_port(c->src));
	if (!r && h && h->listening)
		h->listening(c->rig, c->src);
	return r;
}

/* After an attempt that failed everything must be as it was. */
static void resumed(struct source_ctx *c)
{
	struct rig_side *side = &c->rig->src;

	note(side, MF_RESUMED);
	side->fds_after = rig_count_fds();
	side->maps_after = rig_count_maps();
	side->count = (struct rig_count){ .right = 0 };
	rig_check(c->rig->plan.base, c->rig->plan.bytes, c->rig->plan.seed, &side->count);
	if (c->rig->plan.hooks && c->rig->plan.hooks->resumed)
		c->rig->plan.hooks->resumed(c->rig, c->src);
	__atomic_add_fetch(&side->resumed, 1, __ATOMIC_SEQ_CST);
}

static void serve(struct source_ctx *c)
{
	struct rig *rig = c->rig;
	struct pollfd p = { .fd = mf_source_pollfd(c->src), .events = POLLIN };
	int r = MF_IDLE;

	while (!mf_load(&rig->stop)) {
		poll(&p, 1, 20);
		r = mf_source_dispatch(c->src);
		if (r == MF_RESUMED)
			resumed(c);
		if (r < 0)
			note(&rig->src, r);
		if (r < 0 || r == MF_HANDED_OVER)
			break;
	}
	if (r == MF_HANDED_OVER) {
		mf_store(&rig->src.handed_over, 1);
		if (rig->plan.flags & RIG_SRC_STAYS)
			note(&rig->src, mf_source_wait(c->src, 10000));
	}
}

static void source_main(struct rig *rig)
{
	struct source_ctx c = { .rig = rig };
	int r = open_source(&c);

	if (r) {
		note(&rig->src, r);
		_exit(3);
	}
	rig->src.fds_before = rig_count_fds();
	rig->src.maps_before = rig_count_maps();
	rig_reach(rig, RIG_OFFER);
	serve(&c);
	if (rig->plan.hooks && rig->plan.hooks->ending)
		rig->plan.hooks->ending(rig, &rig->src);
	mf_source_free(c.src);
	mf_store(&rig->src.finished, 1);
	_exit(0);
}

pid_t rig_start_source(struct rig *rig)
{
	pid_t pid;

	memset(&rig->src, 0, sizeof(rig->src));
	rig->at[RIG_OFFER] = 0;
	pid = fork();
	if (pid == 0)
		source_main(rig);
	rig->src.pid = pid;
	return pid;
}

/* --------------------------------------------------------------- successor */

struct toucher {
	struct rig *rig;
	pthread_t thread;
	u32 stop;
	u64 rnd;
	u64 bad, poisoned;
};

static void touch_one(struct toucher *t)
{
	const struct rig_plan *plan = &t->rig->plan;
	u64 addr, v;

	t->rnd = t->rnd * 6364136223846793005ull + 1442695040888963407ull;
	addr = plan->base + (t->rnd >> 20) % (plan->bytes / 8) * 8;
	if (load(addr, &v))
		t->poisoned++;
	else if (v != (rig_is_hole(addr, plan->seed) ? 0 : rig_word(addr, plan->seed)))
		t->bad++;
}

static void *touch(void *arg)
{
	struct toucher *t = arg;

	while (!mf_load(&t->stop))
		touch_one(t);
	return NULL;
}

#define TOUCHERS 2

static void start_touching(struct rig *rig, struct toucher *t)
{
	u32 i;

	catch_bus();
	for (i = 0; i < TOUCHERS; i++) {
		t[i] = (struct toucher){ .rig = rig, .rnd = rig->plan.seed + i };
		pthread_create(&t[i].thread, NULL, touch, &t[i]);
	}
}

static void stop_touching(struct rig *rig, struct toucher *t)
{
	u32 i;

	for (i = 0; i < TOUCHERS; i++)
		mf_store(&t[i].stop, 1);
	for (i = 0; i < TOUCHERS; i++) {
		pthread_join(t[i].thread, NULL);
		rig->suc.touch_bad += t[i].bad;
	}
}

/* Before the commit: some of the memory is looked at, as an application would. */
static void prepare(struct rig *rig)
{
	const struct rig_plan *plan = &rig->plan;
	u64 step = mf_max(plan->bytes / 64 & ~(u64)(PAGE - 1), PAGE), at;

	for (at = 0; at + PAGE <= plan->bytes; at += step)
		rig_check(plan->base + at, PAGE, plan->seed, &rig->suc.count);
}

static void publish_guard(struct rig *rig, const struct mf_successor *s)
{
	mf_store(&rig->guard_pid, s->guard ? mf_task_pid(s->guard) : 0);
}

static int until_commit(struct rig *rig, struct mf_successor *s)
{
	const void *blob;
	size_t len;
	void *addr;
	int r;

	rig_reach(rig, RIG_ATTACHED);
	r = mf_successor_map(s, "arena", 0, &addr, &len);
	if (r)
		return r;
	rig_reach(rig, RIG_MAPPED);
	r = mf_successor_state(s, &blob, &len);
	if (r)
		return r;
	publish_guard(rig, s);
	rig_reach(rig, RIG_STATE);
	prepare(rig);
	rig_reach(rig, RIG_PREPARED);
	rig_reach(rig, RIG_PRECOMMIT);
	return mf_successor_commit(s);
}

static int drain(struct rig *rig, struct mf_successor *s)
{
	static const u32 tenths[] = { 1, 5, 9 };
	struct mf_stats st = { .size = sizeof(st) };
	u32 next = 0;
	int r;

	for (;;) {
		mf_successor_stats(s, &st);
		while (next < 3 && st.bytes_done * 10 >= st.bytes_total * tenths[next])
			rig_reach(rig, RIG_EARLY + next++);
		r = mf_successor_wait(s, 0);
		publish_guard(rig, s);
		if (r != -ETIMEDOUT)
			return r;
		usleep(100);
	}
}

static void look_at_end(struct rig *rig, int r)
{
	const struct rig_plan *plan = &rig->plan;
	struct rig_side *side = &rig->suc;
	u64 addr, byte;

	side->lost = r == -EOWNERDEAD;
	side->count = (struct rig_count){ .right = 0 };
	rig_check(plan->base, plan->bytes, plan->seed, &side->count);
	if (!side->count.poisoned)
		return;
	for (addr = plan->base; addr < plan->base + plan->bytes; addr += PAGE) {
		if (fetch(addr, &byte, 1))
			continue;
		if (!rig_sigbus(addr))
			side->touch_bad++;
		break;
	}
}

static void serve_taken(struct rig *rig, struct mf_successor *s)
{
	struct mf_stats st = { .size = sizeof(st) };
	struct toucher t[TOUCHERS];
	bool touching = rig->plan.flags & RIG_TOUCH;
	int r;

	mf_store(&rig->suc.committed, 1);
	if (touching)
		start_touching(rig, t);
	rig_reach(rig, RIG_COMMITTED);
	r = drain(rig, s);
	note(&rig->suc, r);
	if (touching)
		stop_touching(rig, t);
	rig_reach(rig, RIG_DRAINED);
	look_at_end(rig, r);
	mf_successor_stats(s, &st);
	rig->suc.stats_poisoned = st.pages_poisoned;
}

/* A guard that still puts huge pages together is let; it goes when it has done. */
static u32 settled_fds(u32 expect)
{
	u64 end = rig_now_ms() + 3000;
	u32 n;

	while ((n = rig_count_fds()) != expect && rig_now_ms() < end) {
		mf_retired_reap();
		usleep(1000);
	}
	return n;
}

int rig_say(struct rig *rig, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rig->suc.error, sizeof(rig->suc.error), fmt, ap);
	va_end(ap);
	return -1;
}

int rig_take(struct rig *rig, struct mf_successor *s)
{
	const void *blob;
	size_t len;
	int r = mf_successor_state(s, &blob, &len);

	if (!r) {
		publish_guard(rig, s);
		r = mf_successor_commit(s);
	}
	if (r)
		note(&rig->suc, r);
	else
		mf_store(&rig->suc.committed, 1);
	return r;
}

int rig_range_right(struct rig *rig, u64 base, size_t len)
{
	struct rig_count c = { .right = 0 };

	rig_check(base, len, rig->plan.seed, &c);
	if (c.right == len / PAGE)
		return 0;
	return rig_say(rig, "%#llx + %zu KiB: %llu right, %llu zero, %llu wrong, %llu poisoned",
		       (unsigned long long)base, len >> 10, (unsigned long long)c.right,
		       (unsigned long long)c.zero, (unsigned long long)c.wrong,
		       (unsigned long long)c.poisoned);
}

int rig_all_right(struct rig *rig, struct mf_successor *s, u64 base, size_t len)
{
	int r = mf_successor_wait(s, 20000);

	return r ? rig_say(rig, "wait: %s", mf_error()) : rig_range_right(rig, base, len);
}

static void try_to_succeed(struct rig *rig, struct mf_successor *s)
{
	const struct rig_hooks *h = rig->plan.hooks;
	int r;

	if (h && h->successor && !(rig->plan.flags & RIG_NO_HOOKS)) {
		r = h->successor(rig, s);
		rig->suc.result = r;
		return;
	}
	r = until_commit(rig, s);
	if (r)
		note(&rig->suc, r);
	else
		serve_taken(rig, s);
}

static void successor_main(struct rig *rig)
{
	struct mf_successor_opts o = {
		.size = sizeof(o),
		.app = "rig",
		.timeout_ms = rig->plan.flags & RIG_SLOW ? 20000 : rig->plan.timeout_ms,
		.placement = MF_PLACE_SAME,
		.flags = rig->plan.successor_flags,
		.notice_fd = rig->notice[1],
	};
	struct mf_successor *s = NULL;
	int r;

	rig->suc.fds_before = rig_count_fds();
	if (rig->plan.hooks && rig->plan.hooks->before_attach &&
	    !(rig->plan.flags & RIG_NO_HOOKS))
		rig->plan.hooks->before_attach(rig, &o);
	r = mf_successor_attach(rig->path, &o, &s);
	if (r)
		note(&rig->suc, r);
	else
		try_to_succeed(rig, s);
	mf_successor_free(s);
	close(mf_inherited_listener(rig->path)); /* came along; there is no next source here */
	if (rig->plan.hooks && rig->plan.hooks->ending)
		rig->plan.hooks->ending(rig, &rig->suc);
	rig->suc.fds_after = settled_fds(rig->suc.fds_before);
	rig_reach(rig, RIG_DONE);
	mf_store(&rig->suc.finished, 1);
	_exit(0);
}

pid_t rig_start_successor(struct rig *rig)
{
	pid_t pid;
	int i;

	memset(&rig->suc, 0, sizeof(rig->suc));
	for (i = RIG_ATTACHED; i < RIG_STEPS; i++)
		rig->at[i] = 0;
	rig->ferry_pid = rig->guard_pid = 0;
	pid = fork();
	if (pid == 0)
		successor_main(rig);
	rig->suc.pid = pid;
	return pid;
}

/* ------------------------------------------------------------------ driver */

/* Ends of children that somebody will ask for later. */
static struct {
	pid_t pid;
	int status;
} ended[64];
static u32 n_ended;

/* True if there are no children any more. */
static bool reap_all(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		ended[n_ended % 64].pid = pid;
		ended[n_ended++ % 64].status = status;
	}
	return pid < 0 && errno == ECHILD;
}

bool rig_await_exit(pid_t pid, int timeout_ms, int *ret_status)
{
	u64 end = rig_now_ms() + (u64)timeout_ms;
	u32 i;

	for (;;) {
		reap_all();
		for (i = 0; i < 64; i++) {
			if (ended[i].pid != pid)
				continue;
			*ret_status = ended[i].status;
			ended[i].pid = 0;
			return true;
		}
		if (rig_now_ms() > end)
			return false;
		usleep(500);
	}
}

bool rig_alone(int timeout_ms)
{
	u64 end = rig_now_ms() + (u64)timeout_ms;

	do {
		if (reap_all())
			return true;
		usleep(500);
	} while (rig_now_ms() < end);
	return false;
}

const char *rig_notice(struct rig *rig, char *buf, size_t size)
{
	ssize_t n = read(rig->notice[0], buf, size - 1);

	buf[n > 0 ? n : 0] = 0;
	return buf;
}

bool rig_take_over(struct rig *rig, char *why, size_t size)
{
	u64 pages = rig->plan.bytes / PAGE;
	int status = -1;
	pid_t pid;

	rig_release(rig);
	pid = rig_start_successor(rig);
	if (!rig_await_exit(pid, 15000, &status)) {
		snprintf(why, size, "the clean hand-over hangs");
		return false;
	}
	if (status || !rig->suc.committed || rig->suc.result || rig->suc.touch_bad ||
	    rig->suc.count.right != pages) {
		snprintf(why, size,
			 "the clean hand-over failed: status %#x, %d, %llu of %llu, %s", status,
			 rig->suc.result, (unsigned long long)rig->suc.count.right,
			 (unsigned long long)pages, rig->suc.error);
		return false;
	}
	return true;
}
