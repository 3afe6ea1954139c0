/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The referee of one hand-over. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"
#include "handover.h"
#include "memory.h"

/* far from where the kernel puts anything by itself, so that it is free in both */
#define BASE ((char *)0x200000000000ull)
#define POLL_US 200
#define SAMPLE_US 1000
#define WARM_BYTES (256 * MIB)
#define AFTER_MS 300 /* a memfd is there at once, so touch it for as long */

int ho_await(const uint32_t *flag)
{
	uint64_t end = now_ns() + HO_WAIT_MS * 1000000ull * 10;

	while (!ho_raised(flag)) {
		if (now_ns() > end)
			return child_fail(-ETIMEDOUT, "the other process did not get ready");
		usleep(POLL_US);
	}
	return 0;
}

char *ho_fill(const struct ho_cell *c)
{
	char *p = memory_map(c->base, c->bytes, c->thp);
	int64_t huge;

	if (!p) {
		child_fail(-ENOMEM, "no memory for the source");
		return NULL;
	}
	memory_stamp(p, c->bytes, HO_SEED);
	huge = memory_huge_bytes(p, c->bytes);
	if (huge != (int64_t)(c->thp ? c->bytes : 0)) {
		child_fail(-ENOMEM, "%lld of %llu MiB of the source are huge pages",
			   (long long)(huge >> 20), (unsigned long long)(c->bytes >> 20));
		return NULL;
	}
	return p;
}

static bool is_ferry(const struct ho_cell *c)
{
	return c->way == HO_MEMFERRY || c->way == HO_MEMFERRY_TCP;
}

static bool has_touches(const struct ho_cell *c)
{
	return c->way != HO_UFFD_COPY && c->way != HO_UFFD_COPY_RELEASE;
}

/* -------------------------------------------------------------- the ends */

static int be_source(struct ho_cell *c)
{
	close(c->sock[1]);
	return is_ferry(c) ? ho_ferry_source(c) : ho_plain_source(c);
}

static int be_successor(struct ho_cell *c)
{
	size_t wrong;
	int r = 0;

	close(c->sock[0]);
	if (has_touches(c))
		r = ho_touch_start(c);
	ho_raise(&c->shared->successor_ready);
	if (r == 0)
		r = ho_await(&c->shared->go);
	if (r == 0)
		r = is_ferry(c) ? ho_ferry_successor(c) : ho_plain_successor(c);
	if (r)
		return r;
	if (c->way == HO_MEMFD)
		usleep(AFTER_MS * 1000);
	if (has_touches(c))
		ho_touch_stop();
	ho_raise(&c->shared->successor_done);
	wrong = memory_count_wrong(c->base, c->base, c->bytes, HO_SEED);
	return wrong ? child_fail(-EBADMSG, "%zu pages had wrong contents", wrong) : 0;
}

static pid_t start(int (*be)(struct ho_cell *c), struct ho_cell *c)
{
	pid_t pid = child_fork();

	if (pid < 0)
		child_fail((int)pid, "cannot fork");
	if (pid == 0)
		_exit(be(c) ? 1 : 0);
	return pid;
}

/* ------------------------------------------------------------ the referee */

/* The space of a process is told by its status file; each of the two is read once. */
static int64_t ram_of_both(pid_t source, pid_t successor)
{
	int64_t a = memory_rss_anon(source), b = memory_rss_anon(successor);

	return (a > 0 ? a : 0) + (b > 0 ? b : 0);
}

static bool ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

static int await_ready(struct ho_cell *c, const uint32_t *flag, pid_t pid, const char *who)
{
	uint64_t end = now_ns() + (HO_WAIT_MS + c->bytes / MIB * 10) * 1000000ull;

	while (!ho_raised(flag)) {
		if (ended(pid))
			return child_fail(-ECHILD, "the %s ended early", who);
		if (now_ns() > end)
			return child_fail(-ETIMEDOUT, "the %s did not get ready", who);
		usleep(POLL_US);
	}
	return 0;
}

static void watch(struct ho_cell *c, pid_t source, pid_t successor)
{
	struct ho_shared *s = c->shared;
	int64_t now;

	while (!ho_raised(&s->successor_done) && !ended(source) && !ended(successor)) {
		now = ram_of_both(source, successor);
		if (now > s->ram_peak)
			s->ram_peak = now;
		usleep(SAMPLE_US);
	}
}

static int referee(struct ho_cell *c)
{
	pid_t source, successor;
	int r, r2;

	source = start(be_source, c);
	if (source < 0)
		return source;
	r = await_ready(c, &c->shared->source_ready, source, "source");
	if (r)
		return r;
	successor = start(be_successor, c);
	if (successor < 0)
		return successor;
	r = await_ready(c, &c->shared->successor_ready, successor, "successor");
	if (r)
		return r;
	/* the other ways go on with the pages that they give back */
	memory_warm(ho_copies_all(c->way) || c->bytes < WARM_BYTES ? c->bytes : WARM_BYTES);
	c->shared->ram_before = c->shared->ram_peak = ram_of_both(source, successor);
	ho_raise(&c->shared->go);
	watch(c, source, successor);
	r = child_wait(successor, HO_WAIT_MS + (unsigned int)(c->bytes / MIB) * 10);
	ho_raise(&c->shared->finish);
	r2 = child_wait(source, HO_WAIT_MS);
	if (r || r2)
		return child_fail(r ? r : r2, "the %s failed", r ? "successor" : "source");
	return 0;
}

/* A port that nobody has at this moment. */
static int free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;

	if (fd >= 0 && !bind(fd, (struct sockaddr *)&sin, sizeof(sin)) &&
	    !getsockname(fd, (struct sockaddr *)&sin, &len))
		port = ntohs(sin.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

static int make_sockets(struct ho_cell *c)
{
	struct timeval bound = { .tv_sec = HO_WAIT_MS / 1000 };

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->sock))
		return child_fail(-errno, "socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		setsockopt(c->sock[i], SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
		setsockopt(c->sock[i], SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
	}
	return 0;
}

int ho_cell_run(void *arg)
{
	struct ho_cell *c = arg;
	int r = make_sockets(c);

	if (r)
		return r;
	c->base = BASE;
	if (c->way == HO_MEMFERRY_TCP)
		snprintf(c->address, sizeof(c->address), "tcp:127.0.0.1:%d", free_port());
	else
		snprintf(c->address, sizeof(c->address), "unix:%s", c->socket);
	return referee(c);
}
