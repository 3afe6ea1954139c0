/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The faulting side of "bench fault": maps, starts a handler where the row wants it,
 * touches every page once in random order from as many threads as the row wants, and
 * times each touch in the thread that makes it.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memferry.h>

#include "bench.h"
#include "child.h"
#include "fault.h"
#include "memory.h"

#define MAX_THREADS 64
#define WARM_UP 16 /* first touches of a thread, not recorded: page tables, cold code */
#define WAIT_MS 5000
#define WRITER_BYTES (16 * MIB)
#define SEED 0x66617574u

struct toucher {
	struct fault_cell *cell;
	pthread_t thread;
	int cpu;
	size_t first, pages;
	pthread_barrier_t *start;
	struct hist hist;
	size_t wrong;
	int err;
};

/* ---------------------------------------------------------------- places */

static int handler_cpu(const struct fault_cell *c)
{
	return c->row->placement == ON_SAME_CPU ? c->cpus[0] : c->cpus[1];
}

/* Faulting threads stay off the handler's CPU unless the row is about sharing it. */
static int toucher_cpu(const struct fault_cell *c, unsigned int i)
{
	if (c->row->handler == BY_ITSELF || c->row->handler == BY_KERNEL)
		return c->cpus[i % c->n_cpus];
	if (c->row->placement == ON_SAME_CPU || c->n_cpus == 2)
		return c->cpus[0];
	i %= c->n_cpus - 1;
	return c->cpus[i ? i + 1 : 0];
}

/*
 * The writer must run at the same time as the handler for its TLB to need flushing, and
 * must not share the handler's CPU, which would measure the scheduler instead.
 */
static int writer_cpu(const struct fault_cell *c)
{
	if (c->n_cpus >= 3)
		return c->cpus[c->n_cpus - 1];
	return handler_cpu(c) == c->cpus[0] && c->n_cpus > 1 ? c->cpus[1] : c->cpus[0];
}

/* --------------------------------------------------------------- touches */

static uint64_t touch(const struct fault_cell *c, volatile uint64_t *word)
{
	uint64_t t0 = now_ns();

	if (c->row->op == OP_TOUCH_WRITE)
		*word = 0;
	else
		(void)*word;
	return now_ns() - t0;
}

static size_t count_wrong(const struct toucher *t, const unsigned int *order, size_t n)
{
	const struct fault_cell *c = t->cell;
	bool stamped = c->row->op == OP_MOVE || c->row->op == OP_COPY;
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++) {
		size_t off = (t->first + order[i]) * PAGE;
		uint64_t want = stamped ? memory_word(c->src + off, SEED) : 0;

		wrong += *(uint64_t *)(c->dst + off) != want;
	}
	return wrong;
}

static void *touch_all(void *arg)
{
	struct toucher *t = arg;
	struct fault_cell *c = t->cell;
	unsigned int *order = calloc(t->pages, sizeof(*order));
	uint64_t end, ns;
	size_t n;

	t->err = order ? place_pin(0, t->cpu) : -ENOMEM;
	hist_init(&t->hist);
	if (order)
		shuffle(order, t->pages);
	pthread_barrier_wait(t->start);
	end = now_ns() + c->budget_ns;
	for (n = 0; order && n < t->pages && !t->err && now_ns() < end; n++) {
		ns = touch(c, (uint64_t *)(c->dst + (t->first + order[n]) * PAGE));
		if (n >= WARM_UP)
			hist_record(&t->hist, ns);
	}
	if (order && !t->err)
		t->wrong = count_wrong(t, order, n);
	free(order);
	return NULL;
}

static int run_touchers(struct fault_cell *c)
{
	static struct toucher touchers[MAX_THREADS];
	unsigned int n = c->row->threads;
	pthread_barrier_t start;
	size_t wrong = 0;
	int err = 0;

	pthread_barrier_init(&start, NULL, n);
	for (unsigned int i = 0; i < n; i++) {
		struct toucher *t = &touchers[i];

		*t = (struct toucher){ .cell = c, .start = &start };
		t->cpu = toucher_cpu(c, i);
		t->pages = c->pages / n;
		t->first = t->pages * i;
		if (pthread_create(&t->thread, NULL, touch_all, t))
			return child_fail(-EAGAIN, "cannot start %u threads", n);
	}
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(touchers[i].thread, NULL);
		hist_merge(&c->shared->hist, &touchers[i].hist);
		wrong += touchers[i].wrong;
		if (touchers[i].err)
			err = touchers[i].err;
	}
	if (wrong)
		return child_fail(-EBADMSG, "%zu pages had wrong contents", wrong);
	return err;
}

static int await(const uint32_t *flag, const char *who)
{
	uint64_t end = now_ns() + (uint64_t)WAIT_MS * 1000000;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
		if (now_ns() > end)
			return child_fail(-ETIMEDOUT, "%s did not start", who);
		usleep(100);
	}
	return 0;
}

/* ---------------------------------------------------------------- writer */

static void *write_present_pages(void *arg)
{
	struct fault_cell *c = arg;
	char *p = memory_map(NULL, WRITER_BYTES, false);

	place_pin(0, writer_cpu(c));
	if (p) /* a forked handler would make every write copy its page first */
		madvise(p, WRITER_BYTES, MADV_DONTFORK);
	for (uint64_t n = 1; p && !__atomic_load_n(&c->shared->writer_stop, __ATOMIC_RELAXED);
	     n++) {
		for (size_t off = 0; off < WRITER_BYTES; off += PAGE)
			*(volatile uint64_t *)(p + off) = n;
		__atomic_store_n(&c->shared->writer_runs, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* -------------------------------------------------------------- handlers */

/* The same loop as fault_handle() without anything of memferry in it. */
static int handle_bare(struct fault_cell *c)
{
	struct uffdio_zeropage z = { .range.len = PAGE };
	struct uffd_msg msg;

	for (;;) {
		if (read(c->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		z.range.start = msg.arg.pagefault.address & ~(PAGE - 1);
		if (ioctl(c->uffd, UFFDIO_ZEROPAGE, &z)) {
			c->shared->handler_error = -errno;
			return 1;
		}
		if (z.range.start >= (uint64_t)c->dst + c->pages * PAGE)
			return 0;
	}
}

static void *handler_thread(void *arg)
{
	struct fault_cell *c = arg;

	place_pin(0, handler_cpu(c));
	if (c->row->op != OP_ZEROPAGE_BARE)
		fault_handle(c);
	else
		handle_bare(c);
	return NULL;
}

/* The source's pages are this process's own: that is what "by another process" means. */
static void handler_process(struct fault_cell *c)
{
	if (c->row->op == OP_COPY)
		memory_stamp(c->src, (c->pages + 1) * PAGE, SEED);
	place_pin(0, handler_cpu(c));
	_exit(fault_handle(c));
}

struct handler {
	pthread_t thread;
	pid_t pid;
	struct mf_task *task;
};

static int start_task(struct fault_cell *c, struct handler *h)
{
	struct mf_task_opts opts = { .size = sizeof(opts),
				     .name = "bench-handler",
				     .keep_fds = &c->uffd,
				     .n_keep_fds = 1 };
	int r = mf_task_start(fault_handle, c, &opts, &h->task);

	if (r)
		return child_fail(r, "%s", mf_error());
	return place_pin(mf_task_pid(h->task), handler_cpu(c));
}

static int start_handler(struct fault_cell *c, struct handler *h)
{
	if (c->row->handler == BY_THREAD) {
		if (pthread_create(&h->thread, NULL, handler_thread, c))
			return child_fail(-EAGAIN, "cannot start a handler thread");
		return 0;
	}
	if (c->row->op == OP_MOVE)
		return start_task(c, h);
	h->pid = child_fork();
	if (h->pid < 0)
		return child_fail((int)h->pid, "cannot fork a handler process");
	if (h->pid == 0)
		handler_process(c);
	return await(&c->shared->handler_ready, "the handler process");
}

/* Touching the page behind the last makes the handler return. */
static int stop_handler(struct fault_cell *c, struct handler *h)
{
	int r = 0;

	(void)*(volatile char *)(c->dst + c->pages * PAGE);
	if (h->task) {
		r = mf_task_wait(h->task, WAIT_MS, NULL);
		mf_task_free(h->task);
	} else if (h->pid) {
		r = child_wait(h->pid, WAIT_MS);
	} else {
		pthread_join(h->thread, NULL);
	}
	if (c->shared->handler_error)
		return child_fail(c->shared->handler_error, "the handler failed: %s",
				  strerror(-c->shared->handler_error));
	return r;
}

static struct fault_cell *sigbus_cell;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (fault_resolve(sigbus_cell, (uint64_t)info->si_addr))
		_exit(1); /* the parent tells of a row that ended without a word */
}

static int catch_sigbus(struct fault_cell *c)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigbus_cell = c;
	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}

/* ----------------------------------------------------------------- frame */

static int open_uffd(struct fault_cell *c)
{
	uint64_t features = c->row->handler == BY_ITSELF ? UFFD_FEATURE_SIGBUS : 0;
	unsigned int flags = c->row->placement == ON_OTHER_SPINNING ? 0 : MF_UFFD_BLOCKING;
	int r = mf_uffd_open(features, flags, &c->uffd);

	if (r == -EPERM)
		r = mf_uffd_open(features, flags | MF_UFFD_USER_MODE_ONLY, &c->uffd);
	if (r)
		return child_fail(r, "%s", mf_error());
	r = mf_uffd_register(c->uffd, c->dst, (c->pages + 1) * PAGE, MF_UFFD_REGISTER_MISSING,
			     NULL);
	return r ? child_fail(r, "UFFDIO_REGISTER: %s", strerror(-r)) : 0;
}

static int map_both(struct fault_cell *c)
{
	size_t len = (c->pages + 1) * PAGE;

	c->dst = memory_map(NULL, len, false);
	c->src = memory_map(NULL, len, false);
	if (!c->dst || !c->src)
		return child_fail(-ENOMEM, "no memory for %zu pages", c->pages);
	if (c->row->op == OP_MOVE || (c->row->op == OP_COPY && c->row->handler != BY_PROCESS))
		memory_stamp(c->src, len, SEED);
	return 0;
}

static int run_handled(struct fault_cell *c)
{
	struct handler h = { 0 };
	int r = start_handler(c, &h);

	if (r)
		return r;
	r = run_touchers(c);
	if (r)
		return r;
	return stop_handler(c, &h);
}

static int run_any(struct fault_cell *c)
{
	int r;

	if (c->row->handler == BY_KERNEL)
		return run_touchers(c);
	r = open_uffd(c);
	if (r)
		return r;
	if (c->row->handler != BY_ITSELF)
		return run_handled(c);
	r = catch_sigbus(c);
	return r ? r : run_touchers(c);
}

int fault_cell_run(void *arg)
{
	struct fault_cell *c = arg;
	pthread_t writer;
	int r;

	hist_init(&c->shared->hist);
	c->n_cpus = place_cpus(c->cpus);
	r = map_both(c);
	if (r)
		return r;
	if (c->row->writer && pthread_create(&writer, NULL, write_present_pages, c))
		return child_fail(-EAGAIN, "cannot start the writer");
	if (c->row->writer)
		r = await(&c->shared->writer_runs, "the writer");
	if (r == 0)
		r = run_any(c);
	__atomic_store_n(&c->shared->writer_stop, 1, __ATOMIC_RELAXED);
	if (c->row->writer)
		pthread_join(writer, NULL);
	return r;
}
