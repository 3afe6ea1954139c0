/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data set: what the value of a key is follows from the key's number and the value's
 * version alone, so each can be checked to the last byte without keeping a copy.
 */
#ifndef MF_DEMO_DATA_H
#define MF_DEMO_DATA_H

#include <stddef.h>
#include <stdint.h>

#define DATA_LEN_MIN 100
#define DATA_LEN_MAX 65536
#define DATA_KEY_BYTES 24

void data_key(char ret_key[DATA_KEY_BYTES], uint32_t index);
/* DATA_LEN_MIN .. DATA_LEN_MAX, each doubling as frequent as the next. */
size_t data_len(uint32_t index, uint32_t version);
/* @buf has room for data_len() bytes. */
void data_fill(char *buf, uint32_t index, uint32_t version);
/* The number of keys whose first values make about @bytes. */
uint32_t data_keys_for(uint64_t bytes);
/* A generator for whoever needs one: 64 bits of it. */
uint64_t data_random(uint64_t *state);

#endif /* MF_DEMO_DATA_H */
