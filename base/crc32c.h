/* CRC32C (Castagnoli): reflected polynomial 0x82F63B78, the checksum of iSCSI, ext4 and btrfs,
 * which x86 computes with one instruction. Finds every burst of up to 32 flipped bits and, in
 * blocks of up to 64 MiB, misses a random change once in 2^32. Against accidents only, not against
 * anyone who means harm. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The checksum of `n` bytes that follow those whose checksum is `crc`; start with 0. So
 * crc32c(crc32c(0, a), b) is the checksum of a and b together. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

/* The same without special instructions: the specification, for tests. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t n);
