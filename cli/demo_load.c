/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../bench/bench.h"
#include "demo_data.h"
#include "demo_kv.h"

#define FILL_BATCH ((size_t)512 << 10) /* bytes on their way before replies are read */
#define VERIFY_BATCH 32
#define INTERVAL_NS (1000000000ull / LOAD_RATE)
#define UPDATE_ONE_IN 5

struct client {
	struct load *load;
	pthread_t thread;
	uint32_t number;
	struct kv kv;
	uint64_t rng;
	struct demo_sample *samples;
	size_t n_samples, room;
	struct load_faults faults;
	uint64_t updates;
};

struct load {
	const char *path;
	uint32_t n_keys;
	uint32_t *version;
	struct client client[LOAD_CLIENTS];
	unsigned int started;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, hold;
	unsigned int resting; /* clients that have no request on its way */
};

struct load *load_new(const char *path, uint32_t n_keys)
{
	struct load *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->path = path;
	l->n_keys = n_keys;
	l->version = calloc(n_keys, sizeof(*l->version));
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	if (!l->version) {
		load_free(l);
		return NULL;
	}
	return l;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	load_stop(l);
	for (int i = 0; i < LOAD_CLIENTS; i++)
		free(l->client[i].samples);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l->version);
	free(l);
}

/* ----------------------------------------------------------------- fill */

/* Read @n replies, each of which must be OK. */
static int expect_ok(struct kv *kv, uint32_t n)
{
	struct kv_reply reply;

	while (n--) {
		int r = kv_read(kv, &reply);

		if (r)
			return r;
		if (reply.kind != KV_STATUS) {
			demo_note("the server refused a value: %.*s", (int)reply.len,
				  reply.data);
			return -EIO;
		}
	}
	return 0;
}

static int put_value(struct load *l, struct kv *kv, uint32_t i, uint32_t version)
{
	char key[DATA_KEY_BYTES], *p;

	data_key(key, i);
	p = kv_put_set_room(kv, key, data_len(i, version));
	if (!p)
		return -ENOMEM;
	data_fill(p, i, version);
	return 0;
}

static int fill_all(struct load *l, struct kv *kv)
{
	uint32_t pending = 0, batch = 0;
	int r = 0;

	for (uint32_t i = 0; i < l->n_keys && r == 0 && !demo_signal; i++) {
		r = put_value(l, kv, i, 0);
		batch++;
		if (r == 0 && kv->out_len < FILL_BATCH && i + 1 < l->n_keys)
			continue;
		/* the replies of one batch are read while the server works on the next */
		if (r == 0)
			r = kv_flush(kv);
		if (r == 0)
			r = expect_ok(kv, pending);
		pending = batch;
		batch = 0;
		if (i % 64 == 0 || i + 1 == l->n_keys)
			demo_progress("filling: %u %%",
				      (unsigned int)((i + 1) * 100ull / l->n_keys));
	}
	return r ? r : demo_signal ? -EINTR : expect_ok(kv, pending);
}

int load_fill(struct load *l)
{
	struct kv kv;
	int r = kv_open(&kv, l->path);

	if (r == 0)
		r = fill_all(l, &kv);
	if (r)
		demo_note("filling the server failed: %s", strerror(-r));
	kv_close(&kv);
	return r;
}

/* --------------------------------------------------------------- verify */

/* Is @reply the value of key @i as we know it? */
static bool right_value(struct load *l, const struct kv_reply *reply, uint32_t i)
{
	char want[DATA_LEN_MAX];
	size_t len = data_len(i, l->version[i]);

	if (reply->kind != KV_BULK || reply->len != len)
		return false;
	data_fill(want, i, l->version[i]);
	return memcmp(want, reply->data, len) == 0;
}

static int verify_batch(struct load *l, struct kv *kv, uint32_t from, uint32_t to,
			uint64_t *lost)
{
	struct kv_reply reply;
	char key[DATA_KEY_BYTES];
	int r = 0;

	for (uint32_t i = from; i < to && r == 0; i++) {
		data_key(key, i);
		r = kv_put_get(kv, key);
	}
	if (r == 0)
		r = kv_flush(kv);
	for (uint32_t i = from; i < to && r == 0; i++) {
		r = kv_read(kv, &reply);
		if (r || right_value(l, &reply, i))
			continue;
		data_key(key, i);
		if (++*lost <= 5)
			demo_note("value of %s is %s", key,
				  reply.kind == KV_BULK	 ? "wrong"
				  : reply.kind == KV_NIL ? "missing"
							 : "an error");
	}
	return r;
}

static int verify_all(struct load *l, struct kv *kv, uint64_t *lost)
{
	int r = 0;

	for (uint32_t i = 0; i < l->n_keys && r == 0 && !demo_signal; i += VERIFY_BATCH) {
		uint32_t to = i + VERIFY_BATCH < l->n_keys ? i + VERIFY_BATCH : l->n_keys;

		r = verify_batch(l, kv, i, to, lost);
		demo_progress("verifying: %u %%", (unsigned int)(to * 100ull / l->n_keys));
	}
	return r ? r : demo_signal ? -EINTR : 0;
}

static void set_hold(struct load *l, bool hold)
{
	pthread_mutex_lock(&l->lock);
	l->hold = hold;
	pthread_cond_broadcast(&l->changed);
	while (hold && l->resting < l->started)
		pthread_cond_wait(&l->changed, &l->lock); /* bounded by KV_TIMEOUT_S */
	pthread_mutex_unlock(&l->lock);
}

int load_verify(struct load *l, uint64_t *ret_lost)
{
	uint64_t lost = 0;
	struct kv kv;
	int r = kv_open(&kv, l->path);

	set_hold(l, true);
	if (r == 0)
		r = verify_all(l, &kv, &lost);
	set_hold(l, false);
	kv_close(&kv);
	if (r && r != -EINTR)
		demo_note("verifying stopped: %s", strerror(-r));
	*ret_lost = lost;
	return r;
}

/* -------------------------------------------------------------- clients */

static void add_sample(struct client *c, uint64_t due, uint64_t took)
{
	if (c->n_samples == c->room) {
		size_t room = c->room ? 2 * c->room : 4096;
		struct demo_sample *p = realloc(c->samples, room * sizeof(*p));

		if (!p)
			return;
		c->samples = p;
		c->room = room;
	}
	c->samples[c->n_samples++] = (struct demo_sample){ due, took };
}

/* One request for a key of ours; the connection's failure is returned. */
static int request(struct client *c)
{
	struct load *l = c->load;
	uint64_t x = data_random(&c->rng);
	uint32_t i =
		(uint32_t)((x >> 8) % (l->n_keys / LOAD_CLIENTS)) * LOAD_CLIENTS + c->number;
	bool update = x % UPDATE_ONE_IN == 0;
	char key[DATA_KEY_BYTES];
	struct kv_reply reply;
	int r;

	data_key(key, i);
	r = update ? put_value(l, &c->kv, i, l->version[i] + 1) : kv_put_get(&c->kv, key);
	if (r == 0)
		r = kv_flush(&c->kv);
	if (r == 0)
		r = kv_read(&c->kv, &reply);
	if (r)
		return r;
	if (reply.kind == KV_ERROR) {
		if (c->faults.errors++ < 3)
			demo_note("error reply: %.*s", (int)reply.len, reply.data);
	} else if (update && reply.kind == KV_STATUS) {
		l->version[i]++;
		c->updates++;
	} else if (update || !right_value(l, &reply, i)) {
		if (c->faults.wrong++ < 3)
			demo_note("wrong value for %s under load", key);
	}
	return 0;
}

/* False: the end. Otherwise *due is moved past a rest, which is nobody's latency. */
static bool may_go_on(struct client *c, uint64_t *due)
{
	struct load *l = c->load;
	bool rested = false, go_on;

	pthread_mutex_lock(&l->lock);
	while (l->hold && !l->stop) {
		if (!rested) {
			rested = true;
			l->resting++;
			pthread_cond_broadcast(&l->changed);
		}
		pthread_cond_wait(&l->changed, &l->lock);
	}
	l->resting -= rested;
	go_on = !l->stop;
	pthread_mutex_unlock(&l->lock);
	if (rested)
		*due = now_ns();
	return go_on;
}

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void *client_main(void *arg)
{
	struct client *c = arg;
	uint64_t due = now_ns() + INTERVAL_NS * c->number / LOAD_CLIENTS;
	int r = 0;

	while (r == 0 && may_go_on(c, &due)) {
		sleep_until(due);
		r = request(c);
		if (r == 0)
			add_sample(c, due, now_ns() - due);
		due += INTERVAL_NS;
	}
	if (r) {
		c->faults.dropped++;
		demo_note("a client lost its connection: %s", strerror(-r));
	}
	pthread_mutex_lock(&c->load->lock);
	c->load->resting++;
	pthread_cond_broadcast(&c->load->changed);
	pthread_mutex_unlock(&c->load->lock);
	return NULL;
}

int load_start(struct load *l)
{
	for (uint32_t i = 0; i < LOAD_CLIENTS; i++) {
		struct client *c = &l->client[i];
		int r;

		c->load = l;
		c->number = i;
		c->rng = i + 1;
		r = kv_open(&c->kv, l->path);
		if (r == 0) {
			r = -pthread_create(&c->thread, NULL, client_main, c);
			if (r)
				kv_close(&c->kv);
		}
		if (r) {
			demo_note("cannot start a client: %s", strerror(-r));
			return r;
		}
		l->started++;
	}
	return 0;
}

void load_stop(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	for (; l->started; l->started--) {
		struct client *c = &l->client[l->started - 1];

		pthread_join(c->thread, NULL);
		kv_close(&c->kv);
	}
}

struct load_faults load_faults(struct load *l)
{
	struct load_faults sum = {};

	for (int i = 0; i < LOAD_CLIENTS; i++) {
		sum.wrong += l->client[i].faults.wrong;
		sum.errors += l->client[i].faults.errors;
		sum.dropped += l->client[i].faults.dropped;
	}
	return sum;
}

uint64_t load_updates(struct load *l)
{
	uint64_t n = 0;

	for (int i = 0; i < LOAD_CLIENTS; i++)
		n += l->client[i].updates;
	return n;
}

void load_samples(struct load *l, load_sample_fn fn, void *arg)
{
	for (int i = 0; i < LOAD_CLIENTS; i++)
		for (size_t k = 0; k < l->client[i].n_samples; k++)
			fn(arg, &l->client[i].samples[k]);
}

struct window {
	uint64_t from, to;
	struct hist *h;
};

static void into_hist(void *arg, const struct demo_sample *s)
{
	struct window *w = arg;

	if (s->due_ns >= w->from && s->due_ns < w->to)
		hist_record(w->h, s->took_ns);
}

void load_hist(struct load *l, uint64_t from_ns, uint64_t to_ns, struct hist *h)
{
	struct window w = { from_ns, to_ns, h };

	hist_init(h);
	load_samples(l, into_hist, &w);
}
