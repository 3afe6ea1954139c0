/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/address.h"
#include "handover/limits.h"

/* ------------------------------------------------------------------- HELLO */

int mf_same_bytes(const u8 *a, const u8 *b, size_t n)
{
	u8 diff = 0;
	size_t i;

	for (i = 0; i < n; i++) /* takes the same time whatever is wrong */
		diff |= a[i] ^ b[i];
	return diff == 0;
}

static int check_hello(struct mf_session *ss, const struct mf_msg_hello *m)
{
	struct mf_source *src = ss->src;

	if (m->ver_min > MF_WIRE_VERSION_MAX || m->ver_max < MF_WIRE_VERSION_MIN)
		return mf_fail(-EPROTONOSUPPORT,
			       "no common protocol version: the source speaks %d to %d, the "
			       "successor %u to %u; use versions of memferry that overlap",
			       MF_WIRE_VERSION_MIN, MF_WIRE_VERSION_MAX, m->ver_min,
			       m->ver_max);
	if (m->page_size != MF_PAGE_SIZE)
		return mf_fail(-EPROTONOSUPPORT, "different page sizes");
	if (strcmp(m->app, src->app))
		return mf_fail(-ENODATA, "the source is application '%s', the successor '%s'",
			       src->app, m->app);
	if (ss->ch.stream) {
		int r = mf_session_tcp_check(src);

		if (r)
			return r;
	}
	if (!(src->opts.flags & MF_SOURCE_TOKEN))
		return 0;
	if (!m->has_token || !mf_same_bytes(m->token, src->token, sizeof(src->token)))
		return mf_fail(-EACCES, "the token is missing, wrong or used up: each is good "
					"for one attach; fetch the present one");
	memcpy(ss->token, src->token, sizeof(ss->token));
	/* used up, so that a copy of it is worth nothing */
	if (getrandom(src->token, sizeof(src->token), 0) != sizeof(src->token))
		return mf_fail(-EIO, "no random bytes for the next token");
	return 0;
}

static int verify_regions(const struct mf_source *src)
{
	size_t i;
	int r = 0;

	for (i = 0; i < src->n_regions && !r; i++)
		r = mf_region_verify(&src->region[i]);
	return r;
}

static u64 moving_bytes(const struct mf_source *src)
{
	u64 sum = 0;
	size_t i;

	for (i = 0; i < src->n_regions; i++)
		if (mf_region_moves(&src->region[i].w))
			sum += src->region[i].w.len;
	return sum;
}

static int send_welcome(struct mf_session *ss)
{
	struct mf_source *src = ss->src;
	struct mf_msg_welcome m = {
		.version = MF_WIRE_VERSION_MAX,
		.page_size = MF_PAGE_SIZE,
		.epoch = ss->epoch,
		.timeout_ms = src->opts.timeout_ms,
		.n_regions = (u32)src->n_regions,
		.app_version = src->opts.app_version,
		.source_pid = getpid(),
		.memory_needed = mf_min(moving_bytes(src), mf_resident_bytes()),
	};

	strcpy(m.app, src->app);
	mf_memory_cgroup(m.cgroup, sizeof(m.cgroup));
	return mf_channel_send(&ss->ch, welcome, &m, &ss->sh_fd, 1);
}

#define REGIONS_A_FRAME 64

static int send_regions(struct mf_session *ss)
{
	struct mf_source *src = ss->src;
	struct mf_msg_regions *m;
	int fds[REGIONS_A_FRAME], r = 0;
	size_t i = 0, n_fds;

	m = calloc(1, sizeof(*m));
	if (!m)
		return mf_fail(-ENOMEM, "no memory to tell the regions");
	while (i < src->n_regions && !r) {
		m->count = 0;
		n_fds = 0;
		for (; i < src->n_regions && m->count < REGIONS_A_FRAME; i++) {
			src->region[i].w.index = (u32)i;
			m->region[m->count++] = src->region[i].w;
			if (src->region[i].fd >= 0)
				fds[n_fds++] = src->region[i].fd;
		}
		r = mf_channel_send(&ss->ch, regions, m, fds, n_fds);
	}
	free(m);
	return r;
}

static int on_hello(struct mf_session *ss, const struct mf_frame *f)
{
	struct mf_source *src = ss->src;
	struct mf_msg_hello m;
	int r = mf_wire_decode_hello(f->payload, f->len, &m);

	if (r)
		return mf_fail(-EPROTO, "the successor sent a broken HELLO");
	r = check_hello(ss, &m);
	if (!r)
		r = verify_regions(src);
	if (!r && getrandom(&ss->epoch, sizeof(ss->epoch), 0) != sizeof(ss->epoch))
		r = mf_fail(-EIO, "no random bytes for an epoch");
	if (r)
		return r;
	ss->epoch |= 1; /* never 0, which means "not agreed" */
	r = mf_shared_create(ss->epoch, &ss->sh_fd, &ss->sh);
	if (r)
		return r;
	ss->sh->t_attach_ns = mf_now_ns();
	ss->sh->bytes_total = moving_bytes(src);
	ss->dst = calloc(src->n_regions ? src->n_regions : 1, sizeof(*ss->dst));
	if (!ss->dst)
		return mf_fail(-ENOMEM, "no memory for the region table");
	ss->ch.epoch = ss->epoch;
	r = send_welcome(ss);
	return r ? r : send_regions(ss);
}

/* ------------------------------------------------------------------ MAPPED */

static int take_places(struct mf_session *ss, const struct mf_msg_mapped *m)
{
	struct mf_source *src = ss->src;
	const struct mf_msg_region *w;
	u32 i;

	for (i = 0; i < m->count; i++) {
		if (m->index[i] != ss->n_mapped || m->index[i] >= src->n_regions)
			return mf_fail(-EPROTO,
				       "the successor mapped a region that there is not");
		w = &src->region[m->index[i]].w;
		if (mf_range_bad(m->addr[i], w->len) ||
		    !mf_is_aligned(m->addr[i], w->page_size))
			return mf_fail(-EPROTO,
				       "the successor mapped region %s at an impossible "
				       "address",
				       w->name);
		if (m->addr[i] != w->addr && !(w->flags & MF_WIRE_REGION_RELOCATABLE))
			return mf_fail(-EPROTO, "the successor mapped region %s elsewhere",
				       w->name);
		ss->dst[ss->n_mapped++] = m->addr[i];
	}
	return 0;
}

static int take_fds(struct mf_session *ss, struct mf_frame *f)
{
	if (f->n_fds != 4 || !mf_fd_is(f->fds[0], "[userfaultfd]") ||
	    !mf_fd_is(f->fds[1], "[eventfd]") || !mf_fd_is(f->fds[2], "[eventfd]") ||
	    !mf_fd_is(f->fds[3], "/pagemap"))
		return mf_fail(-EPROTO, "the successor sent descriptors of the wrong kind with "
					"MAPPED");
	ss->uffd = f->fds[0];
	ss->bell = f->fds[1];
	ss->guard_bell = f->fds[2];
	ss->peer_pagemap = f->fds[3];
	f->n_fds = 0;
	return 0;
}

static int on_mapped(struct mf_session *ss, struct mf_frame *f)
{
	struct mf_msg_mapped *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return mf_fail(-ENOMEM, "no memory for a message");
	r = mf_wire_decode_mapped(f->payload, f->len, m);
	if (r)
		r = mf_fail(-EPROTO, "the successor sent a broken MAPPED");
	if (!r)
		r = take_places(ss, m);
	if (r || m->more) {
		free(m);
		return r ? r : MF_IDLE;
	}
	ss->placement = m->placement;
	free(m);
	if (ss->n_mapped != ss->src->n_regions)
		return mf_fail(-EPROTO, "the successor did not map every region");
	if (ss->ch.stream && ss->urgent.sock < 0) {
		ss->step = MF_STEP_URGENT;
		return MF_IDLE;
	}
	r = ss->ch.stream ? 0 : take_fds(ss, f);
	return r ? r : mf_session_ready(ss);
}

int mf_session_ready(struct mf_session *ss)
{
	struct mf_msg_ready ready;
	int r, fd;

	r = ss->ch.stream ? mf_session_tcp_start_ferry(ss) : mf_session_start_ferry(ss);
	if (r)
		return r;
	ready.ferry_pid = mf_task_pid(ss->ferry);
	fd = mf_task_pidfd(ss->ferry);
	ss->step = MF_STEP_QUIESCE;
	return mf_channel_send(&ss->ch, ready, &ready, &fd, 1);
}

/* ------------------------------------------------------------------- frame */

static int know_peer(struct mf_session *ss)
{
	char text[72];
	int r;

	ss->ch.stream = ss->src->tcp;
	if (ss->ch.stream) {
		mf_tcp_tune(ss->ch.sock);
		mf_tcp_peer_text(ss->ch.sock, text, sizeof(text));
		snprintf(ss->peer_name, sizeof(ss->peer_name), "the successor at %s", text);
		return 0;
	}
	r = mf_channel_peer(&ss->ch, &ss->peer_pidfd, &ss->peer_pid);
	snprintf(ss->peer_name, sizeof(ss->peer_name), "the successor (pid %d)", ss->peer_pid);
	return r;
}

int mf_session_start(struct mf_source *src, int sock, struct mf_session **ret_ss)
{
	struct mf_session *ss = calloc(1, sizeof(*ss));
	int r;

	if (!ss) {
		mf_sys_close(sock);
		return mf_fail(-ENOMEM, "no memory for a session");
	}
	ss->src = src;
	ss->urgent.sock = ss->self_pidfd = -1;
	ss->sh_fd = ss->peer_pidfd = ss->uffd = ss->bell = ss->guard_bell = ss->pagemap =
		ss->mem = ss->peer_pagemap = -1;
	r = mf_channel_init(&ss->ch, sock, "the successor", (int)src->opts.timeout_ms);
	if (!r)
		r = know_peer(ss);
	if (r) {
		mf_channel_abort(&ss->ch, r, mf_error());
		mf_session_free(ss);
		return r;
	}
	*ret_ss = ss;
	return 0;
}

static int on_frame(struct mf_session *ss, struct mf_frame *f)
{
	int r;

	if (ss->step == MF_STEP_HELLO && f->type == MF_MSG_HELLO) {
		r = on_hello(ss, f);
		ss->step = MF_STEP_MAPPED;
		return r;
	}
	if (ss->step == MF_STEP_MAPPED && f->type == MF_MSG_MAPPED)
		return on_mapped(ss, f);
	if (ss->step == MF_STEP_QUIESCE && f->type == MF_MSG_QUIESCE) {
		ss->step = MF_STEP_OVER;
		r = mf_session_blackout(ss);
		return r == 1 ? MF_HANDED_OVER : r;
	}
	return mf_fail(-EPROTO, "the successor sent %s out of turn",
		       mf_wire_type_name(f->type));
}

int mf_session_judge(struct mf_session *ss, int r)
{
	char text[MF_WIRE_TEXT_MAX];

	if (r >= 0)
		return r;
	snprintf(text, sizeof(text), "%s", mf_error());
	mf_channel_abort(&ss->ch, r, text);
	return mf_fail(r, "%s", text);
}

int mf_session_input(struct mf_session *ss)
{
	struct mf_frame f;
	int r = mf_channel_get(&ss->ch, &f, 0);

	if (r == -ETIMEDOUT)
		return MF_IDLE;
	if (r)
		return r; /* gone, or it aborted: nobody to tell */
	r = on_frame(ss, &f);
	mf_frame_drop(&f);
	return mf_session_judge(ss, r);
}

void mf_session_abort(struct mf_session *ss, int err, const char *text)
{
	if (ss->sh)
		mf_cas32(&ss->sh->word, MF_WORD_OPEN, MF_WORD_ABORTED);
	mf_channel_abort(&ss->ch, err, text);
}

void mf_session_free(struct mf_session *ss)
{
	int fds[9];
	bool gone;

	if (!ss)
		return;
	gone = ss->src->handed_over;
	if (!gone && ss->sh)
		mf_cas32(&ss->sh->word, MF_WORD_OPEN, MF_WORD_ABORTED);
	if (gone)
		mf_task_disown(ss->ferry);
	else
		mf_session_stop_ferry(ss);
	mf_channel_fini(&ss->ch);
	mf_channel_fini(&ss->urgent);
	memcpy(fds,
	       (int[]){ ss->sh_fd, ss->peer_pidfd, ss->uffd, ss->bell, ss->guard_bell,
			ss->pagemap, ss->mem, ss->peer_pagemap, ss->self_pidfd },
	       sizeof(fds));
	mf_close_all(fds, ARRAY_SIZE(fds));
	if (!gone)
		mf_shared_unmap(ss->sh); /* else the ferry still reads it */
	free(ss->dst);
	free(ss);
}
