// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands. Keys and values are read from the client's buffer and live in the arena. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <memferry.h>

#include "server.h"

struct call {
	struct server *srv;
	struct store *store;
	struct client *client;
	struct buf *out;
	int argc;
	const struct arg *argv;
};

static bool arg_is(const struct arg *a, const char *word)
{
	return a->len == strlen(word) && !strncasecmp(a->p, word, a->len);
}

static bool arg_int(const struct call *c, int i, int64_t *ret_value)
{
	if (resp_int(&c->argv[i], ret_value))
		return true;
	reply_error(c->out, "ERR value is not an integer or out of range");
	return false;
}

static void reply_oom(const struct call *c)
{
	reply_error(c->out, "OOM command not allowed, the arena is full");
}

static struct entry *find(const struct call *c, int i)
{
	return store_find(c->store, c->argv[i].p, c->argv[i].len);
}

/* Write argv[@v] under argv[@k]; false: no memory, nothing has changed. */
static bool put(const struct call *c, int k, int v, int64_t expire_ms, bool keep_ttl)
{
	const struct arg *value = &c->argv[v];
	struct entry *e = store_make(c->store, c->argv[k].p, c->argv[k].len, value->len);

	if (!e)
		return false;
	memcpy(entry_value(e), value->p, value->len);
	if (!keep_ttl)
		store_set_expiry(c->store, e, expire_ms);
	return true;
}

static void put_and_reply(const struct call *c, int k, int v, int64_t expire_ms, bool keep_ttl)
{
	if (put(c, k, v, expire_ms, keep_ttl))
		reply_simple(c->out, "OK");
	else
		reply_oom(c);
}

static void reply_value(const struct call *c, struct entry *e)
{
	if (e)
		reply_bulk(c->out, entry_value(e), e->vlen);
	else
		reply_nil(c->out);
}

static void cmd_ping(struct call *c)
{
	if (c->argc > 1)
		reply_bulk(c->out, c->argv[1].p, c->argv[1].len);
	else
		reply_simple(c->out, "PONG");
}

static void cmd_echo(struct call *c)
{
	reply_bulk(c->out, c->argv[1].p, c->argv[1].len);
}

/* When a time to live of argv[@i] (in units of @unit_ms) ends; false (answered): bad. */
static bool expiry_from(const struct call *c, int i, int64_t unit_ms, int64_t *ret_ms)
{
	int64_t n;

	if (!arg_int(c, i, &n))
		return false;
	if (n <= 0 || n > (INT64_MAX - c->store->now_ms) / unit_ms) {
		reply_error(c->out, "ERR invalid expire time in '%.*s' command",
			    (int)c->argv[0].len, c->argv[0].p);
		return false;
	}
	*ret_ms = c->store->now_ms + n * unit_ms;
	return true;
}

static void cmd_set(struct call *c)
{
	bool nx = false, xx = false, keep = false, ttl = false;
	int64_t expire = 0;

	for (int i = 3; i < c->argc; i++) {
		const struct arg *a = &c->argv[i];
		bool ex = arg_is(a, "EX"), px = arg_is(a, "PX");

		if ((ex || px) && i + 1 < c->argc && !ttl) {
			if (!expiry_from(c, ++i, ex ? 1000 : 1, &expire))
				return;
			ttl = true;
		} else if (arg_is(a, "NX")) {
			nx = true;
		} else if (arg_is(a, "XX")) {
			xx = true;
		} else if (arg_is(a, "KEEPTTL")) {
			keep = true;
		} else {
			reply_error(c->out, "ERR syntax error");
			return;
		}
	}
	if ((nx && xx) || (keep && ttl))
		reply_error(c->out, "ERR syntax error");
	else if ((nx || xx) && !find(c, 1) == xx)
		reply_nil(c->out);
	else
		put_and_reply(c, 1, 2, expire, keep);
}

static void cmd_setex(struct call *c)
{
	int64_t expire;

	if (expiry_from(c, 2, 1000, &expire))
		put_and_reply(c, 1, 3, expire, false);
}

static void cmd_get(struct call *c)
{
	reply_value(c, find(c, 1));
}

static void cmd_getset(struct call *c)
{
	size_t before = buf_len(c->out);

	reply_value(c, find(c, 1));
	if (put(c, 1, 2, 0, false))
		return;
	c->out->end = c->out->start + before; /* the old value is not the answer then */
	reply_oom(c);
}

static void cmd_mget(struct call *c)
{
	reply_array(c->out, (size_t)c->argc - 1);
	for (int i = 1; i < c->argc; i++)
		reply_value(c, find(c, i));
}

static void cmd_mset(struct call *c)
{
	if (c->argc % 2 == 0) {
		reply_error(c->out, "ERR wrong number of arguments for 'mset' command");
		return;
	}
	for (int i = 1; i < c->argc; i += 2)
		if (!put(c, i, i + 1, 0, false)) {
			reply_oom(c);
			return;
		}
	reply_simple(c->out, "OK");
}

static void cmd_del(struct call *c)
{
	int64_t n = 0;

	for (int i = 1; i < c->argc; i++)
		n += store_del(c->store, c->argv[i].p, c->argv[i].len);
	reply_int(c->out, n);
}

static void cmd_exists(struct call *c)
{
	int64_t n = 0;

	for (int i = 1; i < c->argc; i++)
		n += find(c, i) != NULL;
	reply_int(c->out, n);
}

static void add(struct call *c, int64_t by)
{
	struct entry *e = find(c, 1);
	struct arg old = { "0", 1 };
	int64_t value;
	char text[32];
	int len;

	if (e)
		old = (struct arg){ entry_value(e), e->vlen };
	if (!resp_int(&old, &value)) {
		reply_error(c->out, "ERR value is not an integer or out of range");
		return;
	}
	if (__builtin_add_overflow(value, by, &value)) {
		reply_error(c->out, "ERR increment or decrement would overflow");
		return;
	}
	len = snprintf(text, sizeof(text), "%" PRId64, value);
	e = store_make(c->store, c->argv[1].p, c->argv[1].len, (size_t)len);
	if (!e) {
		reply_oom(c);
		return;
	}
	memcpy(entry_value(e), text, (size_t)len);
	reply_int(c->out, value);
}

static void cmd_incr(struct call *c)
{
	add(c, 1);
}

static void cmd_decr(struct call *c)
{
	add(c, -1);
}

static void cmd_incrby(struct call *c)
{
	int64_t by;

	if (arg_int(c, 2, &by))
		add(c, by);
}

static void cmd_append(struct call *c)
{
	struct entry *e = find(c, 1);
	const struct arg *more = &c->argv[2];
	size_t old = e ? e->vlen : 0;

	if (old + more->len > STORE_VALUE_MAX) {
		reply_error(c->out, "ERR string exceeds maximum allowed size");
		return;
	}
	e = store_make(c->store, c->argv[1].p, c->argv[1].len, old + more->len);
	if (!e) {
		reply_oom(c);
		return;
	}
	memcpy(entry_value(e) + old, more->p, more->len);
	reply_int(c->out, e->vlen);
}

static void cmd_strlen(struct call *c)
{
	struct entry *e = find(c, 1);

	reply_int(c->out, e ? e->vlen : 0);
}

static void expire_in(struct call *c, int64_t unit_ms)
{
	struct entry *e;
	int64_t n;

	if (!arg_int(c, 2, &n))
		return;
	if (n > (INT64_MAX - c->store->now_ms) / unit_ms) {
		reply_error(c->out, "ERR invalid expire time in '%.*s' command",
			    (int)c->argv[0].len, c->argv[0].p);
		return;
	}
	e = find(c, 1);
	if (e && n <= 0)
		store_del(c->store, c->argv[1].p, c->argv[1].len);
	else if (e)
		store_set_expiry(c->store, e, c->store->now_ms + n * unit_ms);
	reply_int(c->out, e != NULL);
}

static void cmd_expire(struct call *c)
{
	expire_in(c, 1000);
}

static void cmd_pexpire(struct call *c)
{
	expire_in(c, 1);
}

static void ttl_in(struct call *c, int64_t unit_ms)
{
	struct entry *e = find(c, 1);

	if (!e)
		reply_int(c->out, -2);
	else if (!e->expire_ms)
		reply_int(c->out, -1);
	else
		reply_int(c->out, (e->expire_ms - c->store->now_ms + unit_ms / 2) / unit_ms);
}

static void cmd_ttl(struct call *c)
{
	ttl_in(c, 1000);
}

static void cmd_pttl(struct call *c)
{
	ttl_in(c, 1);
}

static void cmd_persist(struct call *c)
{
	struct entry *e = find(c, 1);
	bool had = e && e->expire_ms;

	if (had)
		store_set_expiry(c->store, e, 0);
	reply_int(c->out, had);
}

static void cmd_dbsize(struct call *c)
{
	reply_int(c->out, (int64_t)store_count(c->store));
}

/* ------------------------------------------------------------- key space */

/* One character against "[abc]", "[a-z]", "[^a]"; *p moves behind the class. */
static bool match_class(const char **p, const char *end, char ch)
{
	const char *q = *p + 1;
	bool negate = q < end && *q == '^', hit = false;

	for (q += negate; q < end && *q != ']'; q++) {
		if (*q == '\\' && q + 1 < end)
			q++;
		if (q + 2 < end && q[1] == '-' && q[2] != ']') {
			hit |= ch >= q[0] && ch <= q[2];
			q += 2;
		} else {
			hit |= *q == ch;
		}
	}
	*p = q < end ? q + 1 : q;
	return hit != negate;
}

/* Shell pattern over bytes. Only the last '*' is ever tried again, so it stays quadratic. */
static bool match(const struct arg *pattern, const char *s, size_t len)
{
	const char *p = pattern->p, *end = p + pattern->len, *s_end = s + len;
	const char *star = NULL, *again = NULL;

	while (s < s_end) {
		const char *at = p;
		bool hit = false;

		if (p < end && *p == '*') {
			star = ++p;
			again = s;
			continue;
		}
		if (p < end && *p == '[') {
			hit = match_class(&p, end, *s);
		} else if (p < end) {
			p += *p == '\\' && p + 1 < end;
			hit = (*at == '?') || *p == *s;
			p++;
		}
		if (hit) {
			s++;
		} else if (star) {
			p = star;
			s = ++again;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}

struct key_list {
	struct buf text;
	size_t n;
	const struct arg *pattern;
};

static void add_key(void *arg, struct entry *e)
{
	struct key_list *l = arg;

	if (l->pattern && !match(l->pattern, e->data, e->klen))
		return;
	reply_bulk(&l->text, e->data, e->klen);
	l->n++;
}

static void reply_keys(struct call *c, struct key_list *l)
{
	reply_array(c->out, l->n);
	buf_put(c->out, buf_ptr(&l->text), buf_len(&l->text));
	buf_free(&l->text);
}

static void cmd_keys(struct call *c)
{
	struct key_list l = { .pattern = &c->argv[1] };

	store_scan(c->store, 0, 0, add_key, &l);
	reply_keys(c, &l);
}

static void cmd_scan(struct call *c)
{
	struct key_list l = {};
	int64_t count = 10, cursor;
	char text[32];
	int len;

	if (!resp_int(&c->argv[1], &cursor) || cursor < 0) {
		reply_error(c->out, "ERR invalid cursor");
		return;
	}
	for (int i = 2; i < c->argc; i += 2) {
		bool is_count = arg_is(&c->argv[i], "COUNT");

		if (i + 1 < c->argc && arg_is(&c->argv[i], "MATCH")) {
			l.pattern = &c->argv[i + 1];
		} else if (i + 1 >= c->argc || !is_count) {
			reply_error(c->out, "ERR syntax error");
			return;
		} else if (!arg_int(c, i + 1, &count)) {
			return;
		}
	}
	if (count < 1 || count > 1 << 20) {
		reply_error(c->out, "ERR syntax error");
		return;
	}
	cursor = (int64_t)store_scan(c->store, (uint64_t)cursor, (uint64_t)count, add_key, &l);
	reply_array(c->out, 2);
	len = snprintf(text, sizeof(text), "%" PRId64, cursor);
	reply_bulk(c->out, text, (size_t)len);
	reply_keys(c, &l);
}

static void cmd_flushall(struct call *c)
{
	/* an arena that held a store has room for an empty one */
	if (store_format(c->store))
		reply_error(c->out, "ERR the store could not be set up anew");
	else
		reply_simple(c->out, "OK");
}

/* --------------------------------------------------------------- server */

static void cmd_info(struct call *c)
{
	struct server *srv = c->srv;
	struct buf text = {};

	buf_printf(&text,
		   "# Server\r\nferrykv_version:%s\r\nprocess_id:%d\r\ntcp_port:%d\r\n"
		   "uptime_in_seconds:%" PRId64 "\r\n",
		   mf_version(), (int)getpid(), srv->port,
		   (c->store->now_ms - srv->start_ms) / 1000);
	buf_printf(&text,
		   "\r\n# Clients\r\nconnected_clients:%u\r\n"
		   "\r\n# Memory\r\nused_memory:%zu\r\nmaxmemory:%zu\r\n",
		   srv->n_clients, arena_used(&c->store->arena), c->store->arena.len);
	buf_printf(&text,
		   "\r\n# Stats\r\ntotal_connections_received:%" PRIu64
		   "\r\ntotal_commands_processed:%" PRIu64 "\r\nexpired_keys:%" PRIu64 "\r\n",
		   srv->total.connections, srv->total.commands, c->store->expired);
	buf_printf(&text, "\r\n# memferry\r\n");
	handover_info(srv, &text);
	buf_printf(&text, "\r\n# Keyspace\r\ndb0:keys=%" PRIu64 ",expires=%" PRIu64 "\r\n",
		   store_count(c->store), store_expires(c->store));
	reply_bulk(c->out, buf_ptr(&text), buf_len(&text));
	buf_free(&text);
}

/* What redis-benchmark wants to know before it starts. */
static void cmd_config(struct call *c)
{
	static const char *const known[][2] = { { "save", "" }, { "appendonly", "no" } };

	if (c->argc != 3 || !arg_is(&c->argv[1], "GET")) {
		reply_error(c->out, "ERR only CONFIG GET with one name is supported");
		return;
	}
	for (int i = 0; i < 2; i++) {
		if (!arg_is(&c->argv[2], known[i][0]))
			continue;
		reply_array(c->out, 2);
		reply_bulk(c->out, known[i][0], strlen(known[i][0]));
		reply_bulk(c->out, known[i][1], strlen(known[i][1]));
		return;
	}
	reply_array(c->out, 0);
}

static void cmd_command(struct call *c)
{
	reply_array(c->out, 0);
}

static void cmd_select(struct call *c)
{
	if (arg_is(&c->argv[1], "0"))
		reply_simple(c->out, "OK");
	else
		reply_error(c->out, "ERR DB index is out of range");
}

static void cmd_client(struct call *c)
{
	reply_simple(c->out, "OK");
}

static void cmd_debug(struct call *c)
{
	if (!arg_is(&c->argv[1], "DIGEST")) {
		reply_error(c->out, "ERR only DEBUG DIGEST is supported");
		return;
	}
	buf_printf(c->out, "+%016" PRIx64 "\r\n", store_digest(c->store));
}

static void cmd_quit(struct call *c)
{
	reply_simple(c->out, "OK");
	c->client->closing = true;
}

static void cmd_shutdown(struct call *c)
{
	server_log(c->srv, "told to shut down");
	c->srv->stop = true;
}

static const struct command {
	const char *name;
	int min, max; /* arguments with the name; max 0: no limit */
	void (*run)(struct call *c);
} commands[] = {
	{ "get", 2, 2, cmd_get },	  { "set", 3, 0, cmd_set },
	{ "append", 3, 3, cmd_append },	  { "client", 2, 0, cmd_client },
	{ "command", 1, 0, cmd_command }, { "config", 2, 0, cmd_config },
	{ "dbsize", 1, 1, cmd_dbsize },	  { "debug", 2, 0, cmd_debug },
	{ "decr", 2, 2, cmd_decr },	  { "del", 2, 0, cmd_del },
	{ "echo", 2, 2, cmd_echo },	  { "exists", 2, 0, cmd_exists },
	{ "expire", 3, 3, cmd_expire },	  { "flushall", 1, 2, cmd_flushall },
	{ "getset", 3, 3, cmd_getset },	  { "incr", 2, 2, cmd_incr },
	{ "incrby", 3, 3, cmd_incrby },	  { "info", 1, 0, cmd_info },
	{ "keys", 2, 2, cmd_keys },	  { "mget", 2, 0, cmd_mget },
	{ "mset", 3, 0, cmd_mset },	  { "persist", 2, 2, cmd_persist },
	{ "pexpire", 3, 3, cmd_pexpire }, { "ping", 1, 2, cmd_ping },
	{ "pttl", 2, 2, cmd_pttl },	  { "quit", 1, 0, cmd_quit },
	{ "scan", 2, 0, cmd_scan },	  { "select", 2, 2, cmd_select },
	{ "setex", 4, 4, cmd_setex },	  { "shutdown", 1, 2, cmd_shutdown },
	{ "strlen", 2, 2, cmd_strlen },	  { "ttl", 2, 2, cmd_ttl },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

void command_run(struct server *srv, struct client *client, int argc, const struct arg *argv)
{
	struct call c = { srv, &srv->store, client, &client->out, argc, argv };

	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (!arg_is(&argv[0], commands[i].name))
			continue;
		if (argc < commands[i].min || (commands[i].max && argc > commands[i].max))
			reply_error(c.out, "ERR wrong number of arguments for '%s' command",
				    commands[i].name);
		else
			commands[i].run(&c);
		return;
	}
	reply_error(c.out, "ERR unknown command '%.*s'",
		    argv[0].len > 64 ? 64 : (int)argv[0].len, argv[0].p);
}
