// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A two-level segregated-fit allocator: free blocks hang in lists by size, 32 lists for
 * each power of two, and two levels of bitmaps find a list that fits in constant time.
 * Each block knows its neighbour to the left, so freed blocks are merged at once.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"

#define HINT ((void *)0x200000000000)	   /* far from where the kernel puts things itself */
#define MAGIC UINT64_C(0x3176796b72726566) /* "ferrkyv1" */

#define SL_LOG 5
#define SL (1u << SL_LOG)
#define FL 36	  /* up to 2^44 bytes */
#define SMALL 512 /* below it the lists are 16 bytes apart */
#define SMALL_LOG 9

#define BLOCK_FREE ((uint64_t)1)

struct block {
	uint64_t left; /* offset of the block before this one, 0: this is the first */
	uint64_t size; /* of what follows this header, a multiple of 16; | BLOCK_FREE */
	/* in free blocks only: */
	uint64_t next;
	uint64_t prev;
};

#define HEAD_BYTES (2 * sizeof(uint64_t)) /* left and size; the links are user bytes */

struct arena_head {
	uint64_t magic;
	uint64_t len;
	uint64_t used;
	uint64_t root;
	uint64_t fl_map;
	uint32_t sl_map[FL];
	uint64_t list[FL][SL];
};

#define FIRST ((sizeof(struct arena_head) + 15) & ~(uint64_t)15)

static struct block *block_at(const struct arena *a, uint64_t off)
{
	return arena_at(a, off);
}

static uint64_t block_size(const struct block *b)
{
	return b->size & ~BLOCK_FREE;
}

static unsigned int log2_of(uint64_t x)
{
	return 63u - (unsigned int)__builtin_clzll(x);
}

static void list_of(uint64_t size, unsigned int *ret_fl, unsigned int *ret_sl)
{
	unsigned int log;

	if (size < SMALL) {
		*ret_fl = 0;
		*ret_sl = (unsigned int)(size / 16);
		return;
	}
	log = log2_of(size);
	*ret_fl = log - SMALL_LOG + 1;
	*ret_sl = (unsigned int)(size >> (log - SL_LOG)) & (SL - 1);
}

static void list_add(struct arena *a, uint64_t off)
{
	struct arena_head *h = a->head;
	struct block *b = block_at(a, off);
	unsigned int fl, sl;

	list_of(block_size(b), &fl, &sl);
	b->size |= BLOCK_FREE;
	b->prev = 0;
	b->next = h->list[fl][sl];
	if (b->next)
		block_at(a, b->next)->prev = off;
	h->list[fl][sl] = off;
	h->sl_map[fl] |= 1u << sl;
	h->fl_map |= (uint64_t)1 << fl;
}

static void list_del(struct arena *a, uint64_t off)
{
	struct arena_head *h = a->head;
	struct block *b = block_at(a, off);
	unsigned int fl, sl;

	list_of(block_size(b), &fl, &sl);
	b->size &= ~BLOCK_FREE;
	if (b->next)
		block_at(a, b->next)->prev = b->prev;
	if (b->prev) {
		block_at(a, b->prev)->next = b->next;
		return;
	}
	h->list[fl][sl] = b->next;
	if (b->next)
		return;
	h->sl_map[fl] &= ~(1u << sl);
	if (!h->sl_map[fl])
		h->fl_map &= ~((uint64_t)1 << fl);
}

/* A free block of at least @size bytes; every block in the list that is looked at fits. */
static uint64_t find_free(const struct arena *a, uint64_t size)
{
	const struct arena_head *h = a->head;
	unsigned int fl, sl;
	uint64_t map;

	if (size >= SMALL)
		size += ((uint64_t)1 << (log2_of(size) - SL_LOG)) - 1;
	list_of(size, &fl, &sl);
	if (fl >= FL)
		return 0;
	map = h->sl_map[fl] & (~0u << sl);
	if (!map) {
		map = h->fl_map & (~(uint64_t)0 << (fl + 1));
		if (!map)
			return 0;
		fl = (unsigned int)__builtin_ctzll(map);
		map = h->sl_map[fl];
	}
	return h->list[fl][__builtin_ctzll(map)];
}

/* The offset behind the block, where the next one starts; the arena's end for the last. */
static uint64_t right_of(const struct arena *a, uint64_t off)
{
	return off + HEAD_BYTES + block_size(block_at(a, off));
}

static void set_left(struct arena *a, uint64_t off, uint64_t left)
{
	if (off < a->len)
		block_at(a, off)->left = left;
}

/* Cut @off down to @size bytes if what remains can be a block of its own. */
static void split(struct arena *a, uint64_t off, uint64_t size)
{
	struct block *b = block_at(a, off);
	uint64_t rest = off + HEAD_BYTES + size;
	uint64_t left_over = block_size(b) - size;

	if (left_over < HEAD_BYTES + 16)
		return;
	b->size = size;
	block_at(a, rest)->left = off;
	block_at(a, rest)->size = left_over - HEAD_BYTES;
	set_left(a, right_of(a, rest), rest);
	list_add(a, rest);
}

uint64_t arena_alloc(struct arena *a, size_t size)
{
	uint64_t off;

	if (size > a->len)
		return 0;
	size = size ? (size + 15) & ~(size_t)15 : 16;
	off = find_free(a, size);
	if (!off)
		return 0;
	list_del(a, off);
	split(a, off, size);
	a->head->used += HEAD_BYTES + block_size(block_at(a, off));
	return off + HEAD_BYTES;
}

void arena_free(struct arena *a, uint64_t user)
{
	uint64_t off = user - HEAD_BYTES;
	struct block *b = block_at(a, off);
	uint64_t right = right_of(a, off);
	uint64_t left = b->left;

	a->head->used -= HEAD_BYTES + block_size(b);
	if (right < a->len && (block_at(a, right)->size & BLOCK_FREE)) {
		list_del(a, right);
		b->size += HEAD_BYTES + block_size(block_at(a, right));
	}
	if (left && (block_at(a, left)->size & BLOCK_FREE)) {
		list_del(a, left);
		block_at(a, left)->size += HEAD_BYTES + block_size(b);
		off = left;
	}
	set_left(a, right_of(a, off), off);
	list_add(a, off);
}

size_t arena_room(const struct arena *a, uint64_t user)
{
	return block_size(block_at(a, user - HEAD_BYTES));
}

size_t arena_used(const struct arena *a)
{
	return a->head->used;
}

uint64_t arena_root(const struct arena *a)
{
	return a->head->root;
}

void arena_set_root(struct arena *a, uint64_t off)
{
	a->head->root = off;
}

void arena_reset(struct arena *a)
{
	struct block *all;

	memset(a->head, 0, sizeof(*a->head));
	a->head->magic = MAGIC;
	a->head->len = a->len;
	a->head->used = FIRST;
	all = block_at(a, FIRST);
	all->left = 0;
	all->size = (a->len - FIRST - HEAD_BYTES) & ~(uint64_t)15;
	list_add(a, FIRST);
}

int arena_create(struct arena *a, size_t len, bool thp, bool lock)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	a->len = (len + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	a->base =
		mmap(HINT, a->len, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
	if (a->base == MAP_FAILED)
		return -errno;
	if (thp && madvise(a->base, a->len, MADV_HUGEPAGE))
		goto fail;
	/* pages are locked as they come; otherwise the whole arena would be filled now */
	if (lock && mlock2(a->base, a->len, MLOCK_ONFAULT))
		goto fail;
	a->head = (struct arena_head *)a->base;
	arena_reset(a);
	return 0;
fail:
	flags = -errno;
	munmap(a->base, a->len);
	return flags;
}

int arena_adopt(struct arena *a, void *base, size_t len)
{
	a->base = base;
	a->len = len;
	a->head = base;
	if (len < sizeof(*a->head) || a->head->magic != MAGIC || a->head->len != len)
		return -EINVAL;
	return 0;
}
