/*
 * uart.c - a 16550A as the National Semiconductor PC16550D datasheet describes it.
 *
 * The line is infinitely fast: a byte written is sent at once, so the transmitter is always empty,
 * and baud rate and frame format are kept but have no effect. The other end holds DCD, DSR and CTS
 * asserted. No received byte is lost: input that does not fit stays with the sender. The
 * character time-out is immediate: bytes below the trigger level interrupt as soon as they arrive.
 * As in a PC, OUT2 connects the interrupt output to the bus.
 */
#include "chipset/uart.h"

#include <string.h>

/* Registers */
#define RBR 0 /* receive buffer, read; DLL when DLAB */
#define THR 0 /* transmit holding, write; DLL when DLAB */
#define IER 1 /* DLM when DLAB */
#define IIR 2 /* read */
#define FCR 2 /* write */
#define LCR 3
#define MCR 4
#define LSR 5
#define MSR 6
#define SCR 7

#define IER_RDA	 0x01
#define IER_THRE 0x02
#define IER_RLS	 0x04
#define IER_MSR	 0x08

#define IIR_NONE    0x01
#define IIR_MSR	    0x00
#define IIR_THRE    0x02
#define IIR_RDA	    0x04
#define IIR_RLS	    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_TRIGGER  0xc0

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DR	 0x01
#define LSR_OE	 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DCTS 0x01
#define MSR_DDSR 0x02
#define MSR_TERI 0x04
#define MSR_DDCD 0x08
#define MSR_CTS	 0x10
#define MSR_DSR	 0x20
#define MSR_RI	 0x40
#define MSR_DCD	 0x80

static const uint8_t trigger_levels[] = {1, 4, 8, 14};

/* The upper half of MSR: the modem lines, or in loopback the port's own outputs. */
static uint8_t modem_lines(const struct uart *u)
{
	uint8_t lines = 0;

	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (u->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (u->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (u->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (u->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return lines;
}

static unsigned rx_capacity(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

/* The identification of the most urgent interrupt, without the FIFO bits. */
static uint8_t identify(const struct uart *u)
{
	if (u->ier & IER_RLS && u->lsr_errors)
		return IIR_RLS;
	if (u->ier & IER_RDA && u->rx_count) {
		if (u->fcr & FCR_ENABLE && u->rx_count < trigger_levels[u->fcr >> 6])
			return IIR_TIMEOUT;
		return IIR_RDA;
	}
	if (u->ier & IER_THRE && u->thre_pending)
		return IIR_THRE;
	if (u->ier & IER_MSR && u->msr_delta)
		return IIR_MSR;
	return IIR_NONE;
}

static void update(struct uart *u)
{
	bool connected = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	bool level = connected && identify(u) != IIR_NONE;

	if (level != u->level) {
		u->level = level;
		irq_line_set(&u->irq, level);
	}
}

/* Tells a sender whose bytes were refused that there is room now. */
static void offer_room(struct uart *u)
{
	if (u->refused && !u->rx_count && !(u->mcr & MCR_LOOP)) {
		u->refused = false;
		u->ops->serial_room(u->ctx, u->index);
	}
}

static void rx_push(struct uart *u, uint8_t byte)
{
	u->rx[(u->rx_first + u->rx_count++) % UART_FIFO] = byte;
}

static uint8_t rx_pop(struct uart *u)
{
	uint8_t byte = u->rx[u->rx_first];

	if (!u->rx_count)
		return 0;
	u->rx_first = (u->rx_first + 1) % UART_FIFO;
	u->rx_count--;
	offer_room(u);
	return byte;
}

static void rx_clear(struct uart *u)
{
	u->rx_first = u->rx_count = 0;
	offer_room(u);
}

/* A byte leaves the transmitter, which is empty again by the time anybody looks. */
static void transmit(struct uart *u, uint8_t byte)
{
	if (!(u->mcr & MCR_LOOP))
		u->ops->serial_output(u->ctx, u->index, byte);
	else if (u->rx_count < rx_capacity(u))
		rx_push(u, byte);
	else
		u->lsr_errors |= LSR_OE;
	u->thre_pending = true;
}

static void write_ier(struct uart *u, uint8_t value)
{
	/* Enabling the interrupt of an empty transmitter raises it (datasheet, 8.6). */
	if (!(u->ier & IER_THRE) && value & IER_THRE)
		u->thre_pending = true;
	u->ier = value & (IER_RDA | IER_THRE | IER_RLS | IER_MSR);
}

static void write_fcr(struct uart *u, uint8_t value)
{
	/* The other bits count only while the FIFOs are, or are being, enabled. */
	bool changed = (u->fcr ^ value) & FCR_ENABLE;

	if (changed || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
		rx_clear(u);
	if (value & FCR_ENABLE && value & FCR_CLEAR_TX)
		u->thre_pending = true;
	u->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

static void write_mcr(struct uart *u, uint8_t value)
{
	uint8_t before = modem_lines(u), changed;

	u->mcr = value & MCR_MASK;
	changed = before ^ modem_lines(u);
	u->msr_delta |= (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4;
	if (changed & before & MSR_RI) /* only the trailing edge counts */
		u->msr_delta |= MSR_TERI;
	offer_room(u);
}

static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
	struct uart *u = device;
	uint8_t value = 0;

	pthread_mutex_lock(&u->lock);
	switch (offset) {
	case RBR:
		value = u->lcr & LCR_DLAB ? u->divisor & 0xff : rx_pop(u);
		break;
	case IER:
		value = u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
		break;
	case IIR:
		value = identify(u);
		if (value == IIR_THRE) /* reading it takes it */
			u->thre_pending = false;
		if (u->fcr & FCR_ENABLE)
			value |= IIR_FIFO;
		break;
	case LCR:
		value = u->lcr;
		break;
	case MCR:
		value = u->mcr;
		break;
	case LSR:
		value = LSR_THRE | LSR_TEMT | u->lsr_errors | (u->rx_count ? LSR_DR : 0);
		u->lsr_errors = 0;
		break;
	case MSR:
		value = modem_lines(u) | u->msr_delta;
		u->msr_delta = 0;
		break;
	case SCR:
		value = u->scratch;
		break;
	}
	update(u);
	pthread_mutex_unlock(&u->lock);
	return value;
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct uart *u = device;

	pthread_mutex_lock(&u->lock);
	switch (offset) {
	case THR:
		if (u->lcr & LCR_DLAB)
			u->divisor = (u->divisor & 0xff00) | value;
		else
			transmit(u, value);
		break;
	case IER:
		if (u->lcr & LCR_DLAB)
			u->divisor = (u->divisor & 0xff) | value << 8;
		else
			write_ier(u, value);
		break;
	case FCR:
		write_fcr(u, value);
		break;
	case LCR:
		u->lcr = value;
		break;
	case MCR:
		write_mcr(u, value);
		break;
	case SCR:
		u->scratch = value;
		break;
	}
	update(u);
	pthread_mutex_unlock(&u->lock);
}

const struct bus_ops uart_bus_ops = {
	.width = 1,
	.read = uart_read,
	.write = uart_write,
};

size_t uart_input(struct uart *u, const uint8_t *bytes, size_t count)
{
	size_t n = 0;

	pthread_mutex_lock(&u->lock);
	if (!(u->mcr & MCR_LOOP)) {
		while (n < count && u->rx_count < rx_capacity(u))
			rx_push(u, bytes[n++]);
	}
	if (n < count)
		u->refused = true;
	update(u);
	pthread_mutex_unlock(&u->lock);
	return n;
}

void uart_init(struct uart *u, unsigned index, struct irq_line irq, const struct chipset_ops *ops,
	void *ctx)
{
	memset(u, 0, sizeof(*u));
	pthread_mutex_init(&u->lock, NULL);
	u->index = index;
	u->irq = irq;
	u->ops = ops;
	u->ctx = ctx;
	u->divisor = 12; /* 9600 baud */
}

void uart_destroy(struct uart *u)
{
	pthread_mutex_destroy(&u->lock);
}
