/*
 * uart.h - a 16550A serial port.
 */
#ifndef PARTITA_CHIPSET_UART_H
#define PARTITA_CHIPSET_UART_H

#include <pthread.h>
#include <stddef.h>

#include "chipset/bus.h"
#include "chipset/chipset.h"

#define UART_PORTS 8
#define UART_FIFO  16

struct uart {
	const struct chipset_ops *ops;
	void *ctx;
	unsigned index; /* which COM port, for ops */
	struct irq_line irq;

	pthread_mutex_t lock;
	uint8_t ier, lcr, mcr, scratch;
	uint8_t lsr_errors; /* OE until LSR is read */
	uint8_t msr_delta;
	uint16_t divisor;
	uint8_t fcr;
	uint8_t rx[UART_FIFO];
	unsigned rx_first, rx_count;
	bool thre_pending; /* the transmitter-empty interrupt was not yet taken */
	bool refused;	   /* input was turned away: say when there is room */
	bool level;	   /* of the interrupt line */
};

void uart_init(struct uart *uart, unsigned index, struct irq_line irq,
	const struct chipset_ops *ops, void *ctx);
void uart_destroy(struct uart *uart);
/* uart_input - bytes from the line. Returns how many fitted: serial_room() follows if not all. */
size_t uart_input(struct uart *uart, const uint8_t *bytes, size_t count);

/* Its registers: UART_PORTS ports, one byte each. */
extern const struct bus_ops uart_bus_ops;

#endif
