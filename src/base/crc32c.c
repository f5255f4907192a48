/*
 * crc32c.c - CRC-32C by the processor's instruction (SSE4.2), or four bits at a time where there is
 * none.
 */
#include "base/crc32c.h"

#include <nmmintrin.h>
#include <string.h>

__attribute__((target("sse4.2"))) static uint32_t by_instruction(
	uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t wide = crc;
	uint64_t word;

	for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = wide;
	while (n--)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t n)
{
	/* What four bits do to the rest: the polynomial is 0x82f63b78, its lowest bit first. */
	static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6,
		0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

	for (; n; n--, p++) {
		crc = table[(crc ^ *p) & 15] ^ crc >> 4;
		crc = table[(crc ^ *p >> 4) & 15] ^ crc >> 4;
	}
	return crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
	return ~(__builtin_cpu_supports("sse4.2") ? by_instruction : by_table)(~crc, data, n);
}
