/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames over a TCP stream. Exactly one frame is read at a time, never a byte of the next:
 * after the commit the connection goes on in another task.
 */
#include <errno.h>
#include <sys/uio.h>

#include "base/sys.h"
#include "handover/channel.h"

static int await(int sock, short events, u64 deadline)
{
	struct pollfd p = { .fd = sock, .events = events };
	u64 now = mf_now_ns();
	long r;

	if (now >= deadline)
		return -ETIMEDOUT;
	r = mf_sys_ppoll(&p, 1, (s64)(deadline - now));
	return r < 0 && r != -EINTR ? (int)r : 0;
}

int mf_stream_send(int sock, const u8 *buf, size_t len, int timeout_ms)
{
	u64 deadline = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;
	struct iovec iov = { (void *)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	long n;
	int r;

	while (iov.iov_len) {
		n = mf_sys_sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			iov.iov_base = (u8 *)iov.iov_base + n;
			iov.iov_len -= (size_t)n;
			continue;
		}
		r = n == -EAGAIN ? await(sock, POLLOUT, deadline) : n == -EINTR ? 0 : (int)n;
		if (r)
			return r;
	}
	return 0;
}

/* What the frame in the buffer needs in all, as far as that can be told yet. */
static size_t wanted(const struct mf_channel *ch)
{
	struct mf_wire_header h;

	if (ch->have < MF_WIRE_HEADER_BYTES ||
	    mf_wire_get_header(ch->buf, MF_WIRE_HEADER_BYTES, &h) ||
	    h.len > MF_WIRE_MAX_CONTROL)
		return MF_WIRE_HEADER_BYTES; /* broken: the caller finds out why */
	return MF_WIRE_HEADER_BYTES + h.len;
}

int mf_stream_recv(struct mf_channel *ch, int timeout_ms)
{
	u64 deadline = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t want;
	long n;
	int r;

	while (ch->have < (want = wanted(ch))) {
		iov = (struct iovec){ ch->buf + ch->have, want - ch->have };
		n = mf_sys_recvmsg(ch->sock, &msg, MSG_DONTWAIT);
		if (n == 0)
			return 0;
		if (n > 0) {
			ch->have += (size_t)n;
			continue;
		}
		if (n != -EAGAIN && n != -EINTR)
			return n == -ETIMEDOUT ? -ECONNRESET : (int)n; /* that of TCP itself */
		r = await(ch->sock, POLLIN, deadline);
		if (r)
			return r;
	}
	ch->have = 0;
	return (int)want;
}
