/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test memory of every kind that a mover can meet, with contents that tell each page. */
#ifndef MF_TESTS_SPACE_H
#define MF_TESTS_SPACE_H

#include "base/types.h"

#define SPACE_LEN MF_PMD_SIZE
#define SPACE_PAGES (SPACE_LEN / MF_PAGE_SIZE)
#define SPACE_WORDS (SPACE_PAGES / 64)

enum kind {
	KIND_4K,
	KIND_THP,
	KIND_MLOCKED,
	KIND_FORKED,	  /* a live child shares the pages */
	KIND_FORKED_DEAD, /* a child shared them */
	KIND_SWAPPED,
	KIND_HOLE,  /* nothing was ever there */
	KIND_HOLES, /* every other page */
	KIND_HUGETLB,
	KINDS,
};

struct space {
	enum kind kind;
	u32 seed;
	u8 *addr;   /* 2 MiB, aligned to its length */
	int sharer; /* KIND_FORKED: the child */
};

const char *kind_name(enum kind kind);
/* Is page @i of this kind populated by space_make()? */
bool kind_has_page(enum kind kind, u64 i);

/* Only the mapping, nothing populated; as a destination. NULL, or why it cannot be had. */
const char *space_map(struct space *s, enum kind kind);
/* With contents. NULL, or why this machine cannot have that kind now. */
const char *space_make(struct space *s, enum kind kind, u32 seed);
void space_drop(struct space *s);

/* What page @i must hold; zeros if the kind has none there. */
bool page_right(const u8 *page, enum kind kind, u32 seed, u64 i);
/* The first page of [addr, ..) that is not right, or -1. Touches all of them. */
long space_first_wrong(const u8 *addr, enum kind kind, u32 seed);

/* Which pages of [addr, addr + SPACE_LEN) hold something, by a /proc/PID/pagemap. */
void space_present(int pagemap, u64 addr, u64 bits[SPACE_WORDS]);
u64 bits_count(const u64 bits[SPACE_WORDS]);
bool bit_of(const u64 *bits, u64 i);
/* The same for this process. */
u64 pages_here(const u8 *addr);

/*
 * Give the machine swap space (on zram) and huge pages for as long as the test runs, if
 * it has none and we may. What was switched on is switched off by machine_restore().
 */
void machine_prepare(void);
void machine_restore(void);

#endif /* MF_TESTS_SPACE_H */
