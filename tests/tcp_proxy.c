/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/msg.h"

#define MAX_FRAME (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_PAGE)
#define MAX_SOCKS 16

static struct proxy_plan plan;
static int listener;
static int socks[MAX_SOCKS];
static u32 n_socks, seen, stalled;

struct pipe {
	int from, to;
	bool to_source;
	bool urgent;
	u32 *both_urgent; /* what the first frame of the connection was, for both pipes */
};

static bool read_all(int fd, u8 *p, size_t len)
{
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = recv(fd, p, len, 0);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool write_all(int fd, const u8 *p, size_t len)
{
	ssize_t n;

	while (mf_load(&stalled))
		pause();
	for (; len; p += n, len -= (size_t)n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
	}
	return true;
}

static void cut_all(void)
{
	u32 i;

	for (i = 0; i < mf_load(&n_socks); i++)
		shutdown(socks[i], SHUT_RDWR);
}

/* False: the connection is over. */
static bool do_it(const struct pipe *p, u8 *frame, size_t len)
{
	if (plan.ret_done)
		mf_store(plan.ret_done, 1);
	switch (plan.deed) {
	case PROXY_FLIP:
		frame[MF_WIRE_HEADER_BYTES + plan.at] ^= 0x10;
		return write_all(p->to, frame, len);
	case PROXY_STALL:
		mf_store(&stalled, 1);
		return write_all(p->to, frame, len);
	case PROXY_HALF:
		write_all(p->to, frame, len / 2);
		cut_all();
		return false;
	case PROXY_TWICE:
		return write_all(p->to, frame, len) && write_all(p->to, frame, len);
	default:
		cut_all();
		return false;
	}
}

static bool is_it(const struct pipe *p, u16 type, u32 payload)
{
	if (type != plan.type || (plan.at && payload <= plan.at) ||
	    p->to_source != plan.to_source || !!mf_load(p->both_urgent) != plan.urgent)
		return false;
	return __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST) == plan.nth;
}

static void *run_pipe(void *arg)
{
	struct pipe *p = arg;
	u8 *frame = malloc(MAX_FRAME);
	u32 len;
	u16 type;

	while (read_all(p->from, frame, MF_WIRE_HEADER_BYTES)) {
		memcpy(&type, frame + 6, 2); /* little-endian, as this machine is */
		memcpy(&len, frame + 8, 4);
		if (len > MF_WIRE_MAX_PAGE ||
		    !read_all(p->from, frame + MF_WIRE_HEADER_BYTES, len))
			break;
		if (type == MF_MSG_URGENT)
			mf_store(p->both_urgent, 1);
		len += MF_WIRE_HEADER_BYTES;
		if (!(is_it(p, type, len - MF_WIRE_HEADER_BYTES)
			      ? do_it(p, frame, len)
			      : write_all(p->to, frame, len)))
			break;
	}
	while (mf_load(&stalled))
		pause();
	shutdown(p->to, SHUT_WR);
	free(frame);
	return NULL;
}

static int connect_to(int port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons((u16)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void start_pipe(int from, int to, bool to_source, u32 *urgent)
{
	struct pipe *p = calloc(1, sizeof(*p));
	pthread_t t;

	*p = (struct pipe){
		.from = from, .to = to, .to_source = to_source, .both_urgent = urgent
	};
	pthread_create(&t, NULL, run_pipe, p);
	pthread_detach(t);
}

static void *accept_all(void *arg)
{
	int on = 1, a, b;
	u32 *urgent;

	for (;;) {
		a = accept(listener, NULL, NULL);
		b = a >= 0 ? connect_to(plan.to_port) : -1;
		if (b < 0 || n_socks + 2 > MAX_SOCKS) {
			close(a);
			continue;
		}
		setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		socks[n_socks] = a;
		socks[n_socks + 1] = b;
		mf_store(&n_socks, n_socks + 2);
		urgent = calloc(1, sizeof(*urgent));
		start_pipe(a, b, true, urgent);
		start_pipe(b, a, false, urgent);
	}
	return NULL;
}

int proxy_start(const struct proxy_plan *p)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	pthread_t t;

	plan = *p;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&sin, sizeof(sin)) ||
	    listen(listener, 8) || getsockname(listener, (struct sockaddr *)&sin, &len) ||
	    pthread_create(&t, NULL, accept_all, NULL))
		return -1;
	return ntohs(sin.sin_port);
}
