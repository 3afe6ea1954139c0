/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys and values in the arena: a hash table by linear hashing. It grows by splitting one
 * bucket at a time, so that no insert ever waits for a table to be rebuilt, and it never
 * shrinks, so that a scan in ascending bucket order misses nothing that stays.
 */
#ifndef FERRYKV_STORE_H
#define FERRYKV_STORE_H

#include "arena.h"

#define STORE_VALUE_MAX ((size_t)512 << 20)

struct entry {
	uint64_t next; /* in the bucket */
	uint64_t hash;
	int64_t expire_ms; /* wall clock; 0: never */
	uint32_t klen;
	uint32_t vlen;
	char data[]; /* key, then value */
};

struct store {
	struct arena arena;
	struct store_head *head; /* in the arena */
	int64_t now_ms;		 /* wall clock as of this round of the event loop */
	uint64_t expired;	 /* keys that ran out, in this process */
};

static inline char *entry_value(struct entry *e)
{
	return e->data + e->klen;
}

/* Set up an empty store in the arena. -ENOMEM. */
int store_format(struct store *s);
/* Use the store that the arena holds already. -EINVAL. */
int store_adopt(struct store *s);

uint64_t store_count(const struct store *s);
uint64_t store_expires(const struct store *s);

/* An entry pointer is good until the next call that may change the store. */
struct entry *store_find(struct store *s, const void *key, size_t klen);
/*
 * The entry for @key, made if need be, with room for a value of @vlen bytes, of which the
 * old value's bytes are kept as far as they go; vlen is set, the rest of the value is
 * undefined. Its expiry stays. NULL: out of memory, nothing has changed.
 */
struct entry *store_make(struct store *s, const void *key, size_t klen, size_t vlen);
bool store_del(struct store *s, const void *key, size_t klen);
void store_set_expiry(struct store *s, struct entry *e, int64_t at_ms);

typedef void (*store_visit_fn)(void *arg, struct entry *e);
/*
 * Visit whole buckets from @cursor on until @max entries were seen or, when @max is 0, to
 * the end. Returns the next cursor, 0 at the end. Entries that ran out are not shown.
 */
uint64_t store_scan(struct store *s, uint64_t cursor, uint64_t max, store_visit_fn visit,
		    void *arg);
/* Look at some buckets and drop what ran out. Cheap; call it several times a second. */
void store_expire_some(struct store *s);
/* The same for the same keys, values and expiry times, in whatever order they lie. */
uint64_t store_digest(struct store *s);
/* Where the @i-th piece of the table lies, for hints; false past the last. */
bool store_table_part(const struct store *s, unsigned int i, void **ret_addr, size_t *ret_len);

#endif /* FERRYKV_STORE_H */
