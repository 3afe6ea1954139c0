/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event loop, the clients, and what the commands need to know. */
#ifndef FERRYKV_SERVER_H
#define FERRYKV_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "resp.h"
#include "store.h"

struct server;

/* First member of everything that has a descriptor in the loop. */
struct watch {
	int fd;
	void (*ready)(struct server *srv, struct watch *w, uint32_t events);
};

struct client {
	struct watch watch;
	struct client *next, **link;
	struct buf in, out;
	struct resp resp;
	uint32_t events; /* what epoll watches for */
	bool closing;	 /* once the output is out */
};

struct options {
	const char *bind;
	int port; /* 0: no TCP */
	const char *unix_path;
	size_t arena_bytes;
	bool thp, lock, quiet;
	const char *handover; /* where successors may ask */
	const char *takeover; /* where to take over from */
	const char *token_file;
	unsigned int sample_hz;
};

struct server {
	struct options opt;
	struct store store;
	struct handover *handover;
	int epoll;
	bool stop;
	bool handed_over;	 /* nothing here is ours any more */
	struct watch tcp, local; /* listeners; fd -1: none */
	int port;		 /* the TCP port that is really listened on */
	struct client *clients;
	unsigned int n_clients;
	bool accept_paused;
	int64_t start_ms;
	struct {
		uint64_t commands, connections;
	} total; /* these two go on counting across hand-overs */
};

/* server.c; all return 0 or -errno */
int server_init(struct server *srv);
int server_listen(struct server *srv);
int server_run(struct server *srv);
int server_watch(struct server *srv, struct watch *w, uint32_t events);
void server_unwatch(struct server *srv, struct watch *w);
struct client *client_new(struct server *srv, int fd);
/* Start (or go on) serving: handle what is in the input, send what is in the output. */
int client_start(struct server *srv, struct client *c);
void server_log(const struct server *srv, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int64_t wall_ms(void);

/* commands.c */
void command_run(struct server *srv, struct client *c, int argc, const struct arg *argv);

/* handover.c */
/* Let successors ask at opt.handover. */
int handover_offer(struct server *srv);
/* Take memory, listeners and clients from the server at opt.takeover. */
int handover_take(struct server *srv);
void handover_tick(struct server *srv);
/* The lines of INFO's memferry section. */
void handover_info(const struct server *srv, struct buf *out);

#endif /* FERRYKV_SERVER_H */
