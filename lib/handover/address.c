/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/address.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"

#define BACKLOG 8

const char *mf_address_unix(const char *address)
{
	if (!strncmp(address, "unix:", 5))
		return address + 5;
	return strncmp(address, "tcp:", 4) ? address : NULL;
}

bool mf_address_is_tcp(const char *address)
{
	return !strncmp(address, "tcp:", 4);
}

static int fill(struct sockaddr_un *sun, const char *path)
{
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(sun->sun_path))
		return mf_fail(-EINVAL, "a unix socket path has 1 to %zu characters: '%s'",
			       sizeof(sun->sun_path) - 1, path);
	strcpy(sun->sun_path, path);
	return 0;
}

static int seqpacket(int *ret_fd)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return mf_fail(-errno, "socket: %s", mf_errno_text(errno));
	*ret_fd = fd;
	return 0;
}

/* A full queue is EAGAIN, and there is nothing to poll for. */
static int connect_in(int fd, const struct sockaddr_un *sun, int timeout_ms)
{
	u64 end = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;

	while (connect(fd, (const struct sockaddr *)sun, sizeof(*sun))) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (mf_now_ns() >= end)
			return -ETIMEDOUT;
		mf_sys_ppoll(NULL, 0, (s64)MF_NSEC_PER_MSEC);
	}
	return 0;
}

int mf_unix_connect(const char *path, int timeout_ms, int *ret_fd)
{
	struct sockaddr_un sun;
	int r = fill(&sun, path);
	int fd = -1;

	if (!r)
		r = seqpacket(&fd);
	if (r)
		return r;
	r = connect_in(fd, &sun, timeout_ms);
	if (r) {
		mf_sys_close(fd);
		if (r == -ETIMEDOUT)
			return mf_fail(r, "the source at %s does not accept connections", path);
		return mf_fail(r, "no memferry source listens at %s: %s", path,
			       mf_errno_text(r));
	}
	*ret_fd = fd;
	return 0;
}

/* A socket file that nobody answers is left over from a crash. */
static int clear_stale(const char *path)
{
	struct stat sb;
	int fd, r;

	if (lstat(path, &sb))
		return 0;
	if (!S_ISSOCK(sb.st_mode))
		return mf_fail(-EEXIST, "%s is in the way and is no socket", path);
	r = mf_unix_connect(path, 0, &fd);
	if (r == 0)
		mf_sys_close(fd);
	/* one whose queue is full is alive, too */
	if (r == 0 || r == -ETIMEDOUT)
		return mf_fail(-EADDRINUSE, "another process listens at %s", path);
	unlink(path);
	return 0;
}

int mf_unix_listen(const char *path, int *ret_fd)
{
	struct sockaddr_un sun;
	int r = fill(&sun, path);
	int fd = -1;

	if (!r)
		r = clear_stale(path);
	if (!r)
		r = seqpacket(&fd);
	if (r)
		return r;
	/* before bind() makes the file: never open to others, not for a moment */
	fchmod(fd, 0600);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) || chmod(path, 0600) ||
	    listen(fd, BACKLOG)) {
		r = -errno;
		mf_sys_close(fd);
		return mf_fail(r, "cannot listen at %s: %s", path, mf_errno_text(r));
	}
	*ret_fd = fd;
	return 0;
}

/* --------------------------------------------------------------- inherited */

#define INHERITED_MAX 16

static pthread_mutex_t inherited_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd; /* plus one: 0 is free */
} inherited[INHERITED_MAX];

void mf_inherit_listener(const char *path, int fd)
{
	size_t i;

	pthread_mutex_lock(&inherited_lock);
	for (i = 0; i < INHERITED_MAX && fd >= 0; i++) {
		if (inherited[i].fd)
			continue;
		snprintf(inherited[i].path, sizeof(inherited[i].path), "%s", path);
		inherited[i].fd = fd + 1;
		fd = -1;
	}
	pthread_mutex_unlock(&inherited_lock);
	if (fd >= 0)
		mf_sys_close(fd);
}

int mf_inherited_listener(const char *path)
{
	int fd = -1;
	size_t i;

	pthread_mutex_lock(&inherited_lock);
	for (i = 0; i < INHERITED_MAX && fd < 0; i++) {
		if (!inherited[i].fd || strcmp(inherited[i].path, path))
			continue;
		fd = inherited[i].fd - 1;
		inherited[i].fd = 0;
	}
	pthread_mutex_unlock(&inherited_lock);
	return fd;
}
