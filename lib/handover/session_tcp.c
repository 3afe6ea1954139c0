/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is different in an attempt, seen from the source, when it comes over TCP. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/session.h"
#include "handover/tcp_drain.h"

#define STREAMER_STACK (64 * MF_KIB)
#define PILOT_STACK (64 * MF_KIB)

int mf_session_tcp_check(const struct mf_source *src)
{
	size_t i;

	for (i = 0; i < src->n_regions; i++) {
		const struct mf_msg_region *w = &src->region[i].w;

		if (!mf_region_moves(w))
			return mf_fail(-EOPNOTSUPP,
				       "region %s is a file, and files cannot be "
				       "handed over by tcp: use unix:PATH",
				       w->name);
		if (w->page_size > MF_PMD_SIZE)
			return mf_fail(-EOPNOTSUPP,
				       "region %s has pages of %llu MiB, which "
				       "cannot be handed over by tcp: use unix:PATH",
				       w->name, (unsigned long long)(w->page_size / MF_MIB));
	}
	return 0;
}

bool mf_session_tcp_urgent(struct mf_session *ss, struct mf_channel *ch,
			   const struct mf_frame *f, int *ret_r)
{
	bool token = ss->src->opts.flags & MF_SOURCE_TOKEN;
	struct mf_msg_urgent m;

	if ((ss->step != MF_STEP_MAPPED && ss->step != MF_STEP_URGENT) || ss->urgent.sock >= 0)
		return false;
	if (f->epoch != ss->epoch || mf_wire_decode_urgent(f->payload, f->len, &m))
		return false;
	if (token && (!m.has_token || !mf_same_bytes(m.token, ss->token, sizeof(ss->token))))
		return false;
	ss->urgent = *ch;
	*ret_r = ss->step == MF_STEP_URGENT ? mf_session_ready(ss) : MF_IDLE;
	return true;
}

/* ------------------------------------------------------------------- ferry */

static int map_private(u64 bytes, u64 *ret_addr)
{
	long p = mf_sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for the ferry task: %s",
			       mf_errno_text((int)p));
	mf_sys_madvise((void *)p, bytes, MADV_DONTFORK);
	*ret_addr = (u64)p;
	return 0;
}

static int lay_out(struct mf_session *ss)
{
	const struct mf_source *src = ss->src;
	struct mf_tcp_region *list = calloc(src->n_regions + 1, sizeof(*list));
	u64 addr = 0, stack;
	size_t i;
	int r;

	if (!list)
		return mf_fail(-ENOMEM, "no memory for the region table");
	for (i = 0; i < src->n_regions; i++) {
		const struct mf_msg_region *w = &src->region[i].w;

		list[i] = (struct mf_tcp_region){
			.src = w->addr,
			.len = w->len,
			.page_size = w->page_size,
			.hugetlb = w->kind == MF_WIRE_HUGETLB,
			.readable = !!(w->prot & PROT_READ),
		};
	}
	ss->tcp_bytes = mf_tcp_drain_bytes(list, (u32)src->n_regions) + STREAMER_STACK;
	r = map_private(ss->tcp_bytes, &addr);
	if (!r) {
		stack = addr + ss->tcp_bytes;
		ss->tcp = (struct mf_tcp_drain *)addr;
		mf_tcp_drain_layout(ss->tcp, list, (u32)src->n_regions);
		ss->tcp->streamer_stack_top = (void *)stack;
	}
	free(list);
	return r;
}

static int open_fds(struct mf_session *ss)
{
	long fd = mf_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return mf_fail((int)fd,
			       "cannot open /proc/self/pagemap: %s; memferry needs /proc",
			       mf_errno_text((int)fd));
	ss->pagemap = (int)fd;
	/* only for what cannot be read otherwise: may be missing */
	fd = mf_sys_openat(AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
	ss->mem = fd < 0 ? -1 : (int)fd;
	fd = mf_sys_pidfd_open(getpid());
	if (fd < 0)
		return mf_fail((int)fd, "pidfd_open: %s", mf_errno_text((int)fd));
	ss->self_pidfd = (int)fd;
	fd = mf_sys_eventfd(0, 02000000 | 04000 /* EFD_CLOEXEC | EFD_NONBLOCK */);
	if (fd < 0)
		return mf_fail((int)fd, "eventfd: %s", mf_errno_text((int)fd));
	ss->bell = (int)fd;
	return 0;
}

static void fill(struct mf_session *ss)
{
	struct mf_tcp_drain *d = ss->tcp;

	d->sh = ss->sh;
	d->pagemap = ss->pagemap;
	d->mem = ss->mem;
	d->main_pidfd = ss->self_pidfd;
	d->bell = ss->bell;
	d->placement = ss->src->opts.placement ? ss->src->opts.placement : MF_PLACE_SAME;
	ss->sh->placement = d->placement;
	d->ordinary = !!(ss->src->opts.flags & MF_SOURCE_ORDINARY_PRIORITY);
	d->epoch = ss->epoch;
	d->stall_ns = ss->src->opts.timeout_ms * MF_NSEC_PER_MSEC;
	d->urgent_rx.sock = ss->urgent.sock;
	d->urgent_rx.epoch = d->bulk_rx.epoch = ss->epoch;
	d->urgent_rx.seq = ss->urgent.seq_in;
	d->bulk_rx.sock = ss->ch.sock;
}

int mf_session_tcp_start_ferry(struct mf_session *ss)
{
	struct mf_task_opts opts = {
		.size = sizeof(opts),
		.name = "mf-ferry",
		.stack_bytes = PILOT_STACK,
	};
	int keep[6], r;

	r = open_fds(ss);
	if (!r)
		r = lay_out(ss);
	if (r)
		return r;
	fill(ss);
	keep[0] = ss->pagemap;
	keep[1] = ss->mem;
	keep[2] = ss->self_pidfd;
	keep[3] = ss->bell;
	keep[4] = ss->ch.sock;
	keep[5] = ss->urgent.sock;
	opts.keep_fds = keep;
	opts.n_keep_fds = ARRAY_SIZE(keep);
	return mf_task_start(mf_tcp_drain_main, ss->tcp, &opts, &ss->ferry);
}

void mf_session_tcp_stop_ferry(struct mf_session *ss)
{
	if (ss->tcp)
		mf_sys_munmap(ss->tcp, ss->tcp_bytes);
	ss->tcp = NULL;
}

/* ---------------------------------------------------------------- blackout */

int mf_session_tcp_send_state(struct mf_session *ss, const struct mf_state *st)
{
	struct mf_msg_state m = { .len = st->len }; /* and no descriptors */
	int r = mf_channel_send(&ss->ch, state, &m, NULL, 0);
	u64 at = 0;

	while (!r && at < st->len) {
		struct mf_msg_blob b = {
			.offset = at,
			.len = (u32)mf_min(st->len - at, MF_WIRE_BLOB_BYTES),
			.data = st->data + at,
		};

		b.crc = mf_crc32c(0, b.data, b.len);
		r = mf_channel_send(&ss->ch, blob, &b, NULL, 0);
		at += b.len;
	}
	return r;
}

/*
 * Once it is decided all hangs on the ferry, beginning with the answer: it must show a sign
 * of life first. Half of the time-out is left for the answer.
 */
static int ask_ferry(struct mf_session *ss)
{
	u64 end = mf_now_ns() + ss->src->opts.timeout_ms * MF_NSEC_PER_MSEC / 2, one = 1;
	struct pollfd p = { .fd = mf_task_pidfd(ss->ferry), .events = POLLIN };
	u32 beat = mf_load(&ss->sh->beat);

	mf_sys_write(ss->bell, &one, sizeof(one));
	while (mf_load(&ss->sh->beat) == beat) {
		if (mf_sys_ppoll(&p, 1, 20 * (s64)MF_NSEC_PER_USEC) > 0)
			return mf_fail(-EOWNERDEAD,
				       "the ferry task (pid %d) died before the "
				       "commit",
				       mf_task_pid(ss->ferry));
		if (mf_now_ns() > end)
			return mf_fail(-ECANCELED, "the ferry task (pid %d) does not answer",
				       mf_task_pid(ss->ferry));
	}
	return 0;
}

/*
 * The answer is the ferry's first frame on this connection: if this process is killed at
 * this very moment, it is given all the same.
 */
int mf_session_tcp_commit(struct mf_session *ss)
{
	struct mf_frame f;
	u64 one = 1;
	int r = ask_ferry(ss);

	if (r)
		return r;
	r = mf_channel_get(&ss->ch, &f, 0);
	/* if it has given up waiting meanwhile, it says so right behind, and does not run */
	if (r != -ETIMEDOUT)
		return r ? r
			 : mf_fail(-EPROTO, "the successor sent %s after COMMIT",
				   mf_wire_type_name(f.type));
	ss->tcp->bulk_seq = ss->ch.seq_out;
	ss->tcp->bulk_rx.seq = ss->ch.seq_in;
	mf_store(&ss->sh->t_commit_ns, mf_now_ns());
	mf_cas32(&ss->sh->word, MF_WORD_OPEN, MF_WORD_COMMITTED);
	mf_sys_write(ss->bell, &one, sizeof(one));
	return 0;
}

void mf_session_tcp_let_go(struct mf_session *ss)
{
	if (!ss->ch.stream)
		return;
	mf_channel_fini(&ss->ch);
	mf_channel_fini(&ss->urgent);
}
