/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames over a TCP stream, for the tasks at both ends: no call of these waits. What comes
 * in is judged by its header before more than that is read, and is gathered in a buffer of
 * fixed size; nothing the peer says makes anybody allocate.
 */
#ifndef MF_HANDOVER_TCP_STREAM_H
#define MF_HANDOVER_TCP_STREAM_H

#include <poll.h>
#include <sys/uio.h>

#include "wire/msg.h"

#define MF_PAGE_HEAD (MF_WIRE_HEADER_BYTES + MF_WIRE_PAGE_FIXED_BYTES)

struct mf_rx {
	int sock;
	u32 eager; /* read so much at once while it is not known how much is due */
	u32 start, end, room;
	u8 *buf;
	u64 epoch;
	u64 seq;
	u64 bytes; /* received so far */
};

/*
 * Read once. 0: something came; -EAGAIN: nothing there; -EPIPE: the peer has closed the
 * connection, or it broke.
 */
long mf_rx_fill(struct mf_rx *rx);
/* The next whole frame: 1, and its payload; 0: it is not complete; -EPROTO: nonsense. */
int mf_rx_frame(struct mf_rx *rx, struct mf_wire_header *ret_h, const u8 **ret_payload);
/* Done with the frame that mf_rx_frame() gave. */
void mf_rx_next(struct mf_rx *rx, const struct mf_wire_header *h);

/* Small frames waiting to be sent. */
struct mf_tx {
	int sock;
	u32 start, end, room;
	u8 *buf;
	u64 epoch;
	u64 seq;
};

/* Is there room for one more small frame? */
bool mf_tx_room(struct mf_tx *tx);
/* Where to encode it, with header and size for the encoder; then say how long it became. */
u8 *mf_tx_at(struct mf_tx *tx, struct mf_wire_header *ret_h, size_t *ret_size);
void mf_tx_put(struct mf_tx *tx, int frame_len);
/* Send what the socket takes now. 0, also if that is not all; -EPIPE. */
long mf_tx_push(struct mf_tx *tx);

static inline bool mf_tx_empty(const struct mf_tx *tx)
{
	return tx->start == tx->end;
}

/*
 * Wait for any of @p. If that is not possible those in @blind (a bit each) are said to be
 * readable: who then looks loses nothing.
 */
void mf_stream_poll(struct pollfd *p, u32 n, u32 blind, s64 timeout_ns);

/* sendmsg() of @iov as far as it goes; *iov is moved on. 1: all, 0: not all, -EPIPE. */
int mf_iov_push(int sock, struct iovec *iov, u32 n);

#endif /* MF_HANDOVER_TCP_STREAM_H */
