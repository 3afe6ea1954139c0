// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Everything about handing over: this file is what a server has to add to itself.
 *
 * As a source, the server declares its arena and listeners and lets the library wait for a
 * successor (handover_offer). When one comes, save() packs what is not in the arena
 * (state.c). Being one thread, the server is quiescent whenever the library calls it.
 *
 * As a successor it attaches, maps, reads that state, commits, and is the server
 * (handover_take). It then listens at the same address for a successor of its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "handover.h"

#define APP "ferrykv"
#define STATE_VERSION 1 /* raise it when the structs below or the arena's layout change */
#define LISTEN_FOR_MS 10000

int complain(const char *what)
{
	fprintf(stderr, "ferrykv: %s: %s\n", what, mf_error());
	return -1;
}

static struct handover *handover_of(struct server *srv)
{
	static struct handover the_one;

	return srv->handover ? srv->handover : (srv->handover = &the_one);
}

/* --------------------------------------------------------------- source */

static int save(void *arg, struct mf_state *state)
{
	return state_save(arg, state);
}

static void source_ready(struct server *srv, struct watch *w, uint32_t events)
{
	int r = mf_source_dispatch(srv->handover->source);

	if (r == MF_HANDED_OVER) {
		server_log(srv, "handed over; leaving");
		srv->handed_over = srv->stop = true;
	} else if (r == MF_RESUMED) {
		server_log(srv, "no hand-over, serving on: %s", mf_error());
	} else if (r < 0) {
		complain("no more hand-overs from here");
		server_unwatch(srv, w);
	}
}

static int listen_at(struct server *srv)
{
	struct handover *h = srv->handover;
	int r = mf_source_listen(h->source, srv->opt.handover);

	/* our predecessor may take a moment to let go of the address */
	if (r == -EADDRINUSE && h->is_successor && wall_ms() < h->give_up_ms)
		return 0;
	if (r < 0)
		return complain("cannot listen for successors");
	h->listening = true;
	h->source_watch = (struct watch){ mf_source_pollfd(h->source), source_ready };
	if (server_watch(srv, &h->source_watch, EPOLLIN))
		return -1;
	server_log(srv, "a successor may ask at %s", srv->opt.handover);
	return srv->opt.token_file ? token_write(srv) : 0;
}

int handover_offer(struct server *srv)
{
	struct mf_source_opts opts = {
		.size = sizeof(opts),
		.app = APP,
		.app_version = STATE_VERSION,
		.save = save,
		.arg = srv,
		.flags = srv->opt.token_file ? MF_SOURCE_TOKEN : 0,
	};
	struct handover *h = handover_of(srv);
	struct arena *a = &srv->store.arena;

	if (!srv->opt.handover)
		return 0;
	if (mf_source_new(&opts, &h->source) ||
	    mf_source_region(h->source, "arena", a->base, a->len, MF_REGION_RELOCATABLE) ||
	    (srv->tcp.fd >= 0 && mf_source_fd(h->source, "tcp", srv->tcp.fd)) ||
	    (srv->local.fd >= 0 && mf_source_fd(h->source, "unix", srv->local.fd)))
		return complain("cannot offer a hand-over");
	h->give_up_ms = wall_ms() + LISTEN_FOR_MS;
	return listen_at(srv);
}

/* ------------------------------------------------------------ successor */

static int map_arena(struct server *srv)
{
	struct mf_successor *suc = srv->handover->successor;
	struct arena *a = &srv->store.arena;
	void *addr;
	size_t len;
	int r = mf_successor_map(suc, "arena", 0, &addr, &len);

	/* the arena holds offsets, so it may lie elsewhere if the old place is taken */
	if (r == -EEXIST)
		r = mf_successor_map(suc, "arena", MF_MAP_RELOCATE, &addr, &len);
	a->base = addr;
	a->len = len;
	return r;
}

/* Until the last page is here; the memory is in use all the while. */
static void drain_ready(struct server *srv, struct watch *w, uint32_t events)
{
	struct handover *h = srv->handover;
	int r = mf_successor_wait(h->successor, 0);

	if (r == -ETIMEDOUT)
		return;
	h->stats.size = sizeof(h->stats);
	mf_successor_stats(h->successor, &h->stats);
	if (r < 0) {
		complain("the rest of the memory is lost, ending");
		_exit(1);
	}
	server_unwatch(srv, w);
	mf_successor_free(h->successor);
	h->successor = NULL;
	server_log(srv, "drained in %" PRIu64 " ms", h->stats.drain_ns / 1000000);
}

/* Every command walks the table: have it brought before the values. */
static void hint_table(struct server *srv)
{
	void *addr;
	size_t len;

	for (unsigned int i = 0; store_table_part(&srv->store, i, &addr, &len); i++)
		mf_successor_hint(srv->handover->successor, addr, len);
}

static int become_server(struct server *srv)
{
	struct handover *h = srv->handover;
	struct client *c, *next;

	h->is_successor = true;
	h->drain_watch = (struct watch){ mf_successor_pollfd(h->successor), drain_ready };
	if (server_watch(srv, &h->drain_watch, EPOLLIN))
		return -1;
	hint_table(srv);
	for (c = srv->clients; c; c = next) {
		next = c->next;
		client_start(srv, c);
	}
	server_log(srv, "took over %" PRIu64 " keys and %u clients", store_count(&srv->store),
		   srv->n_clients);
	return 0;
}

int handover_take(struct server *srv)
{
	uint8_t token[MF_TOKEN_BYTES];
	struct mf_successor_opts opts = {
		.size = sizeof(opts),
		.app = APP,
		/* our allocator neither gives pages back nor moves them */
		.flags = MF_SUCCESSOR_FIXED_MAPPINGS,
		.token = srv->opt.token_file ? token : NULL,
		.sample_hz = srv->opt.sample_hz,
		.notice_fd = STDERR_FILENO,
	};
	struct handover *h = handover_of(srv);
	struct arena *a = &srv->store.arena;
	const void *data;
	size_t len;
	int r;

	if (!srv->opt.handover)
		srv->opt.handover = srv->opt.takeover;
	if (srv->opt.token_file && token_read(srv->opt.token_file, token))
		return -1;
	r = mf_successor_attach(srv->opt.takeover, &opts, &h->successor);
	if (r == -EPERM) {
		/* what an ordinary user may have: values pass through the clients' buffers,
		 * so no system call ever touches the arena */
		opts.flags |= MF_SUCCESSOR_USER_MODE_ONLY;
		r = mf_successor_attach(srv->opt.takeover, &opts, &h->successor);
	}
	if (r < 0)
		return complain("cannot take over");
	if (mf_successor_app_version(h->successor) != STATE_VERSION) {
		fputs("ferrykv: the running server is of another version\n", stderr);
		r = -1;
		goto undo;
	}
	r = map_arena(srv);
	if (r == 0)
		r = mf_successor_state(h->successor, &data, &len);
	if (r < 0) {
		complain("cannot take over");
		goto undo;
	}
	/* the source stands still from here: nothing that can wait is done before commit */
	if (arena_adopt(a, a->base, a->len) || state_load(srv, data, len)) {
		fputs("ferrykv: the running server's state makes no sense here\n", stderr);
		r = -1;
		goto undo;
	}
	r = mf_successor_commit(h->successor);
	if (r == 0)
		return become_server(srv);
	complain("cannot take over");
undo:
	mf_successor_free(h->successor); /* the source goes on as if nothing had been */
	return r;
}

/* --------------------------------------------------------------- upkeep */

void handover_tick(struct server *srv)
{
	struct handover *h = srv->handover;

	if (!h || !h->source)
		return;
	if (!h->listening && listen_at(srv))
		mf_source_free(h->source), h->source = NULL;
	else if (h->listening && srv->opt.token_file)
		token_write(srv);
}
