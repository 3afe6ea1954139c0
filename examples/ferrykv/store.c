// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "store.h"

#define MAGIC UINT64_C(0x31306572 /* layout 01 */)
#define BASE_LOG 10 /* buckets to begin with */
#define BASE ((uint64_t)1 << BASE_LOG)
#define PARTS 32 /* part 0 has BASE buckets, each further one as many as all before it */
#define EXPIRE_BUCKETS 256

struct store_head {
	uint64_t magic;
	uint64_t seed;
	uint64_t count;
	uint64_t expires; /* keys with an expiry */
	uint64_t level;	  /* 1 << level buckets when the current round began */
	uint64_t split;	  /* the next bucket to split in this round */
	uint64_t expire_cursor;
	uint64_t part[PARTS];
};

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash_bytes(uint64_t seed, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h =
		fold(seed ^ UINT64_C(0x9e3779b97f4a7c15), len + UINT64_C(0xd6e8feb86659fd93));
	uint64_t w;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = fold(h ^ w, UINT64_C(0xa0761d6478bd642f)) + w;
	}
	w = 0;
	memcpy(&w, p, len);
	return fold(h ^ w, UINT64_C(0xe7037ed1a0b428db)) ^ (h >> 32);
}

static struct entry *entry_at(const struct store *s, uint64_t off)
{
	return off ? arena_at(&s->arena, off) : NULL;
}

static uint64_t n_buckets(const struct store_head *h)
{
	return ((uint64_t)1 << h->level) + h->split;
}

static unsigned int part_of(uint64_t i)
{
	return i < BASE ? 0 : 64u - (unsigned int)__builtin_clzll(i) - BASE_LOG;
}

static uint64_t part_start(unsigned int part)
{
	return part ? BASE << (part - 1) : 0;
}

static uint64_t *bucket_at(const struct store *s, uint64_t i)
{
	unsigned int part = part_of(i);
	uint64_t *buckets = arena_at(&s->arena, s->head->part[part]);

	return buckets + (i - part_start(part));
}

static uint64_t *bucket_of(const struct store *s, uint64_t hash)
{
	const struct store_head *h = s->head;
	uint64_t i = hash & (((uint64_t)1 << h->level) - 1);

	if (i < h->split)
		i = hash & (((uint64_t)2 << h->level) - 1);
	return bucket_at(s, i);
}

/* Make room for bucket @i, the first of a part. No memory: the table stays as it is. */
static bool add_part(struct store *s, uint64_t i)
{
	unsigned int part = part_of(i);

	if (part >= PARTS)
		return false;
	if (!s->head->part[part])
		s->head->part[part] = arena_alloc(&s->arena, i * sizeof(uint64_t));
	return s->head->part[part] != 0;
}

/* Split one bucket: what has the next hash bit set goes to the new bucket at the end. */
static void grow(struct store *s)
{
	struct store_head *h = s->head;
	uint64_t bit = (uint64_t)1 << h->level;
	uint64_t i = n_buckets(h);
	uint64_t *from, *to, off;

	if ((i & (i - 1)) == 0 && !add_part(s, i))
		return;
	from = bucket_at(s, h->split);
	to = bucket_at(s, i);
	*to = 0;
	while ((off = *from)) {
		struct entry *e = entry_at(s, off);

		if (!(e->hash & bit)) {
			from = &e->next;
			continue;
		}
		*from = e->next;
		e->next = *to;
		*to = off;
	}
	if (++h->split == bit) {
		h->level++;
		h->split = 0;
	}
}

int store_format(struct store *s)
{
	uint64_t root, part;

	arena_reset(&s->arena);
	root = arena_alloc(&s->arena, sizeof(struct store_head));
	part = arena_alloc(&s->arena, BASE * sizeof(uint64_t));
	if (!root || !part)
		return -ENOMEM;
	s->head = arena_at(&s->arena, root);
	memset(s->head, 0, sizeof(*s->head));
	memset(arena_at(&s->arena, part), 0, BASE * sizeof(uint64_t));
	s->head->magic = MAGIC;
	s->head->level = BASE_LOG;
	s->head->part[0] = part;
	if (getrandom(&s->head->seed, sizeof(s->head->seed), 0) < 0)
		return -errno;
	arena_set_root(&s->arena, root);
	return 0;
}

int store_adopt(struct store *s)
{
	uint64_t root = arena_root(&s->arena);

	if (!root || root + sizeof(*s->head) > s->arena.len)
		return -EINVAL;
	s->head = arena_at(&s->arena, root);
	return s->head->magic == MAGIC ? 0 : -EINVAL;
}

uint64_t store_count(const struct store *s)
{
	return s->head->count;
}

uint64_t store_expires(const struct store *s)
{
	return s->head->expires;
}

/* The link that points to the entry of @key, or to nothing at the chain's end. */
static uint64_t *link_of(const struct store *s, const void *key, size_t klen, uint64_t hash)
{
	uint64_t *link = bucket_of(s, hash);
	struct entry *e;

	for (; (e = entry_at(s, *link)); link = &e->next)
		if (e->hash == hash && e->klen == klen && !memcmp(e->data, key, klen))
			break;
	return link;
}

static void unlink_entry(struct store *s, uint64_t *link)
{
	uint64_t off = *link;
	struct entry *e = entry_at(s, off);

	*link = e->next;
	s->head->count--;
	s->head->expires -= e->expire_ms != 0;
	arena_free(&s->arena, off);
}

static bool ran_out(const struct store *s, const struct entry *e)
{
	return e->expire_ms && e->expire_ms <= s->now_ms;
}

/* As link_of(), but a key that ran out is dropped on the way. */
static uint64_t *live_link(struct store *s, const void *key, size_t klen, uint64_t hash)
{
	uint64_t *link = link_of(s, key, klen, hash);

	if (*link && ran_out(s, entry_at(s, *link))) {
		unlink_entry(s, link);
		s->expired++;
		link = link_of(s, key, klen, hash);
	}
	return link;
}

struct entry *store_find(struct store *s, const void *key, size_t klen)
{
	return entry_at(s, *live_link(s, key, klen, hash_bytes(s->head->seed, key, klen)));
}

bool store_del(struct store *s, const void *key, size_t klen)
{
	uint64_t *link = live_link(s, key, klen, hash_bytes(s->head->seed, key, klen));

	if (!*link)
		return false;
	unlink_entry(s, link);
	return true;
}

static struct entry *insert(struct store *s, const void *key, size_t klen, uint64_t hash,
			    size_t vlen)
{
	uint64_t off = arena_alloc(&s->arena, sizeof(struct entry) + klen + vlen);
	struct entry *e = entry_at(s, off);
	uint64_t *bucket;

	if (!e)
		return NULL;
	e->hash = hash;
	e->expire_ms = 0;
	e->klen = (uint32_t)klen;
	e->vlen = (uint32_t)vlen;
	memcpy(e->data, key, klen);
	bucket = bucket_of(s, hash);
	e->next = *bucket;
	*bucket = off;
	if (++s->head->count > n_buckets(s->head))
		grow(s);
	return e;
}

/* Swap the block behind @link for one that fits; a value that grew gets some slack. */
static struct entry *resize(struct store *s, uint64_t *link, size_t vlen)
{
	struct entry *old = entry_at(s, *link), *e;
	size_t keep = vlen < old->vlen ? vlen : old->vlen;
	size_t slack = old->vlen && vlen > old->vlen ? vlen / 4 : 0;
	size_t fixed = sizeof(*e) + old->klen;
	uint64_t off = arena_alloc(&s->arena, fixed + vlen + slack);

	if (!off && slack)
		off = arena_alloc(&s->arena, fixed + vlen);
	if (!off)
		return NULL;
	e = entry_at(s, off);
	memcpy(e, old, fixed + keep);
	arena_free(&s->arena, *link);
	*link = off;
	return e;
}

struct entry *store_make(struct store *s, const void *key, size_t klen, size_t vlen)
{
	uint64_t hash = hash_bytes(s->head->seed, key, klen);
	uint64_t *link = live_link(s, key, klen, hash);
	struct entry *e = entry_at(s, *link);
	size_t need, room;

	if (!e)
		return insert(s, key, klen, hash, vlen);
	need = sizeof(*e) + klen + vlen;
	room = arena_room(&s->arena, *link);
	if (need > room || need + 64 < room / 2)
		e = resize(s, link, vlen);
	if (e)
		e->vlen = (uint32_t)vlen;
	return e;
}

void store_set_expiry(struct store *s, struct entry *e, int64_t at_ms)
{
	s->head->expires += (at_ms != 0) - (e->expire_ms != 0);
	e->expire_ms = at_ms;
}

uint64_t store_scan(struct store *s, uint64_t cursor, uint64_t max, store_visit_fn visit,
		    void *arg)
{
	uint64_t n = n_buckets(s->head), seen = 0, steps = 0;

	for (; cursor < n; cursor++) {
		struct entry *e = entry_at(s, *bucket_at(s, cursor));

		if (max && (seen >= max || steps++ >= 10 * max))
			return cursor;
		for (; e; e = entry_at(s, e->next)) {
			if (ran_out(s, e))
				continue;
			visit(arg, e);
			seen++;
		}
	}
	return 0;
}

void store_expire_some(struct store *s)
{
	struct store_head *h = s->head;
	uint64_t n = n_buckets(h);

	for (unsigned int i = 0; i < EXPIRE_BUCKETS && h->expires; i++) {
		uint64_t *link;

		if (h->expire_cursor >= n)
			h->expire_cursor = 0;
		link = bucket_at(s, h->expire_cursor++);
		while (*link) {
			struct entry *e = entry_at(s, *link);

			if (!ran_out(s, e)) {
				link = &e->next;
				continue;
			}
			unlink_entry(s, link);
			s->expired++;
		}
	}
}

static void add_digest(void *arg, struct entry *e)
{
	uint64_t key = hash_bytes(1, e->data, e->klen);
	uint64_t value = hash_bytes(key, entry_value(e), e->vlen);

	*(uint64_t *)arg += fold(value ^ (uint64_t)e->expire_ms, key | 1);
}

uint64_t store_digest(struct store *s)
{
	uint64_t sum = 0;

	store_scan(s, 0, 0, add_digest, &sum);
	return sum;
}

bool store_table_part(const struct store *s, unsigned int i, void **ret_addr, size_t *ret_len)
{
	if (i >= PARTS || !s->head->part[i])
		return false;
	*ret_addr = arena_at(&s->arena, s->head->part[i]);
	*ret_len = (i ? part_start(i) : BASE) * sizeof(uint64_t);
	return true;
}
