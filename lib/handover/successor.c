/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The successor's public face, from attach to the last page. */
#include "handover/successor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/opts.h"
#include "base/sys.h"
#include "handover/address.h"
#include "handover/limits.h"
#include "handover/retired.h"
#include "handover/tcp_fetch.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define TIMEOUT_DEFAULT_MS 5000
#define LISTENER_NAME ".listener"

/* ------------------------------------------------------------------ attach */

static int check_opts(struct mf_successor *s)
{
	struct mf_successor_opts *o = &s->opts;

	if (!o->app || !*o->app || strlen(o->app) >= MF_WIRE_NAME_MAX)
		return mf_fail(-EINVAL,
			       "mf_successor_attach: app is a name of 1 to %d characters",
			       MF_WIRE_NAME_MAX - 1);
	if (o->flags & ~(MF_SUCCESSOR_USER_MODE_ONLY | MF_SUCCESSOR_ORDINARY_PRIORITY |
			 MF_SUCCESSOR_FIXED_MAPPINGS))
		return mf_fail(-EINVAL, "mf_successor_attach: unknown flags %#x", o->flags);
	if (o->placement > MF_PLACE_SLEEP || o->sample_hz > 1000000)
		return mf_fail(-EINVAL,
			       "mf_successor_attach: placement or sample_hz out of range");
	if (!o->timeout_ms)
		o->timeout_ms = TIMEOUT_DEFAULT_MS;
	strcpy(s->app, o->app);
	o->app = s->app;
	return 0;
}

static int say_hello(struct mf_successor *s)
{
	struct mf_msg_hello m = {
		.ver_min = MF_WIRE_VERSION_MIN,
		.ver_max = MF_WIRE_VERSION_MAX,
		.page_size = MF_PAGE_SIZE,
		.has_token = s->opts.token != NULL,
	};

	strcpy(m.app, s->app);
	if (s->opts.token)
		memcpy(m.token, s->opts.token, sizeof(m.token));
	return mf_channel_send(&s->ch, hello, &m, NULL, 0);
}

static int hear_welcome(struct mf_successor *s)
{
	struct mf_frame f;
	int r = mf_channel_expect(&s->ch, MF_MSG_WELCOME, 1, &f);

	if (r)
		return r;
	s->sh_fd = s->ch.stream ? -1 : f.fds[0];
	r = mf_wire_decode_welcome(f.payload, f.len, &s->welcome);
	if (r)
		return mf_fail(-EPROTO, "the source sent a broken WELCOME");
	s->ch.epoch = s->welcome.epoch;
	if (!s->ch.stream)
		return mf_shared_map(s->sh_fd, s->welcome.epoch, &s->sh);
	r = mf_shared_create(s->welcome.epoch, &s->sh_fd, &s->sh); /* our own */
	if (!r)
		s->sh->t_attach_ns = mf_now_ns();
	return r;
}

static int add_regions(struct mf_successor *s, const struct mf_msg_regions *m,
		       struct mf_frame *f)
{
	size_t used = 0;
	u32 i;

	for (i = 0; i < m->count; i++) {
		struct mf_incoming *in = &s->region[s->n_regions];

		if (s->n_regions >= s->welcome.n_regions || m->region[i].index != s->n_regions)
			return mf_fail(-EPROTO, "the source told more regions than it has");
		in->w = m->region[i];
		in->fd = -1;
		if (s->ch.stream && (!mf_region_moves(&in->w) || in->w.page_size > MF_PMD_SIZE))
			return mf_fail(-EOPNOTSUPP, "region %s cannot come by tcp", in->w.name);
		if (in->w.kind == MF_WIRE_SHARED_FD) {
			if (used == f->n_fds)
				return mf_fail(-EPROTO,
					       "the source sent no descriptor for region "
					       "%s",
					       in->w.name);
			in->fd = f->fds[used];
			f->fds[used++] = -1;
		}
		s->n_regions++;
	}
	return used == f->n_fds ? 0 : mf_fail(-EPROTO, "the source sent stray descriptors");
}

static int hear_regions(struct mf_successor *s)
{
	struct mf_msg_regions *m;
	struct mf_frame f;
	int r = 0;

	if (s->welcome.n_regions > 1 << 20)
		return mf_fail(-EPROTO, "the source claims %u regions", s->welcome.n_regions);
	s->region = calloc(s->welcome.n_regions + 1, sizeof(*s->region));
	m = malloc(sizeof(*m));
	if (!s->region || !m)
		r = mf_fail(-ENOMEM, "no memory for the region table");
	while (!r && s->n_regions < s->welcome.n_regions) {
		r = mf_channel_expect(&s->ch, MF_MSG_REGIONS, -1, &f);
		if (r)
			break;
		r = mf_wire_decode_regions(f.payload, f.len, m);
		r = r || !m->count ? mf_fail(-EPROTO, "the source sent broken REGIONS")
				   : add_regions(s, m, &f);
		mf_frame_drop(&f);
	}
	free(m);
	return r;
}

static int open_kernel_objects(struct mf_successor *s)
{
	const u64 need = MF_UFFD_FEATURE_EVENT_REMOVE | MF_UFFD_FEATURE_EVENT_REMAP;
	const u64 want = MF_UFFD_FEATURE_THREAD_ID | MF_UFFD_FEATURE_POISON |
			 MF_UFFD_FEATURE_MISSING_HUGETLBFS;
	int *bell[] = { &s->ferry_bell, &s->guard_bell, &s->done };
	unsigned int flags =
		s->opts.flags & MF_SUCCESSOR_USER_MODE_ONLY ? MF_UFFD_USER_MODE_ONLY : 0;
	struct epoll_event ev = { .events = EPOLLIN };
	size_t i;
	long fd;
	int r;

	r = mf_uffd_create(need, want, flags, &s->uffd, NULL);
	for (i = 0; i < ARRAY_SIZE(bell) && !r; i++) {
		fd = mf_sys_eventfd(0, 02000000 | 04000 /* EFD_CLOEXEC | EFD_NONBLOCK */);
		if (fd < 0)
			r = mf_fail((int)fd, "eventfd: %s", mf_errno_text((int)fd));
		else
			*bell[i] = (int)fd;
	}
	if (r)
		return r;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0 || epoll_ctl(s->epfd, EPOLL_CTL_ADD, s->done, &ev))
		return mf_fail(-errno, "epoll: %s", mf_errno_text(errno));
	return 0;
}

static int connect_to(struct mf_successor *s, const char *address)
{
	const char *path = mf_address_unix(address);
	int sock, r;

	if (!path)
		return mf_suc_tcp_connect(s, address);
	r = mf_unix_connect(path, (int)s->opts.timeout_ms, &sock);
	if (!r)
		r = mf_channel_init(&s->ch, sock, "the source", (int)s->opts.timeout_ms);
	if (!r)
		r = mf_channel_peer(&s->ch, &s->peer_pidfd, &s->peer_pid);
	return r;
}

static int attach(struct mf_successor *s, const char *address)
{
	u32 ns[4];
	u32 best;
	int r;

	r = connect_to(s, address);
	if (!r)
		r = open_kernel_objects(s);
	if (!r)
		r = mf_suc_open_fds(s);
	if (!r)
		r = say_hello(s);
	if (!r)
		r = hear_welcome(s);
	if (!r)
		r = hear_regions(s);
	if (!r)
		r = mf_memory_fits(s->welcome.memory_needed,
				   s->ch.stream ? "" : s->welcome.cgroup);
	if (r)
		return r;
	s->sh->no_events = !!(s->opts.flags & MF_SUCCESSOR_FIXED_MAPPINGS);
	if (s->opts.placement == MF_PLACE_AUTO && !s->ch.stream) {
		best = mf_place_measure(ns);
		memcpy(s->sh->place_ns, ns, sizeof(ns));
		s->opts.placement = best;
	}
	return 0;
}

/* The other side hears why; then everything is undone. */
static int give_up(struct mf_successor *s, int err)
{
	char text[MF_WIRE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s", mf_error());
	if (s->sh)
		mf_cas32(&s->sh->word, MF_WORD_OPEN, MF_WORD_CANCELLED);
	if (s->ch.sock >= 0)
		mf_channel_abort(&s->ch, err, text);
	s->step = MF_SUC_FAILED;
	return mf_fail(err, "%s", text);
}

MF_API int mf_successor_attach(const char *address, const struct mf_successor_opts *opts,
			       struct mf_successor **ret_successor)
{
	struct mf_successor *s = calloc(1, sizeof(*s));
	int r;

	mf_retired_reap();
	if (!s)
		return mf_fail(-ENOMEM, "no memory for a successor");
	s->ch.sock = s->urgent.sock = s->peer_pidfd = s->sh_fd = s->uffd = -1;
	s->ferry_bell = s->guard_bell = s->receiver_bell = -1;
	s->done = s->ferry_pidfd = s->pagemap = s->maps = s->self_pidfd = s->epfd = -1;
	s->address = strdup(address);
	r = s->address ? 0 : mf_fail(-ENOMEM, "no memory for a successor");
	if (!r)
		r = mf_opts_copy(&s->opts, sizeof(s->opts), opts, "mf_successor_attach");
	if (!r)
		r = check_opts(s);
	if (!r)
		r = attach(s, address);
	if (r) {
		r = give_up(s, r);
		mf_successor_free(s);
		return r;
	}
	*ret_successor = s;
	return 0;
}

MF_API uint32_t mf_successor_app_version(const struct mf_successor *s)
{
	return s->welcome.app_version;
}

/* ----------------------------------------------------------------- mapping */

MF_API const char *mf_successor_region_name(const struct mf_successor *s, size_t index)
{
	return index < s->n_regions ? s->region[index].w.name : NULL;
}

MF_API int mf_successor_map(struct mf_successor *s, const char *name, unsigned int flags,
			    void **ret_addr, size_t *ret_len)
{
	u32 i;
	int r;

	if (s->step != MF_SUC_ATTACHED)
		return mf_fail(-EINVAL, "map regions before mf_successor_state()");
	for (i = 0; i < s->n_regions && strcmp(s->region[i].w.name, name); i++)
		;
	if (i == s->n_regions)
		return mf_fail(-ENOENT, "the source has no region called %s", name);
	if (s->region[i].addr)
		return mf_fail(-EALREADY, "region %s is mapped already", name);
	r = mf_suc_map(s, &s->region[i], flags);
	if (r) {
		snprintf(s->why, sizeof(s->why), "%s", mf_error());
		return r;
	}
	*ret_addr = (void *)s->region[i].addr;
	*ret_len = s->region[i].w.len;
	return 0;
}

static int tell_places(struct mf_successor *s)
{
	int fds[4] = { s->uffd, s->ferry_bell, s->guard_bell, s->pagemap }, r = 0;
	struct mf_msg_mapped *m = calloc(1, sizeof(*m));
	u32 i = 0;

	if (!m)
		return mf_fail(-ENOMEM, "no memory for a message");
	do {
		for (m->count = 0; i < s->n_regions && m->count < MF_WIRE_REGIONS_PER_FRAME;
		     i++) {
			m->index[m->count] = i;
			m->addr[m->count++] = s->region[i].addr;
		}
		m->more = i < s->n_regions;
		m->placement = s->opts.placement;
		r = mf_channel_send(&s->ch, mapped, m, fds, m->more ? 0 : ARRAY_SIZE(fds));
	} while (!r && m->more);
	free(m);
	return r;
}

static int hear_ready(struct mf_successor *s)
{
	struct mf_msg_ready m;
	struct mf_frame f;
	int r = mf_channel_expect(&s->ch, MF_MSG_READY, 1, &f);

	if (r)
		return r;
	if (!s->ch.stream)
		s->ferry_pidfd = f.fds[0];
	if (mf_wire_decode_ready(f.payload, f.len, &m) ||
	    (!s->ch.stream && !mf_fd_is(f.fds[0], "pidfd")))
		return mf_fail(-EPROTO, "the source sent a broken READY");
	s->ferry_pid = m.ferry_pid;
	return 0;
}

/* ------------------------------------------------------------------- state */

static int hear_fds(struct mf_successor *s, u32 want)
{
	struct mf_msg_fds *m = malloc(sizeof(*m));
	struct mf_frame f;
	u32 got = 0, i;
	int r = m ? 0 : mf_fail(-ENOMEM, "no memory for a message");

	while (!r && got < want) {
		r = mf_channel_expect(&s->ch, MF_MSG_FDS, -1, &f);
		if (r)
			break;
		r = mf_wire_decode_fds(f.payload, f.len, m);
		if (r || !m->count || m->count != f.n_fds)
			r = mf_fail(-EPROTO, "the source sent broken FDS");
		for (i = 0; !r && i < m->count; i++) {
			r = mf_fd_list_add(&s->fds, m->name[i], f.fds[i]);
			if (!r)
				f.fds[i] = -1;
		}
		got += m->count;
		mf_frame_drop(&f);
	}
	free(m);
	return r;
}

static int hear_state(struct mf_successor *s)
{
	struct mf_msg_state m;
	struct mf_frame f;
	int r = mf_channel_expect(&s->ch, MF_MSG_STATE, 1, &f);

	if (r)
		return r;
	if (mf_wire_decode_state(f.payload, f.len, &m) || (s->ch.stream && m.n_fds))
		r = mf_fail(-EPROTO, "the source sent a broken STATE");
	else if (s->ch.stream)
		r = mf_suc_tcp_state(s, m.len);
	else
		r = mf_state_from_memfd(f.fds[0], m.len, &s->blob);
	mf_frame_drop(&f);
	if (r)
		return r;
	s->blob_len = m.len;
	return hear_fds(s, m.n_fds);
}

static int prepare(struct mf_successor *s)
{
	u32 i;
	int r = 0;

	for (i = 0; i < s->n_regions && !r; i++)
		if (!s->region[i].addr)
			r = mf_suc_map(s, &s->region[i], 0);
	if (!r)
		r = tell_places(s);
	if (!r && s->ch.stream)
		r = mf_suc_tcp_urgent(s);
	if (!r)
		r = hear_ready(s);
	if (!r && s->ch.stream)
		r = mf_suc_tcp_start_fetch(s);
	if (!r)
		r = mf_suc_start_guard(s);
	if (!r && s->ch.stream)
		mf_store(&s->sh->t_quiesce_ns, mf_now_ns()); /* else the source does */
	if (!r)
		r = mf_channel_send_empty(&s->ch, MF_MSG_QUIESCE);
	if (!r)
		r = hear_state(s);
	return r ? r : mf_suc_unlock(s);
}

MF_API int mf_successor_state(struct mf_successor *s, const void **ret_data, size_t *ret_len)
{
	int r;

	if (s->step == MF_SUC_ATTACHED) {
		r = prepare(s);
		if (r)
			return give_up(s, r);
		s->step = MF_SUC_LOADED;
	}
	if (s->step == MF_SUC_FAILED)
		return mf_fail(-ECANCELED, "this hand-over has failed before");
	*ret_data = s->blob;
	*ret_len = s->blob_len;
	return 0;
}

MF_API int mf_successor_fd(struct mf_successor *s, const char *name)
{
	int fd = mf_fd_list_take(&s->fds, name);

	if (fd < 0 && mf_address_is_tcp(s->address))
		return mf_fail(-ENOENT, "descriptors do not travel over tcp: open %s anew",
			       name);
	return fd < 0 ? mf_fail(-ENOENT, "no descriptor called %s came along", name) : fd;
}

/* ------------------------------------------------------------------ commit */

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return mf_sys_ppoll(&p, 1, 0) != 0;
}

static void ring(int bell)
{
	u64 one = 1;

	mf_sys_write(bell, &one, sizeof(one));
}

static int refused(struct mf_successor *s)
{
	struct mf_frame f;
	int r;

	if (s->ch.stream)
		return give_up(s,
			       mf_fail(-EOWNERDEAD, "the connection to the source was lost at "
						    "the moment of the commit"));
	r = mf_channel_get(&s->ch, &f, 0);
	/* the source says why in its ABORT, if it could */
	mf_frame_drop(&f);
	s->step = MF_SUC_FAILED;
	if (r && r != -ETIMEDOUT && r != -EOWNERDEAD)
		return mf_fail_in(-ECANCELED, "the source runs on");
	return mf_fail(-ECANCELED, "the source had given up waiting and runs on");
}

static void take_listener(struct mf_successor *s)
{
	int fd = mf_fd_list_take(&s->fds, LISTENER_NAME);
	const char *path = mf_address_unix(s->address);

	if (fd >= 0 && path)
		mf_inherit_listener(path, fd);
	else if (fd >= 0)
		mf_sys_close(fd);
}

/*
 * Once committed, all hangs on the ferry task, so it must show a sign of life first: one
 * that was stopped would be declared lost after the commit, and the memory with it.
 */
static int ask_ferry(struct mf_successor *s)
{
	u64 end = mf_now_ns() + s->opts.timeout_ms * MF_NSEC_PER_MSEC;
	u32 beat = mf_load(&s->sh->beat);
	struct pollfd p = { .fd = s->ferry_pidfd, .events = POLLIN };

	ring(s->ferry_bell);
	for (;;) {
		if (mf_load(&s->sh->phase) == MF_PHASE_LOST || has_ended(s->ferry_pidfd))
			return mf_fail(-EOWNERDEAD,
				       "the ferry task (pid %d) of the source died "
				       "before the commit",
				       s->ferry_pid);
		/* a verdict is for the compare-and-swap to find */
		if (mf_load(&s->sh->beat) != beat || mf_load(&s->sh->word) != MF_WORD_OPEN)
			return 0;
		if (mf_now_ns() > end)
			return mf_fail(-ETIMEDOUT,
				       "the ferry task (pid %d) of the source does "
				       "not answer",
				       s->ferry_pid);
		mf_sys_ppoll(&p, 1, 20 * (s64)MF_NSEC_PER_USEC);
	}
}

MF_API int mf_successor_commit(struct mf_successor *s)
{
	u32 i;
	int r;

	if (s->step != MF_SUC_LOADED)
		return mf_fail(-EINVAL, "mf_successor_commit: fetch the state first");
	r = ask_ferry(s);
	if (!r)
		r = mf_suc_mind_guard(s); /* nobody else would watch over what arrives */
	if (r)
		return give_up(s, r);
	for (i = 0; i < s->n_regions; i++)
		if (mf_region_moves(&s->region[i].w))
			mf_arriving_add(s->sh,
					&(struct mf_msg_region){ .addr = s->region[i].addr,
								 .len = s->region[i].w.len });
	r = s->ch.stream ? mf_suc_tcp_ask_commit(s) : 0;
	if (r) {
		mf_arriving_del(s->sh);
		return give_up(s, r);
	}
	if (!mf_cas32(&s->sh->word, MF_WORD_OPEN, MF_WORD_COMMITTED)) {
		mf_arriving_del(s->sh);
		return refused(s);
	}
	s->step = MF_SUC_COMMITTED;
	mf_store(&s->sh->t_commit_ns, mf_now_ns());
	ring(s->ferry_bell);
	if (s->ch.stream)
		mf_suc_tcp_let_go(s);
	else
		mf_channel_send_empty(&s->ch, MF_MSG_COMMITTED); /* it only wakes the source */
	take_listener(s);
	mf_suc_start_sampler(s);
	return 0;
}

/* ------------------------------------------------------------------- drain */

MF_API int mf_successor_hint(struct mf_successor *s, const void *addr, size_t len)
{
	struct mf_shared *sh = s->sh;
	int r = 0;

	if (mf_range_bad((u64)addr, len))
		return -EINVAL;
	/* bounded: a thread that died with the gate held must not stop the others */
	for (r = 0; !mf_cas32(&sh->hint_gate, 0, 1); r++) {
		if (r == 1000)
			return -ENOBUFS;
		mf_cpu_relax();
	}
	r = -ENOBUFS;
	if (sh->hint_head - mf_load(&sh->hint_tail) < MF_HINTS) {
		sh->hint[sh->hint_head % MF_HINTS] = (struct mf_shared_range){ (u64)addr, len };
		mf_store(&sh->hint_head, sh->hint_head + 1);
		r = 0;
	}
	mf_store(&sh->hint_gate, 0);
	if (!r)
		ring(s->ferry_bell);
	return r;
}

static int outcome(const struct mf_successor *s)
{
	const struct mf_shared *sh = s->sh;

	if (mf_load(&sh->phase) == MF_PHASE_LOST)
		return mf_fail(
			-EOWNERDEAD,
			"the ferry task (pid %d) of the source was lost before all had "
			"arrived%s%s: %llu KiB are poisoned, touching them is SIGBUS",
			s->ferry_pid, s->fetch_mem ? "; " : "",
			s->fetch_mem ? mf_fetch_why_text(s->fetch_mem->why) : "",
			(unsigned long long)(sh->pages_poisoned * MF_PAGE_SIZE / MF_KIB));
	if (sh->pages_poisoned)
		return mf_fail(
			-EIO,
			"%llu KiB could not be read in the source any more (bad memory?) and "
			"are poisoned, touching them is SIGBUS; all else has arrived",
			(unsigned long long)(sh->pages_poisoned * MF_PAGE_SIZE / MF_KIB));
	return 0;
}

MF_API int mf_successor_wait(struct mf_successor *s, int timeout_ms)
{
	u64 end = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;
	const u64 mind = 100 * MF_NSEC_PER_MSEC; /* a dead guard is noticed at this pace */
	u64 now, left;
	u32 phase;
	int r;

	if (s->step != MF_SUC_COMMITTED)
		return mf_fail(-EINVAL, "mf_successor_wait: nothing was committed");
	for (;;) {
		phase = mf_load(&s->sh->phase);
		if (phase >= MF_PHASE_RELEASED)
			return outcome(s);
		r = mf_suc_mind_guard(s);
		if (r == -EBADF)
			return r;
		now = mf_now_ns();
		if (timeout_ms >= 0 && now >= end && r)
			return mf_fail_in(-ETIMEDOUT, "without a guard, which died");
		if (timeout_ms >= 0 && now >= end)
			return mf_fail(-ETIMEDOUT, "%llu of %llu MiB have arrived",
				       (unsigned long long)(s->sh->bytes_done / MF_MIB),
				       (unsigned long long)(s->sh->bytes_total / MF_MIB));
		left = timeout_ms < 0 ? mind : mf_min(mind, end - now);
		mf_sys_futex_wait(&s->sh->phase, phase, (s64)left);
	}
}

MF_API int mf_successor_pollfd(const struct mf_successor *s)
{
	return s->epfd;
}

MF_API int mf_successor_stats(const struct mf_successor *s, struct mf_stats *ret_stats)
{
	return mf_stats_from(s->sh, ret_stats);
}

/* ------------------------------------------------------------------ ending */

static void undo(struct mf_successor *s)
{
	if (s->sh && s->step != MF_SUC_FAILED) {
		mf_cas32(&s->sh->word, MF_WORD_OPEN, MF_WORD_CANCELLED);
		mf_channel_abort(&s->ch, -ECANCELED,
				 *s->why ? s->why : "the successor gave up");
	}
	mf_suc_stop_guard(s);
	mf_suc_tcp_stop_fetch(s);
	mf_suc_unmap_all(s);
	if (s->ferry_bell >= 0)
		ring(s->ferry_bell); /* it looks at the word, and goes */
}

static void finish(struct mf_successor *s)
{
	mf_suc_stop_sampler(s);
	mf_successor_wait(s, -1);
	mf_arriving_del(s->sh);
	mf_suc_tcp_stop_fetch(s);
	/* it may still be busy with huge pages, and is let */
	if (s->guard_mem)
		mf_store(&s->guard_mem->hurry, 1);
	ring(s->guard_bell);
	mf_retire(s->guard, s->guard_mem, s->guard_bytes, s->sh);
	s->guard = NULL;
	s->guard_mem = NULL;
	s->sh = NULL;
}

MF_API void mf_successor_free(struct mf_successor *s)
{
	int fds[12];
	u32 i;

	if (!s)
		return;
	if (s->step == MF_SUC_COMMITTED)
		finish(s);
	else
		undo(s);
	for (i = 0; i < s->n_regions; i++)
		if (s->region[i].fd >= 0)
			mf_sys_close(s->region[i].fd);
	memcpy(fds,
	       (int[]){ s->peer_pidfd, s->sh_fd, s->uffd, s->ferry_bell, s->guard_bell, s->done,
			s->ferry_pidfd, s->pagemap, s->maps, s->self_pidfd, s->epfd,
			s->receiver_bell },
	       sizeof(fds));
	mf_close_all(fds, ARRAY_SIZE(fds));
	mf_channel_fini(&s->ch);
	mf_channel_fini(&s->urgent);
	mf_fd_list_free(&s->fds);
	if (s->blob)
		mf_sys_munmap((void *)s->blob, s->blob_len);
	mf_shared_unmap(s->sh);
	free(s->region);
	free(s->address);
	free(s);
}
