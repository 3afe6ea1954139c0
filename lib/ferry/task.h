/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ferry task: a process of its own (pid, descriptors) that shares our memory. The
 * public face is mf_task_*() in memferry.h; this is what the rooms above use.
 */
#ifndef MF_FERRY_TASK_H
#define MF_FERRY_TASK_H

#include "ferry/clone.h"
#include "memferry.h"

#define MF_TASK_KEEP_MAX 64

/* What a task finds at the top of its stack. Plain memory; the fault path reads it. */
struct mf_task_start {
	mf_task_fn fn;
	void *arg;
	char name[16];
	u32 n_keep;
	int keep[MF_TASK_KEEP_MAX]; /* ascending */
};

/* First code of a task: closes what it need not have, takes its name, calls fn. */
int mf_task_entry(void *start);

/*
 * Let go of a task that shall live on after @task is freed: nobody reaps it but init.
 * Its stack stays mapped.
 */
void mf_task_disown(struct mf_task *task);

/*
 * Has it ended? Asked by its number and not by its pidfd, which an application that closes
 * "all" descriptors closes too.
 */
bool mf_task_ended(struct mf_task *task);

#endif /* MF_FERRY_TASK_H */
