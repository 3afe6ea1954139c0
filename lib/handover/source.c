/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source's public face: what it declares, and its place in an event loop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/opts.h"
#include "base/sys.h"
#include "handover/address.h"
#include "handover/retired.h"
#include "handover/session.h"

#define TIMEOUT_DEFAULT_MS 5000
#define PAUSE_MS 100
#define TIMEOUT_MAX_MS (3600 * 1000)

/* ------------------------------------------------------------- declaration */

static int check_opts(const struct mf_source_opts *o)
{
	if (!o->app || !*o->app || strlen(o->app) >= MF_WIRE_NAME_MAX)
		return mf_fail(-EINVAL, "mf_source_new: app is a name of 1 to %d characters",
			       MF_WIRE_NAME_MAX - 1);
	if (o->flags & ~(MF_SOURCE_TOKEN | MF_SOURCE_ORDINARY_PRIORITY))
		return mf_fail(-EINVAL, "mf_source_new: unknown flags %#x", o->flags);
	if (o->placement > MF_PLACE_SLEEP)
		return mf_fail(-EINVAL, "mf_source_new: unknown placement %u", o->placement);
	if (o->timeout_ms > TIMEOUT_MAX_MS)
		return mf_fail(-EINVAL, "mf_source_new: a time-out is at most an hour");
	return 0;
}

static int open_loop(struct mf_source *src)
{
	struct epoll_event ev = { .events = EPOLLIN };

	src->epfd = epoll_create1(EPOLL_CLOEXEC);
	src->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (src->epfd < 0 || src->timer < 0)
		return mf_fail(-errno, "epoll or timerfd: %s", mf_errno_text(errno));
	ev.data.fd = src->timer;
	if (epoll_ctl(src->epfd, EPOLL_CTL_ADD, src->timer, &ev))
		return mf_fail(-errno, "epoll_ctl: %s", mf_errno_text(errno));
	return 0;
}

MF_API int mf_source_new(const struct mf_source_opts *opts, struct mf_source **ret_source)
{
	struct mf_source *src = calloc(1, sizeof(*src));
	int r;

	if (!src)
		return mf_fail(-ENOMEM, "no memory for a source");
	src->epfd = src->timer = src->listener = -1;
	r = mf_opts_copy(&src->opts, sizeof(src->opts), opts, "mf_source_new");
	if (!r)
		r = check_opts(&src->opts);
	if (!r)
		r = open_loop(src);
	if (!r && getrandom(src->token, sizeof(src->token), 0) != sizeof(src->token))
		r = mf_fail(-EIO, "no random bytes for a token");
	if (r) {
		mf_source_free(src);
		return r;
	}
	snprintf(src->app, sizeof(src->app), "%s", src->opts.app);
	src->opts.app = src->app;
	if (!src->opts.timeout_ms)
		src->opts.timeout_ms = TIMEOUT_DEFAULT_MS;
	*ret_source = src;
	return 0;
}

static struct mf_region *find_region(const struct mf_source *src, const char *name)
{
	size_t i;

	for (i = 0; i < src->n_regions; i++)
		if (!strcmp(src->region[i].w.name, name))
			return &src->region[i];
	return NULL;
}

static int check_new_region(const struct mf_source *src, const char *name, u64 addr, u64 len,
			    unsigned int flags)
{
	size_t i;
	int r = mf_name_check(name);

	if (r)
		return r;
	if (flags & ~MF_REGION_RELOCATABLE)
		return mf_fail(-EINVAL, "region %s: unknown flags %#x", name, flags);
	if (src->session)
		return mf_fail(-EBUSY, "a hand-over is under way: declare regions before it");
	if (find_region(src, name))
		return mf_fail(-EEXIST, "there is a region called %s already", name);
	if (mf_range_bad(addr, len))
		return mf_fail(-EINVAL, "region %s: empty, or past the end of memory", name);
	for (i = 0; i < src->n_regions; i++)
		if (addr < src->region[i].w.addr + src->region[i].w.len &&
		    src->region[i].w.addr < addr + len)
			return mf_fail(-EINVAL, "region %s overlaps region %s", name,
				       src->region[i].w.name);
	return 0;
}

static int add_region(struct mf_source *src, const char *name, void *addr, size_t len, int fd,
		      u64 offset, unsigned int flags)
{
	struct mf_region reg = { .fd = -1 }, *grown;
	int r = check_new_region(src, name, (u64)addr, len, flags);
	long dup;

	if (r)
		return r;
	strcpy(reg.w.name, name);
	reg.w.addr = (u64)addr;
	reg.w.len = len;
	reg.w.fd_offset = offset;
	reg.w.flags = flags & MF_REGION_RELOCATABLE ? MF_WIRE_REGION_RELOCATABLE : 0;
	r = mf_region_inspect(&reg.w, fd >= 0);
	if (r)
		return r;
	grown = realloc(src->region, (src->n_regions + 1) * sizeof(*grown));
	if (!grown)
		return mf_fail(-ENOMEM, "no memory for region %s", name);
	src->region = grown;
	if (fd >= 0) {
		dup = mf_sys_dup(fd);
		if (dup < 0)
			return mf_fail((int)dup, "region %s: its descriptor: %s", name,
				       mf_errno_text((int)dup));
		reg.fd = (int)dup;
	}
	src->region[src->n_regions++] = reg;
	return 0;
}

MF_API int mf_source_region(struct mf_source *src, const char *name, void *addr, size_t len,
			    unsigned int flags)
{
	return add_region(src, name, addr, len, -1, 0, flags);
}

MF_API int mf_source_region_fd(struct mf_source *src, const char *name, void *addr, size_t len,
			       int fd, uint64_t offset, unsigned int flags)
{
	if (fd < 0)
		return mf_fail(-EBADF, "region %s: %d is no descriptor", name, fd);
	return add_region(src, name, addr, len, fd, offset, flags);
}

MF_API int mf_source_region_del(struct mf_source *src, const char *name)
{
	struct mf_region *reg = find_region(src, name);

	if (src->session)
		return mf_fail(-EBUSY, "a hand-over is under way");
	if (!reg)
		return mf_fail(-ENOENT, "there is no region called %s", name);
	if (reg->fd >= 0)
		mf_sys_close(reg->fd);
	src->n_regions--;
	memmove(reg, reg + 1, (size_t)(src->region + src->n_regions - reg) * sizeof(*reg));
	return 0;
}

MF_API int mf_source_fd(struct mf_source *src, const char *name, int fd)
{
	int r = mf_name_check(name);
	long dup;

	if (r)
		return r;
	if (name[0] == '.')
		return mf_fail(-EINVAL, "names that start with a dot are memferry's own");
	dup = mf_sys_dup(fd);
	if (dup < 0)
		return mf_fail((int)dup, "descriptor %s: %s", name, mf_errno_text((int)dup));
	r = mf_fd_list_add(&src->fds, name, (int)dup);
	if (r)
		mf_sys_close((int)dup);
	return r;
}

/* --------------------------------------------------------------- listening */

static int watch(struct mf_source *src, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(src->epfd, EPOLL_CTL_ADD, fd, &ev))
		return mf_fail(-errno, "epoll_ctl: %s", mf_errno_text(errno));
	return 0;
}

static int remember(struct mf_source *src, const char *address, const char *path)
{
	free(src->address);
	free(src->unix_path);
	src->address = strdup(address);
	src->unix_path = path ? strdup(path) : NULL;
	if (!src->address || (path && !src->unix_path))
		return mf_fail(-ENOMEM, "no memory for an address");
	return 0;
}

MF_API int mf_source_listen(struct mf_source *src, const char *address)
{
	const char *path = mf_address_unix(address);
	int r = 0, fd;

	if (src->listener >= 0)
		return mf_fail(-EALREADY, "this source listens at %s already", src->address);
	r = remember(src, address, path);
	if (r)
		return r;
	src->tcp = !path;
	fd = path ? mf_inherited_listener(path) : -1;
	if (fd < 0)
		r = path ? mf_unix_listen(path, &fd) : mf_tcp_listen(address, &fd);
	if (r)
		return r;
	r = watch(src, fd);
	if (r) {
		if (path)
			unlink(path);
		mf_sys_close(fd);
		return r;
	}
	src->listener = fd;
	return 0;
}

MF_API int mf_source_port(const struct mf_source *src)
{
	if (src->listener < 0 || !src->tcp)
		return mf_fail(-EINVAL, "this source does not listen at a tcp: address");
	return mf_tcp_port(src->listener);
}

MF_API int mf_source_token(const struct mf_source *src, uint8_t ret_token[MF_TOKEN_BYTES])
{
	memcpy(ret_token, src->token, MF_TOKEN_BYTES);
	return 0;
}

MF_API int mf_source_pollfd(const struct mf_source *src)
{
	return src->epfd;
}

/* ---------------------------------------------------------------- dispatch */

static void set_timer(struct mf_source *src, u32 ms)
{
	struct itimerspec t = { .it_value = { ms / 1000, (ms % 1000) * 1000000L } };

	timerfd_settime(src->timer, 0, &t, NULL);
}

static void refuse_busy(int sock)
{
	struct mf_channel ch;

	if (mf_channel_init(&ch, sock, "the successor", 0))
		return;
	mf_channel_abort(&ch, -EBUSY,
			 "another successor is attached; try again when it is done");
	mf_channel_fini(&ch);
}

/*
 * Out of descriptors or memory: a connection that cannot be accepted stays readable, and
 * would keep us and the application's loop busy for nothing. Look again a little later.
 */
static void pause_listener(struct mf_source *src, bool pause)
{
	struct epoll_event ev = { .events = pause ? 0 : EPOLLIN, .data.fd = src->listener };

	epoll_ctl(src->epfd, EPOLL_CTL_MOD, src->listener, &ev);
	src->paused = pause;
	if (!src->session)
		set_timer(src, pause ? PAUSE_MS : 0);
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return mf_sys_ppoll(&p, 1, 0) > 0;
}

static int accept_one(struct mf_source *src)
{
	struct mf_session *ss;
	int sock = accept4(src->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

	if (sock < 0) { /* it went away again, or we have no room for it */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			pause_listener(src, true);
		return MF_IDLE;
	}
	if (src->session && src->tcp)
		return mf_source_pend(src, sock);
	if (src->session) {
		refuse_busy(sock);
		return MF_IDLE;
	}
	r = mf_session_start(src, sock, &ss);
	if (r)
		return MF_RESUMED;
	if (watch(src, ss->ch.sock)) {
		mf_session_free(ss);
		return MF_RESUMED;
	}
	src->session = ss;
	set_timer(src, src->opts.timeout_ms);
	return MF_IDLE;
}

static void end_session(struct mf_source *src)
{
	/* closing takes it out of the epoll set only if nobody else has a copy */
	epoll_ctl(src->epfd, EPOLL_CTL_DEL, src->session->ch.sock, NULL);
	mf_session_free(src->session);
	src->session = NULL;
	mf_source_drop_ended(src);
	set_timer(src, src->paused ? PAUSE_MS : 0);
}

static int after_session(struct mf_source *src, int r)
{
	if (r == MF_IDLE) {
		set_timer(src, src->opts.timeout_ms);
		return MF_IDLE;
	}
	set_timer(src, 0);
	if (r == MF_HANDED_OVER) {
		/* the successor has the listener now; the session stays for statistics */
		epoll_ctl(src->epfd, EPOLL_CTL_DEL, src->listener, NULL);
		epoll_ctl(src->epfd, EPOLL_CTL_DEL, src->session->ch.sock, NULL);
		mf_session_tcp_let_go(src->session);
		mf_source_drop_pending(src);
		mf_sys_close(src->listener);
		src->listener = -1;
		free(src->unix_path);
		src->unix_path = NULL;
		return MF_HANDED_OVER;
	}
	end_session(src);
	return MF_RESUMED;
}

static int on_pending(struct mf_source *src, struct mf_channel *ch)
{
	struct mf_session *before = src->session;
	int r = mf_source_on_pending(src, ch);

	/* a stranger's frame is no reason to wait longer for the one that is attached */
	if (src->session == before && (r == MF_IDLE || !before))
		return r;
	return after_session(src, r);
}

static int on_timer(struct mf_source *src)
{
	u64 ticks;

	if (mf_sys_read(src->timer, &ticks, sizeof(ticks)) < 0)
		return MF_IDLE;
	if (src->paused)
		pause_listener(src, false);
	if (!src->session)
		return MF_IDLE;
	mf_fail(-ETIMEDOUT, "%s was silent for %u ms", src->session->peer_name,
		src->opts.timeout_ms);
	mf_session_abort(src->session, -ETIMEDOUT, mf_error());
	end_session(src);
	return MF_RESUMED;
}

MF_API int mf_source_dispatch(struct mf_source *src)
{
	struct epoll_event ev;
	struct mf_channel *ch;
	int n, r;

	if (src->handed_over)
		return MF_HANDED_OVER;
	mf_retired_reap();
	for (;;) {
		n = epoll_wait(src->epfd, &ev, 1, 0);
		if (n < 0 && errno != EINTR)
			return mf_fail(-errno, "epoll_wait: %s", mf_errno_text(errno));
		if (n <= 0)
			return MF_IDLE;
		if (ev.data.fd == src->timer)
			r = on_timer(src);
		else if (src->session && ev.data.fd != src->session->ch.sock &&
			 is_readable(src->session->ch.sock))
			/* the one before may just have gone: then the next is welcome */
			r = after_session(src, mf_session_input(src->session));
		else if (ev.data.fd == src->listener)
			r = accept_one(src);
		else if ((ch = mf_source_pending(src, ev.data.fd)))
			r = on_pending(src, ch);
		else if (src->session)
			r = after_session(src, mf_session_input(src->session));
		else
			r = MF_IDLE;
		if (r != MF_IDLE)
			return r;
	}
}

MF_API int mf_source_serve(struct mf_source *src)
{
	struct pollfd p = { .fd = src->epfd, .events = POLLIN };
	int r;

	for (;;) {
		r = mf_source_dispatch(src);
		if (r < 0 || r == MF_HANDED_OVER)
			return r;
		p.revents = 0;
		mf_sys_ppoll(&p, 1, -1);
	}
}

/* ------------------------------------------------------------------- after */

static u32 phase_of(const struct mf_source *src)
{
	return mf_load(&src->session->sh->phase);
}

MF_API int mf_source_wait(struct mf_source *src, int timeout_ms)
{
	int r;

	if (!src->handed_over)
		return mf_fail(-EINVAL, "nothing was handed over yet");
	r = mf_task_wait(src->session->ferry, timeout_ms, NULL);
	if (r && phase_of(src) < MF_PHASE_DRAINED)
		return r;
	if (phase_of(src) == MF_PHASE_DRAINED || phase_of(src) == MF_PHASE_RELEASED)
		return 0;
	return mf_fail(-EOWNERDEAD, "the successor or the ferry task died before all had left");
}

MF_API int mf_source_stats(const struct mf_source *src, struct mf_stats *ret_stats)
{
	return mf_stats_from(src->session ? src->session->sh : NULL, ret_stats);
}

MF_API pid_t mf_source_ferry_pid(const struct mf_source *src)
{
	return src->session && src->session->ferry ? mf_task_pid(src->session->ferry) : 0;
}

MF_API void mf_source_free(struct mf_source *src)
{
	size_t i;

	if (!src)
		return;
	if (src->session && !src->handed_over)
		mf_session_abort(src->session, -ECANCELED, "the source is shutting down");
	mf_source_drop_pending(src);
	mf_session_free(src->session);
	if (src->listener >= 0) {
		if (src->unix_path)
			unlink(src->unix_path);
		mf_sys_close(src->listener);
	}
	if (src->epfd >= 0)
		mf_sys_close(src->epfd);
	if (src->timer >= 0)
		mf_sys_close(src->timer);
	for (i = 0; i < src->n_regions; i++)
		if (src->region[i].fd >= 0)
			mf_sys_close(src->region[i].fd);
	mf_fd_list_free(&src->fds);
	free(src->region);
	free(src->address);
	free(src->unix_path);
	free(src);
}
