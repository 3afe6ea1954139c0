// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What travels beside the arena: the counters, and each connection with the input that it
 * has not finished and the output that it has not sent.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "handover.h"

struct saved_server {
	uint64_t handovers, commands, connections;
	uint32_t n_clients;
	uint32_t zero;
};

struct saved_client {
	uint64_t in_len, out_len; /* that many bytes follow */
	uint32_t closing;
	uint32_t zero;
};

static int save_client(struct mf_state *state, const struct client *c, unsigned int i)
{
	struct saved_client sc = { buf_len(&c->in), buf_len(&c->out), c->closing, 0 };
	char name[32];
	int r;

	snprintf(name, sizeof(name), "client.%u", i);
	r = mf_state_put(state, &sc, sizeof(sc));
	if (r == 0 && sc.in_len)
		r = mf_state_put(state, buf_ptr(&c->in), sc.in_len);
	if (r == 0 && sc.out_len)
		r = mf_state_put(state, buf_ptr(&c->out), sc.out_len);
	return r ? r : mf_state_fd(state, name, c->watch.fd);
}

int state_save(const struct server *srv, struct mf_state *state)
{
	struct saved_server ss = { srv->handover->count + 1, srv->total.commands,
				   srv->total.connections, srv->n_clients, 0 };
	unsigned int i = 0;
	int r = mf_state_put(state, &ss, sizeof(ss));

	for (struct client *c = srv->clients; c && r == 0; c = c->next)
		r = save_client(state, c, i++);
	return r;
}

struct cursor {
	const char *p;
	size_t left;
};

static const void *take(struct cursor *cur, size_t len)
{
	const char *p = cur->p;

	if (len > cur->left)
		return NULL;
	cur->p += len;
	cur->left -= len;
	return p;
}

static int load_client(struct server *srv, struct cursor *cur, unsigned int i)
{
	struct mf_successor *suc = srv->handover->successor;
	const void *p = take(cur, sizeof(struct saved_client)), *in, *out;
	struct saved_client sc;
	struct client *c;
	char name[32];
	int fd;

	if (!p)
		return -EBADMSG;
	memcpy(&sc, p, sizeof(sc));
	in = take(cur, sc.in_len);
	out = take(cur, sc.out_len);
	snprintf(name, sizeof(name), "client.%u", i);
	fd = mf_successor_fd(suc, name);
	if (!in || !out || fd < 0)
		return -EBADMSG;
	c = client_new(srv, fd);
	if (!c)
		return -ENOMEM;
	buf_put(&c->in, in, sc.in_len);
	buf_put(&c->out, out, sc.out_len);
	c->closing = sc.closing;
	return 0;
}

int state_load(struct server *srv, const void *data, size_t len)
{
	struct mf_successor *suc = srv->handover->successor;
	struct cursor cur = { data, len };
	const void *p = take(&cur, sizeof(struct saved_server));
	struct saved_server ss;

	if (!p)
		return -EBADMSG;
	memcpy(&ss, p, sizeof(ss));
	for (unsigned int i = 0; i < ss.n_clients; i++)
		if (load_client(srv, &cur, i))
			return -EBADMSG;
	srv->handover->count = ss.handovers;
	srv->total.commands = ss.commands;
	srv->total.connections = ss.connections;
	srv->tcp.fd = mf_successor_fd(suc, "tcp");
	srv->local.fd = mf_successor_fd(suc, "unix");
	return store_adopt(&srv->store);
}
