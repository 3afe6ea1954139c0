/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memferry is compared with: the whole memory through a stream socket while nobody
 * serves; a memfd that the successor maps; and the bare UFFDIO_COPY loop, which is as
 * fast as a drain by copying can be.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"
#include "handover.h"
#include "memory.h"

static int failed(const char *what)
{
	int err = -errno;

	return child_fail(err, "%s: %s", what, strerror(-err));
}

/* ------------------------------------------------------------ descriptors */

union fd_room {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static int send_fd(int sock, int fd)
{
	struct iovec iov = { .iov_base = "f", .iov_len = 1 };
	union fd_room room = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = room.buf,
			      .msg_controllen = sizeof(room.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : failed("passing a descriptor");
}

static int recv_fd(int sock, int *ret_fd)
{
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union fd_room room;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = room.buf,
			      .msg_controllen = sizeof(room.buf) };
	struct cmsghdr *c;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return failed("receiving a descriptor");
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return child_fail(-EPROTO, "a descriptor was lost");
	memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return 0;
}

/* The socket's time-outs (set by the referee) bound these. */
static int ask(int sock)
{
	return write(sock, "?", 1) == 1 ? 0 : failed("asking the source");
}

static int await_question(int sock)
{
	char byte;

	return read(sock, &byte, 1) == 1 ? 0 : failed("waiting for the successor");
}

/* ---------------------------------------------------------- stop and copy */

static int send_all(const struct ho_cell *c)
{
	for (size_t off = 0; off < c->bytes;) {
		size_t left = c->bytes - off;
		ssize_t n = write(c->sock[0], c->base + off,
				  left < HO_STEP_BYTES ? left : HO_STEP_BYTES);

		if (n <= 0)
			return failed("sending the memory");
		off += (size_t)n;
	}
	return 0;
}

static int receive_all(const struct ho_cell *c)
{
	if (!memory_map(c->base, c->bytes, c->thp))
		return child_fail(-ENOMEM, "the address is taken in the successor");
	for (size_t off = 0; off < c->bytes;) {
		size_t left = c->bytes - off;
		ssize_t n = read(c->sock[1], c->base + off,
				 left < HO_STEP_BYTES ? left : HO_STEP_BYTES);

		if (n <= 0)
			return failed("receiving the memory");
		off += (size_t)n;
	}
	return 0;
}

/* ------------------------------------------------------------------ memfd */

static int memfd_make(struct ho_cell *c, int *ret_fd)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)c->bytes))
		return failed("memfd");
	if (mmap(c->base, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		 fd, 0) == MAP_FAILED)
		return failed("mapping the memfd");
	memory_stamp(c->base, c->bytes, HO_SEED);
	*ret_fd = fd;
	return 0;
}

static int memfd_map(const struct ho_cell *c)
{
	int fd, r = recv_fd(c->sock[1], &fd);

	if (r)
		return r;
	if (mmap(c->base, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		 fd, 0) == MAP_FAILED)
		return failed("mapping the memfd");
	return 0;
}

/* -------------------------------------------------------------- uffd copy */

static int copy_loop(struct ho_cell *c, int uffd)
{
	size_t done, off = 0;
	int r = 0;

	while (off < c->bytes) {
		r = mf_uffd_copy(uffd, c->base + off, c->base + off, HO_STEP_BYTES, 0, &done);
		if (r && r != -EAGAIN)
			return child_fail(r, "UFFDIO_COPY: %s", strerror(-r));
		if (done && c->way == HO_UFFD_COPY_RELEASE)
			madvise(c->base + off, done, MADV_DONTNEED);
		off += done;
	}
	c->shared->complete_ns = now_ns();
	return 0;
}

static int copy_source(struct ho_cell *c)
{
	int uffd, r = recv_fd(c->sock[0], &uffd);

	if (r)
		return r;
	c->shared->begin_ns = now_ns();
	r = copy_loop(c, uffd);
	close(uffd);
	return r;
}

static int copy_successor(struct ho_cell *c)
{
	int uffd, r = mf_uffd_open(0, 0, &uffd);

	if (r == -EPERM)
		r = mf_uffd_open(0, MF_UFFD_USER_MODE_ONLY, &uffd);
	if (r)
		return child_fail(r, "%s", mf_error());
	if (!memory_map(c->base, c->bytes, false))
		return child_fail(-ENOMEM, "the address is taken in the successor");
	r = mf_uffd_register(uffd, c->base, c->bytes, MF_UFFD_REGISTER_MISSING, NULL);
	if (r)
		return child_fail(r, "UFFDIO_REGISTER: %s", strerror(-r));
	r = send_fd(c->sock[1], uffd);
	if (r)
		return r;
	/* the source answers when all is here */
	return await_question(c->sock[1]);
}

/* ----------------------------------------------------------------- frame */

static int answer(struct ho_cell *c, int memfd)
{
	int r;

	switch (c->way) {
	case HO_STOP_AND_COPY:
		r = await_question(c->sock[0]);
		return r ? r : send_all(c);
	case HO_MEMFD:
		r = await_question(c->sock[0]);
		return r ? r : send_fd(c->sock[0], memfd);
	default:
		r = copy_source(c);
		return r ? r : ask(c->sock[0]);
	}
}

int ho_plain_source(struct ho_cell *c)
{
	int memfd = -1, r;

	if (c->way == HO_MEMFD)
		r = memfd_make(c, &memfd);
	else
		r = ho_fill(c) ? 0 : -ENOMEM;
	if (r)
		return r;
	ho_raise(&c->shared->source_ready);
	r = answer(c, memfd);
	return r ? r : ho_await(&c->shared->finish);
}

int ho_plain_successor(struct ho_cell *c)
{
	struct ho_shared *s = c->shared;
	int r;

	if (c->way == HO_UFFD_COPY || c->way == HO_UFFD_COPY_RELEASE)
		return copy_successor(c);
	s->begin_ns = s->stop_ns = now_ns();
	r = ask(c->sock[1]);
	if (r == 0)
		r = c->way == HO_MEMFD ? memfd_map(c) : receive_all(c);
	if (r)
		return r;
	s->complete_ns = now_ns();
	__atomic_store_n(&s->commit_ns, s->complete_ns, __ATOMIC_RELEASE);
	return 0;
}
