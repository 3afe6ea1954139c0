/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"
#include "sys.h"

#define READ_BYTES 4096
/* What is kept of a line: the numbers and 63 bytes of name, or all VmFlags there are. */
#define LINE_BYTES 512

struct walk {
	u64 start, end;
	mf_vma_fn fn;
	void *arg;
	bool flags; /* reading smaps: a mapping is complete when the next one begins */
	bool pending;
	struct mf_vma vma;
	size_t n;
	char line[LINE_BYTES];
};

static const char *get_hex(const char *p, u64 *ret)
{
	u64 v = 0;
	const char *from = p;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (u64)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (u64)(*p - 'a' + 10);
		else
			break;
	}
	*ret = v;
	return p > from ? p : NULL;
}

static const char *get_dec(const char *p, u64 *ret)
{
	const char *from = p;
	u64 v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (u64)(*p - '0');
	*ret = v;
	return p > from ? p : NULL;
}

static const char *skip(const char *p, char c)
{
	return p && *p == c ? p + 1 : NULL;
}

static void set_name(struct mf_vma *vma, const char *p)
{
	while (*p == ' ')
		p++;
	strncpy(vma->name, p, sizeof(vma->name) - 1);
}

/*
 * "7f0c4a000000-7f0c4a021000 rw-p 00000000 00:00 0      [name]"
 * False: not the first line of a mapping.
 */
static bool parse_head(const char *p, struct mf_vma *ret)
{
	u64 major, minor;

	memset(ret, 0, sizeof(*ret));
	p = skip(get_hex(p, &ret->start), '-');
	if (p)
		p = skip(get_hex(p, &ret->end), ' ');
	if (!p || strnlen(p, 5) < 5)
		return false;
	ret->prot = (p[0] == 'r' ? PROT_READ : 0u) | (p[1] == 'w' ? PROT_WRITE : 0u) |
		    (p[2] == 'x' ? PROT_EXEC : 0u);
	ret->flags = p[3] == 's' ? MF_VMA_SHARED : 0;
	p = skip(get_hex(p + 5, &ret->offset), ' ');
	if (p)
		p = skip(get_hex(p, &major), ':');
	if (p)
		p = skip(get_hex(p, &minor), ' ');
	if (p)
		p = get_dec(p, &ret->inode);
	if (!p)
		return false;
	if (ret->inode)
		ret->flags |= MF_VMA_FILE;
	set_name(ret, p);
	return true;
}

static u32 flag_of(const char *two)
{
	static const struct {
		char name[3];
		u32 flag;
	} known[] = {
		{ "lo", MF_VMA_LOCKED },   { "ht", MF_VMA_HUGETLB },
		{ "hg", MF_VMA_THP },	   { "nh", MF_VMA_NOTHP },
		{ "dc", MF_VMA_DONTFORK }, { "nr", MF_VMA_NORESERVE },
		{ "dd", MF_VMA_DONTDUMP }, { "um", MF_VMA_UFFD },
		{ "uw", MF_VMA_UFFD },	   { "ui", MF_VMA_UFFD },
		{ "io", MF_VMA_SPECIAL },  { "pf", MF_VMA_SPECIAL },
		{ "mm", MF_VMA_SPECIAL },  { "gd", MF_VMA_STACK },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (two[0] == known[i].name[0] && two[1] == known[i].name[1])
			return known[i].flag;
	return 0;
}

static void parse_detail(const char *line, struct mf_vma *vma)
{
	static const char page_size[] = "KernelPageSize:";
	static const char vm_flags[] = "VmFlags:";
	const char *p;

	if (!strncmp(line, page_size, sizeof(page_size) - 1)) {
		u64 kib = 0;

		p = line + sizeof(page_size) - 1;
		get_dec(p + strspn(p, " "), &kib);
		vma->kernel_page_size = kib * MF_KIB;
	} else if (!strncmp(line, vm_flags, sizeof(vm_flags) - 1)) {
		for (p = line + sizeof(vm_flags) - 1; p[0] == ' ' && p[1] && p[2]; p += 3)
			vma->flags |= flag_of(p + 1);
	}
}

/* Hand out the mapping that was read; it is told once. */
static int emit(struct walk *w)
{
	if (!w->pending)
		return 0;
	w->pending = false;
	return w->fn(&w->vma, w->arg);
}

/* *ret_past: nothing of interest follows. */
static int take_line(struct walk *w, bool *ret_past)
{
	struct mf_vma next;
	int r;

	w->line[w->n] = '\0';
	w->n = 0;
	if (!parse_head(w->line, &next)) {
		if (!w->flags)
			return mf_fail(-EPROTO,
				       "/proc/self/maps has a line that is not a "
				       "mapping: \"%.100s\"",
				       w->line);
		if (w->pending)
			parse_detail(w->line, &w->vma);
		return 0;
	}
	r = emit(w);
	if (r)
		return r;
	*ret_past = next.start >= w->end;
	if (*ret_past || next.end <= w->start)
		return 0;
	w->vma = next;
	w->pending = true;
	return w->flags ? 0 : emit(w);
}

/* Lines may be split anywhere between reads; what is longer than a line's room is cut. */
static int take_bytes(struct walk *w, const char *buf, size_t n, bool *ret_past)
{
	while (n && !*ret_past) {
		const char *eol = memchr(buf, '\n', n);
		size_t part = eol ? (size_t)(eol - buf) : n;
		size_t keep = mf_min(part, sizeof(w->line) - 1 - w->n);
		int r;

		memcpy(w->line + w->n, buf, keep);
		w->n += keep;
		if (!eol)
			return 0;
		r = take_line(w, ret_past);
		if (r)
			return r;
		buf += part + 1;
		n -= part + 1;
	}
	return 0;
}

static int read_lines(struct walk *w, int fd, const char *path)
{
	char buf[READ_BYTES];
	bool past = false;

	while (!past) {
		long n = mf_sys_read(fd, buf, sizeof(buf));
		int r;

		if (n == -EINTR)
			continue;
		if (n < 0)
			return mf_fail((int)n, "cannot read %s: %s", path,
				       mf_errno_text((int)n));
		if (n == 0)
			break;
		r = take_bytes(w, buf, (size_t)n, &past);
		if (r)
			return r;
	}
	return emit(w);
}

static int walk_file(const char *path, struct walk *w)
{
	long fd;
	int r;

	if (w->start >= w->end)
		return 0;
	fd = mf_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return mf_fail((int)fd, "cannot open %s: %s; memferry needs /proc mounted",
			       path, mf_errno_text((int)fd));
	r = read_lines(w, (int)fd, path);
	mf_sys_close((int)fd);
	return r;
}

int mf_maps_walk(u64 start, u64 end, mf_vma_fn fn, void *arg)
{
	struct walk w = { .start = start, .end = end, .fn = fn, .arg = arg };

	return walk_file("/proc/self/maps", &w);
}

int mf_maps_walk_flags(u64 start, u64 end, mf_vma_fn fn, void *arg)
{
	struct walk w = { .start = start, .end = end, .fn = fn, .arg = arg, .flags = true };

	return walk_file("/proc/self/smaps", &w);
}
