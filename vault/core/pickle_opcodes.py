"""The pickle opcodes: which of them the machine knows, and how long the others are.

Source: `Lib/pickletools.py` and PEP 3154, PEP 574. The machine in `pickle_vm`
executes only what picklers of protocols 3 to 5 write; the shape of the rest is
needed to recognise an old pickle in order to refuse it.
"""

import re
from typing import Final

# Written by protocol 3 to 5 picklers.
MARK = 0x28
STOP = 0x2E
POP = 0x30
POP_MARK = 0x31
BINFLOAT = 0x47
BININT = 0x4A
BININT1 = 0x4B
BININT2 = 0x4D
NONE = 0x4E
REDUCE = 0x52
BINUNICODE = 0x58
APPEND = 0x61
BUILD = 0x62
GLOBAL = 0x63
APPENDS = 0x65
BINGET = 0x68
LONG_BINGET = 0x6A
BINPUT = 0x71
LONG_BINPUT = 0x72
SETITEM = 0x73
TUPLE = 0x74
SETITEMS = 0x75
EMPTY_DICT = 0x7D
EMPTY_LIST = 0x5D
EMPTY_TUPLE = 0x29
PROTO = 0x80
NEWOBJ = 0x81
TUPLE1 = 0x85
TUPLE2 = 0x86
TUPLE3 = 0x87
NEWTRUE = 0x88
NEWFALSE = 0x89
LONG1 = 0x8A
LONG4 = 0x8B
BINBYTES = 0x42
SHORT_BINBYTES = 0x43
SHORT_BINUNICODE = 0x8C
BINUNICODE8 = 0x8D
BINBYTES8 = 0x8E
EMPTY_SET = 0x8F
ADDITEMS = 0x90
FROZENSET = 0x91
NEWOBJ_EX = 0x92
STACK_GLOBAL = 0x93
MEMOIZE = 0x94
FRAME = 0x95
BYTEARRAY8 = 0x96

# Refused, with what they are for.
REFUSED: Final = {
    0x32: "DUP, which no pickler writes",
    0x46: "FLOAT, a text opcode of protocol 0",
    0x49: "INT, a text opcode of protocol 0",
    0x4C: "LONG, a text opcode of protocol 0",
    0x50: "PERSID, a reference outside the file",
    0x51: "BINPERSID, a reference outside the file",
    0x53: "STRING, a text opcode of protocol 0",
    0x54: "BINSTRING, a Python 2 opcode",
    0x55: "SHORT_BINSTRING, a Python 2 opcode",
    0x56: "UNICODE, a text opcode of protocol 0",
    0x64: "DICT, an opcode of protocol 0",
    0x67: "GET, a text opcode of protocol 0",
    0x69: "INST, a call of protocol 0",
    0x6C: "LIST, an opcode of protocol 0",
    0x6F: "OBJ, a call of protocol 1",
    0x70: "PUT, a text opcode of protocol 0",
    0x82: "EXT1, a global by number",
    0x83: "EXT2, a global by number",
    0x84: "EXT4, a global by number",
    0x97: "NEXT_BUFFER, a buffer outside the file",
    0x98: "READONLY_BUFFER, a buffer outside the file",
}

_LINE: Final = frozenset(b"FILSVPgp")
_FIXED: Final = {
    **dict.fromkeys(b"GJMKhjqr", 0),
    ord("G"): 8,
    ord("J"): 4,
    ord("K"): 1,
    ord("M"): 2,
    ord("h"): 1,
    ord("j"): 4,
    ord("q"): 1,
    ord("r"): 4,
    PROTO: 1,
    0x82: 1,
    0x83: 2,
    0x84: 4,
    FRAME: 8,
}
_SIZED: Final = {
    BINBYTES: 4,
    SHORT_BINBYTES: 1,
    0x54: 4,
    0x55: 1,
    BINUNICODE: 4,
    LONG1: 1,
    LONG4: 4,
    SHORT_BINUNICODE: 1,
    BINUNICODE8: 8,
    BINBYTES8: 8,
    BYTEARRAY8: 8,
}
_BARE: Final = frozenset(b"(.012NRabdel)os]}tu\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98Q")
_DOTTED: Final = re.compile(rb"[A-Za-z_][\w.<>]*")
_SCAN_LINES: Final = 1 << 16


def looks_like_pickle(data: memoryview, *, limit: int = 1 << 20) -> bool:
    """Tell whether `data` reads as a pickle of any protocol that resolves a global.

    Looks at opcodes in the first `limit` bytes only; executes nothing. Text
    that happens to be made of opcode letters is not one unless it names a
    global in the form that the opcodes for it need.
    """
    ended, resolved = _scan(bytes(data[:limit]))
    return resolved > 0 and (ended or len(data) > limit)


def _scan(head: bytes) -> tuple[bool, int]:
    """Step over opcodes; return whether STOP was met, and how many globals were."""
    at, resolved = 0, 0
    while 0 <= at < len(head):
        code = head[at]
        at += 1
        if code == STOP:
            return True, resolved
        if code in (GLOBAL, 0x69):
            lines = head[at : at + 2 * _SCAN_LINES].split(b"\n", 2)
            if len(lines) < 3 or not all(_DOTTED.fullmatch(line) for line in lines[:2]):
                return False, 0
            at += len(lines[0]) + len(lines[1]) + 2
            resolved += 1
        elif code in _LINE:
            at = head.find(b"\n", at, at + _SCAN_LINES) + 1 or -1
        elif code in _SIZED:
            width = _SIZED[code]
            at += width + int.from_bytes(head[at : at + width], "little")
        elif code in _FIXED:
            at += _FIXED[code]
        elif code in _BARE:
            resolved += code == STACK_GLOBAL
        else:
            return False, 0
    return False, resolved if at >= 0 else 0
