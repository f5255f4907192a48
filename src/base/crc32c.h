/*
 * crc32c.h - the checksum of Castagnoli's polynomial (RFC 3720 appendix B.4), which VHDX uses.
 */
#ifndef PARTITA_BASE_CRC32C_H
#define PARTITA_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c - go on from @crc, the sum of the bytes before (0: there are none), over @n bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

#endif
