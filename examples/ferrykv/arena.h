/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arena: one private anonymous mapping that holds everything which must survive a
 * hand-over, with an allocator whose own books lie inside it too.
 *
 * Places in the arena are told as offsets from its start, never as pointers: what lies in
 * there means the same at any address, so a successor in which the old address is taken
 * can map the arena elsewhere. 0 is "nowhere" (the arena's head lies there).
 */
#ifndef FERRYKV_ARENA_H
#define FERRYKV_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_ALIGN ((size_t)2 << 20) /* sizes are multiples of a huge page */
#define ARENA_MIN ((size_t)8 << 20)

struct arena_head;

struct arena {
	char *base;
	size_t len;
	struct arena_head *head; /* == base */
};

/* A new, empty arena of @len bytes, of which none is populated yet. 0 or -errno. */
int arena_create(struct arena *a, size_t len, bool thp, bool lock);
/* Use the arena that lies at @base already. -EINVAL: that is none of ours. */
int arena_adopt(struct arena *a, void *base, size_t len);
/* Forget all that was allocated. */
void arena_reset(struct arena *a);

/* @size bytes, aligned to 16, contents undefined; 0: out of memory. */
uint64_t arena_alloc(struct arena *a, size_t size);
void arena_free(struct arena *a, uint64_t off);
/* How many bytes really fit in the block at @off. */
size_t arena_room(const struct arena *a, uint64_t off);
size_t arena_used(const struct arena *a);

/* One offset for the owner of the arena: where its own data begins. */
uint64_t arena_root(const struct arena *a);
void arena_set_root(struct arena *a, uint64_t off);

static inline void *arena_at(const struct arena *a, uint64_t off)
{
	return a->base + off;
}

static inline uint64_t arena_off(const struct arena *a, const void *p)
{
	return (uint64_t)((const char *)p - a->base);
}

#endif /* FERRYKV_ARENA_H */
