/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much private memory the servers have between them, sampled while one succeeds the
 * other: RssAnon of every process below this one, each address space counted once.
 */
#ifndef MF_DEMO_RAM_H
#define MF_DEMO_RAM_H

#include <stdint.h>
#include <sys/types.h>

/* Sample until demo_ram_stop(). @not_this and what it starts are left out. -errno. */
int demo_ram_start(pid_t not_this);
void demo_ram_stop(void);
/* The most recent sum in bytes; 0: none yet. The peak starts anew from there. */
uint64_t demo_ram_mark(void);
uint64_t demo_ram_peak(void);

#endif /* MF_DEMO_RAM_H */
