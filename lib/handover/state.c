/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/fdpass.h"
#include "base/sys.h"
#include "handover/shared.h"
#include "memferry.h"

/* ------------------------------------------------------------- descriptors */

static struct mf_named_fd *find(const struct mf_fd_list *l, const char *name)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->fd[i].fd >= 0 && !strcmp(l->fd[i].name, name))
			return &l->fd[i];
	return NULL;
}

int mf_fd_list_add(struct mf_fd_list *l, const char *name, int fd)
{
	struct mf_named_fd *grown;

	if (find(l, name))
		return mf_fail(-EEXIST, "there is a descriptor called %s already", name);
	if (l->n == l->room) {
		l->room = l->room ? l->room * 2 : 16;
		grown = realloc(l->fd, l->room * sizeof(*grown));
		if (!grown)
			return mf_fail(-ENOMEM, "no memory for descriptor %s", name);
		l->fd = grown;
	}
	l->fd[l->n].fd = fd;
	strncpy(l->fd[l->n].name, name, MF_WIRE_NAME_MAX - 1);
	l->fd[l->n].name[MF_WIRE_NAME_MAX - 1] = 0;
	l->n++;
	return 0;
}

int mf_fd_list_take(struct mf_fd_list *l, const char *name)
{
	struct mf_named_fd *e = find(l, name);
	int fd;

	if (!e)
		return -ENOENT;
	fd = e->fd;
	e->fd = -1;
	return fd;
}

void mf_fd_list_free(struct mf_fd_list *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->fd[i].fd >= 0)
			mf_sys_close(l->fd[i].fd);
	free(l->fd);
	*l = (struct mf_fd_list){ .n = 0 };
}

/* ------------------------------------------------------------------- state */

MF_API int mf_state_put(struct mf_state *st, const void *data, size_t len)
{
	size_t need, room = st->room ? st->room : 4096;
	u8 *grown;

	if (!len)
		return 0;
	if (!data || __builtin_add_overflow(st->len, len, &need) || need > SIZE_MAX / 2)
		return mf_fail(-EINVAL, "mf_state_put: impossible length");
	while (room < need)
		room *= 2;
	if (room > st->room) {
		grown = realloc(st->data, room);
		if (!grown)
			return mf_fail(-ENOMEM, "no memory for %zu bytes of state", need);
		st->data = grown;
		st->room = room;
	}
	memcpy(st->data + st->len, data, len);
	st->len = need;
	return 0;
}

MF_API int mf_state_fd(struct mf_state *st, const char *name, int fd)
{
	int r = mf_name_check(name);
	long dup;

	if (r)
		return r;
	dup = mf_sys_dup(fd);
	if (dup < 0)
		return mf_fail((int)dup, "descriptor %s: %s", name, mf_errno_text((int)dup));
	r = mf_fd_list_add(&st->fds, name, (int)dup);
	if (r)
		mf_sys_close((int)dup);
	return r;
}

void mf_state_free(struct mf_state *st)
{
	free(st->data);
	mf_fd_list_free(&st->fds);
	*st = (struct mf_state){ .len = 0 };
}

static int write_all(int fd, const u8 *p, size_t len)
{
	long n;

	while (len) {
		n = mf_sys_write(fd, p, len);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int seal(int fd, int seals)
{
	return fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
		       ? -errno
		       : 0;
}

int mf_state_to_memfd(const struct mf_state *st, int *ret_fd)
{
	long fd = mf_sys_memfd_create("memferry-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return mf_fail((int)fd, "memfd_create: %s", mf_errno_text((int)fd));
	r = write_all((int)fd, st->data, st->len);
	if (!r)
		r = seal((int)fd, F_SEAL_WRITE);
	if (r) {
		mf_sys_close((int)fd);
		return mf_fail(r, "cannot store the state: %s", mf_errno_text(r));
	}
	*ret_fd = (int)fd;
	return 0;
}

/* A file that its owner could still truncate would be a SIGBUS waiting to happen. */
static int check_memfd(int fd, u64 len, int seals)
{
	struct stat sb;
	int have = fcntl(fd, F_GET_SEALS);

	if (have < 0 || (have & seals) != seals)
		return mf_fail(-EPROTO, "the peer's memory file is not sealed");
	if (fstat(fd, &sb) || (u64)sb.st_size != len)
		return mf_fail(-EPROTO, "the peer's memory file has the wrong size");
	return 0;
}

int mf_state_from_memfd(int fd, u64 len, const void **ret_data)
{
	int r = check_memfd(fd, len, F_SEAL_SHRINK | F_SEAL_WRITE);
	long p;

	*ret_data = NULL;
	if (r || !len)
		return r;
	p = mf_sys_mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "cannot map the state: %s", mf_errno_text((int)p));
	*ret_data = (const void *)p;
	return 0;
}

/* ------------------------------------------------------------- shared page */

int mf_shared_map(int fd, u64 epoch, struct mf_shared **ret_sh)
{
	int r = check_memfd(fd, MF_SHARED_BYTES, F_SEAL_SHRINK);
	struct mf_shared *sh;
	long p;

	if (r)
		return r;
	p = mf_sys_mmap(NULL, MF_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "cannot map the shared page: %s", mf_errno_text((int)p));
	sh = (struct mf_shared *)p;
	if (sh->magic != MF_SHARED_MAGIC || sh->bytes != sizeof(*sh) || sh->epoch != epoch) {
		mf_shared_unmap(sh);
		return mf_fail(-EPROTO, "the shared page is of another version or hand-over");
	}
	*ret_sh = sh;
	return 0;
}

static int fill_shared(int fd, u64 epoch)
{
	struct {
		u32 magic, bytes;
		u64 epoch;
	} head = { MF_SHARED_MAGIC, sizeof(struct mf_shared), epoch };
	long r = mf_sys_ftruncate(fd, MF_SHARED_BYTES);

	if (!r)
		r = write_all(fd, (const u8 *)&head, sizeof(head));
	return r ? (int)r : seal(fd, 0);
}

int mf_shared_create(u64 epoch, int *ret_fd, struct mf_shared **ret_sh)
{
	long fd = mf_sys_memfd_create("memferry-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return mf_fail((int)fd, "memfd_create: %s", mf_errno_text((int)fd));
	r = fill_shared((int)fd, epoch);
	if (r)
		r = mf_fail(r, "cannot make the shared page: %s", mf_errno_text(r));
	else
		r = mf_shared_map((int)fd, epoch, ret_sh);
	if (r)
		mf_sys_close((int)fd);
	else
		*ret_fd = (int)fd;
	return r;
}

void mf_shared_unmap(struct mf_shared *sh)
{
	if (sh)
		mf_sys_munmap(sh, MF_SHARED_BYTES);
}

/* -------------------------------------------------------------- statistics */

static struct mf_latency latency(const struct mf_hist *h)
{
	return (struct mf_latency){
		.count = h->count,
		.p50_ns = mf_hist_quantile(h, 500),
		.p99_ns = mf_hist_quantile(h, 990),
		.p999_ns = mf_hist_quantile(h, 999),
		.max_ns = h->max,
	};
}

static u64 since(u64 from, u64 to)
{
	return from && to > from ? to - from : 0;
}

int mf_stats_from(const struct mf_shared *sh, struct mf_stats *st)
{
	if (!st || st->size != sizeof(*st))
		return mf_fail(-EINVAL, "set mf_stats.size to sizeof(struct mf_stats)");
	*st = (struct mf_stats){ .size = sizeof(*st) };
	if (!sh)
		return 0;
	st->bytes_total = sh->bytes_total;
	st->bytes_done = sh->bytes_done;
	st->pages_move = sh->pages_move;
	st->pages_give = sh->pages_give;
	st->pages_copy = sh->pages_copy;
	st->pages_fd = sh->pages_fd;
	st->pages_zero = sh->pages_zero;
	st->pages_poisoned = sh->pages_poisoned;
	st->pages_released = sh->pages_released;
	st->pages_huge = sh->pages_huge;
	st->faults = sh->faults;
	st->blackout_ns = since(sh->t_quiesce_ns, sh->t_commit_ns);
	st->drain_ns = since(sh->t_commit_ns, sh->t_drained_ns);
	st->total_ns = since(sh->t_attach_ns, sh->t_drained_ns);
	st->serve = latency(&sh->serve);
	st->fault = latency(&sh->fault);
	st->placement = sh->placement;
	st->place_same_ns = sh->place_ns[MF_PLACE_SAME];
	st->place_spin_ns = sh->place_ns[MF_PLACE_SPIN];
	st->place_sleep_ns = sh->place_ns[MF_PLACE_SLEEP];
	return 0;
}
