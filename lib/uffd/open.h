/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MF_UFFD_OPEN_H
#define MF_UFFD_OPEN_H

#include "base/types.h"

/*
 * A new non-blocking userfaultfd with all of @required and as many of @wanted as the
 * kernel has. Errors as mf_uffd_open().
 */
int mf_uffd_create(u64 required, u64 wanted, unsigned int flags, int *ret_fd,
		   u64 *ret_features);

#endif /* MF_UFFD_OPEN_H */
