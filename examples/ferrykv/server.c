// SPDX-License-Identifier: LGPL-2.1-or-later
/* One thread, one epoll: listeners, clients, and the descriptors of the hand-over. */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define TICK_MS 50
#define READ_CHUNK ((size_t)64 << 10)
#define READ_MAX ((size_t)1 << 20) /* at a time, when a big value is under way */
#define OUT_MAX ((size_t)1 << 20)  /* with so much unsent, a client's input has to wait */

int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void server_log(const struct server *srv, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (srv->opt.quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "ferrykv[%d]: %s\n", (int)getpid(), text);
}

int server_watch(struct server *srv, struct watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	return epoll_ctl(srv->epoll, EPOLL_CTL_ADD, w->fd, &ev) ? -errno : 0;
}

void server_unwatch(struct server *srv, struct watch *w)
{
	epoll_ctl(srv->epoll, EPOLL_CTL_DEL, w->fd, NULL);
}

/* -------------------------------------------------------------- clients */

static void client_free(struct server *srv, struct client *c)
{
	/*
	 * The predecessor may still hold the same connection for a moment: our close alone
	 * would neither end it nor take it out of epoll.
	 */
	server_unwatch(srv, &c->watch);
	shutdown(c->watch.fd, SHUT_RDWR);
	close(c->watch.fd);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	srv->n_clients--;
	buf_free(&c->in);
	buf_free(&c->out);
	resp_free(&c->resp);
	free(c);
}

/* Send what there is. False: the connection is gone. */
static bool client_send(struct client *c)
{
	while (buf_len(&c->out)) {
		ssize_t n = send(c->watch.fd, buf_ptr(&c->out), buf_len(&c->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		buf_take(&c->out, (size_t)n);
	}
	return true;
}

/* False: end of file or error. */
static bool client_receive(struct client *c)
{
	size_t want = resp_missing(&c->resp, &c->in);
	ssize_t n;

	want = want < READ_CHUNK ? READ_CHUNK : want > READ_MAX ? READ_MAX : want;
	n = recv(c->watch.fd, buf_reserve(&c->in, want), want, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	buf_added(&c->in, (size_t)n);
	return n > 0;
}

static void client_execute(struct server *srv, struct client *c)
{
	while (buf_len(&c->in) && !c->closing && !srv->stop && buf_len(&c->out) < OUT_MAX) {
		switch (resp_parse(&c->resp, &c->in)) {
		case RESP_MORE:
			return;
		case RESP_BAD:
			reply_error(&c->out, "ERR Protocol error: %s", c->resp.error);
			c->closing = true;
			return;
		case RESP_COMMAND:
			break;
		}
		if (c->resp.argc) {
			srv->total.commands++;
			command_run(srv, c, c->resp.argc, c->resp.argv);
		}
		buf_take(&c->in, c->resp.pos);
		resp_next(&c->resp);
	}
}

/* Run and send until one of the two has to wait. False: the connection is done with. */
static bool client_advance(struct server *srv, struct client *c)
{
	bool held;

	do {
		client_execute(srv, c);
		held = buf_len(&c->out) >= OUT_MAX;
		if (!client_send(c))
			return false;
	} while (held && !buf_len(&c->out));
	return !c->closing || buf_len(&c->out);
}

static int client_rewatch(struct server *srv, struct client *c)
{
	uint32_t events = buf_len(&c->out) ? EPOLLOUT : EPOLLIN;
	struct epoll_event ev = { .events = events, .data.ptr = &c->watch };

	if (events == c->events)
		return 0;
	if (epoll_ctl(srv->epoll, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->watch.fd, &ev))
		return -errno;
	c->events = events;
	return 0;
}

int client_start(struct server *srv, struct client *c)
{
	if (client_advance(srv, c) && client_rewatch(srv, c) == 0)
		return 0;
	client_free(srv, c);
	return -ECONNRESET;
}

static void client_ready(struct server *srv, struct watch *w, uint32_t events)
{
	struct client *c = (struct client *)w;

	if (!(events & EPOLLOUT) && !client_receive(c)) {
		client_free(srv, c);
		return;
	}
	client_start(srv, c);
}

struct client *client_new(struct server *srv, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->watch.fd = fd;
	c->watch.ready = client_ready;
	c->next = srv->clients;
	c->link = &srv->clients;
	if (c->next)
		c->next->link = &c->next;
	srv->clients = c;
	srv->n_clients++;
	return c;
}

/* ------------------------------------------------------------ listeners */

/* Out of descriptors: leave the rest waiting in the backlog until the next tick. */
static void pause_accept(struct server *srv, bool pause)
{
	struct watch *listeners[] = { &srv->tcp, &srv->local };

	srv->accept_paused = pause;
	for (int i = 0; i < 2; i++) {
		if (listeners[i]->fd < 0)
			continue;
		if (pause)
			server_unwatch(srv, listeners[i]);
		else
			server_watch(srv, listeners[i], EPOLLIN);
	}
}

static void listener_ready(struct server *srv, struct watch *w, uint32_t events)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
		struct client *c;

		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			pause_accept(srv, true);
		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = client_new(srv, fd);
		if (!c) {
			close(fd);
			return;
		}
		srv->total.connections++;
		client_start(srv, c);
	}
}

static int listen_tcp(struct server *srv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICHOST };
	struct addrinfo *ai;
	char port[16];
	int fd, one = 1, r = 0;

	snprintf(port, sizeof(port), "%d", srv->opt.port);
	if (getaddrinfo(srv->opt.bind, port, &hints, &ai))
		return -EADDRNOTAVAIL;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 511))
		r = -errno;
	freeaddrinfo(ai);
	srv->tcp.fd = fd;
	return r;
}

static int listen_unix(struct server *srv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(srv->opt.unix_path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, srv->opt.unix_path);
	srv->local.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (srv->local.fd < 0)
		return -errno;
	if (connect(srv->local.fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return -EADDRINUSE;
	if (errno == ECONNREFUSED)
		unlink(sa.sun_path); /* left behind by a server that is gone */
	if (bind(srv->local.fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    listen(srv->local.fd, 511))
		return -errno;
	return 0;
}

int server_listen(struct server *srv)
{
	int r;

	if (srv->opt.port) {
		r = listen_tcp(srv);
		if (r < 0) {
			fprintf(stderr, "ferrykv: cannot listen on %s port %d: %s\n",
				srv->opt.bind, srv->opt.port, strerror(-r));
			return r;
		}
	}
	if (srv->opt.unix_path) {
		r = listen_unix(srv);
		if (r < 0) {
			fprintf(stderr, "ferrykv: cannot listen on %s: %s\n",
				srv->opt.unix_path, strerror(-r));
			return r;
		}
	}
	return 0;
}

int server_init(struct server *srv)
{
	srv->tcp = (struct watch){ -1, listener_ready };
	srv->local = (struct watch){ -1, listener_ready };
	srv->start_ms = srv->store.now_ms = wall_ms();
	srv->epoll = epoll_create1(EPOLL_CLOEXEC);
	return srv->epoll < 0 ? -errno : 0;
}

static void tick(struct server *srv)
{
	store_expire_some(&srv->store);
	if (srv->accept_paused)
		pause_accept(srv, false);
	handover_tick(srv);
}

int server_run(struct server *srv)
{
	struct epoll_event events[64];
	int64_t next_tick = 0;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (srv->tcp.fd >= 0 && !getsockname(srv->tcp.fd, (struct sockaddr *)&ss, &len))
		srv->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	pause_accept(srv, false);
	while (!srv->stop) {
		int n = epoll_wait(srv->epoll, events, 64, TICK_MS);

		if (n < 0 && errno != EINTR)
			return -errno;
		srv->store.now_ms = wall_ms();
		for (int i = 0; i < n && !srv->stop; i++) {
			struct watch *w = events[i].data.ptr;

			w->ready(srv, w, events[i].events);
		}
		if (!srv->stop && srv->store.now_ms >= next_tick) {
			tick(srv);
			next_tick = srv->store.now_ms + TICK_MS;
		}
	}
	return 0;
}
