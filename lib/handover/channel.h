/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages over a connected unix or TCP socket: sequence numbers, epoch, time-outs, ABORT.
 * A stream (TCP) carries no descriptors: those given to send are left out, and none come.
 */
#ifndef MF_HANDOVER_CHANNEL_H
#define MF_HANDOVER_CHANNEL_H

#include "base/fdpass.h"
#include "wire/msg.h"

#define MF_CHANNEL_BUF (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_CONTROL)

struct mf_channel {
	int sock;
	bool stream;
	const char *peer; /* "the source" or "the successor", for messages */
	int timeout_ms;
	u64 epoch; /* 0: not agreed yet */
	u64 seq_out;
	u64 seq_in;
	u8 *buf;
	size_t have; /* stream: so much of the next frame is in the buffer */
};

struct mf_frame {
	u16 type;
	u64 epoch;
	const u8 *payload; /* inside the channel's buffer, until the next call */
	size_t len;
	int fds[MF_FDPASS_MAX];
	size_t n_fds;
};

/* Takes @sock over. -ENOMEM. */
int mf_channel_init(struct mf_channel *ch, int sock, const char *peer, int timeout_ms);
void mf_channel_fini(struct mf_channel *ch);

/* The header for the next frame to send; version, epoch, seq. */
struct mf_wire_header mf_channel_header(struct mf_channel *ch);
/* Send @frame_len bytes of ch->buf (or pass an encoder's -errno on). */
int mf_channel_put(struct mf_channel *ch, int frame_len, const int *fds, size_t n_fds);

/* mf_channel_send(ch, hello, &msg, fds, n_fds) */
#define mf_channel_send(ch, name, msg, fds, n_fds)                                             \
	({                                                                                     \
		struct mf_wire_header h_ = mf_channel_header(ch);                              \
		mf_channel_put(ch, mf_wire_encode_##name((ch)->buf, MF_CHANNEL_BUF, &h_, msg), \
			       fds, n_fds);                                                    \
	})
int mf_channel_send_empty(struct mf_channel *ch, u16 type);
/* Tell the other side that this attempt is over, and why; failures do not matter. */
void mf_channel_abort(struct mf_channel *ch, int err, const char *text);

/*
 * Receive one frame. An ABORT comes back as its own errno with the peer's words in
 * mf_error(). -EOWNERDEAD: the peer is gone; -ETIMEDOUT; -EPROTO: not what we speak.
 * Descriptors in the frame are the caller's.
 */
int mf_channel_get(struct mf_channel *ch, struct mf_frame *f, int timeout_ms);
/*
 * The same, and it must be of @type with exactly @n_fds descriptors (-1: any number; over a
 * stream there are none).
 */
int mf_channel_expect(struct mf_channel *ch, u16 type, int n_fds, struct mf_frame *f);
void mf_frame_drop(struct mf_frame *f);

/* pidfd of the process at the other end, after checking that its user is ours or root. */
int mf_channel_peer(struct mf_channel *ch, int *ret_pidfd, s32 *ret_pid);

/* channel_stream.c; return as mf_fdpass_send() and mf_fdpass_recv(). */
int mf_stream_send(int sock, const u8 *buf, size_t len, int timeout_ms);
int mf_stream_recv(struct mf_channel *ch, int timeout_ms);

/* What /proc says @fd is: "[userfaultfd]", "[eventfd]", ... */
bool mf_fd_is(int fd, const char *what);

#endif /* MF_HANDOVER_CHANNEL_H */
