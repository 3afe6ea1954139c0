/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/maps.h"
#include "base/sys.h"
#include "handover/region.h"
#include "handover/shared.h"

int mf_name_check(const char *name)
{
	size_t n = name ? strlen(name) : 0, i;

	if (n == 0 || n >= MF_WIRE_NAME_MAX)
		return mf_fail(-EINVAL, "a name has 1 to %d characters", MF_WIRE_NAME_MAX - 1);
	for (i = 0; i < n; i++)
		if (name[i] < 0x21 || name[i] > 0x7e)
			return mf_fail(-EINVAL, "a name is printable ASCII without blanks");
	return 0;
}

/* Accumulates over the mappings of a region. */
struct look {
	const struct mf_msg_region *w;
	bool shared;
	u64 next; /* first address not yet seen */
	u32 prot, flags;
	u64 page_size;
	int error;
	const char *why;
};

static int refuse(struct look *l, int error, const char *why)
{
	l->error = error;
	l->why = why;
	return 1;
}

static int look_at(const struct mf_vma *vma, void *arg)
{
	struct look *l = arg;
	bool first = l->next == l->w->addr;

	if (vma->start > l->next)
		return refuse(l, -ENOMEM, "is not mapped without gaps");
	if (!!(vma->flags & MF_VMA_SHARED) != l->shared)
		return refuse(l, -EINVAL,
			      l->shared ? "is not mapped MAP_SHARED"
					: "is shared: declare it with its descriptor");
	if (!l->shared && (vma->flags & MF_VMA_FILE) && !(vma->flags & MF_VMA_HUGETLB) &&
	    strncmp(vma->name, "/anon_hugepage", 14))
		return refuse(l, -EINVAL, "is a private file mapping, not anonymous");
	if (vma->flags & (MF_VMA_SPECIAL | MF_VMA_STACK))
		return refuse(l, -EINVAL, "is a stack or a device mapping");
	if (!first && vma->prot != l->prot)
		return refuse(l, -EINVAL,
			      "has parts of different protection: declare them "
			      "one by one");
	l->prot = vma->prot;
	l->flags |= vma->flags;
	if (vma->kernel_page_size > l->page_size)
		l->page_size = vma->kernel_page_size;
	l->next = vma->end;
	return 0;
}

static int walk(struct look *l, bool flags)
{
	const struct mf_msg_region *w = l->w;
	int r;

	l->next = w->addr;
	l->page_size = MF_PAGE_SIZE;
	r = flags ? mf_maps_walk_flags(w->addr, w->addr + w->len, look_at, l)
		  : mf_maps_walk(w->addr, w->addr + w->len, look_at, l);
	if (r < 0)
		return mf_fail(r, "cannot read the mappings of this process: %s",
			       mf_errno_text(r));
	if (!r && l->next < w->addr + w->len)
		refuse(l, -ENOMEM, "is not mapped without gaps");
	return 0;
}

static u32 wire_flags(u32 vma)
{
	return (vma & MF_VMA_THP ? MF_WIRE_REGION_THP : 0) |
	       (vma & MF_VMA_NOTHP ? MF_WIRE_REGION_NOTHP : 0) |
	       (vma & MF_VMA_LOCKED ? MF_WIRE_REGION_LOCKED : 0) |
	       (vma & MF_VMA_NORESERVE ? MF_WIRE_REGION_NORESERVE : 0) |
	       (vma & MF_VMA_DONTFORK ? MF_WIRE_REGION_DONTFORK : 0) |
	       (vma & MF_VMA_DONTDUMP ? MF_WIRE_REGION_DONTDUMP : 0);
}

int mf_region_inspect(struct mf_msg_region *w, bool shared)
{
	struct look l = { .w = w, .shared = shared };
	int r;

	if (mf_range_bad(w->addr, w->len) || !mf_is_aligned(w->addr | w->len, MF_PAGE_SIZE))
		return mf_fail(-EINVAL,
			       "region %s: address and length must be multiples of %llu",
			       w->name, (unsigned long long)MF_PAGE_SIZE);
	r = walk(&l, true);
	if (r)
		return r;
	if (l.error)
		return mf_fail(-EINVAL, "region %s %s", w->name, l.why);
	if (!shared && !mf_is_aligned(w->addr | w->len, l.page_size))
		return mf_fail(-EINVAL, "region %s: not aligned to its pages of %llu bytes",
			       w->name, (unsigned long long)l.page_size);
	w->prot = l.prot;
	w->flags |= wire_flags(l.flags);
	w->page_size = l.page_size;
	w->kind = shared		       ? MF_WIRE_SHARED_FD
		  : (l.flags & MF_VMA_HUGETLB) ? MF_WIRE_HUGETLB
					       : MF_WIRE_ANON;
	return 0;
}

int mf_region_verify(const struct mf_region *reg)
{
	struct look l = { .w = &reg->w, .shared = reg->w.kind == MF_WIRE_SHARED_FD };
	int r = walk(&l, false);

	if (r)
		return r;
	if (l.error)
		return mf_fail(-ESTALE, "region %s has changed since it was declared: it %s",
			       reg->w.name, l.why);
	if (l.prot != reg->w.prot)
		return mf_fail(-ESTALE,
			       "region %s has changed since it was declared: its "
			       "protection is different",
			       reg->w.name);
	if (mf_region_moves(&reg->w) && mf_arriving(reg->w.addr, reg->w.len))
		return mf_fail(-EBUSY,
			       "region %s is itself still arriving from a hand-over: try "
			       "again when that is complete",
			       reg->w.name);
	return 0;
}

/* ---------------------------------------------------------------- arriving */

struct arriving {
	struct arriving *next;
	const struct mf_shared *sh;
	u64 addr, len;
};

static pthread_mutex_t arriving_lock = PTHREAD_MUTEX_INITIALIZER;
static struct arriving *arriving_list;

void mf_arriving_add(const struct mf_shared *sh, const struct mf_msg_region *w)
{
	struct arriving *a = malloc(sizeof(*a));

	if (!a)
		return; /* a hand-on would then copy lazily from a lazy region: slow, sound */
	*a = (struct arriving){ .sh = sh, .addr = w->addr, .len = w->len };
	pthread_mutex_lock(&arriving_lock);
	a->next = arriving_list;
	arriving_list = a;
	pthread_mutex_unlock(&arriving_lock);
}

void mf_arriving_del(const struct mf_shared *sh)
{
	struct arriving **p, *a;

	pthread_mutex_lock(&arriving_lock);
	for (p = &arriving_list; (a = *p);) {
		if (a->sh != sh) {
			p = &a->next;
			continue;
		}
		*p = a->next;
		free(a);
	}
	pthread_mutex_unlock(&arriving_lock);
}

bool mf_arriving(u64 addr, u64 len)
{
	const struct arriving *a;
	bool found = false;

	pthread_mutex_lock(&arriving_lock);
	for (a = arriving_list; a && !found; a = a->next)
		found = a->addr < addr + len && addr < a->addr + a->len &&
			mf_load(&a->sh->phase) < MF_PHASE_RELEASED;
	pthread_mutex_unlock(&arriving_lock);
	return found;
}
