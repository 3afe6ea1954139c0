/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzzer without libFuzzer: FUZZER [RUNS [SEED [FIRST]]]. Runs FIRST .. FIRST +
 * RUNS - 1 of SEED are the same everywhere, each by itself: what the last line of a crash
 * says is how to see it again.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

/* Seeds longer than this are rare, for their runs are slow. */
#define LONG_SEED 2048

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static char again[128];

static void tell(void)
{
	if (write(STDERR_FILENO, again, strlen(again)) < 0)
		_exit(3);
}

static void on_signal(int sig)
{
	tell();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void watch(void)
{
	static const int sigs[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE };

	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(tell);
		signal(SIGABRT, on_signal); /* our own checks */
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		signal(sigs[i], on_signal);
}

static int check_seeds(const char *name, size_t *ret_n)
{
	static u8 buf[MF_FUZZ_MAX];
	u64 before = mf_fuzz_accepted;
	size_t i, n;

	for (i = 0; (n = mf_fuzz_seed(i, buf)); i++)
		LLVMFuzzerTestOneInput(buf, n);
	*ret_n = i;
	if (mf_fuzz_accepted - before >= i / 2)
		return 0;
	fprintf(stderr, "%s: its own seeds are refused\n", name);
	return 1;
}

static void one_run(struct mf_rng *rng, size_t n_seeds)
{
	static u8 buf[MF_FUZZ_MAX];
	size_t n = mf_fuzz_seed(mf_rng_below(rng, n_seeds), buf);
	u8 *exact;

	while (n > LONG_SEED && mf_rng_below(rng, 16))
		n = mf_fuzz_seed(mf_rng_below(rng, n_seeds), buf);
	n = mf_mutate(rng, buf, n, sizeof(buf));
	/* exactly its size, so that sanitizers see one byte too many */
	exact = malloc(n ? n : 1);
	if (!exact)
		abort();
	memcpy(exact, buf, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

int main(int argc, char **argv)
{
	u64 runs = argc > 1 ? strtoull(argv[1], NULL, 0) : 100000;
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	u64 first = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	size_t n_seeds;
	u64 before;

	watch();
	snprintf(again, sizeof(again), "%s: died in its seeds\n", name);
	if (check_seeds(name, &n_seeds))
		return 1;
	before = mf_fuzz_accepted;
	for (u64 run = first; run < first + runs; run++) {
		struct mf_rng rng = { .state = seed << 40 ^ run };

		snprintf(again, sizeof(again), "%s: see it again: %s 1 %llu %llu\n", name, name,
			 (unsigned long long)seed, (unsigned long long)run);
		mf_rng_next(&rng);
		one_run(&rng, n_seeds);
	}
	printf("%s: %llu runs of seed %llu, %llu messages accepted\n", name,
	       (unsigned long long)runs, (unsigned long long)seed,
	       (unsigned long long)(mf_fuzz_accepted - before));
	return runs >= 1000 && mf_fuzz_accepted == before; /* nothing got past the gate */
}
