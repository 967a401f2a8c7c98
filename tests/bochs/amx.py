# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Intel's tile instructions (AMX-TILE, AMX-BF16), executed where a processor without them raised #UD.

In: the bytes at an instruction, the guest's registers and memory. Out: its effects and its length; None where the instruction is
undefined on a processor with tiles, too. `Refused` is what such a processor would raise otherwise.

After Intel's Software Developer's Manual, volume 2 (LDTILECFG, STTILECFG, TILERELEASE, TILEZERO, TILELOADD/T1, TILESTORED, TDPBF16PS)
and its exception classes AMX-E1 to AMX-E6. Of TDPBF16PS the manual says, in pseudo code, for every row m:

    temp[0 .. 2 n_max) := 0
    for k, for n:   temp[2n]   += a[m][2k]   * b[k][2n]         fused, DAZ = FTZ = 1, to nearest even; MXCSR is
                    temp[2n+1] += a[m][2k+1] * b[k][2n+1]       neither consulted nor updated
    for n:          c[m][n] := c[m][n] + (temp[2n] + temp[2n+1])

so that pairs are summed in two sums each, which are joined at the end. Both products and sums are computed in float64 here and rounded
once to float32: a product of two bfloat16 has 16 significant bits and is exact, and a float64 sum of it and a float32 is exact, or so
far from a tie between two float32 that the second rounding cannot go wrong.
"""
import struct

import numpy as np

# What palette 1 has.
TILES, ROWS, COLUMN_BYTES = 8, 16, 64
SMALLEST = 2.0**-126
# Below this, a number rounded to 24 bits, whatever its exponent, is below the smallest normal one.
TINY = SMALLEST - 2.0**-151
REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] + [f"r{i}" for i in range(8, 16)]


class Refused(Exception):
    """An exception of a tile instruction other than #UD: #NM, #GP, or the page fault of one of its accesses."""

    def __init__(self, vector, what, memory=0):
        super().__init__(what)
        self.vector, self.memory = vector, memory


class Undefined(Exception):
    """The instruction raises #UD, as it stands or in this state."""


class Bytes:
    """Reads the bytes of an instruction one behind the other."""

    def __init__(self, code):
        self.code, self.at = code, 0

    def take(self, form):
        size = struct.calcsize(form)
        if self.at + size > len(self.code):
            raise Undefined("cut off")
        (value,) = struct.unpack_from(form, self.code, self.at)
        self.at += size
        return value


class Instruction:
    """A decoded instruction: VEX.128 of map 0F38 with W0, all that tiles have."""

    def __init__(self, code):
        b = Bytes(code)
        if b.take("<B") != 0xC4:
            raise Undefined("no VEX prefix of three bytes")
        first, second, self.opcode, modrm = (b.take("<B") for _ in range(4))
        r, x, base_bit = (8 * (~first >> bit & 1) for bit in (7, 6, 5))
        if first & 31 != 2 or second & 0x84:
            raise Undefined("map, W or L")
        self.prefix = second & 3
        self.vvvv = ~second >> 3 & 15
        self.mod, self.reg, self.rm = modrm >> 6, r | modrm >> 3 & 7, modrm & 7 | base_bit
        self.sib = self.mod != 3 and modrm & 7 == 4
        self.base, self.index, self.scale, self.displacement = None, None, 0, 0
        self.relative = False
        if self.mod != 3:
            self.address(b, modrm, x, base_bit)
        self.length = b.at

    def address(self, b, modrm, x, base_bit):
        base = modrm & 7
        if self.sib:
            sib = b.take("<B")
            base, self.scale = sib & 7, sib >> 6
            index = x | sib >> 3 & 7
            self.index = None if index == 4 else index
        if base == 5 and self.mod == 0:
            self.displacement, self.relative = b.take("<i"), not self.sib
        else:
            self.base = base | base_bit
            self.displacement = b.take("<b") if self.mod == 1 else b.take("<i") if self.mod == 2 else 0


def flush(x):
    """Numbers too small to be normal become zeros of their sign: DAZ, and FTZ of what is rounded already."""
    return np.where(np.abs(x) < SMALLEST, np.copysign(0.0, x), x)


def rounded(x):
    """float64 to float32 as float64: nearest even, FTZ."""
    with np.errstate(over="ignore"):
        single = x.astype(np.float32).astype(np.float64)
    return np.where(np.abs(x) < TINY, np.copysign(0.0, x), single)


def tdpbf16ps(c, a, b):
    """C + A B. In: c [m, n] float32, a [m, 2k] and b [k, 2n] bfloat16 as uint16. Out: [m, n] float32."""

    def widen(x):
        return flush((x.astype(np.uint32) << 16).view(np.float32).astype(np.float64))

    a, b = widen(a), widen(b)
    with np.errstate(invalid="ignore"):
        sums = np.zeros((c.shape[0], b.shape[1]))
        for k in range(b.shape[0]):
            pair = np.tile(a[:, 2 * k : 2 * k + 2], c.shape[1])
            sums = rounded(sums + pair * b[k])
        joined = rounded(sums[:, 0::2] + sums[:, 1::2])
        return rounded(flush(c.astype(np.float64)) + joined).astype(np.float32)


class Tiles:
    """The tile state of a processor. `register(name)` is a register's value; `read(address, size)` yields None and
    `write(address, bytes)` something false where they may not."""

    Refused = Refused

    def __init__(self, register, read, write):
        self.register, self.may_read, self.may_write = register, read, write
        self.release()

    def read(self, address, size):
        data = self.may_read(address, size)
        if data is None:
            raise Refused(14, "a page that cannot be read", address)
        return data

    def write(self, address, data):
        if not self.may_write(address, data):
            raise Refused(14, "a page that cannot be written", address)

    def release(self):
        """The state at the beginning."""
        self.config = bytes(64)
        self.rows, self.colsb, self.start = [0] * TILES, [0] * TILES, 0
        self.data = np.zeros((TILES, ROWS, COLUMN_BYTES), np.uint8)

    def live(self):
        """Whether the state is another than at the beginning: what every switch of tasks has to save."""
        return self.config[0] != 0

    def execute(self, code, rip, granted=True):
        """Executes the instruction at the beginning of `code`, which stands at `rip`; yields its length, None where it is undefined.
        It raises #NM where the system has not granted their state."""
        try:
            i = Instruction(code)
            if i.opcode not in (0x49, 0x4B, 0x5C):
                raise Undefined("no such instruction")
            if not granted:
                raise Refused(7, "the system has not granted tiles")
            self.perform(i, rip + i.length)
            return i.length
        except Undefined:
            return None

    def perform(self, i, rip):
        memory, name = i.mod != 3, (i.opcode, i.prefix)
        if i.opcode != 0x5C and i.vvvv != 0:
            raise Undefined("vvvv")
        if name == (0x49, 0) and memory and i.reg == 0:
            self.load_config(self.read(self.place(i, rip), 64))
        elif name == (0x49, 1) and memory and i.reg == 0:
            self.write(self.place(i, rip), self.config)
        elif name == (0x49, 0) and not memory and (i.reg, i.rm) == (0, 0):
            self.release()
        elif name == (0x49, 3) and not memory and i.rm == 0:
            self.data[self.valid(i.reg)] = 0
        elif i.opcode == 0x4B and i.prefix in (1, 3) and i.sib:
            self.load(self.valid(i.reg), i, rip)
        elif name == (0x4B, 2) and i.sib:
            self.store(self.valid(i.reg), i, rip)
        elif name == (0x5C, 2) and not memory:
            self.multiply(i.reg, i.rm, i.vvvv)
        else:
            raise Undefined("no such instruction")

    def place(self, i, rip, index=True):
        base = rip if i.relative else self.register(REGISTERS[i.base]) if i.base is not None else 0
        stride = self.register(REGISTERS[i.index]) << i.scale if index and i.index is not None else 0
        return (base + stride + i.displacement) % 2**64

    def load_config(self, config):
        palette, words = config[0], struct.unpack("<16H", config[16:48])
        if palette > 1:
            raise Refused(13, f"palette {palette}")
        self.release()
        if palette == 0:
            return
        rows = list(config[48:56])
        wrong = any(config[2:16]) or any(words[TILES:]) or any(config[56:])
        for r, c in zip(rows, words):
            wrong |= r > ROWS or c > COLUMN_BYTES or (r == 0) != (c == 0)
        if wrong:
            raise Refused(13, f"tile configuration {config.hex()}")
        self.config, self.start, self.rows, self.colsb = config, config[1], rows, list(words[:TILES])

    def valid(self, tile):
        if self.config[0] == 0 or tile >= TILES or self.rows[tile] == 0:
            raise Undefined(f"tile {tile} is not configured")
        return tile

    def addresses(self, tile, i, rip):
        if self.start >= self.rows[tile]:
            raise Refused(13, f"start row {self.start}")
        begin = self.place(i, rip, index=False)
        stride = self.register(REGISTERS[i.index]) << i.scale if i.index is not None else 0
        return [(row, (begin + row * stride) % 2**64) for row in range(self.start, self.rows[tile])]

    def load(self, tile, i, rip):
        size = self.colsb[tile]
        rows = [(row, self.read(at, size)) for row, at in self.addresses(tile, i, rip)]
        for row, data in rows:
            self.data[tile, row] = 0
            self.data[tile, row, :size] = np.frombuffer(data, np.uint8)
        self.data[tile, self.rows[tile] :] = 0
        self.start = 0

    def store(self, tile, i, rip):
        for row, at in self.addresses(tile, i, rip):
            self.write(at, self.data[tile, row, : self.colsb[tile]].tobytes())
        self.start = 0

    def multiply(self, c, a, b):
        for tile in (c, a, b):
            self.valid(tile)
        rows, colsb = self.rows, self.colsb
        same = len({c, a, b}) < 3
        odd = any(colsb[t] % 4 for t in (c, a, b))
        if same or odd or rows[c] != rows[a] or colsb[c] != colsb[b] or colsb[a] // 4 != rows[b]:
            raise Undefined("tiles that do not fit")

        def part(t, as_type):
            return np.ascontiguousarray(self.data[t, : rows[t], : colsb[t]]).view(as_type)

        result = tdpbf16ps(part(c, np.float32), part(a, np.uint16), part(b, np.uint16))
        self.data[c] = 0
        self.data[c, : rows[c], : colsb[c]] = result.view(np.uint8)
        self.start = 0
