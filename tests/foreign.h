/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another process with a space of some kind, its userfaultfd in our hands, and, if
 * wanted, a ferry task in it.
 */
#ifndef MF_TESTS_FOREIGN_H
#define MF_TESTS_FOREIGN_H

#include <sys/types.h>

#include "ferry/ring.h"
#include "mover/mover.h"
#include "space.h"

struct foreign_opts {
	enum kind kind;
	u32 seed;
	bool populated;	   /* else only mapped, to give to */
	bool ferry;	   /* registered for write protection, and a ferry task */
	bool no_consent;   /* the ferry may not touch the space */
	u64 uffd_features; /* wanted beyond those for huge pages */
	u32 spin_ns;
};

struct foreign {
	pid_t pid;
	int sock;
	int uffd;
	u64 features;
	int ferry_pidfd;
	u8 *addr; /* of the space, there */
	pid_t sharer;
	int mem, pagemap;
	struct mf_ring_page *page;
	struct mf_ring ring;
};

enum foreign_cmd {
	FOREIGN_VERIFY = 1, /* space_first_wrong() of kind and seed, there */
	FOREIGN_DISCARD,    /* MADV_DONTNEED page arg; 0 */
	FOREIGN_SPLIT,	    /* make two mappings of it, split at page arg; 0 */
	FOREIGN_POKE,	    /* write to each page and put it back; 0 */
	FOREIGN_HAMMER,	    /* start to count in the pages; 0 */
	FOREIGN_TALLY,	    /* stop, how many writes were lost */
	FOREIGN_WRITES,	    /* how many there were */
};

/* NULL, or why it cannot be had (nothing is left then). */
const char *foreign_start(struct foreign *f, const struct foreign_opts *opts);
void foreign_stop(struct foreign *f);
void foreign_ask(struct foreign *f, enum foreign_cmd cmd, u64 arg);
/* The answer within five seconds, else -ETIMEDOUT. */
long foreign_answer(struct foreign *f);
long foreign_do(struct foreign *f, enum foreign_cmd cmd, u64 arg);

#endif /* MF_TESTS_FOREIGN_H */
