/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Option structs that may grow: the first field is the size the caller was compiled with.
 * A shorter one is padded with zeros; of a longer one the unknown tail must be zero.
 */
#ifndef MF_BASE_OPTS_H
#define MF_BASE_OPTS_H

#include <errno.h>
#include <string.h>

#include "base/fail.h"

static inline int mf_opts_copy(void *to, size_t known, const void *from, const char *call)
{
	size_t given, i;

	memset(to, 0, known);
	if (!from)
		return 0;
	memcpy(&given, from, sizeof(given));
	if (given < sizeof(given))
		return mf_fail(-EINVAL, "%s: set the options' size field", call);
	for (i = known; i < given; i++)
		if (((const unsigned char *)from)[i])
			return mf_fail(-E2BIG, "%s: an option that this library is too old for",
				       call);
	memcpy(to, from, given < known ? given : known);
	return 0;
}

#endif /* MF_BASE_OPTS_H */
