/*
 * tlfs.h - what a guest and a Microsoft hypervisor agreed on: MSR and CPUID numbers, message and
 * page layouts, hypercall control word and status codes. Layouts only; no behaviour.
 *
 * Source: Hypervisor Top-Level Functional Specification ("TLFS"), the sections named below.
 */
#ifndef PARTITA_HYPERVISOR_TLFS_H
#define PARTITA_HYPERVISOR_TLFS_H

#include <stdint.h>

#define HV_PAGE_SIZE	4096u
#define HV_SINT_COUNT	16u
#define HV_STIMER_COUNT 4u

/* Synthetic MSRs ("Virtual Processors", "Timers", "Inter-Partition Communication" ...). */
#define HV_MSR_GUEST_OS_ID	     0x40000000u
#define HV_MSR_HYPERCALL	     0x40000001u
#define HV_MSR_VP_INDEX		     0x40000002u
#define HV_MSR_RESET		     0x40000003u
#define HV_MSR_VP_RUNTIME	     0x40000010u
#define HV_MSR_TIME_REF_COUNT	     0x40000020u
#define HV_MSR_REFERENCE_TSC	     0x40000021u
#define HV_MSR_TSC_FREQUENCY	     0x40000022u
#define HV_MSR_APIC_FREQUENCY	     0x40000023u
#define HV_MSR_EOI		     0x40000070u
#define HV_MSR_ICR		     0x40000071u
#define HV_MSR_TPR		     0x40000072u
#define HV_MSR_VP_ASSIST_PAGE	     0x40000073u
#define HV_MSR_SCONTROL		     0x40000080u
#define HV_MSR_SVERSION		     0x40000081u
#define HV_MSR_SIEFP		     0x40000082u
#define HV_MSR_SIMP		     0x40000083u
#define HV_MSR_EOM		     0x40000084u
#define HV_MSR_SINT0		     0x40000090u
#define HV_MSR_SINT15		     0x4000009Fu
#define HV_MSR_STIMER0_CONFIG	     0x400000B0u
#define HV_MSR_STIMER3_COUNT	     0x400000B7u
#define HV_MSR_GUEST_IDLE	     0x400000F0u
#define HV_MSR_CRASH_P0		     0x40000100u
#define HV_MSR_CRASH_CTL	     0x40000105u
#define HV_MSR_TSC_INVARIANT_CONTROL 0x40000118u
#define HV_MSR_FIRST		     0x40000000u
#define HV_MSR_LAST		     0x400001FFu

/* Registers that hold a page: enable bit, reserved bits, page number. */
#define HV_PAGE_ENABLE	    0x1ull
#define HV_PAGE_GPA(msr)    ((msr) & ~0xFFFull)
#define HV_HYPERCALL_LOCKED 0x2ull
#define HV_SCONTROL_ENABLE  0x1ull
#define HV_SYNIC_VERSION    1u

#define HV_SINT_VECTOR	 0x000000FFull
#define HV_SINT_MASKED	 0x00010000ull
#define HV_SINT_AUTO_EOI 0x00020000ull
#define HV_SINT_POLLING	 0x00040000ull

#define HV_STIMER_ENABLE       0x0001ull
#define HV_STIMER_PERIODIC     0x0002ull
#define HV_STIMER_LAZY	       0x0004ull
#define HV_STIMER_AUTO_ENABLE  0x0008ull
#define HV_STIMER_DIRECT       0x1000ull
#define HV_STIMER_VECTOR(cfg)  (((cfg) >> 4) & 0xFFu)
#define HV_STIMER_SINT(cfg)    (((cfg) >> 16) & 0xFu)
#define HV_STIMER_CONFIG_VALID 0xF1FFFull

/* Partition privileges: CPUID 0x40000003 EAX (low half) and EBX (high half). */
#define HV_PRIV_VP_RUNTIME	(1u << 0)
#define HV_PRIV_REFERENCE_COUNT (1u << 1)
#define HV_PRIV_SYNIC		(1u << 2)
#define HV_PRIV_STIMER		(1u << 3)
#define HV_PRIV_INTR_CTRL	(1u << 4)
#define HV_PRIV_HYPERCALL	(1u << 5)
#define HV_PRIV_VP_INDEX	(1u << 6)
#define HV_PRIV_RESET		(1u << 7)
#define HV_PRIV_REFERENCE_TSC	(1u << 9)
#define HV_PRIV_GUEST_IDLE	(1u << 10)
#define HV_PRIV_FREQUENCY	(1u << 11)
#define HV_PRIV_TSC_INVARIANT	(1u << 15)
#define HV_PRIV2_POST_MESSAGES	(1u << 4)
#define HV_PRIV2_SIGNAL_EVENTS	(1u << 5)
#define HV_PRIV2_EXTENDED_CALLS (1u << 20)
/* CPUID 0x40000003 EDX. */
#define HV_FEATURE_XMM_INPUT	  (1u << 4)
#define HV_FEATURE_GUEST_IDLE	  (1u << 5)
#define HV_FEATURE_FREQUENCY	  (1u << 8)
#define HV_FEATURE_CRASH	  (1u << 10)
#define HV_FEATURE_XMM_OUTPUT	  (1u << 15)
#define HV_FEATURE_SINT_POLLING	  (1u << 17)
#define HV_FEATURE_HYPERCALL_LOCK (1u << 18)
#define HV_FEATURE_DIRECT_STIMER  (1u << 19)
/* CPUID 0x40000004 EAX. */
#define HV_HINT_REMOTE_FLUSH   (1u << 2)
#define HV_HINT_APIC_MSRS      (1u << 3)
#define HV_HINT_RELAXED_TIMING (1u << 5)
#define HV_HINT_NO_AUTO_EOI    (1u << 9)
#define HV_HINT_CLUSTER_IPI    (1u << 10)
#define HV_HINT_EX_MASKS       (1u << 11)

/* "Hypercall Interface": the input value and the result value. */
#define HV_CALL_CODE(in)      ((uint16_t)((in)&0xFFFF))
#define HV_CALL_FAST	      0x10000ull
#define HV_CALL_VARHEAD(in)   ((unsigned)(((in) >> 17) & 0x3FF))
#define HV_CALL_NESTED	      0x80000000ull
#define HV_CALL_REP_COUNT(in) ((unsigned)(((in) >> 32) & 0xFFF))
#define HV_CALL_REP_START(in) ((unsigned)(((in) >> 48) & 0xFFF))
#define HV_CALL_RESERVED      0xF000F00078000000ull
#define HV_CALL_START_MASK    0x0FFF000000000000ull

enum {
	HV_CALL_FLUSH_SPACE = 0x0002,
	HV_CALL_FLUSH_LIST = 0x0003,
	HV_CALL_LONG_SPIN_WAIT = 0x0008,
	HV_CALL_SEND_IPI = 0x000B,
	HV_CALL_FLUSH_SPACE_EX = 0x0013,
	HV_CALL_FLUSH_LIST_EX = 0x0014,
	HV_CALL_SEND_IPI_EX = 0x0015,
	HV_CALL_POST_MESSAGE = 0x005C,
	HV_CALL_SIGNAL_EVENT = 0x005D,
	HV_CALL_QUERY_CAPABILITIES = 0x8001,
};

enum hv_status {
	HV_STATUS_SUCCESS = 0x00,
	HV_STATUS_INVALID_HYPERCALL_CODE = 0x02,
	HV_STATUS_INVALID_HYPERCALL_INPUT = 0x03,
	HV_STATUS_INVALID_ALIGNMENT = 0x04,
	HV_STATUS_INVALID_PARAMETER = 0x05,
	HV_STATUS_ACCESS_DENIED = 0x06,
	HV_STATUS_OPERATION_DENIED = 0x08,
	HV_STATUS_INVALID_VP_INDEX = 0x0E,
	HV_STATUS_INVALID_PORT_ID = 0x11,
	HV_STATUS_INVALID_CONNECTION_ID = 0x12,
	HV_STATUS_INSUFFICIENT_BUFFERS = 0x13,
	HV_STATUS_INVALID_SYNIC_STATE = 0x18,
};

/* "Virtual MMU": HV_FLUSH_FLAGS. */
#define HV_FLUSH_ALL_PROCESSORS	 0x1ull
#define HV_FLUSH_ALL_SPACES	 0x2ull
#define HV_FLUSH_NON_GLOBAL_ONLY 0x4ull

/* HV_VP_SET formats. */
#define HV_VP_SET_SPARSE 0u
#define HV_VP_SET_ALL	 1u

/* HV_MESSAGE: one slot of the SIM page. */
#define HV_MESSAGE_PAYLOAD_MAX	 240u
#define HV_MESSAGE_NONE		 0x00000000u
#define HV_MESSAGE_TIMER_EXPIRED 0x80000010u
#define HV_MESSAGE_HYPERVISOR	 0x80000000u
#define HV_MESSAGE_PENDING	 0x1u

struct hv_message {
	uint32_t type;
	uint8_t payload_size;
	uint8_t flags;
	uint16_t reserved;
	uint64_t origin;
	uint8_t payload[HV_MESSAGE_PAYLOAD_MAX];
};
_Static_assert(sizeof(struct hv_message) == 256, "HV_MESSAGE");

struct hv_timer_payload {
	uint32_t index;
	uint32_t reserved;
	uint64_t expiration; /* 100 ns of partition reference time, both */
	uint64_t delivery;
};
_Static_assert(sizeof(struct hv_timer_payload) == 24, "HV_TIMER_MESSAGE_PAYLOAD");

/* "Timers": HV_REFERENCE_TSC_PAGE. Sequence 0 says: do not use it. */
struct hv_reference_tsc_page {
	uint32_t sequence;
	uint32_t reserved;
	uint64_t scale;
	int64_t offset;
};

/* Event flags of one SINT in the SIEF page. */
#define HV_EVENT_FLAGS_COUNT 2048u

/* WHvVirtualProcessorStateTypeSynicTimerState: the state of the four timers. */
struct hv_stimer_state {
	uint32_t undelivered;
	uint32_t reserved;
	uint64_t config;
	uint64_t count;
	uint64_t adjustment;
	uint64_t undelivered_expiration;
};

struct hv_stimers_state {
	struct hv_stimer_state timer[HV_STIMER_COUNT];
	uint64_t reserved[5];
};
_Static_assert(sizeof(struct hv_stimers_state) == 200, "HV_SYNTHETIC_TIMERS_STATE");

#endif
