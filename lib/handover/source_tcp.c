/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections that come in over TCP while a successor is attached. One of them is to be its
 * second; which one is told by its first frame, and until that is there they wait here.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/address.h"
#include "handover/session.h"

static void drop(struct mf_source *src, struct mf_channel *ch)
{
	epoll_ctl(src->epfd, EPOLL_CTL_DEL, ch->sock, NULL);
	mf_channel_fini(ch);
	*ch = src->pending[--src->n_pending];
}

int mf_source_pend(struct mf_source *src, int sock)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = sock };
	struct mf_channel ch;

	if (src->n_pending == MF_SOURCE_PENDING)
		drop(src, &src->pending[0]); /* nobody may block the way by saying nothing */
	if (mf_channel_init(&ch, sock, "the successor", (int)src->opts.timeout_ms))
		return MF_RESUMED;
	ch.stream = true;
	mf_tcp_tune(sock);
	if (epoll_ctl(src->epfd, EPOLL_CTL_ADD, sock, &ev))
		mf_channel_fini(&ch);
	else
		src->pending[src->n_pending++] = ch;
	return MF_IDLE;
}

struct mf_channel *mf_source_pending(struct mf_source *src, int fd)
{
	u32 i;

	for (i = 0; i < src->n_pending; i++)
		if (src->pending[i].sock == fd)
			return &src->pending[i];
	return NULL;
}

/* The one that was attached has gone: this is the next, and @f, still in the buffer, its HELLO. */
static int adopt(struct mf_source *src, struct mf_channel *ch, const struct mf_frame *f)
{
	struct mf_session *ss;
	int r = mf_session_start(src, ch->sock, &ss);
	u8 *buf;

	ch->sock = -1;
	if (!r) {
		buf = ss->ch.buf;
		ss->ch.buf = ch->buf;
		ss->ch.have = MF_WIRE_HEADER_BYTES + f->len;
		ch->buf = buf;
		src->session = ss;
	}
	mf_channel_fini(ch);
	*ch = src->pending[--src->n_pending];
	return r ? MF_RESUMED : mf_session_input(ss);
}

int mf_source_on_pending(struct mf_source *src, struct mf_channel *ch)
{
	struct mf_frame f;
	int r = mf_channel_get(ch, &f, 0), ret;

	if (r == -ETIMEDOUT)
		return MF_IDLE; /* not all of it is there yet */
	if (!r && f.type == MF_MSG_URGENT && src->session &&
	    mf_session_tcp_urgent(src->session, ch, &f, &ret)) {
		epoll_ctl(src->epfd, EPOLL_CTL_DEL, ch->sock, NULL);
		*ch = src->pending[--src->n_pending];
		return mf_session_judge(src->session, ret);
	}
	if (!r && f.type == MF_MSG_HELLO && !src->session)
		return adopt(src, ch, &f);
	if (!r && f.type == MF_MSG_HELLO)
		mf_channel_abort(ch, -EBUSY,
				 "another successor is attached; try again when it is done");
	drop(src, ch);
	return MF_IDLE;
}

void mf_source_drop_ended(struct mf_source *src)
{
	u32 i = 0;
	char c;

	while (i < src->n_pending) {
		if (recv(src->pending[i].sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			drop(src, &src->pending[i]);
		else
			i++;
	}
}

void mf_source_drop_pending(struct mf_source *src)
{
	while (src->n_pending)
		drop(src, &src->pending[0]);
}
