/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/address.h"

#define BACKLOG 8
#define HOST_MAX 256

/* "tcp:HOST:PORT", where a HOST with colons stands in brackets. */
static int split(const char *address, char host[HOST_MAX], const char **ret_port)
{
	const char *from = address + 4, *colon = strrchr(from, ':');
	size_t n = colon ? (size_t)(colon - from) : 0;

	if (n >= 2 && from[0] == '[' && from[n - 1] == ']') {
		from++;
		n -= 2;
	}
	if (!n || n >= HOST_MAX || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return mf_fail(-EINVAL, "'%s' is no address: say tcp:HOST:PORT", address);
	memcpy(host, from, n);
	host[n] = 0;
	*ret_port = colon + 1;
	return 0;
}

/* Caller frees with freeaddrinfo(). */
static int resolve(const char *address, int flags, struct addrinfo **ret_list)
{
	struct addrinfo want = { .ai_socktype = SOCK_STREAM,
				 .ai_flags = flags | AI_NUMERICSERV };
	char host[HOST_MAX];
	const char *port = NULL;
	int r = split(address, host, &port);

	if (r)
		return r;
	r = getaddrinfo(host, port, &want, ret_list);
	if (r)
		return mf_fail(-EINVAL, "%s: %s", address, gai_strerror(r));
	return 0;
}

void mf_tcp_tune(int sock)
{
	int on = 1;

	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* --------------------------------------------------------------- listening */

static int listen_at(const struct addrinfo *ai, int *ret_fd)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, r = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, BACKLOG))
		r = -errno;
	if (r)
		mf_sys_close(fd);
	else
		*ret_fd = fd;
	return r;
}

int mf_tcp_listen(const char *address, int *ret_fd)
{
	struct addrinfo *list, *ai;
	int r = resolve(address, AI_PASSIVE, &list);

	if (r)
		return r;
	r = -EADDRNOTAVAIL;
	for (ai = list; ai && r; ai = ai->ai_next)
		r = listen_at(ai, ret_fd);
	freeaddrinfo(list);
	return r ? mf_fail(r, "cannot listen at %s: %s", address, mf_errno_text(r)) : 0;
}

int mf_tcp_port(int sock)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(sock, (struct sockaddr *)&sa, &len))
		return -errno;
	if (sa.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

/* -------------------------------------------------------------- connecting */

static int await_connected(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	u64 end = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC, now;
	socklen_t len = sizeof(int);
	int err = 0;
	long r;

	do {
		now = mf_now_ns();
		r = now < end ? mf_sys_ppoll(&p, 1, (s64)(end - now)) : 0;
	} while (r == -EINTR);
	if (r <= 0)
		return r ? (int)r : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

static int connect_at(const struct sockaddr *sa, socklen_t len, int timeout_ms, int *ret_fd)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, sa, len))
		r = errno == EINPROGRESS ? await_connected(fd, timeout_ms) : -errno;
	if (r) {
		mf_sys_close(fd);
		return r;
	}
	mf_tcp_tune(fd);
	*ret_fd = fd;
	return 0;
}

int mf_tcp_connect(const char *address, int timeout_ms, int *ret_fd)
{
	struct addrinfo *list, *ai;
	int r = resolve(address, 0, &list);

	if (r)
		return r;
	r = -EADDRNOTAVAIL;
	for (ai = list; ai && r; ai = ai->ai_next)
		r = connect_at(ai->ai_addr, ai->ai_addrlen, timeout_ms, ret_fd);
	freeaddrinfo(list);
	if (r)
		return mf_fail(r, "no memferry source answers at %s: %s", address,
			       mf_errno_text(r));
	return 0;
}

int mf_tcp_connect_again(int sock, int timeout_ms, int *ret_fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int r = 0;

	if (getpeername(sock, (struct sockaddr *)&sa, &len))
		r = -errno;
	if (!r)
		r = connect_at((struct sockaddr *)&sa, len, timeout_ms, ret_fd);
	return r ? mf_fail(r, "no second connection to the source: %s", mf_errno_text(r)) : 0;
}

void mf_tcp_peer_text(int sock, char *text, size_t size)
{
	char host[64] = "?", port[16] = "?";
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (!getpeername(sock, (struct sockaddr *)&sa, &len))
		getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(text, size, "%s:%s", host, port);
}
