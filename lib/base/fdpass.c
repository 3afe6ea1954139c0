/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fdpass.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include "sys.h"

/*
 * Room for the most descriptors that the kernel sends at once and for the credentials,
 * label and pidfd that socket options of the application can add: then MSG_CTRUNC can
 * only mean that this process may not have the descriptors.
 */
#define CONTROL_BYTES (CMSG_SPACE(MF_FDPASS_MAX * sizeof(int)) + 512)

union control {
	struct cmsghdr align;
	char buf[CONTROL_BYTES];
};

void mf_close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			mf_sys_close(fds[i]);
		fds[i] = -1;
	}
}

static u64 deadline_of(int timeout_ms)
{
	return mf_now_ns() + (timeout_ms > 0 ? (u64)timeout_ms : 0) * MF_NSEC_PER_MSEC;
}

static int wait_for(int sock, short events, u64 deadline)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = events };
		u64 now = mf_now_ns();
		long r;

		if (now >= deadline)
			return -ETIMEDOUT;
		r = mf_sys_ppoll(&p, 1, (s64)(deadline - now));
		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (r == 0)
			return -ETIMEDOUT;
		if (p.revents & POLLNVAL)
			return -EBADF;
		return 0;
	}
}

static void put_fds(struct msghdr *msg, union control *ctl, const int *fds, size_t n_fds)
{
	struct cmsghdr *c;

	if (!n_fds)
		return;
	memset(ctl, 0, sizeof(*ctl));
	msg->msg_control = ctl->buf;
	msg->msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
}

int mf_fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds,
		   int timeout_ms)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	u64 deadline = deadline_of(timeout_ms);
	union control ctl;

	if (n_fds > MF_FDPASS_MAX || len > INT_MAX)
		return -EINVAL;
	put_fds(&msg, &ctl, fds, n_fds);
	for (;;) {
		long r = mf_sys_sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		int err;

		if (r >= 0) /* packets are sent whole or not at all */
			return (size_t)r == len ? 0 : -EMSGSIZE;
		if (r == -EINTR)
			continue;
		if (r == -ECONNRESET)
			return -EPIPE;
		if (r != -EAGAIN)
			return (int)r;
		err = wait_for(sock, POLLOUT, deadline);
		if (err)
			return err;
	}
}

/*
 * Move the descriptors out of the control data, those that do not fit closed at once.
 * Returns how many there were.
 */
static size_t take_fds(struct msghdr *msg, int *ret_fds, size_t max_fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t here;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++, n++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < max_fds)
				ret_fds[n] = fd;
			else
				mf_sys_close(fd);
		}
	}
	return n;
}

/*
 * The peer's death with unread data on its side is reported once as ECONNRESET *before*
 * what it had sent: read on, its last words (an ABORT) are still queued.
 */
static long recv_packet(int sock, struct msghdr *msg, u64 deadline)
{
	const size_t controllen = msg->msg_controllen;
	bool was_reset = false;

	for (;;) {
		long r;
		int err;

		msg->msg_controllen = controllen;
		msg->msg_flags = 0;
		r = mf_sys_recvmsg(sock, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (r >= 0 || (r == -ECONNRESET && was_reset))
			return r;
		if (r == -EINTR)
			continue;
		if (r == -ECONNRESET) {
			was_reset = true;
			continue;
		}
		if (r != -EAGAIN)
			return r;
		err = wait_for(sock, POLLIN, deadline);
		if (err)
			return err;
	}
}

int mf_fdpass_recv(int sock, void *buf, size_t size, int *ret_fds, size_t max_fds,
		   size_t *ret_n_fds, int timeout_ms)
{
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	union control ctl;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.buf,
		.msg_controllen = sizeof(ctl.buf),
	};
	size_t n;
	long r;

	*ret_n_fds = 0;
	r = recv_packet(sock, &msg, deadline_of(timeout_ms));
	if (r < 0)
		return (int)r;
	n = take_fds(&msg, ret_fds, max_fds);
	if (n > max_fds || (msg.msg_flags & MSG_TRUNC))
		r = -EMSGSIZE;
	else if (msg.msg_flags & MSG_CTRUNC)
		r = -EMFILE;
	if (r <= 0) {
		mf_close_all(ret_fds, mf_min(n, max_fds));
		return (int)r;
	}
	*ret_n_fds = n;
	return (int)r;
}
