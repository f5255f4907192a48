/*
 * x86_oracle_sse.c - MMX, SSE to SSE4.2, AES and PCLMULQDQ. Encodings: Intel SDM vol. 2.
 */
#include <string.h>

#include "x86_oracle.h"

/* The four forms of an arithmetic instruction: packed and scalar, single and double. */
/* clang-format off */
#define PS(name, op) { name "ps", "0F " op " /r", F32 | ALIGNED }
#define PD(name, op) { name "pd", "66 0F " op " /r", F64 | ALIGNED }
#define SS(name, op) { name "ss", "F3 0F " op " /r", F32 }
#define SD(name, op) { name "sd", "F2 0F " op " /r", F64 }
#define PACKED(name, op) PS(name, op), PD(name, op)
#define FOUR(name, op) PS(name, op), PD(name, op), SS(name, op), SD(name, op)
/* clang-format on */

#define ARITHMETIC                                                                                 \
	FOUR("sqrt", "51"), FOUR("add", "58"), FOUR("mul", "59"), FOUR("sub", "5C"),               \
		FOUR("min", "5D"), FOUR("div", "5E"), FOUR("max", "5F")

static const struct oracle_template sse_arithmetic[] = {
	ARITHMETIC,
	PS("rsqrt", "52"),
	SS("rsqrt", "52"),
	PS("rcp", "53"),
	SS("rcp", "53"),
	PACKED("and", "54"),
	PACKED("andn", "55"),
	PACKED("or", "56"),
	PACKED("xor", "57"),
	PACKED("unpckl", "14"),
	PACKED("unpckh", "15"),
	{"haddpd", "66 0F 7C /r", F64 | ALIGNED, 0, SSE3},
	{"haddps", "F2 0F 7C /r", F32 | ALIGNED, 0, SSE3},
	{"hsubpd", "66 0F 7D /r", F64 | ALIGNED, 0, SSE3},
	{"hsubps", "F2 0F 7D /r", F32 | ALIGNED, 0, SSE3},
	{"addsubpd", "66 0F D0 /r", F64 | ALIGNED, 0, SSE3},
	{"addsubps", "F2 0F D0 /r", F32 | ALIGNED, 0, SSE3},
	{"shufps", "0F C6 /r ib", F32 | ALIGNED},
	{"shufpd", "66 0F C6 /r ib", F64 | ALIGNED},
	{"cmpps", "0F C2 /r ib", F32 | ALIGNED},
	{"cmppd", "66 0F C2 /r ib", F64 | ALIGNED},
	{"cmpss", "F3 0F C2 /r ib", F32},
	{"cmpsd", "F2 0F C2 /r ib", F64},
	{"ucomiss", "0F 2E /r", F32},
	{"ucomisd", "66 0F 2E /r", F64},
	{"comiss", "0F 2F /r", F32},
	{"comisd", "66 0F 2F /r", F64},
	{"roundps", "66 0F 3A 08 /r ib", F32 | ALIGNED, 0, SSE41},
	{"roundpd", "66 0F 3A 09 /r ib", F64 | ALIGNED, 0, SSE41},
	{"roundss", "66 0F 3A 0A /r ib", F32, 0, SSE41},
	{"roundsd", "66 0F 3A 0B /r ib", F64, 0, SSE41},
	{"dpps", "66 0F 3A 40 /r ib", F32 | ALIGNED, 0, SSE41},
	{"dppd", "66 0F 3A 41 /r ib", F64 | ALIGNED, 0, SSE41},
};

static const struct oracle_template sse_convert[] = {
	{"cvtpi2ps", "0F 2A /r"},
	{"cvtpi2pd", "66 0F 2A /r"},
	{"cvtsi2ss", "F3 0F 2A /r", O32 | O64},
	{"cvtsi2sd", "F2 0F 2A /r", O32 | O64},
	{"cvttps2pi", "0F 2C /r", F32},
	{"cvttpd2pi", "66 0F 2C /r", F64 | ALIGNED},
	{"cvttss2si", "F3 0F 2C /r", O32 | O64 | F32},
	{"cvttsd2si", "F2 0F 2C /r", O32 | O64 | F64},
	{"cvtps2pi", "0F 2D /r", F32},
	{"cvtpd2pi", "66 0F 2D /r", F64 | ALIGNED},
	{"cvtss2si", "F3 0F 2D /r", O32 | O64 | F32},
	{"cvtsd2si", "F2 0F 2D /r", O32 | O64 | F64},
	{"cvtps2pd", "0F 5A /r", F32},
	{"cvtpd2ps", "66 0F 5A /r", F64 | ALIGNED},
	{"cvtss2sd", "F3 0F 5A /r", F32},
	{"cvtsd2ss", "F2 0F 5A /r", F64},
	{"cvtdq2ps", "0F 5B /r", ALIGNED},
	{"cvtps2dq", "66 0F 5B /r", F32 | ALIGNED},
	{"cvttps2dq", "F3 0F 5B /r", F32 | ALIGNED},
	{"cvttpd2dq", "66 0F E6 /r", F64 | ALIGNED},
	{"cvtdq2pd", "F3 0F E6 /r"},
	{"cvtpd2dq", "F2 0F E6 /r", F64 | ALIGNED},
};

/* What raises #XM when unmasked. */
/* clang-format off */
#define CONTROLLED(name, code, how) { name, code, (how) | CONTROL }
#define UNMASKED(name, op)                                                                         \
	CONTROLLED(name "ps", "0F " op " /r", F32 | ALIGNED),                                      \
	CONTROLLED(name "pd", "66 0F " op " /r", F64 | ALIGNED),                                   \
	CONTROLLED(name "ss", "F3 0F " op " /r", F32),                                             \
	CONTROLLED(name "sd", "F2 0F " op " /r", F64)
/* clang-format on */

static const struct oracle_template sse_unmasked[] = {
	UNMASKED("sqrt", "51"),
	UNMASKED("add", "58"),
	UNMASKED("mul", "59"),
	UNMASKED("sub", "5C"),
	UNMASKED("min", "5D"),
	UNMASKED("div", "5E"),
	UNMASKED("max", "5F"),
	CONTROLLED("cvtps2pd", "0F 5A /r", F32),
	CONTROLLED("cvtsd2ss", "F2 0F 5A /r", F64),
	CONTROLLED("cvtps2dq", "66 0F 5B /r", F32 | ALIGNED),
	CONTROLLED("cvttsd2si", "F2 0F 2C /r", O32 | O64 | F64),
	CONTROLLED("cmpsd", "F2 0F C2 /r ib", F64),
	CONTROLLED("comiss", "0F 2F /r", F32),
	CONTROLLED("ucomisd", "66 0F 2E /r", F64),
};

/* Mostly a value that LDMXCSR accepts; bit 17 is accepted by AMD's processors only. */
static void control_word(struct oracle_case *c, struct oracle_random *r)
{
	uint32_t value = (uint32_t)oracle_random(r) & ~0x20000u;

	if (!oracle_once_in(r, 8))
		value &= 0xffff;
	memcpy(oracle_memory(c, c->target), &value, 4);
}

/* MASKMOVQ and MASKMOVDQU store at RDI. */
static void masked_store(struct oracle_case *c, struct oracle_random *r)
{
	c->in.gpr[X86_RDI] = ORACLE_TARGET + oracle_below(r, ORACLE_TARGET_SIZE);
	if (c->address32)
		c->in.gpr[X86_RDI] |= oracle_random(r) << 32;
}

static const struct oracle_template sse_move[] = {
	{"movups", "0F 10 /r"},
	{"movups", "0F 11 /r"},
	{"movupd", "66 0F 10 /r"},
	{"movupd", "66 0F 11 /r"},
	{"movss", "F3 0F 10 /r"},
	{"movss", "F3 0F 11 /r"},
	{"movsd", "F2 0F 10 /r"},
	{"movsd", "F2 0F 11 /r"},
	{"movlps", "0F 12 /r"},
	{"movlps", "0F 13 /r", MEM_ONLY},
	{"movlpd", "66 0F 12 /r", MEM_ONLY},
	{"movlpd", "66 0F 13 /r", MEM_ONLY},
	{"movddup", "F2 0F 12 /r", 0, 0, SSE3},
	{"movsldup", "F3 0F 12 /r", ALIGNED, 0, SSE3},
	{"movhps", "0F 16 /r"},
	{"movhps", "0F 17 /r", MEM_ONLY},
	{"movhpd", "66 0F 16 /r", MEM_ONLY},
	{"movhpd", "66 0F 17 /r", MEM_ONLY},
	{"movshdup", "F3 0F 16 /r", ALIGNED, 0, SSE3},
	{"movaps", "0F 28 /r", ALIGNED},
	{"movaps", "0F 29 /r", ALIGNED},
	{"movapd", "66 0F 28 /r", ALIGNED},
	{"movapd", "66 0F 29 /r", ALIGNED},
	{"movntps", "0F 2B /r", MEM_ONLY | ALIGNED},
	{"movntpd", "66 0F 2B /r", MEM_ONLY | ALIGNED},
	{"movmskps", "0F 50 /r", REG_ONLY},
	{"movmskpd", "66 0F 50 /r", REG_ONLY},
	{"movd", "0F 6E /r", O32 | O64},
	{"movd", "66 0F 6E /r", O32 | O64},
	{"movd", "0F 7E /r", O32 | O64},
	{"movd", "66 0F 7E /r", O32 | O64},
	{"movq", "F3 0F 7E /r"},
	{"movq", "66 0F D6 /r"},
	{"movq", "0F 6F /r"},
	{"movq", "0F 7F /r"},
	{"movdqa", "66 0F 6F /r", ALIGNED},
	{"movdqa", "66 0F 7F /r", ALIGNED},
	{"movdqu", "F3 0F 6F /r"},
	{"movdqu", "F3 0F 7F /r"},
	{"lddqu", "F2 0F F0 /r", MEM_ONLY, 0, SSE3},
	{"movntq", "0F E7 /r", MEM_ONLY},
	{"movntdq", "66 0F E7 /r", MEM_ONLY | ALIGNED},
	{"movntdqa", "66 0F 38 2A /r", MEM_ONLY | ALIGNED, 0, SSE41},
	{"movq2dq", "F3 0F D6 /r", REG_ONLY},
	{"movdq2q", "F2 0F D6 /r", REG_ONLY},
	{"pmovmskb", "0F D7 /r", REG_ONLY},
	{"pmovmskb", "66 0F D7 /r", REG_ONLY},
	{"maskmovq", "0F F7 /r", REG_ONLY | PLAIN, 0, ALWAYS, masked_store},
	{"maskmovdqu", "66 0F F7 /r", REG_ONLY | PLAIN, 0, ALWAYS, masked_store},
	{"emms", "0F 77", PLAIN},
	{"ldmxcsr", "0F AE /2", MEM_ONLY, 0, ALWAYS, control_word},
	{"stmxcsr", "0F AE /3", MEM_ONLY},
	{"lfence", "0F AE E8", PLAIN},
	{"mfence", "0F AE F0", PLAIN},
	{"sfence", "0F AE F8", PLAIN},
	{"clflush", "0F AE /7", MEM_ONLY},
};

/* An integer instruction with an MMX and an SSE2 form. */
/* clang-format off */
#define BOTH(name, op) { name, "0F " op " /r" }, { name, "66 0F " op " /r", ALIGNED }
/* clang-format on */

/* Shift counts in range half the time. */
static void vector_count(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t count = oracle_below(r, 70);

	if (oracle_once_in(r, 2))
		return;
	if (c->memory) {
		memcpy(oracle_memory(c, c->target), &count, 8);
	} else {
		memcpy(c->in.fx.xmm[c->rm], &count, 8);
		memcpy(c->in.fx.st[c->rm & 7], &count, 8);
	}
}

/* clang-format off */
#define SHIFT(name, op)                                                                            \
	{ name, "0F " op " /r", 0, 0, ALWAYS, vector_count },                                      \
	{ name, "66 0F " op " /r", ALIGNED, 0, ALWAYS, vector_count }
#define SHIFT_IMM(name, op, digit)                                                                 \
	{ name, "0F " op " /" digit " ib", REG_ONLY },                                             \
	{ name, "66 0F " op " /" digit " ib", REG_ONLY }
/* clang-format on */

static const struct oracle_template vector[] = {
	BOTH("punpcklbw", "60"),
	BOTH("punpcklwd", "61"),
	BOTH("punpckldq", "62"),
	BOTH("packsswb", "63"),
	BOTH("pcmpgtb", "64"),
	BOTH("pcmpgtw", "65"),
	BOTH("pcmpgtd", "66"),
	BOTH("packuswb", "67"),
	BOTH("punpckhbw", "68"),
	BOTH("punpckhwd", "69"),
	BOTH("punpckhdq", "6A"),
	BOTH("packssdw", "6B"),
	{"punpcklqdq", "66 0F 6C /r", ALIGNED},
	{"punpckhqdq", "66 0F 6D /r", ALIGNED},
	{"pshufw", "0F 70 /r ib"},
	{"pshufd", "66 0F 70 /r ib", ALIGNED},
	{"pshufhw", "F3 0F 70 /r ib", ALIGNED},
	{"pshuflw", "F2 0F 70 /r ib", ALIGNED},
	SHIFT_IMM("psrlw", "71", "2"),
	SHIFT_IMM("psraw", "71", "4"),
	SHIFT_IMM("psllw", "71", "6"),
	SHIFT_IMM("psrld", "72", "2"),
	SHIFT_IMM("psrad", "72", "4"),
	SHIFT_IMM("pslld", "72", "6"),
	SHIFT_IMM("psrlq", "73", "2"),
	SHIFT_IMM("psllq", "73", "6"),
	{"psrldq", "66 0F 73 /3 ib", REG_ONLY},
	{"pslldq", "66 0F 73 /7 ib", REG_ONLY},
	BOTH("pcmpeqb", "74"),
	BOTH("pcmpeqw", "75"),
	BOTH("pcmpeqd", "76"),
	{"pinsrw", "0F C4 /r ib"},
	{"pinsrw", "66 0F C4 /r ib"},
	{"pextrw", "0F C5 /r ib", REG_ONLY},
	{"pextrw", "66 0F C5 /r ib", REG_ONLY},
	SHIFT("psrlw", "D1"),
	SHIFT("psrld", "D2"),
	SHIFT("psrlq", "D3"),
	BOTH("paddq", "D4"),
	BOTH("pmullw", "D5"),
	BOTH("psubusb", "D8"),
	BOTH("psubusw", "D9"),
	BOTH("pminub", "DA"),
	BOTH("pand", "DB"),
	BOTH("paddusb", "DC"),
	BOTH("paddusw", "DD"),
	BOTH("pmaxub", "DE"),
	BOTH("pandn", "DF"),
	BOTH("pavgb", "E0"),
	SHIFT("psraw", "E1"),
	SHIFT("psrad", "E2"),
	BOTH("pavgw", "E3"),
	BOTH("pmulhuw", "E4"),
	BOTH("pmulhw", "E5"),
	BOTH("psubsb", "E8"),
	BOTH("psubsw", "E9"),
	BOTH("pminsw", "EA"),
	BOTH("por", "EB"),
	BOTH("paddsb", "EC"),
	BOTH("paddsw", "ED"),
	BOTH("pmaxsw", "EE"),
	BOTH("pxor", "EF"),
	SHIFT("psllw", "F1"),
	SHIFT("pslld", "F2"),
	SHIFT("psllq", "F3"),
	BOTH("pmuludq", "F4"),
	BOTH("pmaddwd", "F5"),
	BOTH("psadbw", "F6"),
	BOTH("psubb", "F8"),
	BOTH("psubw", "F9"),
	BOTH("psubd", "FA"),
	BOTH("psubq", "FB"),
	BOTH("paddb", "FC"),
	BOTH("paddw", "FD"),
	BOTH("paddd", "FE"),
};

/* clang-format off */
#define S3(name, op)                                                                               \
	{ name, "0F 38 " op " /r", 0, 0, SSSE3 },                                                  \
	{ name, "66 0F 38 " op " /r", ALIGNED, 0, SSSE3 }
#define S41(name, op) { name, "66 0F 38 " op " /r", ALIGNED, 0, SSE41 }
#define EXTEND(name, op) { name, "66 0F 38 " op " /r", 0, 0, SSE41 }
/* clang-format on */

/* Lengths of PCMPESTRI and PCMPESTRM: small, either sign; and strings that often match. */
static void string_compare(struct oracle_case *c, struct oracle_random *r)
{
	uint8_t *other = c->memory ? oracle_memory(c, c->target) : c->in.fx.xmm[c->rm];

	if (!(c->used & 1u << X86_RAX))
		c->in.gpr[X86_RAX] = (uint64_t)((int64_t)oracle_below(r, 48) - 24);
	if (!(c->used & 1u << X86_RDX))
		c->in.gpr[X86_RDX] = (uint64_t)((int64_t)oracle_below(r, 48) - 24);
	if (oracle_once_in(r, 4))
		return;
	for (int i = 0; i < 16; i++) {
		c->in.fx.xmm[c->reg][i] = (uint8_t)(oracle_below(r, 6) * 0x33);
		other[i] = (uint8_t)(oracle_below(r, 6) * 0x33);
	}
}

static const struct oracle_template sse4[] = {
	S3("pshufb", "00"),
	S3("phaddw", "01"),
	S3("phaddd", "02"),
	S3("phaddsw", "03"),
	S3("pmaddubsw", "04"),
	S3("phsubw", "05"),
	S3("phsubd", "06"),
	S3("phsubsw", "07"),
	S3("psignb", "08"),
	S3("psignw", "09"),
	S3("psignd", "0A"),
	S3("pmulhrsw", "0B"),
	S3("pabsb", "1C"),
	S3("pabsw", "1D"),
	S3("pabsd", "1E"),
	{"palignr", "0F 3A 0F /r ib", 0, 0, SSSE3},
	{"palignr", "66 0F 3A 0F /r ib", ALIGNED, 0, SSSE3},
	S41("pblendvb", "10"),
	S41("blendvps", "14"),
	S41("blendvpd", "15"),
	S41("ptest", "17"),
	EXTEND("pmovsxbw", "20"),
	EXTEND("pmovsxbd", "21"),
	EXTEND("pmovsxbq", "22"),
	EXTEND("pmovsxwd", "23"),
	EXTEND("pmovsxwq", "24"),
	EXTEND("pmovsxdq", "25"),
	S41("pmuldq", "28"),
	S41("pcmpeqq", "29"),
	S41("packusdw", "2B"),
	EXTEND("pmovzxbw", "30"),
	EXTEND("pmovzxbd", "31"),
	EXTEND("pmovzxbq", "32"),
	EXTEND("pmovzxwd", "33"),
	EXTEND("pmovzxwq", "34"),
	EXTEND("pmovzxdq", "35"),
	{"pcmpgtq", "66 0F 38 37 /r", ALIGNED, 0, SSE42},
	S41("pminsb", "38"),
	S41("pminsd", "39"),
	S41("pminuw", "3A"),
	S41("pminud", "3B"),
	S41("pmaxsb", "3C"),
	S41("pmaxsd", "3D"),
	S41("pmaxuw", "3E"),
	S41("pmaxud", "3F"),
	S41("pmulld", "40"),
	S41("phminposuw", "41"),
	{"blendps", "66 0F 3A 0C /r ib", ALIGNED, 0, SSE41},
	{"blendpd", "66 0F 3A 0D /r ib", ALIGNED, 0, SSE41},
	{"pblendw", "66 0F 3A 0E /r ib", ALIGNED, 0, SSE41},
	{"pextrb", "66 0F 3A 14 /r ib", 0, 0, SSE41},
	{"pextrw", "66 0F 3A 15 /r ib", 0, 0, SSE41},
	{"pextrd", "66 0F 3A 16 /r ib", O32 | O64, 0, SSE41},
	{"extractps", "66 0F 3A 17 /r ib", 0, 0, SSE41},
	{"pinsrb", "66 0F 3A 20 /r ib", 0, 0, SSE41},
	{"insertps", "66 0F 3A 21 /r ib", 0, 0, SSE41},
	{"pinsrd", "66 0F 3A 22 /r ib", O32 | O64, 0, SSE41},
	{"mpsadbw", "66 0F 3A 42 /r ib", ALIGNED, 0, SSE41},
	{"pcmpestrm", "66 0F 3A 60 /r ib", O32 | O64, 0, SSE42, string_compare},
	{"pcmpestri", "66 0F 3A 61 /r ib", O32 | O64, 0, SSE42, string_compare},
	{"pcmpistrm", "66 0F 3A 62 /r ib", 0, 0, SSE42, string_compare},
	{"pcmpistri", "66 0F 3A 63 /r ib", 0, 0, SSE42, string_compare},
};

static const struct oracle_template crypto[] = {
	{"aesimc", "66 0F 38 DB /r", ALIGNED, 0, AES},
	{"aesenc", "66 0F 38 DC /r", ALIGNED, 0, AES},
	{"aesenclast", "66 0F 38 DD /r", ALIGNED, 0, AES},
	{"aesdec", "66 0F 38 DE /r", ALIGNED, 0, AES},
	{"aesdeclast", "66 0F 38 DF /r", ALIGNED, 0, AES},
	{"aeskeygenassist", "66 0F 3A DF /r ib", ALIGNED, 0, AES},
	{"pclmulqdq", "66 0F 3A 44 /r ib", ALIGNED, 0, PCLMUL},
	{"sha1nexte", "0F 38 C8 /r", ALIGNED, 0, SHA},
	{"sha1msg1", "0F 38 C9 /r", ALIGNED, 0, SHA},
	{"sha1msg2", "0F 38 CA /r", ALIGNED, 0, SHA},
	{"sha256rnds2", "0F 38 CB /r", ALIGNED, 0, SHA},
	{"sha256msg1", "0F 38 CC /r", ALIGNED, 0, SHA},
	{"sha256msg2", "0F 38 CD /r", ALIGNED, 0, SHA},
	{"sha1rnds4", "0F 3A CC /r ib", ALIGNED, 0, SHA},
};

const struct oracle_family oracle_sse[] = {
	ORACLE_FAMILY("sse_arithmetic", sse_arithmetic),
	ORACLE_FAMILY("sse_convert", sse_convert),
	ORACLE_FAMILY("sse_unmasked", sse_unmasked),
	ORACLE_FAMILY("sse_move", sse_move),
	ORACLE_FAMILY("vector", vector),
	ORACLE_FAMILY("sse4", sse4),
	ORACLE_FAMILY("crypto", crypto),
};
const unsigned oracle_sse_count = sizeof(oracle_sse) / sizeof(oracle_sse[0]);
