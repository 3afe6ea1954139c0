/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From QUIESCE to the verdict: the only part in which the source does not serve. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/session.h"

#define ABORT_MS 100
#define LISTENER_NAME                                                                          \
	".listener" /* the memferry socket itself: the successor goes on with it */

static int call(int (*fn)(void *), void *arg, const char *what)
{
	int r = fn ? fn(arg) : 0;

	if (r)
		return mf_fail(r < 0 ? r : -ECANCELED, "the application's %s() failed: %s",
			       what, mf_errno_text(r));
	return 0;
}

static int verify_all(const struct mf_source *src)
{
	size_t i;
	int r = 0;

	for (i = 0; i < src->n_regions && !r; i++)
		r = mf_region_verify(&src->region[i]);
	return r;
}

static int gather(struct mf_session *ss, struct mf_state *st)
{
	struct mf_source *src = ss->src;
	size_t i;
	int r;

	r = src->opts.save ? src->opts.save(src->opts.arg, st) : 0;
	if (r)
		return mf_fail(r < 0 ? r : -ECANCELED, "the application's save() failed: %s",
			       mf_errno_text(r));
	for (i = 0; i < src->fds.n && !r; i++)
		r = mf_state_fd(st, src->fds.fd[i].name, src->fds.fd[i].fd);
	if (!r && src->listener >= 0)
		r = mf_state_fd(st, LISTENER_NAME, src->listener);
	return r;
}

static int send_fds(struct mf_session *ss, const struct mf_fd_list *l)
{
	struct mf_msg_fds *m = malloc(sizeof(*m));
	int fds[MF_WIRE_FDS_PER_FRAME], r = 0;
	size_t i = 0;

	if (!m)
		return mf_fail(-ENOMEM, "no memory to send descriptors");
	while (i < l->n && !r) {
		for (m->count = 0; i < l->n && m->count < MF_WIRE_FDS_PER_FRAME; i++) {
			fds[m->count] = l->fd[i].fd;
			memcpy(m->name[m->count++], l->fd[i].name, MF_WIRE_NAME_MAX);
		}
		r = mf_channel_send(&ss->ch, fds, m, fds, m->count);
	}
	free(m);
	return r;
}

static int send_state(struct mf_session *ss, const struct mf_state *st)
{
	struct mf_msg_state m = { .len = st->len, .n_fds = (u32)st->fds.n };
	int fd, r;

	if (ss->ch.stream)
		return mf_session_tcp_send_state(ss, st);

	r = mf_state_to_memfd(st, &fd);
	if (r)
		return r;
	r = mf_channel_send(&ss->ch, state, &m, &fd, 1);
	mf_sys_close(fd);
	return r ? r : send_fds(ss, &st->fds);
}

/* ----------------------------------------------------------------- verdict */

/* Why, it says in its ABORT, which follows at once if it can still talk. */
static int cancelled(struct mf_session *ss)
{
	struct mf_frame f;
	int r = mf_channel_get(&ss->ch, &f, ABORT_MS);

	mf_frame_drop(&f);
	if (r < 0 && r != -ETIMEDOUT && r != -EOWNERDEAD)
		return mf_fail_in(-ECANCELED, "cancelled");
	return mf_fail(-ECANCELED, "the successor cancelled the hand-over");
}

/* We give up, unless the successor was faster: 1 then. */
static int give_up(struct mf_session *ss, int err)
{
	if (mf_cas32(&ss->sh->word, MF_WORD_OPEN, MF_WORD_ABORTED))
		return err;
	return mf_load(&ss->sh->word) == MF_WORD_COMMITTED ? 1 : cancelled(ss);
}

enum { AT_SOCK, AT_PEER, AT_FERRY, AT_MAX };

static int look(struct mf_session *ss, const struct pollfd *p)
{
	struct mf_frame f;
	int r;

	if (p[AT_FERRY].revents)
		return give_up(ss, mf_fail(-EOWNERDEAD,
					   "the ferry task (pid %d) died before the "
					   "commit",
					   mf_task_pid(ss->ferry)));
	if (p[AT_SOCK].revents) {
		r = mf_channel_get(&ss->ch, &f, 0);
		if (!r && ss->ch.stream && f.type == MF_MSG_COMMIT)
			r = mf_session_tcp_commit(ss);
		mf_frame_drop(&f);
		if (r && r != -ETIMEDOUT && r != -EOWNERDEAD &&
		    mf_load(&ss->sh->word) == MF_WORD_CANCELLED)
			return r; /* its words */
		if (r && r != -ETIMEDOUT)
			return give_up(ss, r);
	}
	if (p[AT_PEER].revents)
		return give_up(ss, mf_fail(-EOWNERDEAD, "%s died before the commit",
					   ss->peer_name));
	return 0;
}

/* 1: committed; -errno: not. Bounded by the time-out. */
static int wait_verdict(struct mf_session *ss)
{
	u64 end = mf_now_ns() + ss->src->opts.timeout_ms * MF_NSEC_PER_MSEC, now;
	struct pollfd p[AT_MAX] = {
		[AT_SOCK] = { .fd = ss->ch.sock, .events = POLLIN },
		[AT_PEER] = { .fd = ss->peer_pidfd, .events = POLLIN },
		[AT_FERRY] = { .fd = mf_task_pidfd(ss->ferry), .events = POLLIN },
	};
	u32 word;
	int r;

	for (;;) {
		word = mf_load(&ss->sh->word);
		if (word == MF_WORD_COMMITTED)
			return 1;
		if (word != MF_WORD_OPEN)
			return cancelled(ss);
		now = mf_now_ns();
		if (now >= end)
			return give_up(ss, mf_fail(-ETIMEDOUT, "%s did not commit within %u ms",
						   ss->peer_name, ss->src->opts.timeout_ms));
		p[AT_SOCK].revents = p[AT_PEER].revents = p[AT_FERRY].revents = 0;
		if (mf_sys_ppoll(p, AT_MAX, (s64)(end - now)) <= 0)
			continue;
		r = look(ss, p);
		if (r)
			return r;
	}
}

static int try_hand_over(struct mf_session *ss)
{
	struct mf_state st = { .len = 0 };
	int r;

	/* while our threads ran they could change anything; from here on they are still */
	r = verify_all(ss->src);
	if (!r)
		r = gather(ss, &st);
	if (!r)
		r = send_state(ss, &st);
	mf_state_free(&st);
	if (r)
		return give_up(ss, r);
	return wait_verdict(ss);
}

int mf_session_blackout(struct mf_session *ss)
{
	struct mf_source_opts *o = &ss->src->opts;
	char text[MF_WIRE_TEXT_MAX];
	int r;

	mf_store(&ss->sh->t_quiesce_ns, mf_now_ns());
	r = call(o->quiesce, o->arg, "quiesce");
	r = r ? give_up(ss, r) : try_hand_over(ss);
	if (r == 1) {
		ss->src->handed_over = true;
		if (o->released)
			o->released(o->arg);
		return 1;
	}
	snprintf(text, sizeof(text), "%s", mf_error());
	mf_session_stop_ferry(ss);
	if (o->resume && o->resume(o->arg))
		mf_logf(MF_LOG_ERROR, "the application's resume() failed");
	return mf_fail(r, "%s", text);
}
