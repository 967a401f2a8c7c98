# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The tile instructions of amx.py against arithmetic with fractions, number by number, and against what the manual refuses.

In: nothing. Out: exit status 0 where all agrees. The encodings stand here as bytes; an assembler's are run by tests/bochs.rs.
"""
import struct
from fractions import Fraction

import numpy as np

import amx


def to_single(x):
    """A fraction to the bits of a float32: nearest even, results below the smallest normal number become zero (sign unknown: +)."""
    if x == 0:
        return 0.0
    # The denominator is a power of two.
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    ulp = Fraction(2) ** (exponent - 23)
    x = round(x / ulp) * ulp  # Python rounds halves to even.
    if abs(x) < Fraction(2) ** -126:
        return 0.0
    return float(x) if abs(x) < Fraction(2) ** 128 else float(np.copysign(np.inf, x))


def plain(c, a, b):
    """The pseudo code of the manual, one number at a time; finite numbers only."""
    widen = lambda h: struct.unpack("<f", struct.pack("<I", int(h) << 16))[0]
    daz = lambda x: x if abs(x) >= 2.0**-126 else 0.0
    out = np.zeros(c.shape, np.float32)
    for m in range(c.shape[0]):
        for n in range(c.shape[1]):
            temp = [0.0, 0.0]
            for k in range(b.shape[0]):
                for i in (0, 1):
                    x, y = daz(widen(a[m, 2 * k + i])), daz(widen(b[k, 2 * n + i]))
                    temp[i] = to_single(Fraction(x) * Fraction(y) + Fraction(temp[i]))
            joined = to_single(Fraction(temp[0]) + Fraction(temp[1]))
            out[m, n] = to_single(Fraction(daz(float(c[m, n]))) + Fraction(joined))
    return out


def bits(random, shape, low, high):
    """bfloat16 with exponents in a range."""
    exponent = random.integers(low, high, shape)
    return (random.integers(0, 2, shape) << 15 | exponent << 7 | random.integers(0, 128, shape)).astype(np.uint16)


def products():
    random = np.random.default_rng(1)
    told = 0
    # Ordinary numbers; sums that cancel; everything near the smallest; inputs below it.
    for low, high in [(120, 134), (96, 158), (60, 68), (62, 65), (0, 70)]:
        for m, k, n in [(16, 2, 16), (2, 16, 3), (5, 1, 16), (7, 3, 2)]:
            a, b = bits(random, (m, 2 * k), low, high), bits(random, (k, 2 * n), low, high)
            c = (bits(random, (m, n), max(2 * low - 127, 0), max(2 * high - 127, 2)).astype(np.uint32) << 16).view(np.float32)
            got, want = amx.tdpbf16ps(c, a, b), plain(c, a, b)
            assert np.array_equal(got, want), (low, m, k, n)
            told += int((want == 0).sum())
    assert told > 50, "small results became zeros"
    one, inf, nan, big = 0x3F80, 0x7F80, 0x7FC0, 0x7F7F
    row = lambda *x: np.array([x], np.uint16)
    zero = np.zeros((1, 1), np.float32)
    assert amx.tdpbf16ps(zero, row(inf, one), row(one, one))[0, 0] == np.inf
    assert np.isnan(amx.tdpbf16ps(zero, row(inf, one), row(0, one))[0, 0])
    assert np.isnan(amx.tdpbf16ps(zero, row(one, one), row(one, nan))[0, 0])
    assert amx.tdpbf16ps(zero, row(big, 0), row(big, 0))[0, 0] == np.inf
    # An input below the smallest normal number is a zero, however large its partner.
    assert amx.tdpbf16ps(zero, row(0x0040, 0), row(big, 0))[0, 0] == 0
    # 2^-126 - 2^-152 rounds to the smallest normal number; 2^-126 - 2^-150 is below it and becomes a zero.
    factors = row(0x2000, 0, 0x1980, 0)
    for factor, want in [(0x9980, 2.0**-126), (0x9A80, 0.0)]:
        assert amx.tdpbf16ps(zero, factors, np.array([[0x2000, 0], [factor, 0]], np.uint16))[0, 0] == want, hex(factor)
    # The order of sums is the manual's: 1 + 2^-24 + ... in the sum of evens is lost, beside it is not.
    tiny = 0x3380  # 2^-24
    column = np.array([[one, one]] * 4, np.uint16)
    alone = amx.tdpbf16ps(zero, row(one, 0, tiny, 0, tiny, 0, tiny, 0), column)[0, 0]
    beside = amx.tdpbf16ps(zero, row(one, 0, 0, tiny, 0, tiny, 0, tiny), column)[0, 0]
    assert (alone, beside) == (1.0, np.float32(1 + 2.0**-22)), (alone, beside)


class Fake:
    """Registers and a little memory."""

    def __init__(self):
        self.memory = bytearray(range(256)) * 16
        self.registers = {name: 0 for name in amx.REGISTERS}
        self.tiles = amx.Tiles(self.registers.__getitem__, self.read, self.write)

    def read(self, address, size):
        return bytes(self.memory[address : address + size]) if address + size <= len(self.memory) else None

    def write(self, address, data):
        may = address + len(data) <= len(self.memory)
        if may:
            self.memory[address : address + len(data)] = data
        return may

    def run(self, code, rip=0):
        return self.tiles.execute(bytes.fromhex(code) + bytes(10), rip)


def config(*tiles, palette=1, start=0):
    """The 64 bytes for tiles of (rows, bytes a row)."""
    filled = list(tiles) + [(0, 0)] * (8 - len(tiles))
    colsb = struct.pack("<8H", *(c for _, c in filled))
    return bytes([palette, start]) + bytes(14) + colsb + bytes(16) + bytes(r for r, _ in filled) + bytes(8)


LOAD_CONFIG, STORE_CONFIG, RELEASE = "c4e27849 00", "c4e27949 00", "c4e27849 c0"  # [rax]
ZERO, LOAD, STORE, MULTIPLY = "c4e27b49 c0", "c4e27b4b 0418", "c4e27a4b 0418", "c4e26a5c c1"  # tmm0, [rax+rbx]; tmm0, tmm1, tmm2


def refused(vector, act):
    try:
        act()
    except amx.Refused as e:
        assert e.vector == vector, e.vector
        return
    raise AssertionError("not refused")


def configurations():
    g = Fake()
    for code in (ZERO, LOAD, STORE, MULTIPLY):
        assert g.run(code) is None, "without a configuration"
    good = config((16, 64), (3, 12), (3, 64))
    for bad in [
        config((17, 64)),
        config((16, 65)),
        config((0, 4)),
        config((4, 0)),
        config((4, 4), palette=2),
        good[:5] + b"\1" + good[6:],
        good[:40] + b"\1" + good[41:],
        good[:60] + b"\1" + good[61:],
    ]:
        g.memory[0:64] = bad
        refused(13, lambda: g.run(LOAD_CONFIG))
        assert g.run(ZERO) is None
    g.memory[0:64] = good
    assert g.run(LOAD_CONFIG) == 5
    g.registers["rax"] = 128
    assert g.run(STORE_CONFIG) == 5 and g.memory[128:192] == good
    assert g.run(RELEASE) == 5 and g.run(STORE_CONFIG) == 5 and g.memory[128:192] == bytes(64)
    assert g.run(ZERO) is None


def moves():
    g = Fake()
    g.memory[0:64] = config((3, 10), (16, 64), start=1)
    assert g.run(LOAD_CONFIG) == 5
    g.tiles.data[:] = 7
    g.registers.update(rax=256, rbx=100)
    # The first row is left out, and only this once.
    assert g.run(LOAD) == 6
    tile = g.tiles.data[0]
    assert (tile[0] == 7).all() and not tile[3:].any() and not tile[1:, 10:].any()
    assert bytes(tile[1, :10]) == g.memory[356:366] and bytes(tile[2, :10]) == g.memory[456:466]
    assert g.run(LOAD) == 6 and bytes(tile[0, :10]) == g.memory[256:266]
    g.registers["rax"] = 1000
    assert g.run(STORE) == 6
    assert all(g.memory[1000 + 100 * r :][:10] == bytes(tile[r, :10]) for r in range(3))
    assert g.memory[1010] == 1010 % 256, "nothing beside the rows is written"
    g.registers["rax"] = 4000
    refused(14, lambda: g.run(LOAD))
    refused(14, lambda: g.run(STORE))
    # A start row beyond the tile; a load of a tile without rows; two of three tiles the same; an undefined prefix.
    g.tiles.start = 3
    refused(13, lambda: g.run(STORE))
    g.tiles.start = 0
    assert g.run("c4e27b4b 1418") is None and g.run("c4e2725c c1") is None and g.run("c4e2784b 0418") is None
    refused(7, lambda: g.tiles.execute(bytes.fromhex(ZERO), 0, granted=False))


def shapes():
    g = Fake()
    for c, a, b, fits in [
        ((4, 32), (4, 12), (3, 32), True),
        ((4, 32), (5, 12), (3, 32), False),
        ((4, 32), (4, 12), (3, 28), False),
        ((4, 32), (4, 12), (4, 32), False),
        ((4, 34), (4, 12), (3, 34), False),
    ]:
        g.registers["rax"] = 0
        g.memory[0:64] = config(c, a, b)
        assert g.run(LOAD_CONFIG) == 5
        # ModRM names C and A, vvvv B.
        assert (g.run(MULTIPLY) == 5) == fits, (c, a, b)
    # Tiles that would fit, but are not three.
    g.memory[0:64] = config(*[(4, 16)] * 3)
    assert g.run(LOAD_CONFIG) == 5 and g.run(MULTIPLY) == 5
    assert [g.run(code) for code in ("c4e2725c c0", "c4e27a5c c1", "c4e2725c c1")] == [None] * 3
    g.memory[0:64] = config((1, 4), (1, 4), (1, 4))
    assert g.run(LOAD_CONFIG) == 5
    for tile, pair in [(0, (0x40A0, 0)), (1, (0x3F80, 0x4000)), (2, (0x4040, 0x4080))]:
        g.tiles.data[tile, 0, :4] = np.array(pair, np.uint16).view(np.uint8)
    g.tiles.data[0, 0, :4] = np.array([10.0], np.float32).view(np.uint8)
    assert g.run(MULTIPLY) == 5
    assert g.tiles.data[0, 0, :4].view(np.float32)[0] == 10 + 1 * 3 + 2 * 4


if __name__ == "__main__":
    for test in (products, configurations, moves, shapes):
        test()
