"""Messages of a worker, written down as JSON: honest and forged ones.

`{"$": [kind, payload]}` stands for an extension or a container with a mark; integers of more than 64 bits
and text with lone surrogates for their extensions; the value of an end is encoded by itself. What is no
JSON is sent as the bytes that it is. The code of a hostile worker contains the source of this module.
"""

import json
import re
import struct

import ormsgpack

CODES = {"datetime": 3, "date": 4, "time": 5, "timedelta": 6, "decimal": 7, "uuid": 8, "complex": 9}
CODES |= {"range": 10, "tuple": 11, "set": 12, "frozenset": 13, "dict": 14}


def spell(data):
    """Return parsed JSON in terms of MessagePack."""
    if isinstance(data, list):
        return [spell(item) for item in data]
    if isinstance(data, dict) and list(data) == ["$"]:
        return spell_form(data["$"])
    if isinstance(data, dict):
        return {key: spell(item) for key, item in data.items()}
    if isinstance(data, str) and any("\ud800" <= char <= "\udfff" for char in data):
        return ormsgpack.Ext(2, data.encode("utf-8", "surrogatepass"))
    if isinstance(data, int) and not -(2**63) <= data < 2**64:
        return ormsgpack.Ext(1, data.to_bytes(data.bit_length() // 8 + 1, "big", signed=True))
    return data


def spell_form(form):
    """Return an extension, or an array with a mark; extension 99 for what is neither."""
    if not isinstance(form, list) or len(form) != 2 or not isinstance(form[0], str):
        return ormsgpack.Ext(99, b"")
    kind, payload = form
    code = CODES.get(kind, 99)
    if kind == "int" and re.fullmatch("0x[0-9a-f]+", str(payload)):
        number = int(payload, 16)
        return ormsgpack.Ext(1, number.to_bytes(len(payload) // 2 + 1, "big", signed=True))
    if code >= 11 and isinstance(payload, list):
        items = payload
        if kind == "dict":
            items = [
                part for pair in payload for part in (pair if isinstance(pair, list) else [pair])
            ]
        return (
            [ormsgpack.Ext(code, b""), *map(spell, items)] if code < 99 else ormsgpack.Ext(99, b"")
        )
    if kind in ("range", "timedelta") and isinstance(payload, list):
        payload = " ".join(f"{n:x}" if isinstance(n, int) else str(n) for n in payload)
    if kind == "complex" and isinstance(payload, list) and len(payload) == 2:
        try:
            return ormsgpack.Ext(code, struct.pack("<dd", *payload))
        except (struct.error, OverflowError):
            pass
    if kind == "uuid" and isinstance(payload, str) and len(payload) == 36:
        return ormsgpack.Ext(code, bytes.fromhex(payload.replace("-", "")))
    return ormsgpack.Ext(code, str(payload).encode("utf-8", "surrogatepass"))


def pack(text):
    """Return one message as it is sent."""
    if isinstance(text, bytes):
        return text
    message = json.loads(text)
    if isinstance(message, list) and message[:1] == ["d"] and isinstance(message[-1], dict):
        end = message[1]
        if "$" not in end:
            value = pack_data(spell(end.pop("value", None)))
            return pack_data(["d", {**spell(end), "value": value}])
    return pack_data(spell(message))


def pack_data(data):
    """Return MessagePack of any depth, and with any keys."""
    if isinstance(data, list):
        return b"\xdd" + len(data).to_bytes(4, "big") + b"".join(map(pack_data, data))
    if isinstance(data, dict):
        items = [pack_data(spell(key)) + pack_data(item) for key, item in data.items()]
        return b"\xdf" + len(data).to_bytes(4, "big") + b"".join(items)
    return ormsgpack.packb(data)


def pack_end(value):
    """Return the message that ends a program with a value that is encoded already."""
    return ormsgpack.packb(
        ["d", {"status": "success", "value": value, "failure": None, "notes": []}]
    )


def frames(*messages):
    """Return the frames of messages, each as JSON text or as bytes."""
    packed = [*map(pack, messages)]
    return b"".join(struct.pack("<I", len(message)) + message for message in packed)


def frames_of(text):
    """Return the frames of a JSON array of messages; what is no such array is one frame as it is."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        messages = json.loads(raw)
        if not isinstance(messages, list):
            messages = [messages]
        return frames(*map(json.dumps, messages)) or frames(b"")
    except (ValueError, RecursionError):
        return frames(raw)


def receive(conversation, data):
    """Have the host's half of a conversation take bytes, and return the calls that it has read."""
    for frame in conversation.cut(data):
        conversation.take(frame)
    return conversation.collect()
