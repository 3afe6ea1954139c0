/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The processes of the demo: started here, waited for here, and gone when it ends, however
 * it ends. The program makes itself the subreaper, so that ferry tasks whose server has left
 * become its children.
 */
#ifndef MF_DEMO_PROCS_H
#define MF_DEMO_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCS_MAX 64

/* Once, before anything is started. */
int procs_init(void);
/* Start @argv; its output and errors go to the files (NULL: /dev/null). A pid or -errno. */
pid_t procs_start(char *const argv[], const char *out, const char *err);
/* Has it ended? Then *ret_status is as waitpid(2) gives it. */
bool procs_ended(pid_t pid, int *ret_status);
/* Wait for its end. -ETIMEDOUT, -EINTR (a signal ends the demo). */
int procs_wait(pid_t pid, unsigned int timeout_ms, int *ret_status);
/* End all that is left: ask, then insist. */
void procs_end_all(void);

/* The children of @pid, as many as fit. Returns how many. */
size_t procs_children(pid_t pid, pid_t *ret_pids, size_t max);

/* Where ferrykv is: @wish, or beside this program, or in PATH. -ENOENT. */
int procs_find_server(const char *wish, char *ret_path, size_t size);

#endif /* MF_DEMO_PROCS_H */
