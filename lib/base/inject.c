/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inject.h"

/* Nothing to compile without -Dinject=true: mf_inject() is a constant then. */
#ifdef MF_ENABLE_INJECT

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mf_inject_plan mf_inject_plan;

static const char *const kind_names[MF_INJECT_KINDS] = {
	[MF_INJECT_IOCTL] = "ioctl",	 [MF_INJECT_MMAP] = "mmap", [MF_INJECT_READ] = "read",
	[MF_INJECT_SEND] = "send",	 [MF_INJECT_RECV] = "recv", [MF_INJECT_CLONE] = "clone",
	[MF_INJECT_MADVISE] = "madvise", [MF_INJECT_POLL] = "poll", [MF_INJECT_FD] = "fd",
	[MF_INJECT_ALLOC] = "alloc",
};

static u32 kind_named(const char *name, size_t len)
{
	for (u32 k = MF_INJECT_NONE + 1; k < MF_INJECT_KINDS; k++)
		if (strlen(kind_names[k]) == len && !memcmp(kind_names[k], name, len))
			return k;
	return MF_INJECT_NONE;
}

/* "ENOMEM" or "12"; 0 if it is neither. */
static s32 error_named(const char *name)
{
	char *end;
	long n = strtol(name, &end, 10);

	if (end != name)
		return *end == '\0' && n > 0 && n <= 4095 ? (s32)n : 0;
	for (s32 e = 1; e < 256; e++) {
		const char *have = strerrorname_np(e);

		if (have && !strcmp(have, name))
			return e;
	}
	return 0;
}

static int parse(const char *s, struct mf_inject_plan *ret)
{
	struct mf_inject_plan p = { 0 };
	const char *colon = strchr(s, ':');
	unsigned long nth;
	char *end;

	if (!colon)
		return -EINVAL;
	p.kind = kind_named(s, (size_t)(colon - s));
	if (colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	nth = strtoul(colon + 1, &end, 10);
	if (*end == '+') {
		p.forever = 1;
		end++;
	}
	if (p.kind == MF_INJECT_NONE || nth == 0 || nth > UINT32_MAX || *end != ':')
		return -EINVAL;
	p.nth = (u32)nth;
	p.error = error_named(end + 1);
	if (!p.error)
		return -EINVAL;
	*ret = p;
	return 0;
}

int mf_inject_from_env(void)
{
	const char *s = getenv("MF_INJECT");

	return s ? parse(s, &mf_inject_plan) : 0;
}

/*
 * Programs cannot reach the plan through the library's symbol map, so the environment is
 * read when it is loaded. A test that asks for a failure which it would never get must
 * not pass: in this build, and only in this one, a plan nobody understands is fatal.
 */
__attribute__((constructor)) static void plan_from_env(void)
{
	if (mf_inject_from_env())
		abort();
}

#else
typedef int mf_inject_is_off; /* ISO C wants something in every translation unit */
#endif
