# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Runs calls of machine code in Bochs' CPU: code for processors that the machine at hand is not.

In: `bochs.py FOLDER` with FOLDER/image.json and FOLDER/image.bin. Out: FOLDER/out.json and FOLDER/out.bin.

    image.json = {
      "model": "sapphire_rapids",             a name of MODELS
      "xcr0": 231, "mxcsr": 8064,             what the system has enabled; MXCSR at every call
      "cpuid": [[leaf, subleaf, register, bits]],   bits to set in answers of CPUID (0..3: EAX, EBX, ECX, EDX)
      "amx": null,                            tile instructions: undefined; "granted": executed (see amx.py); "asked": executed once
                                              the system has granted them, until when their state is not available (#NM), as on Linux
      "syscalls": [[[number, rdi, rsi], answer]],   what the system answers; any other system call is an error
      "segments": [{"address": 65536, "size": 4096, "access": "rx", "offset": 0, "bytes": 100}],
      "calls": [{"entry": 65536, "args": [1, 2]}],  System V; more than six go on the stack; {"rax": 0}
                                                    is what call 0 returned
      "dump": [{"address": 65536, "size": 8}]       ranges for out.bin, one behind the other
    }
    out.json = { "calls": [{"rax": 0, "mxcsr": 8064}], "fault": null }

`size` is rounded up to pages and filled with zeros behind the `bytes` that come from image.bin at `offset`; what is in no segment is
not mapped, so that a page left out on either side is a guard. A fault ends the run and is told as {"call", "vector", "error",
"address" (of the instruction), "memory" (what a page fault was about), "what"}. Every register that calls keep is checked, the
stack pointer, and that tiles are in their initial state. Code runs in ring 0 of 64-bit mode under four-level paging, with write protection and no-execute enforced.

The wheel `bochscpu-python` knows one processor, the last of its list, and no way to choose: its parameter is widened and set through
the library's own functions. The answers of CPUID go through a method of the model, which is replaced in its table. Both are checked.
"""
import ctypes
import json
import mmap
import os
import pathlib
import struct
import sys

import bochscpu
import bochscpu.memory
import bochscpu._bochscpu as binding

LIB = ctypes.CDLL(binding.__file__)
PAGE = 4096
# Numbers are those of Bochs' list; a signature is what CPUID leaf 1 says in EAX.
MODELS = {
    "corei7_sandy_bridge_2600k": (19, 0x206A7, "_ZNK27corei7_sandy_bridge_2600k_t14get_cpuid_leafEjjP16cpuid_function_t"),
    "corei7_haswell_4770": (24, 0x306C3, "_ZNK21corei7_haswell_4770_t14get_cpuid_leafEjjP16cpuid_function_t"),
    "corei7_skylake_x": (26, 0x50654, "_ZNK18corei7_skylake_x_t14get_cpuid_leafEjjP16cpuid_function_t"),
    "sapphire_rapids": (30, 0x806F8, "_ZNK17sapphire_rapids_t14get_cpuid_leafEjjP16cpuid_function_t"),
}
KEPT = ["rbx", "rbp", "r12", "r13", "r14", "r15"]
ARGS = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"]
# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux.
REQUEST_TILES = [158, 0x1023, 18]
# What pushes an error code.
WITH_ERROR = {8, 10, 11, 12, 13, 14, 17, 21}
UNDEFINED, PAGE_FAULT, SYSCALL = 6, 14, 0x80
# The guest's system: tables and stubs in one read-only page, the stack of handlers in another.
SYSTEM = 0xFFFF_8000_0000_0000
STUBS, TSS, GDT = SYSTEM + 0x800, SYSTEM + 0xE00, SYSTEM + 0xF00
SYSCALL_STUB, RETURN, BOOT, BOOT_END = STUBS + 0x200, STUBS + 0x240, STUBS + 0x280, STUBS + 0x293
HANDLERS = SYSTEM + 2 * PAGE
STACK, STACK_BYTES = 0xFFFF_9000_0000_0000, 4 << 20


class Fault(Exception):
    """The guest did what its processor refuses."""

    def __init__(self, vector, address, what, error=0, memory=0):
        super().__init__(what)
        self.fields = dict(vector=vector, address=address, what=what, error=error, memory=memory)


class Memory:
    """The guest's memory: segments in one piece of ours, and the page tables that map them."""

    def __init__(self, segments):
        spaces = [(s["address"], s["size"], s["access"]) for s in segments]
        system = [(SYSTEM, PAGE, "rx"), (HANDLERS - PAGE, PAGE, "rw"), (STACK, STACK_BYTES, "rw")]
        self.spaces, physical = [], 0
        for address, size, access in spaces + system:
            size = -(-size // PAGE) * PAGE
            assert address % PAGE == 0, hex(address)
            self.spaces.append((address, size, access, physical))
            physical += size
        self.tables = {0: {}}
        for address, size, access, at in self.spaces:
            flags = 1 | ("w" in access) << 1 | ("x" not in access) << 63
            for offset in range(0, size, PAGE):
                self.enter(address + offset, at + offset | flags)
        # Tables behind the segments.
        where = {table: physical + i * PAGE for i, table in enumerate(self.tables)}
        self.root = where[0]
        self.map = mmap.mmap(-1, physical + len(where) * PAGE)
        for table, entries in self.tables.items():
            for index, entry in entries.items():
                entry = where[entry] | 3 if isinstance(entry, tuple) else entry
                struct.pack_into("<Q", self.map, where[table] + 8 * index, entry)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        for at in range(0, len(self.map), PAGE):
            bochscpu.memory.page_insert(at, base + at)

    def enter(self, address, entry):
        """Maps a page; a table is named by its level and the address bits above it."""
        table = 0
        for level in (39, 30, 21):
            index = address >> level & 511
            below = (level, address >> level)
            self.tables[table].setdefault(index, below)
            self.tables.setdefault(below, {})
            table = below
        assert address >> 12 & 511 not in self.tables[table], f"{address:#x} is mapped twice"
        self.tables[table][address >> 12 & 511] = entry

    def at(self, address, size, write=False):
        """Where a range lies in `map`; None where it is not all in one segment that allows the access."""
        for start, length, access, physical in self.spaces:
            if start <= address and address + size <= start + length:
                return None if write and "w" not in access else physical + address - start
        return None

    def read(self, address, size):
        at = self.at(address, size)
        assert at is not None, f"{address:#x}..+{size} is not mapped"
        return self.map[at : at + size]

    def write(self, address, data):
        at = self.at(address, len(data))
        assert at is not None, f"{address:#x}..+{len(data)} is not mapped"
        self.map[at : at + len(data)] = data


def choose_model(name):
    """The processor that the next session has."""
    LIB.sim_get_param_enum.restype = ctypes.c_void_p
    param = ctypes.c_void_p(LIB.sim_get_param_enum(b"cpu.model"))
    LIB._ZN14bx_param_num_c9set_rangeEmm(param, ctypes.c_ulong(0), ctypes.c_ulong(255))
    LIB._ZN15bx_param_enum_c3setEl(param, ctypes.c_long(MODELS[name][0]))


def answer_cpuid(name, wanted):
    """Sets bits in the answers of CPUID: the model's method is replaced in its table of methods. Yields what must stay alive."""
    method = getattr(LIB, MODELS[name][2])
    own = ctypes.cast(method, ctypes.c_void_p).value
    table = ctypes.c_uint64.in_dll(LIB, "_ZTV" + MODELS[name][2][4:].split("14get_cpuid_leaf")[0])
    shape = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))
    asks = shape(own)

    def answer(model, leaf, subleaf, registers):
        asks(model, leaf, subleaf, registers)
        for at_leaf, at_subleaf, register, bits in wanted:
            if (leaf, subleaf) == (at_leaf, at_subleaf):
                registers[register] |= bits

    answers = shape(answer)
    slots = (ctypes.c_uint64 * 16).from_address(ctypes.addressof(table))
    slot = next(i for i, x in enumerate(slots) if x == own)
    libc = ctypes.CDLL(None)
    page = ctypes.addressof(slots) + 8 * slot & -PAGE
    assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 3) == 0
    slots[slot] = ctypes.cast(answers, ctypes.c_void_p).value
    return answers


def system(memory, xcr0):
    """Writes tables and stubs. Every interrupt goes to a stub of its own, which halts, and then goes on."""
    page = bytearray(PAGE)
    for vector in range(32):
        stub = STUBS + 16 * vector
        # Interrupt gate, first stack of the table of stacks.
        struct.pack_into("<HHBBHII", page, 16 * vector, stub & 0xFFFF, 8, 1, 0x8E, stub >> 16 & 0xFFFF, stub >> 32, 0)
        code = bytes([0xF4, 0x48, 0xCF])  # hlt; iretq
        page[stub - SYSTEM : stub - SYSTEM + len(code)] = code
    at = SYSCALL_STUB - SYSTEM
    code = bytes([0xF4, 0xFF, 0xE1])  # hlt; jmp rcx: flags were left as they are
    page[at : at + len(code)] = code
    # xor ecx, ecx; mov eax, xcr0; xor edx, edx; xsetbv; mov eax, 1; cpuid
    code = bytes.fromhex("31c9b8") + struct.pack("<I", xcr0) + bytes.fromhex("31d20f01d1b8010000000fa2")
    assert BOOT + len(code) == BOOT_END
    page[BOOT - SYSTEM : BOOT_END - SYSTEM + 1] = code + bytes([0xF4])
    page[RETURN - SYSTEM] = 0xF4
    struct.pack_into("<Q", page, TSS - SYSTEM + 36, HANDLERS)
    struct.pack_into("<3Q", page, GDT - SYSTEM, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    memory.write(SYSTEM, bytes(page))


def segment(selector, attributes, base=0, limit=0xFFFF_FFFF):
    s = bochscpu.Segment()
    s.present, s.selector, s.base, s.limit, s.attr = True, selector, base, limit, attributes
    return s


class Guest:
    """One processor with its memory."""

    def __init__(self, image, data):
        self.image = image
        self.memory = Memory(image["segments"])
        for s in image["segments"]:
            self.memory.write(s["address"], data[s["offset"] : s["offset"] + s["bytes"]])
        # Bits of state that this Bochs does not know are shown to XGETBV only.
        system(self.memory, image["xcr0"] & 0xFF)
        choose_model(image["model"])
        self.alive = answer_cpuid(image["model"], image["cpuid"])
        self.session = bochscpu.Session()
        self.cpu = self.session.cpu
        self.saved_rsp = 0
        # Without their state enabled, tile instructions are undefined.
        has_tiles = image["amx"] and image["xcr0"] >> 17 & 3 == 3
        self.tiles = self.own_tiles() if has_tiles else None
        self.granted = image["amx"] == "granted"
        self.start()

    def start(self):
        """Long mode, everything enabled; then the guest sets its own XCR0 and says what it is."""
        s = bochscpu.State()
        s.cr0 = 0x8005_0033  # PG, AM, WP, NE, ET, MP, PE
        s.cr4 = 0x0004_0620  # OSXSAVE, OSXMMEXCPT, OSFXSR, PAE
        s.efer = 0xD01  # NXE, LMA, LME, SCE
        s.cr3 = self.memory.root
        s.rflags = 2
        s.cs = segment(8, 0xA09B)
        s.ss = s.ds = s.es = s.fs = s.gs = segment(16, 0xC093)
        s.tr = segment(24, 0x8B, TSS, 103)
        for table, base, limit in (("gdtr", GDT, 23), ("idtr", SYSTEM, 16 * 32 - 1)):
            g = bochscpu.GlobalSegment()
            g.base, g.limit = base, limit
            setattr(s, table, g)
        s.star = 8 << 32
        s.lstar = SYSCALL_STUB
        s.mxcsr = self.image["mxcsr"]
        s.rip, s.rsp = BOOT, STACK + STACK_BYTES
        self.cpu.state = s
        self.cpu.set_mode()
        self.hook = bochscpu.Hook()
        self.hook.hlt = lambda session, cpu: session.stop()
        self.run()
        assert self.cpu.rax == MODELS[self.image["model"]][1], f"{self.image['model']} says {self.cpu.rax:#x}"
        LIB.cpu_set_xcr0(0, self.image["xcr0"])
        LIB.cpu_set_mxcsr_mask(0, 0xFFFF)

    def interrupt(self, vector):
        """An exception of the guest: a tile instruction, or the end."""
        error = vector in WITH_ERROR
        frame = HANDLERS - 40 - 8 * error
        words = struct.unpack(f"<{5 + error}Q", self.memory.read(frame, HANDLERS - frame))
        address, self.saved_rsp = words[error], words[error + 3]
        at = self.memory.at(address, 1)
        code = self.memory.map[at : at + 15] if at is not None else b""
        if vector == UNDEFINED and self.tiles is not None:
            try:
                length = self.tiles.execute(code, address, self.granted)
            except self.tiles.Refused as refused:
                raise Fault(refused.vector, address, f"{code.hex()}: {refused}", memory=refused.memory) from refused
            if length:
                self.memory.write(frame, struct.pack("<Q", address + length))
                return
        memory = self.cpu.cr2 if vector == PAGE_FAULT else 0
        raise Fault(vector, address, code.hex(), words[0] if error else 0, memory)

    def own_tiles(self):
        """Tiles of this guest. Few guests have any, and numpy takes its time to load."""
        import amx

        return amx.Tiles(self.register, self.read, self.write)

    def register(self, name):
        """What a tile instruction finds in a register: that of the stack is saved meanwhile."""
        return self.saved_rsp if name == "rsp" else getattr(self.cpu, name)

    def read(self, address, size):
        """Memory as a tile instruction finds it; None where it may not read."""
        return self.memory.read(address, size) if self.memory.at(address, size) is not None else None

    def write(self, address, data):
        """The same; yields whether it may write."""
        may = self.memory.at(address, len(data), write=True) is not None
        if may:
            self.memory.write(address, data)
        return may

    def system_call(self):
        asked = [self.cpu.rax, self.cpu.rdi, self.cpu.rsi]
        for known, answer in self.image["syscalls"]:
            if known == asked:
                self.cpu.rax = answer % 2**64
                self.granted |= asked == REQUEST_TILES and answer == 0
                return
        raise Fault(SYSCALL, self.cpu.rcx - 2, f"system call {asked}")

    def run(self):
        """Runs until the end of a call, from one `hlt` of the stubs to the next."""
        while True:
            self.session.run([self.hook])
            at = self.cpu.rip - 1
            if at == RETURN or at == BOOT_END:
                return
            if at == SYSCALL_STUB:
                self.system_call()
            elif STUBS <= at < STUBS + 16 * 32 and at % 16 == 0:
                self.interrupt((at - STUBS) // 16)
            else:
                raise RuntimeError(f"stopped at {at + 1:#x}")

    def call(self, entry, args):
        """Calls a function; yields RAX."""
        stack = STACK + STACK_BYTES - PAGE
        more = args[len(ARGS) :]
        stack -= (len(more) * 8 + 15) // 16 * 16
        self.memory.write(stack - 8, struct.pack(f"<{1 + len(more)}Q", RETURN, *(a % 2**64 for a in more)))
        kept = {}
        for i, name in enumerate(KEPT):
            kept[name] = 0x5A5A_0000_0000_0001 * (i + 1) % 2**64
            setattr(self.cpu, name, kept[name])
        for name, a in zip(ARGS, args):
            setattr(self.cpu, name, a % 2**64)
        self.cpu.rsp = stack - 8
        self.cpu.rip = entry
        LIB.cpu_set_mxcsr(0, self.image["mxcsr"])
        self.run()
        found = {name: getattr(self.cpu, name) for name in KEPT}
        if found != kept or self.cpu.rsp != stack:
            raise Fault(-1, entry, f"kept registers came back as {found}, the stack {self.cpu.rsp - stack} off")
        if self.tiles is not None and self.tiles.live():
            raise Fault(-1, entry, "tiles came back configured")
        return dict(rax=self.cpu.rax, mxcsr=LIB.cpu_get_mxcsr(0))


def main(folder):
    folder = pathlib.Path(folder)
    image = json.loads((folder / "image.json").read_text())
    guest = Guest(image, (folder / "image.bin").read_bytes())
    out = dict(calls=[], fault=None)
    try:
        for call in image["calls"]:
            args = [out["calls"][a["rax"]]["rax"] if isinstance(a, dict) else a for a in call["args"]]
            out["calls"].append(guest.call(call["entry"], args))
    except Fault as fault:
        out["fault"] = dict(call=len(out["calls"]), **fault.fields)
    (folder / "out.json").write_text(json.dumps(out))
    dumped = [guest.memory.read(d["address"], d["size"]) for d in image["dump"]]
    (folder / "out.bin").write_bytes(b"".join(dumped))


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    # The binding takes itself apart in an order of its own, and fails at it.
    os._exit(0)
