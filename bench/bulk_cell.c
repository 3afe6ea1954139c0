/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One pass of "bench bulk": a freshly written source, one loop of calls over all of it,
 * timed as a whole, and a check of every page. The destination of MOVE and COPY is empty,
 * as it must be; that of memcpy and process_vm_readv is populated, which flatters them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <memferry.h>

#include "bench.h"
#include "bulk.h"
#include "child.h"
#include "memory.h"

#define SEED 0x62756c6bu

struct pass {
	const struct bulk_cell *cell;
	char *dst, *src;
	int uffd;
	pid_t owner; /* of the source, process_vm_readv */
};

static int fill_chunk(const struct pass *p, size_t off, size_t len)
{
	size_t done = 0, step;
	int r = -EAGAIN;

	while (done < len && r == -EAGAIN) {
		if (p->cell->row->op == BULK_MOVE)
			r = mf_uffd_move(p->uffd, p->dst + off + done, p->src + off + done,
					 len - done, 0, &step);
		else
			r = mf_uffd_copy(p->uffd, p->dst + off + done, p->src + off + done,
					 len - done, 0, &step);
		done += step;
		if (r == 0)
			break;
	}
	return r;
}

static int readv_chunk(const struct pass *p, size_t off, size_t len)
{
	while (len) {
		struct iovec to = { p->dst + off, len }, from = { p->src + off, len };
		ssize_t n = process_vm_readv(p->owner, &to, 1, &from, 1, 0);

		if (n <= 0)
			return n ? -errno : -EIO;
		off += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int one_call(const struct pass *p, size_t off, size_t len)
{
	switch (p->cell->row->op) {
	case BULK_MEMCPY:
		memcpy(p->dst + off, p->src + off, len);
		return 0;
	case BULK_READV:
		return readv_chunk(p, off, len);
	default:
		return fill_chunk(p, off, len);
	}
}

static int timed_loop(const struct pass *p)
{
	size_t step = p->cell->row->call_bytes;
	uint64_t t0 = now_ns();
	int r = 0;

	for (size_t off = 0; off < p->cell->bytes && r == 0; off += step)
		r = one_call(p, off, step);
	p->cell->result->ns = now_ns() - t0;
	return r ? child_fail(r, "the call failed: %s", strerror(-r)) : 0;
}

/* The claim "these are huge pages" is checked, not believed. */
static int check_huge(const struct pass *p, const char *start, const char *what)
{
	int64_t huge = memory_huge_bytes(start, p->cell->bytes);

	if (huge < 0)
		return child_fail((int)huge, "smaps: %s", strerror((int)-huge));
	if (p->cell->row->thp && (uint64_t)huge < p->cell->bytes)
		return child_fail(-ENOMEM,
				  "only %" PRId64 " of %" PRIu64
				  " MiB of the %s became huge pages",
				  huge >> 20, p->cell->bytes >> 20, what);
	if (!p->cell->row->thp && huge)
		return child_fail(-EINVAL, "the %s has huge pages", what);
	return 0;
}

static int start_owner(struct pass *p)
{
	/* else every page of it would be shared with the fork, and copied when written */
	madvise(p->dst, p->cell->bytes, MADV_DONTFORK);
	p->owner = child_fork();
	if (p->owner < 0)
		return child_fail((int)p->owner, "cannot fork the owner of the source");
	if (p->owner == 0)
		for (;;)
			pause();
	return 0;
}

static int open_uffd(struct pass *p)
{
	int r = mf_uffd_open(0, 0, &p->uffd);

	if (r == -EPERM)
		r = mf_uffd_open(0, MF_UFFD_USER_MODE_ONLY, &p->uffd);
	if (r)
		return child_fail(r, "%s", mf_error());
	r = mf_uffd_register(p->uffd, p->dst, p->cell->bytes, MF_UFFD_REGISTER_MISSING, NULL);
	return r ? child_fail(r, "UFFDIO_REGISTER: %s", strerror(-r)) : 0;
}

static int prepare(struct pass *p)
{
	const struct bulk_row *row = p->cell->row;
	int r;

	p->dst = memory_map(NULL, p->cell->bytes, row->thp);
	p->src = memory_map(NULL, p->cell->bytes, row->thp);
	if (!p->dst || !p->src)
		return child_fail(-ENOMEM, "no memory for two times %" PRIu64 " MiB",
				  p->cell->bytes >> 20);
	memory_stamp(p->src, p->cell->bytes, SEED);
	r = check_huge(p, p->src, "source");
	if (r)
		return r;
	if (row->op == BULK_MOVE || row->op == BULK_COPY) {
		memory_warm(p->cell->bytes);
		return open_uffd(p);
	}
	memory_stamp(p->dst, p->cell->bytes, ~(uint64_t)SEED);
	r = check_huge(p, p->dst, "destination");
	if (r || row->op == BULK_MEMCPY)
		return r;
	return start_owner(p);
}

int bulk_cell_run(void *arg)
{
	struct pass p = { .cell = arg, .uffd = -1 };
	int64_t huge;
	size_t wrong;
	int r = prepare(&p);

	if (r)
		return r;
	r = timed_loop(&p);
	if (r)
		return r;
	huge = memory_huge_bytes(p.dst, p.cell->bytes);
	p.cell->result->huge_bytes = huge > 0 ? (uint64_t)huge : 0;
	wrong = memory_count_wrong(p.dst, p.src, p.cell->bytes, SEED);
	return wrong ? child_fail(-EBADMSG, "%zu pages had wrong contents", wrong) : 0;
}
