/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gnuplot.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN_MS 30000
#define NOT_INSTALLED 127

/* The script is written to memory first: gnuplot reads a file, nobody waits for a pipe. */
struct gnuplot {
	int fd;
	FILE *script;
};

int gnuplot_open(struct gnuplot **ret, const char *png, int width, int height)
{
	struct gnuplot *g;

	if (!*png || strchr(png, '\'') || strchr(png, '\n')) {
		fprintf(stderr, "memferry: '%s' cannot be the name of a plot\n", png);
		return -EINVAL;
	}
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->fd = memfd_create("gnuplot", MFD_CLOEXEC);
	g->script = g->fd < 0 ? NULL : fdopen(g->fd, "w");
	if (!g->script) {
		if (g->fd >= 0)
			close(g->fd);
		free(g);
		return -ENOMEM;
	}
	fprintf(g->script,
		"set terminal pngcairo size %d,%d font 'sans,11'\n"
		"set output '%s'\n",
		width, height, png);
	*ret = g;
	return 0;
}

FILE *gnuplot_script(struct gnuplot *g)
{
	return g->script;
}

static void run_and_exit(int fd)
{
	lseek(fd, 0, SEEK_SET);
	dup2(fd, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execlp("gnuplot", "gnuplot", "-", (char *)NULL);
	_exit(NOT_INSTALLED);
}

static int wait_bounded(pid_t pid, int *status)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), r = -1;
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	if (pidfd >= 0) {
		do
			r = poll(&p, 1, RUN_MS);
		while (r < 0 && errno == EINTR);
		close(pidfd);
	}
	if (r <= 0)
		kill(pid, SIGKILL);
	waitpid(pid, status, 0);
	return r > 0 ? 0 : -ETIMEDOUT;
}

static int run(int fd)
{
	int status = 0, r;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_and_exit(fd);
	r = wait_bounded(pid, &status);
	if (r) {
		fprintf(stderr, "memferry: gnuplot did not finish within %d s\n",
			RUN_MS / 1000);
		return r;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED) {
		fprintf(stderr, "memferry: no plot: gnuplot is not installed "
				"(Debian: gnuplot-nox)\n");
		return -ENOENT;
	}
	if (status) {
		fprintf(stderr, "memferry: gnuplot failed\n");
		return -EIO;
	}
	return 0;
}

int gnuplot_close(struct gnuplot *g)
{
	int r = 0;

	if (fflush(g->script) || ferror(g->script))
		r = -EIO;
	else
		r = run(g->fd);
	fclose(g->script); /* and with it the descriptor */
	free(g);
	return r;
}
