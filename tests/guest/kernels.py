"""The other ways into a kernel: PVH, Multiboot, and what PCs had before."""

from boot import CMDLINE, check_log
from harness import tail, test


@test("kernels: PVH entry of an ELF kernel")
def pvh(context):
    result = context.run("--kernel", context.kernel("vmlinux"), "--initrd",
                         context.initrd("facts"), "--cmdline", CMDLINE, "--processors", 2)
    context.check(result.status == 0,
                  f"status {result.status}\n{result.errors}{tail(result.console)}")
    result.output()
    check_log(result.console)
    context.check(result.facts().get("hyperv") == "Microsoft Hyper-V", tail(result.console))


@test("kernels: Multiboot with command line, module and memory map")
def multiboot(context):
    module = context.folder / "module"
    module.write_text("contents of a module")
    result = context.run("--kernel", context.assemble("multiboot"), "--cmdline", "some words",
                         "--initrd", module, "--memory", "64M", deadline=20)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
    for text in ("some words", "upper 0000fc00", "modules 00000001",
                 "module contents of a module", "string output", "flags 00000045", "end"):
        context.check(text in result.console, f"no {text!r} in\n{tail(result.console)}")


@test("kernels: PIT and PIC interrupts")
def pit(context):
    result = context.run("--kernel", context.assemble("pit"), "--memory", "16M", deadline=20)
    context.check(result.status == 0 and "ten ticks" in result.console,
                  f"status {result.status}: {result.errors}{tail(result.console)}")
    context.check(result.seconds >= 0.1, f"ten ticks of 10 ms took {result.seconds:.3f} s")
