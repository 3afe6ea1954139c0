/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/channel.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int mf_channel_init(struct mf_channel *ch, int sock, const char *peer, int timeout_ms)
{
	*ch = (struct mf_channel){ .sock = sock, .peer = peer, .timeout_ms = timeout_ms };
	ch->buf = malloc(MF_CHANNEL_BUF);
	if (!ch->buf) {
		mf_sys_close(sock);
		ch->sock = -1;
		return mf_fail(-ENOMEM, "no memory for a message buffer");
	}
	return 0;
}

void mf_channel_fini(struct mf_channel *ch)
{
	if (ch->buf && ch->sock >= 0)
		mf_sys_close(ch->sock);
	free(ch->buf);
	*ch = (struct mf_channel){ .sock = -1 };
}

struct mf_wire_header mf_channel_header(struct mf_channel *ch)
{
	return (struct mf_wire_header){
		.version = MF_WIRE_VERSION_MAX,
		.epoch = ch->epoch,
		.seq = ch->seq_out++,
	};
}

/*
 * It has closed the connection, and may have said why before: the ABORT is still to be read.
 */
static int last_words(struct mf_channel *ch)
{
	struct mf_frame f;
	int r;

	do {
		r = mf_channel_get(ch, &f, 0);
		mf_frame_drop(&f);
	} while (r == 0);
	return r == -ETIMEDOUT ? mf_fail(-EOWNERDEAD, "%s has closed the connection", ch->peer)
			       : r;
}

int mf_channel_put(struct mf_channel *ch, int frame_len, const int *fds, size_t n_fds)
{
	int r = frame_len;

	if (r >= 0 && ch->stream)
		r = mf_stream_send(ch->sock, ch->buf, (size_t)frame_len, ch->timeout_ms);
	else if (r >= 0)
		r = mf_fdpass_send(ch->sock, ch->buf, (size_t)frame_len, fds, n_fds,
				   ch->timeout_ms);
	if (r < 0 && !ch->stream)
		ch->seq_out--; /* packets go whole or not at all: an ABORT may follow */
	if (r == -EPIPE || r == -ECONNRESET)
		return last_words(ch);
	if (r < 0)
		return mf_fail(r, "cannot send to %s: %s", ch->peer, mf_errno_text(r));
	return 0;
}

int mf_channel_send_empty(struct mf_channel *ch, u16 type)
{
	struct mf_wire_header h = mf_channel_header(ch);

	return mf_channel_put(ch, mf_wire_encode_empty(ch->buf, MF_CHANNEL_BUF, &h, type), NULL,
			      0);
}

void mf_channel_abort(struct mf_channel *ch, int err, const char *text)
{
	struct mf_msg_abort m = { .error = err < 0 ? -err : err };
	struct mf_wire_header h = mf_channel_header(ch);
	int n;

	if (ch->sock < 0)
		return;
	if (m.error < 1 || m.error > 4095)
		m.error = EIO;
	snprintf(m.text, sizeof(m.text), "%s", text);
	n = mf_wire_encode_abort(ch->buf, MF_CHANNEL_BUF, &h, &m);
	if (n > 0 && ch->stream)
		mf_stream_send(ch->sock, ch->buf, (size_t)n, 0);
	else if (n > 0)
		mf_fdpass_send(ch->sock, ch->buf, (size_t)n, NULL, 0, 0);
}

static int take_abort(struct mf_channel *ch, const struct mf_frame *f)
{
	struct mf_msg_abort m;
	int r = mf_wire_decode_abort(f->payload, f->len, &m);

	if (r)
		return mf_fail(-EPROTO, "%s sent a broken ABORT", ch->peer);
	return mf_fail(-m.error, "%s says: %s", ch->peer, m.text);
}

/* Frames of one direction are numbered; a gap or a repeat is not our peer's doing. */
static int check(struct mf_channel *ch, const struct mf_wire_header *h, size_t n)
{
	if (h->len != n - MF_WIRE_HEADER_BYTES)
		return mf_fail(-EPROTO, "%s sent a frame whose length is wrong", ch->peer);
	if (h->seq != ch->seq_in)
		return mf_fail(-EPROTO, "%s sent frame %llu where %llu was due", ch->peer,
			       (unsigned long long)h->seq, (unsigned long long)ch->seq_in);
	if (ch->epoch && h->epoch != ch->epoch && h->type != MF_MSG_ABORT)
		return mf_fail(-EPROTO, "%s sent a frame of another hand-over", ch->peer);
	ch->seq_in++;
	return 0;
}

static int receive(struct mf_channel *ch, struct mf_frame *f, int timeout_ms)
{
	if (ch->stream)
		return mf_stream_recv(ch, timeout_ms);
	return mf_fdpass_recv(ch->sock, ch->buf, MF_CHANNEL_BUF, f->fds, MF_FDPASS_MAX,
			      &f->n_fds, timeout_ms);
}

int mf_channel_get(struct mf_channel *ch, struct mf_frame *f, int timeout_ms)
{
	struct mf_wire_header h = { .type = 0 };
	int n, r;

	*f = (struct mf_frame){ .n_fds = 0 };
	n = receive(ch, f, timeout_ms);
	if (n == 0 || n == -ECONNRESET)
		return mf_fail(-EOWNERDEAD, "%s has closed the connection", ch->peer);
	if (n == -ETIMEDOUT)
		return mf_fail(n, "%s did not answer within %d ms", ch->peer, timeout_ms);
	if (n == -EMFILE)
		return mf_fail(n,
			       "descriptors from %s did not fit: raise RLIMIT_NOFILE "
			       "(ulimit -n)",
			       ch->peer);
	if (n < 0)
		return mf_fail(n, "cannot receive from %s: %s", ch->peer, mf_errno_text(n));
	r = mf_wire_get_header(ch->buf, (size_t)n, &h);
	if (r)
		r = mf_fail(r, "%s does not speak this protocol: %s", ch->peer,
			    mf_errno_text(r));
	else
		r = check(ch, &h, (size_t)n);
	f->type = h.type;
	f->epoch = h.epoch;
	f->payload = ch->buf + MF_WIRE_HEADER_BYTES;
	f->len = r ? 0 : h.len;
	if (!r && h.type == MF_MSG_ABORT)
		r = take_abort(ch, f);
	if (r)
		mf_frame_drop(f);
	return r;
}

void mf_frame_drop(struct mf_frame *f)
{
	mf_close_all(f->fds, f->n_fds);
	f->n_fds = 0;
}

int mf_channel_expect(struct mf_channel *ch, u16 type, int n_fds, struct mf_frame *f)
{
	int r = mf_channel_get(ch, f, ch->timeout_ms);

	if (r)
		return r;
	if (f->type != type) {
		r = mf_fail(-EPROTO, "%s sent %s where %s was due", ch->peer,
			    mf_wire_type_name(f->type), mf_wire_type_name(type));
		mf_frame_drop(f);
	} else if (!ch->stream && n_fds >= 0 && f->n_fds != (size_t)n_fds) {
		r = mf_fail(-EPROTO, "%s sent %zu descriptors with %s, %d are due", ch->peer,
			    f->n_fds, mf_wire_type_name(type), n_fds);
		mf_frame_drop(f);
	}
	return r;
}

static int peer_pidfd(int sock, s32 pid, int *ret_pidfd)
{
	socklen_t len = sizeof(*ret_pidfd);
	long r;

	/* 6.5; else by number, with a small chance that it was reused */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, ret_pidfd, &len) == 0)
		return 0;
	r = mf_sys_pidfd_open(pid);
	if (r < 0)
		return (int)r;
	*ret_pidfd = (int)r;
	return 0;
}

int mf_channel_peer(struct mf_channel *ch, int *ret_pidfd, s32 *ret_pid)
{
	struct ucred cred = { .pid = 0 };
	socklen_t len = sizeof(cred);
	int r;

	if (getsockopt(ch->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return mf_fail(-errno, "SO_PEERCRED: %s", mf_errno_text(errno));
	if (cred.uid != geteuid() && cred.uid != 0)
		return mf_fail(-EACCES,
			       "%s runs as uid %u, this process as %u: memory is handed "
			       "over between processes of one user only",
			       ch->peer, cred.uid, geteuid());
	r = peer_pidfd(ch->sock, cred.pid, ret_pidfd);
	if (r)
		return mf_fail(r, "no pidfd of %s (pid %d): %s", ch->peer, cred.pid,
			       mf_errno_text(r));
	*ret_pid = cred.pid;
	return 0;
}

bool mf_fd_is(int fd, const char *what)
{
	char path[40], link[128];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = 0;
	return strstr(link, what) != NULL;
}
