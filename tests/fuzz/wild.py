"""Wild values: any message, from its descriptor, filled without any regard for what it means."""

import random
from collections.abc import Callable, Sequence

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

TEXTS = (
    "",
    "a",
    "mcp",
    "*",
    "%",
    "\0",
    "a\0b",
    "\x07",
    "\x7f",
    "\r\n",
    "\u2028",
    "\u202e",
    "\ufffe",
    "\U0010ffff",
    "🦑" * 40,
    "é" * 201,
    "x" * 5_000,
    "\\",
    '"',
    "'; DROP TABLE agents; --",
    "${HOME}",
    "{}",
    "[]",
    "null",
    "NaN",
    "1e999",
    "-1",
    "../../etc/passwd",
    "http://user:word@host/",
    "http://[::1",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "FFFFFFFF-FFFF-7FFF-BFFF-FFFFFFFFFFFF",
    "{00000000-0000-0000-0000-00000000000}",
    "0000000000000000000000000000000000 0",
    "2026-01-01T00:00:00Z",
    "id desc",
    "trust_level",
)
INTEGERS = (0, 1, -1, 2, 10, 999, 1_000, 1_001, 5_001, 10**9, 10**9 + 1, 2**31 - 1, -(2**31))
WIDE = (2**31, 2**53, 2**63 - 1, -(2**63), 253_402_300_799, 253_402_300_800, -62_135_596_801)
DOUBLES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    5e-324,
    1e-9,
    1e6,
    1e9,
    86_400_000.0,
    1e18,
    2.0**63,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    float("nan"),
)
DEEPEST = 5
STRUCT_DEPTHS = (1, 2, 3, 9, 10, 11, 12, 26, 45)
"""Of a Struct's values; the last is more than protobuf parses, when all of it are objects."""
FEW = (0, 1, 1, 2, 3)

Dice = random.Random


def text(dice: Dice) -> str:
    """Any text that protobuf can carry."""
    if dice.random() < 0.7:
        return dice.choice(TEXTS)
    return "".join(_character(dice) for _ in range(dice.choice((1, 3, 36, 64, 201))))


def _character(dice: Dice) -> str:
    limit = dice.choice((0x80, 0x80, 0x3000, 0x11_0000))
    return chr(code) if not 0xD800 <= (code := dice.randrange(limit)) < 0xE000 else "\ufffd"


_SCALARS: dict[int, Callable[[Dice], object]] = {
    FieldDescriptor.CPPTYPE_STRING: text,
    FieldDescriptor.CPPTYPE_INT32: lambda dice: dice.choice(INTEGERS),
    FieldDescriptor.CPPTYPE_INT64: lambda dice: dice.choice(INTEGERS + WIDE),
    FieldDescriptor.CPPTYPE_UINT32: lambda dice: abs(dice.choice(INTEGERS)),
    FieldDescriptor.CPPTYPE_UINT64: lambda dice: abs(dice.choice(INTEGERS + WIDE)),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda dice: dice.choice(DOUBLES),
    FieldDescriptor.CPPTYPE_FLOAT: lambda dice: dice.choice((0.0, 1.5, float("nan"))),
    FieldDescriptor.CPPTYPE_BOOL: lambda dice: dice.random() < 0.5,
    FieldDescriptor.CPPTYPE_ENUM: lambda dice: dice.choice((0, 1, 2, 3, 4, 99, -1, 2**31 - 1)),
}


def message(descriptor: Descriptor, dice: Dice, depth: int = 0) -> Message:
    """A message with some of its fields set to anything."""
    made: Message = GetMessageClass(descriptor)()
    if descriptor.full_name == "google.protobuf.Struct":
        _fill_struct(made, dice)
        return made
    for field in descriptor.fields:
        if dice.random() < 0.35 and depth < DEEPEST:
            spoil(made, field, dice, depth)
    return made


def spoil(made: Message, field: FieldDescriptor, dice: Dice, depth: int = 0) -> None:
    """Sets one field of a message to anything."""
    if field.is_repeated:
        _spoil_repeated(made, field, dice, depth)
    elif field.message_type is not None:
        child = message(field.message_type, dice, depth + 1)
        getattr(made, field.name).CopyFrom(child)
    else:
        setattr(made, field.name, scalar(field, dice))


def scalar(field: FieldDescriptor, dice: Dice) -> object:
    """Any value of a field without structure."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return dice.randbytes(dice.choice((0, 1, 7, 300)))
    return _SCALARS[field.cpp_type](dice)


def _spoil_repeated(made: Message, field: FieldDescriptor, dice: Dice, depth: int) -> None:
    entries = getattr(made, field.name)
    kind = field.message_type
    count = 1_001 if dice.random() < 0.01 and depth == 0 else dice.choice(FEW)
    if kind is not None and kind.GetOptions().map_entry:
        for _ in range(count):
            _spoil_entry(entries, kind, dice, depth)
    elif kind is not None:
        one = [message(kind, dice, depth + 1) for _ in range(min(count, 3))]
        entries.extend((one * count)[:count])
    else:
        entries.extend(scalar(field, dice) for _ in range(count))


def _spoil_entry(entries: object, kind: Descriptor, dice: Dice, depth: int) -> None:
    key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
    name = scalar(key, dice)
    if value.message_type is not None:
        child = message(value.message_type, dice, depth + 1)
        entries[name].CopyFrom(child)  # type: ignore[index]  # a map of protobuf's
    else:
        entries[name] = scalar(value, dice)  # type: ignore[index]


def _fill_struct(made: Message, dice: Dice) -> None:
    """Something as deep as can be sent, or wide, or odd."""
    value = made.fields[text(dice)]  # type: ignore[attr-defined]  # it is a Struct
    for _ in range(dice.choice(STRUCT_DEPTHS)):
        if dice.random() < 0.5:
            value = value.struct_value.fields[text(dice)]
        else:
            value = value.list_value.values.add()
    match dice.randrange(4):
        case 0:
            value.number_value = dice.choice(DOUBLES)
        case 1:
            value.string_value = text(dice)
        case 2:
            value.null_value = 0
        case _:
            pass  # a value of no kind, which JSON does not know


def mutate(made: Message, dice: Dice) -> None:
    """Spoils one field of a message, or of one inside it."""
    fields = made.DESCRIPTOR.fields
    if not fields:
        return
    inner = [value for value in _children(made) if value.DESCRIPTOR.fields]
    if inner and dice.random() < 0.6:
        mutate(dice.choice(inner), dice)
    else:
        spoil(made, dice.choice(fields), dice)


def _children(made: Message) -> Sequence[Message]:
    found: list[Message] = []
    for field, value in made.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        found.extend(value[:5] if field.is_repeated else [value])
    return found
