#!/bin/sh
# x86_tailcall.sh OBJDUMP LIBRARY... - every operation of the software processor must go on with a
# jump, or the host's stack grows with each instruction of the guest.
#
# A tail call that the compiler could not make shows as an indirect call behind which the function
# only cleans up and returns. Prints such functions; status 1 if there are any, or if the library
# shows no indirect jump at all and so cannot have been what it should be.
objdump=$1
shift
"$objdump" -d --no-show-raw-insn "$@" | awk '
	/^[0-9a-f]+ <.*>:$/ { name = $2; called = 0; next }
	/\tjmp +\*/ { jumps++ }
	# the way in
	name == "<x86_enter>:" { next }
	/\tcall +\*/ { called = 1; next }
	called && /\t(add|sub|lea) .*%rsp$/ { next }
	called && /\t(pop|leave|nop|cs nopw|nopl|nopw|xchg +%ax,%ax)/ { next }
	called && /\tret/ { print "not a tail call: " name; bad++ }
	{ called = 0 }
	END {
		print jumps + 0 " indirect jumps, " bad + 0 " calls in their place"
		exit bad > 0 || jumps < 1000
	}'
