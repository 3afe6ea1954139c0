/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/tcp_stream.h"

#include <asm/errno.h>

#include "base/mem.h"
#include "base/sys.h"

#include "base/faultpath.h"

#define SMALL_FRAME 256 /* no ACK, PAGE_REQ or empty frame is larger */

/* --------------------------------------------------------------- receiving */

/* Bytes that the frame in front needs in all; what is not known yet counts as eager. */
static u32 wanted(const struct mf_rx *rx)
{
	struct mf_wire_header h;

	if (rx->end - rx->start < MF_WIRE_HEADER_BYTES ||
	    mf_wire_get_header(rx->buf + rx->start, MF_WIRE_HEADER_BYTES, &h))
		return rx->eager;
	return (u32)mf_max(MF_WIRE_HEADER_BYTES + h.len, rx->eager);
}

long mf_rx_fill(struct mf_rx *rx)
{
	u32 want = wanted(rx);
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	long n;

	if (rx->start && rx->start + want > rx->room) {
		mf_mem_copy(rx->buf, rx->buf + rx->start, rx->end - rx->start);
		rx->end -= rx->start;
		rx->start = 0;
	}
	if (rx->start + want > rx->room || rx->end >= rx->start + want)
		return 0; /* a frame too large for us, or already whole: see mf_rx_frame() */
	iov.iov_base = rx->buf + rx->end;
	iov.iov_len = rx->start + want - rx->end;
	n = mf_sys_recvmsg(rx->sock, &msg, MSG_DONTWAIT);
	if (n == -EAGAIN || n == -EINTR || n == -ENOMEM || n == -ENOBUFS)
		return -EAGAIN;
	if (n <= 0)
		return -EPIPE;
	rx->end += (u32)n;
	rx->bytes += (u64)n;
	return 0;
}

int mf_rx_frame(struct mf_rx *rx, struct mf_wire_header *ret_h, const u8 **ret_payload)
{
	u32 have = rx->end - rx->start;

	if (have < MF_WIRE_HEADER_BYTES)
		return 0;
	if (mf_wire_get_header(rx->buf + rx->start, MF_WIRE_HEADER_BYTES, ret_h) ||
	    ret_h->seq != rx->seq || ret_h->epoch != rx->epoch ||
	    ret_h->len > rx->room - MF_WIRE_HEADER_BYTES)
		return -EPROTO;
	if (have - MF_WIRE_HEADER_BYTES < ret_h->len)
		return 0;
	*ret_payload = rx->buf + rx->start + MF_WIRE_HEADER_BYTES;
	return 1;
}

void mf_rx_next(struct mf_rx *rx, const struct mf_wire_header *h)
{
	rx->seq++;
	rx->start += MF_WIRE_HEADER_BYTES + h->len;
	if (rx->start == rx->end)
		rx->start = rx->end = 0;
}

void mf_stream_poll(struct pollfd *p, u32 n, u32 blind, s64 timeout_ns)
{
	u32 i;

	for (i = 0; i < n; i++)
		p[i].revents = 0;
	if (mf_task_poll(p, n, timeout_ns) >= 0)
		return;
	for (i = 0; i < n; i++)
		p[i].revents = blind >> i & 1 && p[i].fd >= 0 ? POLLIN : 0;
}

/* ----------------------------------------------------------------- sending */

int mf_iov_push(int sock, struct iovec *iov, u32 n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	u64 left = 0, part;
	long r;
	u32 i;

	for (i = 0; i < n; i++)
		left += iov[i].iov_len;
	r = mf_sys_sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (r == -EAGAIN || r == -EINTR || r == -ENOBUFS || r == -ENOMEM)
		return 0;
	if (r < 0)
		return -EPIPE;
	left -= (u64)r;
	for (i = 0; i < n && r; i++) {
		part = mf_min(iov[i].iov_len, (u64)r);
		iov[i].iov_base = (u8 *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		r -= (long)part;
	}
	return left == 0;
}

bool mf_tx_room(struct mf_tx *tx)
{
	if (tx->room - tx->end < SMALL_FRAME && tx->start) {
		mf_mem_copy(tx->buf, tx->buf + tx->start, tx->end - tx->start);
		tx->end -= tx->start;
		tx->start = 0;
	}
	return tx->room - tx->end >= SMALL_FRAME;
}

u8 *mf_tx_at(struct mf_tx *tx, struct mf_wire_header *ret_h, size_t *ret_size)
{
	*ret_h = (struct mf_wire_header){
		.version = MF_WIRE_VERSION_MAX,
		.epoch = tx->epoch,
		.seq = tx->seq,
	};
	*ret_size = tx->room - tx->end;
	return tx->buf + tx->end;
}

void mf_tx_put(struct mf_tx *tx, int frame_len)
{
	if (frame_len <= 0)
		return;
	tx->end += (u32)frame_len;
	tx->seq++;
}

long mf_tx_push(struct mf_tx *tx)
{
	struct iovec iov = { tx->buf + tx->start, tx->end - tx->start };
	int r;

	if (mf_tx_empty(tx))
		return 0;
	r = mf_iov_push(tx->sock, &iov, 1);
	if (r < 0)
		return r;
	tx->start = tx->end - (u32)iov.iov_len;
	if (mf_tx_empty(tx))
		tx->start = tx->end = 0;
	return 0;
}
