/*
 * x86_oracle_random.c - random operands, weighted towards the values at which processors differ:
 * zeros, sign and size boundaries, not-a-numbers, denormals, integers too large to convert.
 * The generator is SplitMix64, so a seed reproduces a run everywhere.
 */
#include <string.h>

#include "x86_oracle.h"

uint64_t oracle_random(struct oracle_random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

unsigned oracle_below(struct oracle_random *r, unsigned n)
{
	return (unsigned)((oracle_random(r) >> 32) * n >> 32);
}

bool oracle_once_in(struct oracle_random *r, unsigned n)
{
	return oracle_below(r, n) == 0;
}

uint64_t oracle_integer_value(struct oracle_random *r)
{
	static const uint8_t top[4] = {7, 15, 31, 63};

	switch (oracle_below(r, 8)) {
	case 0:
		return 0;
	case 1: /* small, either sign */
		return (uint64_t)((int64_t)oracle_below(r, 33) - 16);
	case 2: /* around a sign bit */
		return (1ull << top[oracle_below(r, 4)]) + oracle_below(r, 3) - 1;
	case 3: /* one run of ones */
		return (~0ull >> oracle_below(r, 64)) << oracle_below(r, 64);
	case 4: /* one bit */
		return 1ull << oracle_below(r, 64);
	default:
		return oracle_random(r) >> (oracle_once_in(r, 3) ? oracle_below(r, 64) : 0);
	}
}

static uint32_t real32(struct oracle_random *r)
{
	uint32_t sign = oracle_once_in(r, 2) ? 0x80000000u : 0;
	uint32_t bits = (uint32_t)oracle_random(r);
	float f;

	switch (oracle_below(r, 12)) {
	case 0:
		return sign;
	case 1:
		return sign | 0x7f800000u;
	case 2: /* quiet or signalling, by chance */
		return sign | 0x7f800000u | (bits & 0x7fffffu);
	case 3:
		return sign | (bits & 0x7fffffu);
	case 4:
		return sign | 0x7f7fffffu;
	case 5: /* too large for some integer, or just not */
		return sign | ((127u + oracle_below(r, 66)) << 23) | (bits & 0x7fffffu);
	case 6:
		f = (float)(int32_t)(bits & 0xff) * 0.5f;
		memcpy(&bits, &f, 4);
		return sign | bits;
	case 7:
		return bits;
	default: /* near one, so that sums cancel and products stay finite */
		return sign | ((120u + oracle_below(r, 16)) << 23) | (bits & 0x7fffffu);
	}
}

static uint64_t real64(struct oracle_random *r)
{
	uint64_t sign = oracle_once_in(r, 2) ? 1ull << 63 : 0;
	uint64_t fraction = oracle_random(r) & 0xfffffffffffffull;
	uint64_t bits;
	double d;

	switch (oracle_below(r, 12)) {
	case 0:
		return sign;
	case 1:
		return sign | 0x7ffull << 52;
	case 2:
		return sign | 0x7ffull << 52 | fraction;
	case 3:
		return sign | fraction;
	case 4:
		return sign | 0x7fefffffffffffffull;
	case 5:
		return sign | (1023ull + oracle_below(r, 66)) << 52 | fraction;
	case 6:
		d = (double)(fraction & 0xff) * 0.5;
		memcpy(&bits, &d, 8);
		return sign | bits;
	case 7:
		return oracle_random(r);
	case 8: /* the ends of single precision */
		return sign |
		       (1023ull + (oracle_once_in(r, 2) ? 127 : -127ull) + oracle_below(r, 5) - 2)
			       << 52 |
		       fraction;
	default:
		return sign | (1016ull + oracle_below(r, 16)) << 52 | fraction;
	}
}

void oracle_real80(struct oracle_random *r, uint8_t to[10])
{
	uint64_t mantissa = oracle_random(r) | 1ull << 63;
	uint16_t exponent = (uint16_t)(16383 - 8 + oracle_below(r, 16));
	uint16_t sign = oracle_once_in(r, 2) ? 0x8000 : 0;

	switch (oracle_below(r, 16)) {
	case 0:
		mantissa = 0;
		exponent = 0;
		break;
	case 1:
		mantissa = 1ull << 63;
		exponent = 0x7fff;
		break;
	case 2:
		exponent = 0x7fff;
		break;
	case 3: /* a denormal */
		mantissa &= ~(1ull << 63);
		exponent = 0;
		break;
	case 4: /* an integer */
		mantissa = (uint64_t)(1 + oracle_below(r, 255)) << 56 | 1ull << 63;
		break;
	case 5: /* a format the x87 no longer supports */
		mantissa &= ~(1ull << 63);
		break;
	case 6:
		exponent = (uint16_t)(oracle_random(r) & 0x7fff);
		break;
	case 7: /* too large for some integer, or just not */
		exponent = (uint16_t)(16383 + oracle_below(r, 70));
		break;
	case 8: /* the ends of double precision */
		exponent = (uint16_t)(16383 + (oracle_once_in(r, 2) ? 1023 : -1023) + 2 -
				      (int)oracle_below(r, 5));
		break;
	case 9:
		mantissa = 1ull << 63;
		exponent = 16383;
		break;
	}
	exponent |= sign;
	memcpy(to, &mantissa, 8);
	memcpy(to + 8, &exponent, 2);
}

static void packed_decimal(struct oracle_random *r, uint8_t to[10])
{
	for (int i = 0; i < 9; i++)
		to[i] = (uint8_t)(oracle_below(r, 10) << 4 | oracle_below(r, 10));
	to[9] = oracle_once_in(r, 2) ? 0x80 : 0;
}

void oracle_fill(struct oracle_random *r, uint32_t how, void *to, unsigned size)
{
	uint8_t *p = to;
	uint8_t item[16];
	unsigned step;

	for (unsigned at = 0; at < size; at += step) {
		uint64_t value;

		if (how & F32) {
			value = real32(r);
			step = 4;
		} else if (how & F64) {
			value = real64(r);
			step = 8;
		} else {
			value = oracle_integer_value(r);
			step = 8;
		}
		memcpy(item, &value, 8);
		if (how & F80) {
			oracle_real80(r, item);
			step = 10;
		} else if (how & BCD) {
			packed_decimal(r, item);
			step = 10;
		}
		memcpy(p + at, item, step < size - at ? step : size - at);
	}
}
